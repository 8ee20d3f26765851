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
from probinf.results.datasets import as_dataset
from probinf.results.predicting import predict
from probinf.results.sites import by_row

if TYPE_CHECKING:
    import xarray

    from probinf.results.posterior import Posterior

_ARVIZ_NAMES = {"log_density": "lp", "acceptance": "acceptance_rate", "divergent": "diverging",
                "evaluations": "n_steps", "depth": "tree_depth",
                "log_likelihood": "total_log_likelihood"}  # fmt: skip


def _histories(history: dict[str, np.ndarray]) -> Any:
    """Stages are one dimension; what is counted otherwise, by datum say, has a dimension each."""
    stages = next(iter(history.values())).shape[1]
    by_stage = {name: value for name, value in history.items() if value.shape[1] == stages}
    others = {name: value for name, value in history.items() if name not in by_stage}
    return as_dataset(by_stage, ("chain", "stage")).merge(as_dataset(others, ("chain",)))


def to_datatree(
    posterior: Posterior,
    predictive: int | Key | None = None,
    log_likelihood: bool = False,
    prior: int | Key | None = None,
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
    lead, axes = ("chain", "draw"), posterior.axes
    stats = {_ARVIZ_NAMES.get(name, name): value for name, value in view.stats.items()}
    groups = {
        "posterior": as_dataset(view.draws, lead, attrs, axes=axes),
        "sample_stats": as_dataset(stats, lead, attrs),
    }
    if view.unconstrained.shape[-1]:
        groups["unconstrained_posterior"] = as_dataset({"position": view.unconstrained}, lead)
    if posterior.streamed is not None:
        table = posterior.streamed
        groups["summary"] = as_dataset(
            {"name": np.asarray(table.names), **table.columns}, ("scalar",)
        )
    if posterior.weighted:
        groups["weighted_posterior"] = as_dataset(
            posterior.draws, lead, attrs, {"log_weight": posterior.log_weights}, axes
        )
    as_they_are = dataclasses.replace(view, kind="chains")  # not to be resampled once more
    if predictive is not None:
        found = predict(as_they_are, predictive, None)
        groups["posterior_predictive"] = as_dataset(found, lead, axes=axes)
    if log_likelihood:
        groups["log_likelihood"] = as_dataset(_log_likelihood(as_they_are), lead, axes=axes)
    if prior is not None:
        groups |= _prior(posterior, prior)
    if posterior.history:
        groups["history"] = _histories(posterior.history)
    observed = _observed(posterior.program)
    if observed:
        groups["observed_data"] = as_dataset(observed, (), axes=axes)
    return xarray.DataTree.from_dict({f"/{name}": data for name, data in groups.items()})


def _prior(posterior: Posterior, key: int | Key) -> dict[str, Any]:
    """As many draws of the prior as there are of the posterior, with data simulated from each."""
    if posterior.program is None:
        raise StructureError(
            "to_datatree: the prior of a posterior that was loaded without its program is not "
            "known; load it with pi.load(path, program=program)."
        )
    from probinf.results.prior import prior_predictive

    lead, draws = ("chain", "draw"), posterior.log_weights.size
    found = prior_predictive(posterior.program, key=key, draws=draws)
    parts = {name: found[name] for name in posterior.draws if name in found}
    data = {name: value for name, value in found.items() if name not in posterior.draws}
    groups = {"prior": as_dataset(parts, lead, axes=posterior.axes)}
    if data:
        groups["prior_predictive"] = as_dataset(data, lead, axes=posterior.axes)
    return groups


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
