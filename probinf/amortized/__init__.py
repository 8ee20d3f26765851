"""Amortized inference: networks trained once on a prior or simulator, then corrected exactly."""

from probinf.amortized import oracles as oracles
from probinf.amortized.correction.refine import refine as refine
from probinf.amortized.correction.report import Refinement as Refinement
from probinf.amortized.correction.report import refinement as refinement
from probinf.amortized.discrete.any_marginal import AnyMarginal as AnyMarginal
from probinf.amortized.discrete.exact import ExactMarginal as ExactMarginal
from probinf.amortized.discrete.fitted import FittedAnyMarginal as FittedAnyMarginal
from probinf.amortized.heads.bars import BarDistribution as BarDistribution
from probinf.amortized.heads.bars import Bars as Bars
from probinf.amortized.heads.categorical import Categorical as Categorical
from probinf.amortized.heads.categorical import CategoricalDistribution as CategoricalDistribution
from probinf.amortized.heads.gaussian_mixture import GaussianMixture as GaussianMixture
from probinf.amortized.heads.mixture import Mixture as Mixture
from probinf.amortized.heads.mixture import MixtureDistribution as MixtureDistribution
from probinf.amortized.heads.mixture_program import mixture_program as mixture_program
from probinf.amortized.heads.predictive import Predictive as Predictive
from probinf.amortized.nets.adapting import from_flax as from_flax
from probinf.amortized.nets.convolutions import CNN as CNN
from probinf.amortized.nets.embedding import Embedding as Embedding
from probinf.amortized.nets.fixed import Fixed as Fixed
from probinf.amortized.nets.set_embeddings import SetEmbedding as SetEmbedding
from probinf.amortized.nets.set_embeddings import SetTransformer as SetTransformer
from probinf.amortized.neural.nle import NLE as NLE
from probinf.amortized.neural.nle import FittedNLE as FittedNLE
from probinf.amortized.neural.npe import NPE as NPE
from probinf.amortized.neural.npe import FittedNPE as FittedNPE
from probinf.amortized.neural.nre import NRE as NRE
from probinf.amortized.neural.nre import FittedNRE as FittedNRE
from probinf.amortized.neural.sets import FittedSets as FittedSets
from probinf.amortized.neural.sets import for_sets as for_sets
from probinf.amortized.pfn.fitted import FittedPFN as FittedPFN
from probinf.amortized.pfn.pfn import PFN as PFN
from probinf.amortized.priors.conjugate import BetaBernoulli as BetaBernoulli
from probinf.amortized.priors.conjugate import InverseGammaNormal as InverseGammaNormal
from probinf.amortized.priors.gaussian_process import GaussianProcess as GaussianProcess
from probinf.amortized.priors.meta_prior import MetaPrior as MetaPrior
from probinf.amortized.priors.meta_prior import Situation as Situation
from probinf.amortized.priors.model_prior import ModelPrior as ModelPrior
from probinf.amortized.priors.random_mixtures import LinearSensor as LinearSensor
from probinf.amortized.priors.random_mixtures import RandomMixtures as RandomMixtures
from probinf.amortized.priors.tables import Tables as Tables
from probinf.amortized.priors.tabular import BNN as BNN
from probinf.amortized.priors.tabular import Tabular as Tabular
from probinf.amortized.priors.task_prior import Draw as Draw
from probinf.amortized.priors.task_prior import TaskPrior as TaskPrior
from probinf.amortized.surrogates.surrogate import FittedSurrogate as FittedSurrogate
from probinf.amortized.surrogates.surrogate import Surrogate as Surrogate
from probinf.amortized.training import weights as weights
from probinf.amortized.training.amortizer import Amortizer as Amortizer
from probinf.amortized.training.amortizer import Task as Task
from probinf.amortized.training.loop import Trained as Trained
from probinf.amortized.training.loop import train as train
from probinf.amortized.training.options import Training as Training
from probinf.amortized.training.ranges import Ranges as Ranges
from probinf.amortized.training.weights import load as load
from probinf.amortized.training.weights import shipped as shipped
from probinf.amortized.transformer.distribution_transformer import (
    DistributionTransformer as DistributionTransformer,
)
from probinf.amortized.transformer.filtering import Filtered as Filtered
from probinf.amortized.transformer.filtering import LinearMotion as LinearMotion
from probinf.amortized.transformer.filtering import filter as filter
from probinf.amortized.transformer.fitted import FittedDT as FittedDT
from probinf.core.flows.flow import SplineFlow as SplineFlow
from probinf.core.lazy import public_names as _public_names

__dir__ = _public_names(__name__, "oracles")
