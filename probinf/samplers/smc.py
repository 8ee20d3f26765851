"""Sequential Monte Carlo: a population moves from the base to the program, step by step."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from probinf.core.coordinates import Layout, vector_of
from probinf.core.inputs.limits import at_least, inside
from probinf.core.population import (
    Population,
    conditional_ess,
    drawn,
    effective_sample_size,
    no_nan,
    normalise,
    resample_if,
    reweight,
)
from probinf.core.program import Key, Program
from probinf.core.resampling import Resampler, systematic, thinned
from probinf.core.spreading import over_particles
from probinf.errors import MethodError
from probinf.kernels.base import Kernel, Params, check_kernel
from probinf.results.posterior import Posterior
from probinf.runtime.method import Plan, Run
from probinf.runtime.progress import Status
from probinf.samplers.populations.base import Islands, PopulationMethod
from probinf.samplers.populations.descent import no_descent, reweighted
from probinf.samplers.populations.halfway import halfway
from probinf.samplers.populations.islands import (
    IslandState,
    Particle,
    StageRecord,
    gathered,
    unfinished,
)
from probinf.samplers.populations.moving import (
    Moved,
    Mover,
    check_drawable,
    default_kernel,
    first_params,
)
from probinf.samplers.populations.path import ByData, Path, Tempering
from probinf.samplers.populations.schedule import fixed_schedule, next_point
from probinf.samplers.populations.tuning import cross_fitted

_PATHS: dict[str, Path] = {"temperature": Tempering(), "data": ByData()}
_MAX_STAGES = {"temperature": 500, "data": 10_000}


@dataclasses.dataclass(frozen=True)
class SMC(PopulationMethod):
    """Sequential Monte Carlo: posterior and evidence, for any kernel and any base.

    Args:
        particles: particles per island.
        islands: independent populations; their spread, and what their lines of descent gain
            and lose, give the evidence its error.
        path: ``"temperature"`` raises the likelihood to powers from 0 to 1; ``"data"`` takes
            the data in one after the other, in the order of ``pointwise``, and keeps the log
            evidence of every first part of them in ``history["log_evidence_of_first"]``.
        kernel: moves the particles; by default HMC, or a random walk where a coordinate is
            a random key. It is retuned at every stage from the particles.
        schedule: fixed points of the path, from 0 to its end (both included): 1 for
            temperatures, the number of data for data. None chooses the next point by the
            conditional effective sample size.
        target_ess: without a schedule, the conditional ESS of a stage, as a share of the
            particles.
        moves: kernel transitions per stage, or None to move until no coordinate's
            correlation with its start exceeds 0.2, or until it has stopped falling. Where one
            step size does not fit all particles, every second one is by a shorter step.
        max_moves: most transitions per stage when ``moves`` is None.
        waste_free: length of the chains that renew the particles, or None. With it, only
            ``particles / waste_free`` ancestors are drawn, and all states of the chains that
            start from them are the next particles, so that no move is thrown away.
        resample_below: resample when the ESS falls below this share of the particles.
        resampler: from ``probinf.resampling``.
        tune: retune the kernel's covariance from the particles, each half of them on the
            other half, and its step size; False keeps a unit covariance and the kernel's
            first step size.

    Raises:
        MethodError: an option is out of range.

    Source: Del Moral, Doucet & Jasra (2006); adaptive schedule of Zhou, Johansen & Aston
    (2016); data: Chopin (2002); waste-free: Dau & Chopin (2022). With a fixed ``schedule``
    and ``moves`` the evidence is unbiased; a schedule chosen from the particles adds a bias
    of order 1 / particles.
    """

    particles: int = 1000
    islands: int = 4
    path: Literal["temperature", "data"] = "temperature"
    kernel: Kernel | None = None
    schedule: tuple[float, ...] | None = None
    target_ess: float = 0.9
    moves: int | None = None
    max_moves: int = 40
    waste_free: int | None = None
    resample_below: float = 0.5
    resampler: Resampler = systematic
    tune: bool = True

    def __post_init__(self) -> None:
        at_least(4, particles=self.particles)
        at_least(1, islands=self.islands, moves=self.moves, max_moves=self.max_moves)
        at_least(1, waste_free=self.waste_free)
        check_kernel(self.kernel, optional=True)
        inside(0, 1, target_ess=self.target_ess)
        inside(0, 1, closed=True, resample_below=self.resample_below)
        if self.tune and self.particles % 2:
            why = "each half is tuned on the other"
            raise MethodError(f"particles must be even, got {self.particles}: {why}.")
        if self.path not in _PATHS:
            raise MethodError(f"path must be one of {sorted(_PATHS)}, got {self.path!r}.")
        if self.schedule is not None:
            end = 1.0 if self.path == "temperature" else None
            object.__setattr__(self, "schedule", fixed_schedule(self.schedule, end))
        if self.waste_free is not None:
            self._check_chains(self.waste_free)

    def _check_chains(self, length: int) -> None:
        if self.moves is not None:
            raise MethodError("give either moves or waste_free: the chains' length is the moves.")
        if length < 2 or self.particles % (length * self._groups):
            raise MethodError(
                f"waste_free must be at least 2 and cut the {self.particles} particles into "
                f"equal chains{', an even number of them' if self.tune else ''}; got {length}."
            )

    @property
    def follows_gradients(self) -> bool:
        """Whether its kernel does."""
        return self.kernel is None or self.kernel.needs_gradient

    def plan(self, program: Program, layout: Layout) -> Plan:
        """A lane for each island.

        Raises:
            MethodError: the kernel does not fit the coordinates, or the schedule the data.
        """
        check_drawable(program, layout, self.kernel)
        end = self.way.end(program)
        if self.schedule is not None and self.schedule[-1] != end:
            raise MethodError(
                f"schedule ends with {self.schedule[-1]:g}, but the program has {end:g} data."
            )
        return super().plan(program, layout)

    @property
    def _groups(self) -> int:
        return 2 if self.tune else 1

    @property
    def way(self) -> Path:
        """The path from the base to the program."""
        return _PATHS[self.path]

    def mover(self, position: Any) -> Mover:
        """What moves particles at such positions."""
        return Mover(default_kernel(self.kernel, position), self.tune, self._groups)

    def terms(self, program: Program, position: Any) -> tuple[Array, Array, Array]:
        """Base log densities, likelihood terms without NaN, and how many were NaN."""
        log_base, terms = over_particles(lambda x: self.way.terms(program, x), position)
        terms, lost = no_nan(terms)
        return log_base, terms, lost

    def init(self, key: Key, program: Program) -> IslandState:
        """Draws from the base."""
        n = self.particles
        position = drawn(key, program, n)
        log_base, terms, lost = self.terms(program, position)
        usable = jnp.isfinite(log_base)
        terms = jnp.where(usable.reshape(-1, *[1] * (terms.ndim - 1)), terms, -jnp.inf)
        mover = self.mover(position)
        zero = jnp.zeros((), terms.dtype)
        log_w = jnp.full((n,), -jnp.log(n), terms.dtype)
        return IslandState(
            particles=Particle(position, terms, jnp.arange(n), jnp.arange(n)),
            log_w=log_w,
            log_z=zero,
            t=zero,
            end=zero + self.way.end(program),
            origin=zero,
            passed=jnp.zeros(terms.shape[1:] or (0,), terms.dtype),
            params=first_params(mover.kernel, vector_of(position), mover.groups),
            stage=jnp.zeros((), int),
            varied=jnp.zeros((), bool),
            descent=no_descent(log_w),
            nan_count=lost.astype(int) + jnp.sum(~usable),
            dead=jnp.all(jnp.isneginf(terms.reshape(n, -1)[:, 0])),
        )

    def step(
        self, key: Key, program: Program, state: IslandState
    ) -> tuple[IslandState, StageRecord]:
        """Reweight to the next point of the path, resample if needed, move."""
        n, path = self.particles, self.way
        resample_key, move_key = jax.random.split(key)
        # weights are relative to the largest likelihood, whose share of the evidence is added
        # in float64 on the host: a large offset then costs no precision
        ways = path.increments(state.particles.terms, state.t)
        t = self._next(state, ways.upto)
        increment, rate = ways.upto(t), ways.rate(t)
        nothing = jnp.zeros_like(state.log_z)
        weighted = reweight(Population(state.particles, state.log_w, nothing), increment)
        ess = effective_sample_size(weighted.log_w)
        gained, crossed = ways.passed(normalise(state.log_w), t)
        lines = n // (self.waste_free or 1)
        descent, line = reweighted(
            state.descent, state.particles.line, state.log_w, weighted.log_w, lines
        )
        weighted = weighted._replace(x=state.particles._replace(line=line))
        params = state.params
        if self.tune:
            params = cross_fitted(params, vector_of(state.particles.position), weighted.log_w)
        # particles of weight zero must not be moved from: resample whenever there are any
        needed = (ess < self.resample_below * n) | jnp.any(jnp.isneginf(weighted.log_w))
        population = self._resampled(resample_key, weighted, needed)
        moved, eve, line = self._move(
            move_key, path.at(program, t), population.x, params, state.varied
        )
        _, fresh, lost = self.terms(program, moved.position)
        along = moved.acceptances.along(fresh.reshape(n, -1).sum(axis=1), population.log_w)
        variance, fourth = descent.sums()
        record = StageRecord(
            t=t,
            ess=ess,
            log_increment=weighted.log_z,
            rate=rate,
            acceptance=moved.acceptance,
            moves=moved.moves,
            evaluations=moved.evaluations + n,
            step_size=moved.params.step_size.mean(),
            correlation=moved.correlation,
            acceptance_by_place=moved.acceptances.of_place,
            acceptance_by_likelihood=along,
            variance=variance,
            fourth=fourth,
        )
        after = state._replace(
            particles=Particle(moved.position, fresh, eve, line),
            log_w=population.log_w,
            log_z=state.log_z + weighted.log_z + (t - state.t) * rate,
            t=t,
            passed=jnp.where(crossed, state.log_z + gained, state.passed),
            params=moved.params,
            stage=state.stage + 1,
            varied=moved.acceptances.call_for_shorter(
                along, moved.correlation, lines, state.varied
            ),
            descent=descent,
            nan_count=state.nan_count + lost + moved.lost,
            dead=state.dead | jnp.isneginf(weighted.log_z),
        )
        return after, record

    def _next(self, state: IslandState, upto: Any) -> Float[Array, ""]:
        if self.schedule is not None:
            points = jnp.asarray(self.schedule, state.t.dtype)
            return points[jnp.minimum(state.stage + 1, len(self.schedule) - 1)]

        def share(increment: Array) -> Array:
            return conditional_ess(state.log_w, increment) / self.particles

        return next_point(state.t, state.end, upto, share, self.target_ess)

    def _resampled(self, key: Key, weighted: Population, needed: Bool[Array, ""]) -> Population:
        if self.waste_free is None:
            return resample_if(key, weighted, self.resampler, needed)
        weights = jnp.exp(normalise(weighted.log_w))
        chosen = thinned(key, weights, self.resampler, self.waste_free)
        equal = jnp.full_like(weighted.log_w, -jnp.log(self.particles))
        x = jax.tree.map(lambda leaf: leaf[chosen], weighted.x)
        return Population(x, equal, weighted.log_z)

    def _move(
        self,
        key: Key,
        program: Program,
        particles: Particle,
        params: Params,
        varied: Bool[Array, ""],
    ) -> tuple[Moved, Array, Array]:
        x = particles.position
        mover = self.mover(x).varying(varied, x)
        if self.waste_free is not None:
            moved = mover.chains(key, program, x, params, length=self.waste_free)
            eve, line = (jnp.repeat(a, self.waste_free) for a in (particles.eve, particles.line))
            return moved, eve, line
        moved = mover.until_mixed(
            key, program, x, params, moves=self.moves, max_moves=self.max_moves
        )
        return moved, particles.eve, particles.line

    def done(self, state: IslandState) -> Bool[Array, ""]:
        """At the end of the path, or nothing left alive."""
        return (state.t >= state.end) | state.dead | (state.stage >= _MAX_STAGES[self.path])

    def status(self, states: IslandState) -> Status:
        """The place on the path of the island that is last."""
        t, stage = float(states.t.min()), int(states.stage.max())
        end = float(states.end.max())
        where = f"inverse temperature {t:.3g}" if self.path == "temperature" else f"datum {t:.1f}"
        return Status(t / end, f"stage {stage}, {where}")

    def population(self, state: IslandState) -> Population:
        """The particles of one island."""
        return Population(state.particles.position, state.log_w, state.log_z)

    def gathered(self, run: Run) -> Islands:
        """The particles of all islands, their evidence summed in double precision."""
        return gathered(run)._replace(lines=self.particles // (self.waste_free or 1))

    def unfinished(self, run: Run) -> str:
        """Why the end of the path was not reached."""
        return unfinished(run, _MAX_STAGES[self.path])

    def stopped(self, run: Run, found: Islands, reason: str) -> Posterior:
        """After an interruption, the particles at the point of the path that was reached."""
        if not run.provenance["interrupted"]:
            return super().stopped(run, found, reason)
        return halfway(run, found, self.way, self.history(run), reason)

    def history(self, run: Run) -> dict[str, np.ndarray]:
        """The places on the path, what each stage was like, and evidences of first data."""
        found = super().history(run)
        del found["rate"]
        found["beta" if self.path == "temperature" else "data"] = found.pop("t")
        if self.path == "data":
            found["log_evidence_of_first"] = np.asarray(run.states.passed, float)
        return found
