"""Posteriors as an ``xarray.DataTree`` in ArviZ's schema."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from probinf.core.program import Program

if TYPE_CHECKING:
    import xarray

    from probinf.results.posterior import Posterior

_ARVIZ_NAMES = {"log_density": "lp", "acceptance": "acceptance_rate", "divergent": "diverging",
                "evaluations": "n_steps", "depth": "tree_depth"}  # fmt: skip


def _group(values: dict[str, np.ndarray], lead: tuple[str, ...], attrs: Any = None) -> Any:
    """Arrays as a Dataset: leading dimensions named, the others ``site_dim_0``, ...

    A slash in a site's name (NumPyro's scope) is not allowed in a file and becomes a dot.
    """
    import xarray

    variables = {}
    for name, value in values.items():
        safe = name.replace("/", ".")
        dims = [*lead, *(f"{safe}_dim_{k}" for k in range(np.ndim(value) - len(lead)))]
        variables[safe] = (dims, np.asarray(value))
    sizes: dict[str, int] = {}
    for dims, value in variables.values():
        sizes |= dict(zip(dims, value.shape, strict=True))
    coords = {d: np.arange(n) for d, n in sizes.items()}
    return xarray.Dataset(variables, coords=coords, attrs=attrs or {})


def _histories(history: dict[str, np.ndarray]) -> Any:
    """Stages are one dimension; what is counted otherwise, by datum say, has a dimension each."""
    stages = next(iter(history.values())).shape[1]
    by_stage = {name: value for name, value in history.items() if value.shape[1] == stages}
    others = {name: value for name, value in history.items() if name not in by_stage}
    return _group(by_stage, ("chain", "stage")).merge(_group(others, ("chain",)))


def to_datatree(posterior: Posterior) -> xarray.DataTree:
    """See :meth:`probinf.Posterior.to_datatree`."""
    import xarray

    view = posterior.resampled()
    attrs = {
        "inference_library": "probinf",
        "inference_library_version": importlib.metadata.version("probinf"),
        "sampler": posterior.provenance.get("method", ""),
        "resampled": int(posterior.weighted),
    }
    if posterior.evidence is not None:
        attrs["log_evidence"] = posterior.evidence.value
        attrs["log_evidence_error"] = posterior.evidence.error
    lead = ("chain", "draw")
    stats = {_ARVIZ_NAMES.get(name, name): value for name, value in view.stats.items()}
    groups = {
        "posterior": _group(view.draws, lead, attrs),
        "sample_stats": _group(stats, lead, attrs),
    }
    if view.unconstrained.shape[-1]:
        groups["unconstrained_posterior"] = _group({"position": view.unconstrained}, lead)
    if posterior.streamed is not None:
        table = posterior.streamed
        groups["summary"] = _group({"name": np.asarray(table.names), **table.columns}, ("scalar",))
    if posterior.weighted:
        groups["weighted_posterior"] = _group(
            {**posterior.draws, "log_weight": posterior.log_weights}, lead, attrs
        )
    if posterior.history:
        groups["history"] = _histories(posterior.history)
    observed = _observed(posterior.program)
    if observed:
        groups["observed_data"] = _group(observed, ())
    return xarray.DataTree.from_dict({f"/{name}": data for name, data in groups.items()})


def _observed(program: Program | None) -> dict[str, np.ndarray]:
    if program is None or program.observations is None:
        return {}
    values = jax.jit(program.observations.get)(program.data)
    return {name: np.asarray(value) for name, value in values.items()}
