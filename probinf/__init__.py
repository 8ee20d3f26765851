"""probinf: one probabilistic program, every inference engine, one result."""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from probinf import conformal as conformal
from probinf import diagnostics as diagnostics
from probinf import errors as errors
from probinf import kernels as kernels
from probinf import ppi as ppi
from probinf import resampling as resampling
from probinf import validity as validity
from probinf.algebra import bind as bind
from probinf.algebra import push as push
from probinf.algebra import rebase as rebase
from probinf.algebra import with_base as with_base
from probinf.bridge import bridge as bridge
from probinf.check import check as check
from probinf.comparison import compare_evidence as compare_evidence
from probinf.devices import use_cpu_devices as use_cpu_devices
from probinf.estimate import Estimate as Estimate
from probinf.fitted import fit as fit
from probinf.fronts import from_log_density as from_log_density
from probinf.fronts import from_log_likelihood as from_log_likelihood
from probinf.fronts import from_numpyro as from_numpyro
from probinf.fronts import from_simulator as from_simulator
from probinf.kernel import Kernel as Kernel
from probinf.loo import compare as compare
from probinf.loo import loo as loo
from probinf.paths import above as above
from probinf.paths import prefix as prefix
from probinf.paths import temper as temper
from probinf.plotting import compare_plot as compare_plot
from probinf.population import Population as Population
from probinf.posterior import Posterior as Posterior
from probinf.program import Program as Program
from probinf.program import Score as Score
from probinf.program import condition as condition
from probinf.run import resume as resume
from probinf.sample import sample as sample
from probinf.samplers import MCMC as MCMC
from probinf.samplers import NUTS as NUTS
from probinf.samplers import SMC as SMC
from probinf.samplers import ChEES as ChEES
from probinf.samplers import Importance as Importance
from probinf.samplers import Nested as Nested
from probinf.samplers import ParallelTempering as ParallelTempering
from probinf.samplers import PersistentSMC as PersistentSMC
from probinf.separation import SeparateMode as SeparateMode
from probinf.separation import SeparateModes as SeparateModes
from probinf.separation import separate_modes as separate_modes
from probinf.sequence import Sequence as Sequence
from probinf.sequence import marginal as marginal
from probinf.storage import load as load
from probinf.updating import update as update

if _TYPE_CHECKING:
    from probinf import amortized as amortized
    from probinf.amortized import refine as refine


def __getattr__(name: str) -> _Any:
    """Import ``pi.amortized``, and with it the network and optimizer libraries, on first use."""
    if name not in ("amortized", "refine"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    package = importlib.import_module("probinf.amortized")
    return package.refine if name == "refine" else package
