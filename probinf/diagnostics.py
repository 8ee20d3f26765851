"""Numbers that say whether draws can be believed; NumPy arrays in, numbers out."""

from probinf.core.psis import pareto_k as pareto_k
from probinf.core.psis import psis as psis
from probinf.results.statistics.ess import ess_bulk as ess_bulk
from probinf.results.statistics.ess import ess_mean as ess_mean
from probinf.results.statistics.ess import ess_tail as ess_tail
from probinf.results.statistics.nested_rhat import nested_rhat as nested_rhat
from probinf.results.statistics.rhat import rhat as rhat
from probinf.results.statistics.weighted import cluster_error as cluster_error
from probinf.results.statistics.weighted import kish_ess as kish_ess
from probinf.results.statistics.weighted import volume_error as volume_error
from probinf.results.statistics.weighted import weighted_quantile as weighted_quantile
