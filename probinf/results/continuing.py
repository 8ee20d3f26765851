"""more: the chains of a posterior go on, without another warm-up."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from probinf.core.inputs.limits import at_least
from probinf.core.precision import precisely
from probinf.errors import MethodError
from probinf.results.collecting import Chains
from probinf.runtime.codec import decoded, described
from probinf.runtime.continuing import go_on
from probinf.runtime.method import Run

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior


class Ended(NamedTuple):
    """Where Markov chains ended.

    Attributes:
        method: that moved them.
        run: finished.
    """

    method: Any
    run: Run


def more(
    posterior: Posterior,
    draws: int | None,
    live: int | None,
    max_error: float | None,
    min_ess: int | None,
    progress: bool,
    max_seconds: float | None,
) -> Posterior:
    """See :meth:`probinf.Posterior.more`."""
    goals = {"live": live, "max_error": max_error, "min_ess": min_ess}
    if "options" in posterior.provenance and draws is None:
        method = decoded(posterior.provenance["options"])
        found: Posterior = method.further(
            posterior, **goals, progress=progress, max_seconds=max_seconds
        )
        return found
    if given := [name for name, value in goals.items() if value is not None]:
        raise MethodError(
            f"more: {', '.join(given)} {'is' if len(given) == 1 else 'are'} of nested runs, and "
            f"this posterior is from {posterior.engine}. Chains go on by more(draws=)."
        )
    if draws is None:
        raise MethodError("more: how many draws? more(draws=1000).")
    return _more(posterior, draws, progress, max_seconds)


def _more(posterior: Posterior, draws: int, progress: bool, max_seconds: float | None) -> Posterior:
    at_least(1, draws=draws)
    if posterior.ended is None:
        raise MethodError(_why_not(posterior))
    method, run = posterior.ended
    if run.kept.summaries_only:
        raise MethodError(
            "more: only summaries were kept of these chains, which further draws cannot join. Run "
            "again with keep=, or with a checkpoint."
        )
    before: Chains = run.records
    count = next(iter(before.stats.values())).shape[1]
    longer = dataclasses.replace(method, draws=count + draws)
    with precisely(run.provenance.get("precision")):
        plan = longer.plan(run.program, run.layout)
        collector = dataclasses.replace(method, draws=draws).collector(run, plan)
        collector.warmup = 0  # it was before
    taken = method.warmup + count
    after = go_on(longer, run, taken, collector, progress=progress, max_seconds=max_seconds)
    if not after.records.stats:
        return posterior
    with precisely(run.provenance.get("precision")):
        told = {**posterior.provenance, **after.provenance, "method": described(longer)}
        joined = after._replace(records=_joined(before, after.records), provenance=told)
        found: Posterior = longer.finish(joined)
    return dataclasses.replace(found, program=posterior.program)


def _joined(before: Chains, after: Chains) -> Chains:
    def both(a: Any, b: Any) -> Any:
        return jax.tree.map(lambda u, v: np.concatenate([u, v], axis=1), a, b)

    return after._replace(
        stats=both(before.stats, after.stats),
        position=None if before.position is None else both(before.position, after.position),
        draws=None if before.draws is None else both(before.draws, after.draws),
        warmup_evaluations=before.warmup_evaluations,
    )


def _why_not(posterior: Posterior) -> str:
    if posterior.kind == "chains":
        return (
            "more: the ends of these chains are not at hand; a posterior that was loaded or put "
            "together from others does not have them. Run with a checkpoint, and pi.resume."
        )
    remedy = {
        "VI": "Its law is as good as it got; pi.refine(program, posterior) makes draws exact.",
        "Importance": "Run again with more draws; they are independent anyway.",
        "Nested": "More live points can: more(live=500), or more(max_error=0.05).",
    }.get(posterior.engine, "Run again with more particles, live points or draws.")
    return (
        f"more: {posterior.engine} weighs all draws at its end, so that none can be added "
        f"afterwards. {remedy}"
    )
