"""Prediction-powered inference: few labels, many predictions, valid intervals."""

from probinf.ppi import core as core
from probinf.ppi import losses as losses
from probinf.ppi.estimate import estimate as estimate
from probinf.ppi.mean import distribution as distribution
from probinf.ppi.mean import mean as mean
from probinf.ppi.plan import Plan as Plan
from probinf.ppi.plan import plan_labels as plan_labels
from probinf.ppi.plan import standard_error as standard_error
from probinf.ppi.plots import interval_plot as interval_plot
from probinf.ppi.plots import width_plot as width_plot
from probinf.ppi.quantile import QuantileResult as QuantileResult
from probinf.ppi.quantile import quantile as quantile
from probinf.ppi.regression import glm as glm
from probinf.ppi.regression import logistic as logistic
from probinf.ppi.regression import ols as ols
from probinf.ppi.regression import poisson as poisson
from probinf.ppi.result import Influence as Influence
from probinf.ppi.result import Result as Result
