"""Markov kernels behind one interface, thin adapters over BlackJAX."""

from probinf.samplers.kernels.discrete import Enumerate as Enumerate
from probinf.samplers.kernels.discrete import IntegerWalk as IntegerWalk
from probinf.samplers.kernels.hamiltonian import HMC as HMC
from probinf.samplers.kernels.hamiltonian import MALA as MALA
from probinf.samplers.kernels.hamiltonian import NUTS as NUTS
from probinf.samplers.kernels.metropolis import RandomWalk as RandomWalk
from probinf.samplers.kernels.microcanonical import MAMS as MAMS
from probinf.samplers.kernels.slice import EllipticalSlice as EllipticalSlice
from probinf.samplers.kernels.slice import Slice as Slice
