"""Markov kernels for ``MCMC(kernel=...)`` and ``SMC(kernel=...)``."""

from probinf.kernel import cycle as cycle
from probinf.kernel import repeat as repeat
from probinf.samplers.kernels import HMC as HMC
from probinf.samplers.kernels import MALA as MALA
from probinf.samplers.kernels import MAMS as MAMS
from probinf.samplers.kernels import NUTS as NUTS
from probinf.samplers.kernels import EllipticalSlice as EllipticalSlice
from probinf.samplers.kernels import RandomWalk as RandomWalk
from probinf.samplers.kernels import Slice as Slice
