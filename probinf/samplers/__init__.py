"""Inference engines: each is a frozen dataclass of options that ``pi.sample`` drives."""

from probinf.samplers.chees import ChEES as ChEES
from probinf.samplers.importance import Importance as Importance
from probinf.samplers.mcmc import MCMC as MCMC
from probinf.samplers.mcmc import NUTS as NUTS
from probinf.samplers.nested.sampling import Nested as Nested
from probinf.samplers.parallel_tempering import ParallelTempering as ParallelTempering
from probinf.samplers.persistent import PersistentSMC as PersistentSMC
from probinf.samplers.smc import SMC as SMC
