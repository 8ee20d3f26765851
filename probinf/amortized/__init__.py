"""Amortized inference: networks trained once on a prior or simulator, then corrected exactly."""

from probinf.amortized import oracles as oracles
from probinf.amortized import weights as weights
from probinf.amortized.amortizer import Amortizer as Amortizer
from probinf.amortized.amortizer import Task as Task
from probinf.amortized.bars import BarDistribution as BarDistribution
from probinf.amortized.bars import Bars as Bars
from probinf.amortized.categorical import Categorical as Categorical
from probinf.amortized.categorical import CategoricalDistribution as CategoricalDistribution
from probinf.amortized.distribution_transformer import (
    DistributionTransformer as DistributionTransformer,
)
from probinf.amortized.embedding import SetEmbedding as SetEmbedding
from probinf.amortized.embedding import from_flax as from_flax
from probinf.amortized.filtering import Filtered as Filtered
from probinf.amortized.filtering import LinearMotion as LinearMotion
from probinf.amortized.filtering import filter as filter
from probinf.amortized.fitted_dt import FittedDT as FittedDT
from probinf.amortized.fitted_pfn import FittedPFN as FittedPFN
from probinf.amortized.flow import SplineFlow as SplineFlow
from probinf.amortized.gmm import GaussianMixture as GaussianMixture
from probinf.amortized.metapriors import BetaBernoulli as BetaBernoulli
from probinf.amortized.metapriors import InverseGammaNormal as InverseGammaNormal
from probinf.amortized.metapriors import LinearSensor as LinearSensor
from probinf.amortized.metapriors import MetaPrior as MetaPrior
from probinf.amortized.metapriors import RandomMixtures as RandomMixtures
from probinf.amortized.metapriors import Situation as Situation
from probinf.amortized.mixture import Mixture as Mixture
from probinf.amortized.mixture import MixtureDistribution as MixtureDistribution
from probinf.amortized.mixture_program import mixture_program as mixture_program
from probinf.amortized.model_prior import ModelPrior as ModelPrior
from probinf.amortized.nle import NLE as NLE
from probinf.amortized.nle import FittedNLE as FittedNLE
from probinf.amortized.npe import NPE as NPE
from probinf.amortized.npe import FittedNPE as FittedNPE
from probinf.amortized.pfn import PFN as PFN
from probinf.amortized.predictive import Predictive as Predictive
from probinf.amortized.priors import Draw as Draw
from probinf.amortized.priors import GaussianProcess as GaussianProcess
from probinf.amortized.priors import TaskPrior as TaskPrior
from probinf.amortized.ranges import Ranges as Ranges
from probinf.amortized.refine import Refinement as Refinement
from probinf.amortized.refine import refine as refine
from probinf.amortized.refine import refinement as refinement
from probinf.amortized.tabular import BNN as BNN
from probinf.amortized.tabular import Tabular as Tabular
from probinf.amortized.train import Fixed as Fixed
from probinf.amortized.train import Trained as Trained
from probinf.amortized.train import train as train
from probinf.amortized.weights import load as load
from probinf.amortized.weights import shipped as shipped
