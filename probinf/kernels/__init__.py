"""Markov kernels for ``MCMC(kernel=...)`` and ``SMC(kernel=...)``."""

from probinf.kernels.composition import block as block
from probinf.kernels.composition import cycle as cycle
from probinf.kernels.composition import repeat as repeat
from probinf.kernels.discrete import Enumerate as Enumerate
from probinf.kernels.discrete import IntegerWalk as IntegerWalk
from probinf.kernels.hamiltonian import HMC as HMC
from probinf.kernels.hamiltonian import MALA as MALA
from probinf.kernels.hamiltonian import NUTS as NUTS
from probinf.kernels.metropolis import RandomWalk as RandomWalk
from probinf.kernels.microcanonical import MAMS as MAMS
from probinf.kernels.slice import EllipticalSlice as EllipticalSlice
from probinf.kernels.slice import Slice as Slice
