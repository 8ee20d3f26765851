"""scikit-learn estimators with conformal prediction; needs the extra ``sklearn``."""

from probinf.conformal.estimators.classification import SplitClassifier as SplitClassifier
from probinf.conformal.estimators.classification import VennAbersClassifier as VennAbersClassifier
from probinf.conformal.estimators.cross import CrossClassifier as CrossClassifier
from probinf.conformal.estimators.cross import CrossRegressor as CrossRegressor
from probinf.conformal.estimators.regression import QuantileRegressor as QuantileRegressor
from probinf.conformal.estimators.regression import SplitRegressor as SplitRegressor
from probinf.conformal.estimators.series import SeriesRegressor as SeriesRegressor
