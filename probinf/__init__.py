"""probinf: one probabilistic program, every inference engine, one result."""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from probinf.core.lazy import on_first_use as _on_first_use

if _TYPE_CHECKING:
    __version__: str
    from probinf import amortized as amortized
    from probinf import conformal as conformal
    from probinf import diagnostics as diagnostics
    from probinf import errors as errors
    from probinf import kernels as kernels
    from probinf import ppi as ppi
    from probinf import resampling as resampling
    from probinf import tokens as tokens
    from probinf import validity as validity
    from probinf.amortized import refine as refine
    from probinf.api import resume as resume
    from probinf.api import sample as sample
    from probinf.core.check import check as check
    from probinf.core.estimate import Estimate as Estimate
    from probinf.core.population import Population as Population
    from probinf.core.population import importance as importance
    from probinf.core.population import resample as resample
    from probinf.core.population import reweight as reweight
    from probinf.core.program import Program as Program
    from probinf.core.program import Score as Score
    from probinf.core.program import condition as condition
    from probinf.core.sequence import Sequence as Sequence
    from probinf.core.sequence import StateSpace as StateSpace
    from probinf.core.sequence import marginal as marginal
    from probinf.core.sequence import particle_filter as particle_filter
    from probinf.core.transformations.binding import bind as bind
    from probinf.core.transformations.labelling import with_dims as with_dims
    from probinf.core.transformations.paths import above as above
    from probinf.core.transformations.paths import prefix as prefix
    from probinf.core.transformations.paths import temper as temper
    from probinf.core.transformations.pushing import push as push
    from probinf.core.transformations.rebasing import rebase as rebase
    from probinf.core.transformations.rebasing import with_base as with_base
    from probinf.core.transformations.weighing import weigh as weigh
    from probinf.evidence.bridge import bridge as bridge
    from probinf.evidence.comparison import compare_evidence as compare_evidence
    from probinf.evidence.fitting import fit as fit
    from probinf.evidence.kfold import kfold as kfold
    from probinf.evidence.kfold import reloo as reloo
    from probinf.evidence.leave_future_out import lfo as lfo
    from probinf.evidence.loo import compare as compare
    from probinf.evidence.loo import loo as loo
    from probinf.evidence.predictive_checks import predictive_check as predictive_check
    from probinf.evidence.sensitivity import sensitivity as sensitivity
    from probinf.evidence.separation import SeparateMode as SeparateMode
    from probinf.evidence.separation import SeparateModes as SeparateModes
    from probinf.evidence.separation import separate_modes as separate_modes
    from probinf.evidence.updating import update as update
    from probinf.fronts import FractionalNoise as FractionalNoise
    from probinf.fronts import formula as formula
    from probinf.fronts import from_callback as from_callback
    from probinf.fronts import from_language_model as from_language_model
    from probinf.fronts import from_log_density as from_log_density
    from probinf.fronts import from_log_likelihood as from_log_likelihood
    from probinf.fronts import from_numpyro as from_numpyro
    from probinf.fronts import from_simulator as from_simulator
    from probinf.fronts import from_state_space as from_state_space
    from probinf.fronts import shard_data as shard_data
    from probinf.fronts import steered as steered
    from probinf.fronts import with_parameters as with_parameters
    from probinf.kernels.base import Kernel as Kernel
    from probinf.results.plotting import compare_plot as compare_plot
    from probinf.results.posterior import Posterior as Posterior
    from probinf.results.prior import prior_predictive as prior_predictive
    from probinf.results.simulating import simulate as simulate
    from probinf.results.storage import load as load
    from probinf.runtime.compilation_cache import use_compilation_cache as use_compilation_cache
    from probinf.runtime.devices import use_cpu_devices as use_cpu_devices
    from probinf.samplers import MAP as MAP
    from probinf.samplers import MCMC as MCMC
    from probinf.samplers import NUTS as NUTS
    from probinf.samplers import PMMH as PMMH
    from probinf.samplers import SMC as SMC
    from probinf.samplers import SMC2 as SMC2
    from probinf.samplers import VI as VI
    from probinf.samplers import ChEES as ChEES
    from probinf.samplers import Ensemble as Ensemble
    from probinf.samplers import ExactFilter as ExactFilter
    from probinf.samplers import Importance as Importance
    from probinf.samplers import Laplace as Laplace
    from probinf.samplers import Nested as Nested
    from probinf.samplers import ParallelTempering as ParallelTempering
    from probinf.samplers import ParticleFilter as ParticleFilter
    from probinf.samplers import ParticleGibbs as ParticleGibbs
    from probinf.samplers import Pathfinder as Pathfinder
    from probinf.samplers import PersistentSMC as PersistentSMC
    from probinf.samplers.merging import merge as merge

# Every name that the lines above give to type checkers, and where it is imported from on first use.
_WHERE = {
    "above": "probinf.core.transformations.paths",
    "amortized": "probinf.amortized",
    "bind": "probinf.core.transformations.binding",
    "bridge": "probinf.evidence.bridge",
    "check": "probinf.core.check",
    "ChEES": "probinf.samplers",
    "compare": "probinf.evidence.loo",
    "compare_evidence": "probinf.evidence.comparison",
    "compare_plot": "probinf.results.plotting",
    "condition": "probinf.core.program",
    "conformal": "probinf.conformal",
    "core": "probinf.core",
    "diagnostics": "probinf.diagnostics",
    "Ensemble": "probinf.samplers",
    "errors": "probinf.errors",
    "Estimate": "probinf.core.estimate",
    "evidence": "probinf.evidence",
    "ExactFilter": "probinf.samplers",
    "fit": "probinf.evidence.fitting",
    "formula": "probinf.fronts",
    "FractionalNoise": "probinf.fronts",
    "from_callback": "probinf.fronts",
    "from_language_model": "probinf.fronts",
    "from_log_density": "probinf.fronts",
    "from_log_likelihood": "probinf.fronts",
    "from_numpyro": "probinf.fronts",
    "from_simulator": "probinf.fronts",
    "from_state_space": "probinf.fronts",
    "fronts": "probinf.fronts",
    "Importance": "probinf.samplers",
    "importance": "probinf.core.population",
    "Kernel": "probinf.kernels.base",
    "kernels": "probinf.kernels",
    "kfold": "probinf.evidence.kfold",
    "Laplace": "probinf.samplers",
    "lfo": "probinf.evidence.leave_future_out",
    "load": "probinf.results.storage",
    "loo": "probinf.evidence.loo",
    "MAP": "probinf.samplers",
    "marginal": "probinf.core.sequence",
    "MCMC": "probinf.samplers",
    "merge": "probinf.samplers.merging",
    "Nested": "probinf.samplers",
    "NUTS": "probinf.samplers",
    "ParallelTempering": "probinf.samplers",
    "particle_filter": "probinf.core.sequence",
    "ParticleFilter": "probinf.samplers",
    "ParticleGibbs": "probinf.samplers",
    "Pathfinder": "probinf.samplers",
    "PersistentSMC": "probinf.samplers",
    "PMMH": "probinf.samplers",
    "Population": "probinf.core.population",
    "Posterior": "probinf.results.posterior",
    "ppi": "probinf.ppi",
    "predictive_check": "probinf.evidence.predictive_checks",
    "prefix": "probinf.core.transformations.paths",
    "prior_predictive": "probinf.results.prior",
    "Program": "probinf.core.program",
    "push": "probinf.core.transformations.pushing",
    "rebase": "probinf.core.transformations.rebasing",
    "refine": "probinf.amortized",
    "reloo": "probinf.evidence.kfold",
    "resample": "probinf.core.population",
    "resampling": "probinf.resampling",
    "results": "probinf.results",
    "resume": "probinf.api",
    "reweight": "probinf.core.population",
    "runtime": "probinf.runtime",
    "sample": "probinf.api",
    "samplers": "probinf.samplers",
    "Score": "probinf.core.program",
    "sensitivity": "probinf.evidence.sensitivity",
    "separate_modes": "probinf.evidence.separation",
    "SeparateMode": "probinf.evidence.separation",
    "SeparateModes": "probinf.evidence.separation",
    "Sequence": "probinf.core.sequence",
    "shard_data": "probinf.fronts",
    "simulate": "probinf.results.simulating",
    "SMC": "probinf.samplers",
    "SMC2": "probinf.samplers",
    "StateSpace": "probinf.core.sequence",
    "steered": "probinf.fronts",
    "temper": "probinf.core.transformations.paths",
    "tokens": "probinf.tokens",
    "update": "probinf.evidence.updating",
    "use_compilation_cache": "probinf.runtime.compilation_cache",
    "use_cpu_devices": "probinf.runtime.devices",
    "validity": "probinf.validity",
    "VI": "probinf.samplers",
    "weigh": "probinf.core.transformations.weighing",
    "with_base": "probinf.core.transformations.rebasing",
    "with_dims": "probinf.core.transformations.labelling",
    "with_parameters": "probinf.fronts",
}

_get, _names = _on_first_use(__name__, _WHERE)


def __getattr__(name: str) -> _Any:
    """Import a public name where it is first used."""
    if name == "__version__":
        import importlib.metadata

        return importlib.metadata.version("probinf")
    return _get(name)


def __dir__() -> list[str]:
    return [*_names(), "__version__"]
