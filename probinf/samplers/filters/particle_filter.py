"""ParticleFilter: filtering and smoothing of a state-space program whose parameters are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.compiling import jitted
from probinf.core.coordinates import Layout
from probinf.core.filtering import Filtered, first_step, next_step
from probinf.core.inputs.limits import at_least, check_choice, inside
from probinf.core.population import Population
from probinf.core.program import Key, Program
from probinf.core.resampling import Resampler, systematic
from probinf.errors import MethodError, ZeroLikelihoodError
from probinf.results.assembling import assemble
from probinf.results.findings import Finding
from probinf.results.posterior import Posterior
from probinf.runtime.method import Plan, Run
from probinf.runtime.progress import Status
from probinf.samplers.filters import smoothing
from probinf.samplers.filters.findings import few_particles
from probinf.samplers.filters.known import Known, known_states, refuse_unbounded
from probinf.samplers.filters.lines import Lines, family_of, followed, no_lines, refuse_disorder
from probinf.samplers.filters.summaries import summarised
from probinf.samplers.populations.base import GO_ON, PopulationMethod
from probinf.samplers.populations.pooling import pooled_evidence

Smoother = Literal["genealogy", "fixed lag", "backward", "rejection", "mcmc"]
_STORE = 4 * 2**30  # bytes of stored particles from which a run is refused
_LONG = 10_000  # particles
_OVER = 1e-3  # nats by which rounding may lift a density above its bound


class FilterState(NamedTuple):
    """One island on its way: its cloud, the steps taken, lines of descent, and when it died."""

    x: Any
    log_w: Float[Array, " n"]
    log_z: Float[Array, ""]
    t: Int[Array, ""]
    lines: Lines
    died: Int[Array, ""]
    lost: Int[Array, ""]
    end: Int[Array, ""]


class FilterRecord(NamedTuple):
    """What is kept of one step."""

    ess: Float[Array, ""]
    increment: Float[Array, ""]
    resampled: Bool[Array, ""]
    summaries: dict[str, Array]
    stored: Any


@dataclasses.dataclass(frozen=True)
class ParticleFilter(PopulationMethod):
    """Particle filter, and smoothers that go back over its particles.

    It keeps a summary of the filtering law at every step (``history["mean:states"]``, ``sd:``,
    ``quantiles:``, and ``probability:`` of discrete states), the log evidence, and as draws the
    last states; with a smoother, as draws whole paths given all observations. No step's
    particles are stored unless a smoother needs them.

    Args:
        particles: particles of each island.
        islands: independent filters; their evidences are pooled.
        proposal: ``(state, observation, ...) -> distribution`` from which the next state is
            drawn in place of the transition (a guided filter); other arguments by name as in
            ``from_state_space``. Parts of the state that it leaves out move by the transition.
        initial_proposal: ``(observation, ...) -> distribution`` of the first state.
        auxiliary: ``(state, observation, ...) -> log weight`` by which particles are chosen
            before they move (an auxiliary filter), or ``"mean"`` for the log density of the
            observation at the mean of the transition.
        resample_below: resample when the ESS falls below this share of the particles; by
            default half, and at every step where the filter is auxiliary or the smoother
            ``"mcmc"``.
        resampler: from ``probinf.resampling``.
        smoother: None; ``"genealogy"``, ancestors of the last particles (few distinct ones far
            from the end); ``"fixed lag"``, for each step the ancestors of particles ``lag`` steps
            later (laws of single steps only); ``"backward"``, exact given the particles, at N
            evaluations per step of a path; ``"rejection"``, the same law at a cost that hardly
            grows with N where the transition's density has a bound (and is wide enough);
            ``"mcmc"``, backward at a cost that does not grow with N.
        paths: paths that a smoother draws, per island.
        lag: of the fixed-lag smoother.
        mcmc_steps: transitions per step of a path.
        lines: follow lines of descent, from which evidence and last states have their errors;
            False, which is faster for many particles, leaves these to the spread of the islands.
        quantiles: of the filtering law that are kept for every step; each sorts the particles.

    Raises:
        MethodError: an option is out of range.

    Source: Gordon, Salmond & Smith (1993); guided: Doucet, Godsill & Andrieu (2000); auxiliary:
    Pitt & Shephard (1999); smoothers: Godsill, Doucet & West (2004), Taghavi et al. (2013), Dau &
    Chopin (2023); error of the evidence: Olsson & Douc (2019).
    """

    particles: int = 1000
    islands: int = 1
    proposal: Callable[..., Any] | None = None
    initial_proposal: Callable[..., Any] | None = None
    auxiliary: Callable[..., Any] | Literal["mean"] | None = None
    resample_below: float | None = None
    resampler: Resampler = systematic
    smoother: Smoother | None = None
    paths: int = 1000
    lag: int = 20
    mcmc_steps: int = 2
    lines: bool = True
    quantiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        at_least(2, particles=self.particles)
        at_least(1, islands=self.islands, paths=self.paths, lag=self.lag)
        at_least(1, mcmc_steps=self.mcmc_steps)
        if self.resample_below is not None:
            inside(0, 1, closed=True, resample_below=self.resample_below)
        for share in self.quantiles:
            inside(0, 1, quantiles=share)
        check_choice("smoother", self.smoother, (None, *get_args(Smoother)))
        if isinstance(self.auxiliary, str):
            check_choice("auxiliary", self.auxiliary, ("mean",))
        if self.smoother == "mcmc" and self.resample_below not in (None, 1):
            raise MethodError(
                f"resample_below={self.resample_below} with smoother='mcmc': its chains begin at "
                "ancestors, which must be drawn anew at every step. Leave resample_below out, or "
                "use smoother='backward'."
            )

    @property
    def _below(self) -> float:
        if self.resample_below is not None:
            return self.resample_below
        return 1.0 if self.auxiliary is not None or self.smoother == "mcmc" else 0.5

    @property
    def has_long_arrays(self) -> bool:
        """From as many particles as take longer to move than to compile for."""
        return self.particles >= _LONG

    def known(self, program: Program) -> Known:
        """The states of a program as a sequence, its parameters known."""
        return known_states(program, self.proposal, self.initial_proposal, self.auxiliary)

    def plan(self, program: Program, layout: Layout) -> Plan:
        """A lane for each island.

        Raises:
            MethodError: the program is no state-space model, has unknown parameters, its
                particles do not fit into memory, or ancestors come in no order.
        """
        known = self.known(program)
        if self.lines:
            refuse_disorder(self.resampler)
        if self.smoother is not None and hasattr(program.state_space, "shown"):
            raise MethodError(
                f"smoother='{self.smoother}': each particle of this program holds its whole past, "
                "so that draws are paths already; leave smoother= out."
            )
        if self.smoother in ("backward", "mcmc") and known.sequence.log_transition is None:
            raise MethodError(
                f"smoother='{self.smoother}' needs Sequence(log_transition=), which this program "
                "does not have; use smoother='genealogy' or 'fixed lag'."
            )
        if self.smoother == "rejection":
            refuse_unbounded(known.sequence)
        row = 0 if self.smoother is None else self._stored_bytes(program)
        total = row * known.steps * self.islands
        if total > _STORE:
            raise MethodError(
                f"smoother='{self.smoother}' would store {known.steps} steps of {self.particles} "
                f"particles on {self.islands} islands, {total / 2**30:.1f} GiB. Use fewer "
                "particles, or smoother=None, which keeps the filter's summaries only."
            )
        return Plan(
            lanes=self.islands,
            chunk=known.steps if row == 0 else min(known.steps, 64),
            row_bytes=row * self.islands,
            moves_integers=True,
        )

    def _stored_bytes(self, program: Program) -> int:
        """What a smoother keeps of each step."""
        record = jax.eval_shape(
            lambda key: self.step(key, program, self.init(key, program))[1], jax.random.key(0)
        )
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(record.stored))

    def init(self, key: Key, program: Program) -> FilterState:
        """Blank particles before the first step."""
        n, known = self.particles, self.known(program)
        state, log_w = jax.eval_shape(lambda key: known.sequence.first(key, n), key)
        blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
        log_w = jnp.full((n,), -jnp.log(n), log_w.dtype)
        return FilterState(
            blank,
            log_w,
            jnp.zeros((), log_w.dtype),
            jnp.zeros((), int),
            no_lines(log_w),
            jnp.full((), -1, int),
            jnp.zeros((), int),
            jnp.full((), known.steps, int),
        )

    def step(
        self, key: Key, program: Program, state: FilterState
    ) -> tuple[FilterState, FilterRecord]:
        """One time."""
        known = self.known(program)
        sequence = known.sequence

        def first(_: Any) -> Filtered:
            return first_step(key, sequence, self.particles)

        def later(_: Any) -> Filtered:
            value = jax.tree.map(lambda leaf: leaf[jnp.maximum(state.t - 1, 0)], sequence.inputs)
            return next_step(
                key,
                sequence,
                Population(state.x, state.log_w, state.log_z),
                value,
                resampler=self.resampler,
                resample_below=self._below,
                lookahead=known.lookahead,
            )

        found = jax.lax.cond(state.t == 0, first, later, None)
        cloud = found.cloud
        lines = state.lines
        if self.lines:
            looked = None if known.lookahead is None else found.chosen_by
            lines = followed(lines, found.ancestors, found.resampled, cloud.log_w, looked)
        dead = jnp.isneginf(found.increment) & (state.died < 0)
        end, finished = state.end, getattr(program.state_space, "finished", None)
        if finished is not None:
            over = finished(cloud.x, state.t, program.data)
            end = jnp.where(over, state.t + 1, end)
        after = FilterState(
            cloud.x,
            cloud.log_w,
            cloud.log_z,
            state.t + 1,
            lines,
            jnp.where(dead, state.t, state.died),
            state.lost + found.lost,
            end,
        )
        stored = None
        if self.smoother is not None:
            stored = smoothing.Stored(cloud.x, cloud.log_w, found.ancestors.astype(jnp.int32))
        ess = 1 / jnp.sum(jnp.exp(2 * cloud.log_w))
        summaries = summarised(
            known.followed(cloud.x), cloud.log_w, dict(known.levels), self.quantiles
        )
        return after, FilterRecord(ess, found.increment, found.resampled, summaries, stored)

    def done(self, state: FilterState) -> Bool[Array, ""]:
        """At the last observation, or nothing left alive."""
        return (state.t >= state.end) | (state.died >= 0)

    def population(self, state: FilterState) -> Population:
        """The last states of one island."""
        return Population(state.x, state.log_w, state.log_z)

    def status(self, states: FilterState) -> Status:
        """The step that the last island has come to."""
        t, end = int(states.t.min()), int(states.end.max())
        return Status(t / end, f"step {t} of {end}")

    def finish(self, run: Run) -> Posterior:
        """Last states, or paths, of all islands, each weighted by its evidence.

        Raises:
            ZeroLikelihoodError: all weights are zero at some step, which is named.
            MethodError: the run was interrupted before the last step.
        """
        states, records = run.states, run.records
        if any(record is None for record in records) or (
            ((states.t < states.end) & (states.died < 0)).any()
        ):
            raise MethodError(f"the run was interrupted before the last step. {GO_ON}")
        refuse = getattr(run.program.state_space, "refuse", None)
        if refuse is not None:
            refuse(states.x)
        died = states.died >= 0
        if died.all():
            raise self._nothing_left(run, int(states.died.max()))
        log_z = np.array([r.increment.astype(float).sum() for r in records])
        sums = jax.vmap(lambda d: d.sums())(states.lines.descent)
        variances, fourths = (np.asarray(value, float) for value in sums)
        if not self.lines:
            variances = np.full_like(variances, np.nan)
        history = self._history(records)
        findings: tuple[Finding, ...] = ()
        if getattr(run.program.state_space, "nothing_left", None) is None:  # no token program
            ess = np.where(np.isneginf(history["log_increment"]), 0.0, history["ess"])
            findings = few_particles(ess, self.particles)
        evidence = pooled_evidence(log_z, variances, fourths, uneven=bool(findings))
        log_w, clusters, draws, positions = self._draws(run, log_z)
        return assemble(
            run,
            "population",
            positions,
            draws=draws,
            log_weights=log_w - log_w.max(),
            history=history,
            clusters=clusters,
            evidence=evidence,
            findings=findings,
            provenance={"nan_evaluations": int(states.lost.sum()), "smoother": self.smoother},
        )

    def _draws(self, run: Run, log_z: np.ndarray) -> Any:
        """Log weights, clusters, draws by site and flat positions, leading axes (island, draw)."""
        states = run.states
        if self.smoother is None:
            log_w = np.asarray(states.log_w, float) + log_z[:, None]
            family = jax.vmap(partial(family_of, n=self.particles))(states.lines.starts)
            clusters = np.asarray(family) + self.particles * np.arange(self.islands)[:, None]
            nowhere = np.zeros((*log_w.shape, 0), run.layout.dtype)
            shown: Any = self.known(run.program).shown(states.x)
            return log_w, clusters, _kept(shown, run), nowhere
        found = [self._paths(run, island) for island in range(self.islands)]
        draws = {name: np.stack([one[name] for one in found]) for name in found[0]}
        log_w = np.repeat(log_z[:, None], self.paths, 1)
        clusters = np.arange(log_w.size).reshape(log_w.shape)
        positions = np.zeros((*log_w.shape, 0), run.layout.dtype)
        position = getattr(run.program.state_space, "position", None)
        if position is not None and self.smoother != "fixed lag":
            place = jax.jit(jax.vmap(partial(_placed, position, run.layout), (0, None)))
            flat = place(jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:]), draws), run.flat.data)
            positions = np.asarray(flat).reshape(*log_w.shape, -1)
        return log_w, clusters, _kept(draws, run), positions

    def _paths(self, run: Run, island: int) -> dict[str, np.ndarray]:
        stored = jax.tree.map(jnp.asarray, run.records[island].stored)
        key = jax.random.fold_in(jax.random.key(0), island)
        key = jax.random.fold_in(key, int(np.sum(run.provenance["key"]) % 2**31))
        found, over = _smoothed(self, run.flat, key, stored)
        if over > _OVER:
            raise MethodError(
                f"smoother='rejection': a transition density lies {float(over):.2g} nats above its "
                "log_peak, so that paths would be biased. Correct Sequence(log_peak=), or use "
                "smoother='backward'."
            )
        return {name: np.asarray(value) for name, value in found.items()}

    def _history(self, records: list[FilterRecord]) -> dict[str, np.ndarray]:
        def joined(rows: list[Any]) -> np.ndarray:
            longest = max(len(row) for row in rows)
            shape = (len(rows), longest, *rows[0].shape[1:])
            out = np.full(shape, np.nan)
            for k, row in enumerate(rows):
                out[k, : len(row)] = row
            return out

        found = {
            "ess": joined([r.ess for r in records]),
            "log_increment": joined([r.increment for r in records]),
            "resampled": joined([r.resampled for r in records]),
        }
        for name in records[0].summaries:
            found[name] = joined([r.summaries[name] for r in records])
        return found

    def _nothing_left(self, run: Run, t: int) -> ZeroLikelihoodError:
        program = run.program
        say = getattr(program.state_space, "nothing_left", None)
        if say is not None:
            said: ZeroLikelihoodError = say(t, self.particles, self.islands)
            return said
        lost = int(run.states.lost.max())
        seen = ""
        if program.observations is not None:
            values = program.observations.get(program.data)
            shown = ", ".join(f"{np.asarray(v)[t]}" for v in values.values())
            seen = f" (observed: {shown})"
        why = (
            f"{lost} of the weights were NaN: the transition or the emission has parameters "
            "outside their domain there. Look at them with pi.check(program)."
            if lost
            else "No particle could have given this observation, or none of the proposed states "
            "can follow from those before. Take an emission with heavier tails (dist.StudentT), "
            "use more particles, or give proposal= a law that covers the transition."
        )
        return ZeroLikelihoodError(
            f"ParticleFilter: all weights are zero at step {t}{seen}, at each of "
            f"{self.particles} particles on {self.islands} island(s). {why}"
        )


def _placed(position: Any, layout: Layout, path: dict[str, Array], data: Any) -> Any:
    return layout.ravel(position(path, data))


def _kept(draws: dict[str, np.ndarray], run: Run) -> dict[str, np.ndarray]:
    sites = run.kept.sites
    return {n: np.asarray(v) for n, v in draws.items() if sites is None or n in sites}


@partial(jitted, static=("method",))
def _smoothed(method: ParticleFilter, program: Program, key: Key, stored: Any) -> Any:
    sequence, paths = method.known(program).sequence, method.paths
    over = jnp.zeros(())
    if method.smoother == "genealogy":
        index = smoothing.genealogy(key, stored, paths)
    elif method.smoother == "fixed lag":
        index = smoothing.fixed_lag(key, stored, paths, method.lag)
    elif method.smoother == "backward":
        index = smoothing.backward(key, sequence, stored, paths)
    elif method.smoother == "rejection":
        index, over = smoothing.backward_rejection(key, sequence, stored, paths)
    else:
        index = smoothing.backward_mcmc(key, sequence, stored, paths, method.mcmc_steps)
    return smoothing.taken(stored, index), over
