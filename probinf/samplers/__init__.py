"""Inference engines: each is a frozen dataclass of options that ``pi.sample`` drives."""

from probinf.results.collecting import Transition as Transition
from probinf.runtime.method import Method as Method
from probinf.runtime.method import Plan as Plan
from probinf.samplers.chains import ChainMethod as ChainMethod
from probinf.samplers.chees import ChEES as ChEES
from probinf.samplers.importance import Importance as Importance
from probinf.samplers.mcmc import MCMC as MCMC
from probinf.samplers.mcmc import NUTS as NUTS
from probinf.samplers.nested.sampling import Nested as Nested
from probinf.samplers.parallel_tempering import ParallelTempering as ParallelTempering
from probinf.samplers.persistent import PersistentSMC as PersistentSMC
from probinf.samplers.pmcmc.gibbs import ParticleGibbs as ParticleGibbs
from probinf.samplers.pmcmc.pmmh import PMMH as PMMH
from probinf.samplers.pmcmc.smc2 import SMC2 as SMC2
from probinf.samplers.populations.base import PopulationMethod as PopulationMethod
from probinf.samplers.smc import SMC as SMC
