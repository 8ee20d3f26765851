"""probinf: one probabilistic program, every inference engine, one result."""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from probinf import diagnostics as diagnostics
from probinf import errors as errors
from probinf import kernels as kernels
from probinf import resampling as resampling
from probinf.api import resume as resume
from probinf.api import sample as sample
from probinf.core.check import check as check
from probinf.core.estimate import Estimate as Estimate
from probinf.core.population import Population as Population
from probinf.core.program import Program as Program
from probinf.core.program import Score as Score
from probinf.core.program import condition as condition
from probinf.core.sequence import Sequence as Sequence
from probinf.core.sequence import marginal as marginal
from probinf.core.transformations.binding import bind as bind
from probinf.core.transformations.paths import above as above
from probinf.core.transformations.paths import prefix as prefix
from probinf.core.transformations.paths import temper as temper
from probinf.core.transformations.pushing import push as push
from probinf.core.transformations.rebasing import rebase as rebase
from probinf.core.transformations.rebasing import with_base as with_base
from probinf.evidence.bridge import bridge as bridge
from probinf.evidence.comparison import compare_evidence as compare_evidence
from probinf.evidence.fitting import fit as fit
from probinf.evidence.loo import compare as compare
from probinf.evidence.loo import loo as loo
from probinf.evidence.separation import SeparateMode as SeparateMode
from probinf.evidence.separation import SeparateModes as SeparateModes
from probinf.evidence.separation import separate_modes as separate_modes
from probinf.evidence.updating import update as update
from probinf.fronts import from_log_density as from_log_density
from probinf.fronts import from_log_likelihood as from_log_likelihood
from probinf.fronts import from_numpyro as from_numpyro
from probinf.fronts import from_simulator as from_simulator
from probinf.kernels.base import Kernel as Kernel
from probinf.results.plotting import compare_plot as compare_plot
from probinf.results.posterior import Posterior as Posterior
from probinf.results.storage import load as load
from probinf.runtime.devices import use_cpu_devices as use_cpu_devices
from probinf.samplers import MCMC as MCMC
from probinf.samplers import NUTS as NUTS
from probinf.samplers import PMMH as PMMH
from probinf.samplers import SMC as SMC
from probinf.samplers import SMC2 as SMC2
from probinf.samplers import ChEES as ChEES
from probinf.samplers import Importance as Importance
from probinf.samplers import Nested as Nested
from probinf.samplers import ParallelTempering as ParallelTempering
from probinf.samplers import ParticleGibbs as ParticleGibbs
from probinf.samplers import PersistentSMC as PersistentSMC

if _TYPE_CHECKING:
    __version__: str
    from probinf import amortized as amortized
    from probinf import conformal as conformal
    from probinf import ppi as ppi
    from probinf import validity as validity
    from probinf.amortized import refine as refine

_ON_FIRST_USE = ("amortized", "conformal", "ppi", "validity")


def __getattr__(name: str) -> _Any:
    """Import the larger subpackages, and the libraries that only they need, on first use."""
    import importlib

    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("probinf")
    if name == "refine":
        return importlib.import_module("probinf.amortized").refine
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"probinf.{name}")


def __dir__() -> list[str]:
    return sorted(
        [*(name for name in globals() if name[0] != "_"), *_ON_FIRST_USE, "refine", "__version__"]
    )
