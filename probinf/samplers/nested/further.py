"""further: more live points for a finished run, or as many as a tighter goal needs."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.inputs.limits import at_least, positive
from probinf.core.precision import precisely
from probinf.errors import EvidenceError, MethodError, StructureError
from probinf.results.posterior import Posterior
from probinf.results.statistics.weighted import kish_ess
from probinf.runtime import session
from probinf.runtime.records import Kept
from probinf.samplers.nested.joining import joined_runs, keys_of

_ROUNDS = 12
_SPARE = 1.05  # of the live points that an error or a size is reckoned to need
_MOST = 10.0  # times the live points so far that are added at once


def further(
    method: Any,
    posterior: Posterior,
    *,
    live: int | None,
    max_error: float | None,
    min_ess: int | None,
    progress: bool,
    max_seconds: float | None,
) -> Posterior:
    """A finished run together with another one, with a key of its own, of so many live points.

    Runs are merged point by point, as :func:`probinf.merge` does, so that the result is a run with
    the live points of both.

    Args:
        method: of the run.
        posterior: what it found.
        live: further live points.
        max_error: or so many that the log evidence has this standard error.
        min_ess: or so many that the weights have this effective size.
        progress: show a progress bar in a terminal.
        max_seconds: for all that is added.

    Raises:
        MethodError: nothing is asked for, or two things that exclude each other.
        StructureError: the posterior has no program.
    """
    at_least(1, live=live, min_ess=min_ess)
    positive(max_error=max_error)
    goals = max_error is not None or min_ess is not None
    if (live is None) == (not goals):
        raise MethodError(
            "more: of a nested run, give either live=, how many live points are added, or what is "
            "to be reached, max_error= (of the log evidence) or min_ess=."
        )
    if posterior.program is None:
        raise StructureError("more: this posterior has no program; pi.load(path, program=program).")
    began = time.perf_counter()

    def left() -> float | None:
        return None if max_seconds is None else max_seconds - (time.perf_counter() - began)

    if live is not None:
        return _with(method, posterior, live, progress, left())
    for _ in range(_ROUNDS):
        wanted = _wanted(posterior, max_error, min_ess)
        seconds = left()
        if wanted is None or (seconds is not None and seconds <= 0):
            return posterior
        posterior = _with(method, posterior, wanted, progress, seconds)
        if posterior.provenance["interrupted"]:
            return posterior
    return posterior


def _wanted(posterior: Posterior, max_error: float | None, min_ess: int | None) -> int | None:
    """Live points that are missing; None where all is reached."""
    if posterior.evidence is None:
        raise EvidenceError(posterior.no_evidence)
    missing = [1.0]
    if max_error is not None:
        missing.append((posterior.evidence.error / max_error) ** 2)
    if min_ess is not None:
        missing.append(min_ess / kish_ess(posterior.log_weights))
    if max(missing) <= 1.0:
        return None
    born = int(np.isnan(posterior.stats["birth_log_likelihood"]).sum())
    return math.ceil(born * min(_SPARE * max(missing) - 1, _MOST))


def _with(
    method: Any, posterior: Posterior, live: int, progress: bool, max_seconds: float | None
) -> Posterior:
    even = max(4, live + live % 2)
    again = dataclasses.replace(
        method,
        live=even,
        runs=1,
        batch=None if method.batch is None else max(1, min(method.batch, even // 2)),
        goal=None,
        min_ess=None,
        max_error=None,
        max_evaluations=None,
    )
    told = posterior.provenance
    first = np.asarray(keys_of(told["key"])[0], np.uint32)
    kind = "threefry2x32" if first.size == 2 else "rbg"
    key = jax.random.wrap_key_data(jnp.asarray(first), impl=kind)
    everything = posterior.unconstrained.shape[-1] > 0
    assert posterior.program is not None
    with precisely(told.get("precision")):
        run: Posterior = session.start(
            again,
            posterior.program,
            jax.random.fold_in(key, 1 + int(told.get("merged", 1))),
            kept=Kept() if everything else Kept(tuple(posterior.draws)),
            progress=progress,
            max_seconds=max_seconds,
            notes={"precision": told.get("precision")},
        )
        return joined_runs([posterior, run])
