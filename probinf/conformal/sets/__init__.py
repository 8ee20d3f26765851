"""What conformal methods return, with the guarantee in words."""

from probinf.conformal.sets.grids import GridSet as GridSet
from probinf.conformal.sets.intervals import Interval as Interval
from probinf.conformal.sets.labels import LabelSet as LabelSet
