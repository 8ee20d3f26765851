"""PopulationMethod: an engine that moves weighted particles from the base to the program."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import jax
import numpy as np

from probinf.core.coordinates import Layout
from probinf.core.estimate import Estimate
from probinf.core.population import Population
from probinf.core.program import Key, Program
from probinf.core.zero_likelihood import zero_likelihood
from probinf.errors import MethodError
from probinf.results.assembling import assemble
from probinf.results.findings import Finding
from probinf.results.posterior import Posterior
from probinf.runtime.lanes import advance_lane, start_lane
from probinf.runtime.method import Method, Plan, Run
from probinf.runtime.progress import Status
from probinf.samplers.populations.pooling import is_uneven, pooled_evidence, worth_in_lines
from probinf.samplers.populations.unevenness import uneven_moves

_LOOKS = 64  # stages between two looks from the host
GO_ON = (
    "Give it more time, or a folder with checkpoint=, from which pi.resume(folder, program) goes "
    "on to the end."
)
"""What to do about a run that was stopped."""
_ENDLESS = 1_000_000  # stages; ``done`` ends a run before


class Islands(NamedTuple):
    """Finished populations on the host.

    Attributes:
        position: leading axes (island, particle), storable.
        log_w: (island, particle), of any total.
        log_z: (island,) log evidence of each; -inf where nothing is left alive.
        eves: (island, particle) first ancestor of each particle, counted in its island.
        firsts: how many first ancestors an island has.
        variances: (island,) variance of each log evidence, from within the island; NaN where
            nothing is known of it.
        fourths: (island,) sum of fourth powers where ``variances`` is one of squares.
        stats: (island, particle) by name.
        nan_count: particles at which the likelihood was NaN.
        lines: of descent that an island can have; 0 where their gains are not compared.
        moves: (island,) share of the variance of the last stage's acceptances that belongs to
            particles, and (island,) their correlation with the log likelihood; empty where
            nothing is known of these.
        findings: of what makes the variances too small, which the error is then widened for.
    """

    position: Any
    log_w: np.ndarray
    log_z: np.ndarray
    eves: np.ndarray
    firsts: int
    variances: np.ndarray
    fourths: np.ndarray
    stats: dict[str, np.ndarray]
    nan_count: int = 0
    lines: int = 0
    moves: tuple[np.ndarray, np.ndarray] = (np.empty(0), np.empty(0))
    findings: tuple[Finding, ...] = ()


class PopulationMethod(Method[Posterior]):
    """Independent islands of particles that move from the base to the program in stages.

    An engine has the field ``islands`` and writes ``init``, ``step`` (one stage, and a record of
    numbers for the history), ``done`` and :meth:`population`. Chunks, progress, checkpoints,
    ``populate``, the pooled evidence and the Posterior follow; :meth:`gathered`,
    :meth:`evidence` and :meth:`unfinished` say more where there is more to say.
    """

    islands: int

    @abc.abstractmethod
    def population(self, state: Any) -> Population:
        """The weighted particles of one island, with the mass it has passed through."""

    def gathered(self, run: Run) -> Islands:
        """What all islands have come to."""
        found = jax.vmap(self.population)(run.states)
        log_w = np.asarray(found.log_w, float)
        eves = np.broadcast_to(np.arange(log_w.shape[1]), log_w.shape)
        none = np.full(len(log_w), np.nan)
        log_z = np.asarray(found.log_z, float)
        return Islands(found.x, log_w, log_z, eves, log_w.shape[1], none, none, {})

    def evidence(self, found: Islands) -> Estimate:
        """Mean of the islands, with an error from their spread and what each knows of its own."""
        return pooled_evidence(
            found.log_z,
            found.variances,
            found.fourths,
            found.lines,
            uneven=bool(found.findings),
        )

    def unfinished(self, run: Run) -> str:
        """Why the run has not come to its end; empty where it has."""
        done = np.asarray(jax.vmap(self.done)(run.states))
        if done.all():
            return ""
        return "the run was interrupted before its populations arrived."

    def stopped(self, run: Run, found: Islands, reason: str) -> Posterior:
        """What a run leaves that has not come to its end.

        Raises:
            MethodError: nothing that could be used.
        """
        raise MethodError(f"{reason} {GO_ON}" if run.provenance["interrupted"] else reason)

    def history(self, run: Run) -> dict[str, np.ndarray]:
        """The records by name, (island, stage)."""
        records = run.records
        return {n: padded([getattr(r, n) for r in records]) for n in records[0]._fields}

    def plan(self, program: Program, layout: Layout) -> Plan:
        """A lane for each island; the base must be drawable."""
        jax.eval_shape(program.draw, jax.random.key(0), program.data)
        return Plan(lanes=self.islands, chunk=_LOOKS)

    def status(self, states: Any) -> Status:
        """How many islands are done."""
        done = np.asarray(jax.vmap(self.done)(states))
        return Status(float(done.mean()), f"{done.sum()} of {done.size} islands done")

    def populate(self, key: Key, program: Program) -> Population:
        """One island from the base to the program, as a pure function of the key."""
        lane = start_lane(self, program, key)
        lane, _, _ = advance_lane(self, program, lane, _ENDLESS, 1)
        return self.population(lane.state)

    def finish(self, run: Run) -> Posterior:
        """All islands, each weighted by its evidence.

        Raises:
            ZeroLikelihoodError: no particle of any island has a likelihood.
            MethodError: the end was not reached.
        """
        reason = self.unfinished(run)
        if reason and any(record is None for record in run.records):
            raise MethodError(f"{reason} {GO_ON}")
        found = self.gathered(run)
        if np.isneginf(found.log_z).all():
            raise zero_likelihood(
                run.flat,
                run.layout,
                f"the likelihood is zero or NaN at all {found.log_w.size} particles",
            )
        if reason:
            return self.stopped(run, found, reason)
        total = np.logaddexp.reduce(found.log_w, axis=1, keepdims=True)
        log_w = found.log_w - np.where(np.isneginf(total), 0.0, total)  # -inf stays -inf
        log_w = log_w + found.log_z[:, None]
        return assemble(
            run,
            "population",
            found.position,
            log_weights=log_w - log_w.max(),
            stats=found.stats,
            history=self.history(run),
            clusters=found.eves + found.firsts * np.arange(self.islands)[:, None],
            evidence=self.evidence(found),
            findings=(*uneven_lines(found), *uneven_moves(*found.moves), *found.findings),
            provenance={"nan_evaluations": found.nan_count},
        )


def uneven_lines(found: Islands) -> tuple[Finding, ...]:
    """A finding where few lines of descent make up the error of the evidence."""
    if not is_uneven(found.log_z, found.variances, found.fourths, found.lines):
        return ()
    worth = worth_in_lines(found.log_z, found.variances, found.fourths)
    return (
        Finding(
            "uneven_lines",
            f"the error of the evidence rests on {max(worth, 1):.0f} of {found.lines} lines of "
            "descent in an island: few particles have found what gains much weight (the neck of a "
            "funnel, a thin mode), and what none has found is missing from draws, evidence and "
            "error. Use other coordinates (a centred or non-centred prior), more particles and "
            "islands, and compare with Nested.",
        ),
    )


def padded(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of different length, filled up with NaN."""
    longest = max(len(r) for r in rows)
    out = np.full((len(rows), longest), np.nan)
    for k, row in enumerate(rows):
        out[k, : len(row)] = row
    return out
