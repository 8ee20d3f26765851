"""Markov kernels for ``MCMC(kernel=...)`` and ``SMC(kernel=...)``."""

from probinf.core.lazy import public_names as _public_names
from probinf.core.program import log_density as log_density
from probinf.kernels.base import Info as Info
from probinf.kernels.base import Kernel as Kernel
from probinf.kernels.base import Params as Params
from probinf.kernels.base import info as info
from probinf.kernels.composition import block as block
from probinf.kernels.composition import cycle as cycle
from probinf.kernels.composition import repeat as repeat
from probinf.kernels.delayed import DelayedAcceptance as DelayedAcceptance
from probinf.kernels.discrete import Enumerate as Enumerate
from probinf.kernels.discrete import IntegerWalk as IntegerWalk
from probinf.kernels.hamiltonian import HMC as HMC
from probinf.kernels.hamiltonian import MALA as MALA
from probinf.kernels.hamiltonian import NUTS as NUTS
from probinf.kernels.metropolis import RandomWalk as RandomWalk
from probinf.kernels.microcanonical import MAMS as MAMS
from probinf.kernels.slice import EllipticalSlice as EllipticalSlice
from probinf.kernels.slice import Slice as Slice
from probinf.kernels.walkers import DifferentialEvolution as DifferentialEvolution
from probinf.kernels.walkers import Snooker as Snooker
from probinf.kernels.walkers import Stretch as Stretch
from probinf.kernels.walkers import WalkerMove as WalkerMove

__dir__ = _public_names(__name__)
