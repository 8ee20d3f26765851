"""Markov kernels for ``MCMC(kernel=...)`` and ``SMC(kernel=...)``."""

from probinf.composition import block as block
from probinf.composition import cycle as cycle
from probinf.composition import repeat as repeat
from probinf.samplers.kernels import HMC as HMC
from probinf.samplers.kernels import MALA as MALA
from probinf.samplers.kernels import MAMS as MAMS
from probinf.samplers.kernels import NUTS as NUTS
from probinf.samplers.kernels import EllipticalSlice as EllipticalSlice
from probinf.samplers.kernels import Enumerate as Enumerate
from probinf.samplers.kernels import IntegerWalk as IntegerWalk
from probinf.samplers.kernels import RandomWalk as RandomWalk
from probinf.samplers.kernels import Slice as Slice
