"""Nonconformity scores: how strange an outcome is, given a prediction."""

from probinf.conformal.scores.classification import APS as APS
from probinf.conformal.scores.classification import LAC as LAC
from probinf.conformal.scores.classification import RAPS as RAPS
from probinf.conformal.scores.classification import SAPS as SAPS
from probinf.conformal.scores.classification import LabelScore as LabelScore
from probinf.conformal.scores.classification import Margin as Margin
from probinf.conformal.scores.classification import TopK as TopK
from probinf.conformal.scores.density import PIT as PIT
from probinf.conformal.scores.density import DensityScore as DensityScore
from probinf.conformal.scores.density import HDRMass as HDRMass
from probinf.conformal.scores.density import LogPredictive as LogPredictive
from probinf.conformal.scores.density import PredictiveDensity as PredictiveDensity
from probinf.conformal.scores.regression import CQR as CQR
from probinf.conformal.scores.regression import Absolute as Absolute
from probinf.conformal.scores.regression import AsymmetricCQR as AsymmetricCQR
from probinf.conformal.scores.regression import Normalised as Normalised
from probinf.conformal.scores.regression import RegressionScore as RegressionScore
from probinf.conformal.scores.regression import Signed as Signed
