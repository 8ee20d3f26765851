"""Importance sampling from the base: the simplest engine, and the exact correction."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.coordinates import Layout, storable
from probinf.core.estimate import log_mean_exp
from probinf.core.inputs.limits import at_least
from probinf.core.population import Population, drawn, importance, scored
from probinf.core.program import Key, Program
from probinf.core.psis import pareto_k
from probinf.core.zero_likelihood import zero_likelihood
from probinf.errors import MethodError
from probinf.results.assembling import assemble
from probinf.results.findings import Finding
from probinf.results.posterior import Posterior
from probinf.runtime.method import Method, Plan, Run
from probinf.runtime.progress import Status

_BATCH = 1000


class BatchRecord(NamedTuple):
    """One batch of draws."""

    position: Any
    log_weight: Float[Array, " n"]
    nan_count: Int[Array, ""]


@dataclasses.dataclass(frozen=True)
class Importance(Method[Posterior]):
    """Independent draws from the base, weighted by ``exp(log_weight)``.

    Exact for every program whose base covers it; on ``rebase(program, q)`` it corrects the
    approximation q. ``posterior.diagnose()`` says by Pareto k whether the weights can be
    trusted.

    Args:
        draws: number of draws.

    Raises:
        MethodError: ``draws`` is not positive.
    """

    draws: int = 10_000

    def __post_init__(self) -> None:
        at_least(1, draws=self.draws)

    @property
    def _size(self) -> int:
        return min(_BATCH, self.draws)

    @property
    def _steps(self) -> int:
        return -(-self.draws // self._size)

    def plan(self, program: Program, layout: Layout) -> Plan:
        """One lane, batches of a thousand draws; the base must be drawable."""
        jax.eval_shape(program.draw, jax.random.key(0), program.data)
        return Plan(lanes=1, chunk=min(10, self._steps), moves_integers=True)

    def init(self, key: Key, program: Program) -> Int[Array, ""]:
        """No draws yet."""
        return jnp.zeros((), int)

    def step(self, key: Key, program: Program, state: Array) -> tuple[Array, BatchRecord]:
        """One batch."""
        position = drawn(key, program, self._size)
        found = scored(program, position)
        return state + 1, BatchRecord(storable(position), found.log_weight, found.lost)

    def done(self, state: Array) -> Bool[Array, ""]:
        """All batches drawn."""
        return state >= self._steps

    def status(self, states: Any) -> Status:
        """Share of batches drawn."""
        return Status(float(states.min()) / self._steps, "drawing")

    def populate(self, key: Key, program: Program) -> Population:
        """All draws at once, as a pure function of the key."""
        return importance(key, program, self.draws)

    def finish(self, run: Run) -> Posterior:
        """All draws as one chain."""
        record = run.records[0]
        if record is None:
            raise MethodError("the run was interrupted before the first draw.")

        def joined(leaf: np.ndarray) -> np.ndarray:
            return leaf.reshape(-1, *leaf.shape[2:])[None, : self.draws]

        log_w = joined(record.log_weight).astype(float)
        if not np.isfinite(log_w).any():
            raise zero_likelihood(
                run.flat,
                run.layout,
                f"the likelihood is zero or NaN at all {log_w.size} draws from the base",
            )
        return assemble(
            run,
            "weighted",
            jax.tree.map(joined, record.position),
            log_weights=log_w - log_w.max(),
            stats={"log_likelihood": joined(record.log_weight)},
            findings=judged(log_w),
            clusters=np.arange(log_w.size)[None],
            evidence=log_mean_exp(log_w.ravel()),
            provenance={"nan_evaluations": int(record.nan_count.sum())},
        )


def judged(log_weights: np.ndarray) -> tuple[Finding, ...]:
    """A heavy tail of importance weights, where they have one."""
    k = pareto_k(log_weights)
    if not k > 0.7:
        return ()
    message = (
        f"the importance weights have a heavy tail (Pareto k {k:.2f} > 0.7): mean and evidence are "
        "unreliable. Start from a better base with rebase, or use SMC."
    )
    return (Finding("pareto_k", message),)
