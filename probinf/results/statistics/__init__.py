"""Numbers that say whether draws can be believed; NumPy arrays in, numbers out."""

from probinf.diagnostics.ess import ess_bulk as ess_bulk
from probinf.diagnostics.ess import ess_mean as ess_mean
from probinf.diagnostics.ess import ess_tail as ess_tail
from probinf.diagnostics.nested import nested_rhat as nested_rhat
from probinf.diagnostics.psis import pareto_k as pareto_k
from probinf.diagnostics.psis import psis as psis
from probinf.diagnostics.rhat import rhat as rhat
from probinf.diagnostics.weighted import cluster_error as cluster_error
from probinf.diagnostics.weighted import kish_ess as kish_ess
from probinf.diagnostics.weighted import weighted_quantile as weighted_quantile
