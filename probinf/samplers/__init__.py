"""Inference engines: each is a frozen dataclass of options that ``pi.sample`` drives."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from probinf.core.lazy import on_first_use as _on_first_use

if _TYPE_CHECKING:
    from probinf.results.collecting import Transition as Transition
    from probinf.runtime.method import Method as Method
    from probinf.runtime.method import Plan as Plan
    from probinf.samplers.approximate.modes import MAP as MAP
    from probinf.samplers.approximate.modes import Laplace as Laplace
    from probinf.samplers.approximate.pathfinder import Pathfinder as Pathfinder
    from probinf.samplers.approximate.variational import VI as VI
    from probinf.samplers.chains import ChainMethod as ChainMethod
    from probinf.samplers.chees import ChEES as ChEES
    from probinf.samplers.ensembles.ensemble import Ensemble as Ensemble
    from probinf.samplers.filters.exact import ExactFilter as ExactFilter
    from probinf.samplers.filters.particle_filter import ParticleFilter as ParticleFilter
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

# Every name that the lines above give to type checkers, and where it is imported from on first use.
_WHERE = {
    "ChainMethod": "probinf.samplers.chains",
    "ChEES": "probinf.samplers.chees",
    "Ensemble": "probinf.samplers.ensembles.ensemble",
    "ExactFilter": "probinf.samplers.filters.exact",
    "Importance": "probinf.samplers.importance",
    "Laplace": "probinf.samplers.approximate.modes",
    "MAP": "probinf.samplers.approximate.modes",
    "MCMC": "probinf.samplers.mcmc",
    "Method": "probinf.runtime.method",
    "Nested": "probinf.samplers.nested.sampling",
    "NUTS": "probinf.samplers.mcmc",
    "ParallelTempering": "probinf.samplers.parallel_tempering",
    "ParticleFilter": "probinf.samplers.filters.particle_filter",
    "ParticleGibbs": "probinf.samplers.pmcmc.gibbs",
    "Pathfinder": "probinf.samplers.approximate.pathfinder",
    "PersistentSMC": "probinf.samplers.persistent",
    "Plan": "probinf.runtime.method",
    "PMMH": "probinf.samplers.pmcmc.pmmh",
    "PopulationMethod": "probinf.samplers.populations.base",
    "SMC": "probinf.samplers.smc",
    "SMC2": "probinf.samplers.pmcmc.smc2",
    "Transition": "probinf.results.collecting",
    "VI": "probinf.samplers.approximate.variational",
}

__getattr__, __dir__ = _on_first_use(__name__, _WHERE)
