"""Posteriors as an ``xarray.DataTree`` in ArviZ's schema."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from probinf.core.coordinates import flatten
from probinf.core.program import Key, Program
from probinf.errors import StructureError
from probinf.results.predicting import predict
from probinf.results.sites import by_row

if TYPE_CHECKING:
    import xarray

    from probinf.results.posterior import Posterior

_ARVIZ_NAMES = {"log_density": "lp", "acceptance": "acceptance_rate", "divergent": "diverging",
                "evaluations": "n_steps", "depth": "tree_depth",
                "log_likelihood": "total_log_likelihood"}  # fmt: skip


_TAKEN = ("chain", "draw", "stage", "scalar", "sample", "log_weight")


def safe_names(values: dict[str, np.ndarray]) -> dict[str, str]:
    """Names for a file by site: all different, and none of them a dimension's.

    A slash (NumPyro's scope) becomes a dot, and a name that is taken gets underscores.
    """
    dimensions = {f"{name}_dim_{k}" for name, v in values.items() for k in range(np.ndim(v))}
    taken = {*_TAKEN, *dimensions, *(name for name in values if "/" not in name)}
    safe: dict[str, str] = {}
    for name in values:
        new = name.replace("/", ".")
        if not new.strip("."):  # no name in HDF5
            new = f"{new}_"
        while (new != name and new in taken) or new in (*_TAKEN, *dimensions, *safe.values()):
            new = f"{new}_"
        safe[name] = new
    return safe


def _group(
    values: dict[str, np.ndarray],
    lead: tuple[str, ...],
    attrs: Any = None,
    own: dict[str, np.ndarray] | None = None,
) -> Any:
    """Arrays as a Dataset: leading dimensions named, the others ``site_dim_0``, ...

    A site whose name cannot stand in a file has it in the attribute ``site``; ``own`` are
    variables that keep their names.
    """
    import xarray

    variables: dict[str, Any] = {name: (lead, value, {}) for name, value in (own or {}).items()}
    for name, safe in safe_names(values).items():
        value = np.asarray(values[name])
        dims = [*lead, *(f"{safe}_dim_{k}" for k in range(value.ndim - len(lead)))]
        variables[safe] = (dims, value, {} if safe == name else {"site": name})
    sizes: dict[str, int] = {}
    for dims, value, _ in variables.values():
        sizes |= dict(zip(dims, value.shape, strict=True))
    coords = {d: np.arange(n) for d, n in sizes.items()}
    return xarray.Dataset(variables, coords=coords, attrs=attrs or {})


def _histories(history: dict[str, np.ndarray]) -> Any:
    """Stages are one dimension; what is counted otherwise, by datum say, has a dimension each."""
    stages = next(iter(history.values())).shape[1]
    by_stage = {name: value for name, value in history.items() if value.shape[1] == stages}
    others = {name: value for name, value in history.items() if name not in by_stage}
    return _group(by_stage, ("chain", "stage")).merge(_group(others, ("chain",)))


def to_datatree(
    posterior: Posterior, predictive: int | Key | None = None, log_likelihood: bool = False
) -> xarray.DataTree:
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
            posterior.draws, lead, attrs, {"log_weight": posterior.log_weights}
        )
    as_they_are = dataclasses.replace(view, kind="chains")  # not to be resampled once more
    if predictive is not None:
        groups["posterior_predictive"] = _group(predict(as_they_are, predictive, None), lead)
    if log_likelihood:
        groups["log_likelihood"] = _group(_log_likelihood(as_they_are), lead)
    if posterior.history:
        groups["history"] = _histories(posterior.history)
    observed = _observed(posterior.program)
    if observed:
        groups["observed_data"] = _group(observed, ())
    return xarray.DataTree.from_dict({f"/{name}": data for name, data in groups.items()})


def _log_likelihood(posterior: Posterior) -> dict[str, np.ndarray]:
    """Of every datum at every draw, by site."""
    program = posterior.program
    if program is None or program.pointwise is None:
        raise StructureError(
            "to_datatree: the log likelihood of a single datum is not known; the posterior needs "
            "its program (pi.load(path, program=...)), built by from_numpyro."
        )
    posterior.require_positions("to_datatree(log_likelihood=True)")
    flat, _ = flatten(program, integers=True)
    return by_row(_pointwise, flat, (posterior.rows(),), posterior.log_weights.shape)


def _pointwise(flat: Program, row: Any) -> dict[str, jax.Array]:
    assert flat.pointwise is not None
    return flat.pointwise(row[0], flat.data)


def _observed(program: Program | None) -> dict[str, np.ndarray]:
    if program is None or program.observations is None:
        return {}
    values = jax.jit(program.observations.get)(program.data)
    return {name: np.asarray(value) for name, value in values.items()}
