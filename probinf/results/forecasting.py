"""forecast: the steps after the last one of a state-space model, from draws of its states."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_key
from probinf.core.program import Key, Predicted, Program
from probinf.errors import StructureError
from probinf.results.sites import by_row

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior


def forecast(
    posterior: Posterior,
    key: int | Key,
    program: Program | None,
    steps: int,
    covariates: Any,
    times: Any,
) -> dict[str, np.ndarray]:
    """See :meth:`probinf.Posterior.predict`."""
    at_least(1, steps=steps)
    if (
        program is None
        or program.state_space is None
        or program.ahead is None
        or program.predict is None
    ):
        raise StructureError(
            "predict: steps= is for programs of from_state_space, whose states move on by "
            "themselves. For a NumPyro model with scan pass program=, the same model with more "
            "steps and its data left out."
        )
    ahead = dataclasses.replace(program, data=program.ahead(program.data, steps, covariates, times))
    shape, view = posterior.log_weights.shape, posterior.resampled(key)
    whole = jax.eval_shape(program.constrain, program.template(), program.data)
    prior = program.state_space(program.data).prior
    known = jax.eval_shape(prior.constrain, prior.template(), prior.data)
    rows, series = {}, set()
    for name, site in whole.items():
        if name not in view.draws:
            raise StructureError(
                f"predict: steps= needs the draws of site '{name}', which keep= has left out."
            )
        value = view.draws[name].reshape(-1, *view.draws[name].shape[2:])
        if name not in known:  # a state: the last of its path, or the last alone
            series.add(name)
            value = value[:, -1:] if value.shape[1:] == site.shape else value[:, None]
        rows[name] = value
    keys = jax.random.split(as_key(key), posterior.log_weights.size)
    found = by_row(_ahead, ahead, (keys, rows), shape)
    observed = (
        set(jax.eval_shape(program.observations.get, program.data))
        if (program.observations)
        else set()
    )
    return {n: v[:, :, 1:] for n, v in found.items() if n in series or n in observed}


def _ahead(program: Program, row: Any) -> dict[str, jax.Array]:
    assert program.predict is not None
    found: Predicted = program.predict(row[0], row[1], program.data)
    return {**found.latents, **found.observables}
