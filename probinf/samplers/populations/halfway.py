"""A run that was stopped on its way: the particles it has reached, marked as what they are."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from probinf.results.assembling import assemble
from probinf.results.findings import Finding
from probinf.results.posterior import Posterior
from probinf.runtime.method import Run
from probinf.samplers.populations.base import Islands
from probinf.samplers.populations.path import ByData, Path

GO_ON = (
    "Give it more time, or a folder with checkpoint=, from which pi.resume(folder, program) goes "
    "on to the end."
)


def halfway(
    run: Run, found: Islands, way: Path, history: dict[str, np.ndarray], why: str
) -> Posterior:
    """A Posterior of the program at the point of the path that all islands have passed.

    Islands that are farther are weighted back to it. The Posterior's program is the one of that
    point, it has no evidence, and a finding ``"tempered"`` says so.

    Args:
        run: interrupted.
        found: its islands.
        way: from the base to the program.
        history: of the islands.
        why: the run was not finished.
    """
    alive = np.flatnonzero(np.isfinite(found.log_z))
    places = np.asarray(run.states.t, float)
    t = float(places[alive].min())
    log_w = np.full(found.log_w.shape, -np.inf)
    for k in alive:
        ways = way.increments(jnp.asarray(run.states.particles.terms[k]), jnp.asarray(t))
        own = found.log_w[k] - np.logaddexp.reduce(found.log_w[k]) + found.log_z[k]
        if places[k] > t:
            end = jnp.asarray(places[k])
            passed = np.asarray(ways.upto(end), float) + float(ways.rate(end)) * (places[k] - t)
            own = np.where(np.isneginf(own) | np.isneginf(passed), -np.inf, own - passed)
        log_w[k] = own
    of_data = isinstance(way, ByData)
    where = f"the first {t:.4g} data" if of_data else f"inverse temperature {t:.4g}"
    said = (
        f"{why} These draws are not of the posterior but of the measure at {where}"
        f"{'' if of_data else ' (prior times likelihood to that power)'}. {GO_ON}"
    )
    return assemble(
        run._replace(program=way.at(run.program, jnp.asarray(t))),
        "population",
        found.position,
        log_weights=log_w - log_w.max(),
        stats=found.stats,
        history=history,
        clusters=found.eves + found.firsts * np.arange(len(found.log_w))[:, None],
        no_evidence=said,
        findings=(Finding("tempered", said),),
        provenance={"nan_evaluations": found.nan_count, "reached": t},
    )
