"""SMC squared: parameters as particles, each with a particle filter, datum after datum."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf import kernels
from probinf.core.compiling import compiled
from probinf.core.coordinates import Layout, flatten
from probinf.core.inputs.limits import at_least, inside
from probinf.core.population import (
    Population,
    drawn,
    effective_sample_size,
    no_nan,
    resample,
    reweight,
    scored,
)
from probinf.core.program import Key, Program
from probinf.core.resampling import Resampler, inverse_cdf, systematic
from probinf.errors import MethodError
from probinf.kernels.base import Params
from probinf.results.findings import Finding
from probinf.results.posterior import Posterior
from probinf.runtime.lanes import Lane, over_lanes
from probinf.runtime.method import Plan, Run
from probinf.runtime.progress import Status
from probinf.runtime.records import Collector, Kept
from probinf.samplers.filters.findings import few_particles
from probinf.samplers.pmcmc.filtering import Filter, steps_of
from probinf.samplers.pmcmc.nested_filters import Bench, Filters
from probinf.samplers.pmcmc.pilot import dying
from probinf.samplers.pmcmc.space import (
    named,
    parameters_of,
    parts_of,
    state_sites,
)
from probinf.samplers.populations.base import Islands, PopulationMethod
from probinf.samplers.populations.descent import Descent, no_descent, reweighted
from probinf.samplers.populations.moving import first_params
from probinf.samplers.populations.tuning import cross_fitted

_LAST = "_last"


class Island(NamedTuple):
    """One island: parameters with filters, data so far, tuning and counts."""

    particles: Filters
    log_w: Float[Array, " n"]
    increments: Float[Array, " time"]
    t: Int[Array, ""]
    params: Params
    descent: Descent
    nan_count: Int[Array, ""]
    dead: Bool[Array, ""]
    growing: Bool[Array, ""]


class Absorbed(NamedTuple):
    """What is kept of one datum, or of one doubling of the state particles."""

    data: Int[Array, ""]
    ess: Float[Array, ""]
    move_acceptance: Float[Array, ""]
    state_particles: Int[Array, ""]
    variance: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class SMC2(PopulationMethod):
    """SMC squared: posterior of parameters and evidence of a state-space model, datum by datum.

    Every particle of parameters carries a particle filter. A datum multiplies its weight by what
    the filter predicts of it; where few effective particles are left they are resampled and moved
    by particle marginal Metropolis steps on the data so far. When too few moves are accepted, the
    likelihood estimates are too noisy: the state particles are doubled, by weights that keep the
    evidence unbiased. ``history["log_evidence_of_first"]`` has the log evidence of every first
    part of the data. The states after the last datum are among the draws, as ``name_last``.

    Args:
        particles: of parameters, per island.
        state_particles: of each filter at first.
        max_state_particles: where doubling ends.
        islands: independent populations.
        moves: particle marginal Metropolis moves after each resampling.
        grow_below: acceptance below which state particles are doubled.
        resample_below: resample and move when the ESS falls below this share of the particles.
        filter_resample_below: a filter resamples when its ESS falls below this share.
        resampler: of the parameters, from ``probinf.resampling``.
        tune: take the covariance of the moves from the particles, each half of them from the
            other half; False keeps a unit covariance.

    Raises:
        MethodError: an option is out of range.

    Source: Chopin, Jacob & Papaspiliopoulos (2013).
    """

    particles: int = 500
    state_particles: int = 100
    max_state_particles: int = 3200
    islands: int = 2
    moves: int = 4
    grow_below: float = 0.15
    resample_below: float = 0.5
    filter_resample_below: float = 0.5
    resampler: Resampler = systematic
    tune: bool = True

    grows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        at_least(4, particles=self.particles)
        at_least(1, state_particles=self.state_particles, islands=self.islands, moves=self.moves)
        at_least(self.state_particles, max_state_particles=self.max_state_particles)
        inside(
            0,
            1,
            closed=True,
            grow_below=self.grow_below,
            resample_below=self.resample_below,
            filter_resample_below=self.filter_resample_below,
        )
        if self.particles % 2:
            raise MethodError(
                f"particles must be even, got {self.particles}: each half is tuned on the other."
            )

    def plan(self, program: Program, layout: Layout) -> Plan:
        """A lane for each island.

        Raises:
            MethodError: the program has no states.
            ImproperPriorError: the prior of the parameters cannot be drawn from.
        """
        space = parts_of(program, "SMC2")
        state_sites(program, space, "SMC2")
        jax.eval_shape(space.prior.draw, jax.random.key(0), space.prior.data)
        return Plan(lanes=self.islands, chunk=64, moves_integers=True)

    def _bench(self, program: Program, particles: int) -> Bench:
        options = Filter(particles, self.filter_resample_below)
        return Bench(parts_of(program, "SMC2"), flatten(parameters_of(program))[0], options)

    def init(self, key: Key, program: Program) -> Island:
        """Draws of the prior, with filters of the first datum."""
        draw_key, filter_key = jax.random.split(key)
        bench, n = self._bench(program, self.state_particles), self.particles
        position = drawn(draw_key, bench.prior, n)
        found = scored(bench.prior, position)

        def begun(key: Key, theta: Array) -> Any:
            return bench.options.begin(key, bench.sequence(theta))

        cloud = jax.vmap(begun)(jax.random.split(filter_key, n), position)
        gain, lost = no_nan(cloud.log_z + found.log_weight)
        equal = jnp.full((n,), -jnp.log(n), gain.dtype)
        everyone = jnp.arange(n)
        prior = found.log_base + found.log_weight
        particles = Filters(position, prior, cloud, everyone, everyone)
        weighted = reweight(Population(particles, equal, jnp.zeros((), gain.dtype)), gain)
        descent, line = reweighted(no_descent(equal), everyone, equal, weighted.log_w, n)
        params = first_params(kernels.RandomWalk(), position, 2)
        steps = steps_of(bench.space.sequence)
        return Island(
            particles=particles._replace(line=line),
            log_w=weighted.log_w,
            increments=jnp.zeros((steps + 1,), gain.dtype).at[0].set(weighted.log_z),
            t=jnp.ones((), int),
            params=params,
            descent=descent,
            nan_count=lost.astype(int),
            dead=jnp.isneginf(weighted.log_z),
            growing=jnp.asarray(False),
        )

    def step(self, key: Key, program: Program, state: Island) -> tuple[Island, Absorbed]:
        """One more datum; resampling and moves where they are needed."""
        advance_key, resample_key, move_key = jax.random.split(key, 3)
        many = state.particles.cloud.log_w.shape[1]
        bench, n = self._bench(program, many), self.particles
        before = state.particles.cloud.log_z
        keys = jax.random.split(advance_key, n)
        cloud = jax.vmap(bench.advance, (0, 0, 0, None))(
            keys, state.particles.position, state.particles.cloud, state.t
        )
        gain, lost = no_nan(jnp.where(jnp.isneginf(before), -jnp.inf, cloud.log_z - before))
        particles = state.particles._replace(cloud=cloud)
        weighted = reweight(Population(particles, state.log_w, jnp.zeros_like(gain[0])), gain)
        descent, line = reweighted(
            state.descent, particles.line, state.log_w, weighted.log_w, self.particles
        )
        weighted = weighted._replace(x=particles._replace(line=line))
        ess = effective_sample_size(weighted.log_w)
        t = state.t + 1

        def renewed() -> Any:
            params = state.params
            if self.tune:
                params = cross_fitted(params, particles.position, weighted.log_w)
            chosen = resample(resample_key, weighted, self.resampler)
            each = jax.tree.map(lambda leaf: jnp.repeat(leaf, n // 2, axis=0), params)

            def move(carry: Any, key: Key) -> Any:
                moved, chance, missed = bench.moved(key, carry, each, t)
                return moved, (chance.mean(), missed)

            moved, (chance, missed) = jax.lax.scan(
                move, chosen.x, jax.random.split(move_key, self.moves)
            )
            return moved, chosen.log_w, params, chance.mean(), missed.sum()

        def kept() -> Any:
            nothing = jnp.full_like(ess, jnp.nan), jnp.zeros_like(lost)
            return (weighted.x, weighted.log_w, state.params, *nothing)

        dead = state.dead | jnp.isneginf(weighted.log_z)
        needed = (ess < self.resample_below * n) & ~dead
        moved, log_w, params, acceptance, missed = jax.lax.cond(needed, renewed, kept)
        room = 2 * many <= self.max_state_particles
        growing = needed & (acceptance < self.grow_below) & (t < state.increments.size) & room
        variance, _ = descent.sums()
        record = Absorbed(t, ess, acceptance, jnp.asarray(many), variance)
        after = state._replace(
            particles=moved,
            log_w=log_w,
            increments=state.increments.at[state.t].set(weighted.log_z),
            t=t,
            params=params,
            descent=descent,
            nan_count=state.nan_count + (lost + missed).astype(int),
            dead=dead,
            growing=growing,
        )
        return after, record

    def grown(self, program: Program, lane: Lane) -> tuple[Lane, Absorbed]:
        """A lane with twice the state particles, its weights by what new filters say."""
        state: Island = lane.state
        many = 2 * state.particles.cloud.log_w.shape[1]
        bench = self._bench(program, many)
        key = jax.random.fold_in(lane.key, lane.taken + 1)
        finished = state.dead | (state.t >= state.increments.size)
        particles, gain = bench.exchanged(key, state.particles, state.t, finished)
        weighted = reweight(Population(particles, state.log_w, jnp.zeros_like(gain[0])), gain)
        descent, line = reweighted(
            state.descent, particles.line, state.log_w, weighted.log_w, self.particles
        )
        change = jnp.where(finished, 0.0, weighted.log_z)
        after = state._replace(
            particles=particles._replace(line=line),
            log_w=weighted.log_w,
            increments=state.increments.at[state.t - 1].add(change),
            descent=descent,
            dead=state.dead | jnp.isneginf(change),
            growing=jnp.zeros_like(state.growing),
        )
        variance, _ = descent.sums()
        ess = effective_sample_size(weighted.log_w)
        record = Absorbed(state.t, ess, jnp.full_like(ess, jnp.nan), jnp.asarray(many), variance)
        return Lane(lane.key, lane.taken + 1, after), record

    def again(
        self, program: Program, lanes: Lane, collector: Collector
    ) -> tuple[Lane, list[Any]] | None:
        """The islands with twice the state particles, where moves were hardly accepted."""
        if not bool(jnp.any(lanes.state.growing)):
            return None
        after, records = _all_grown(self, program, lanes)
        host = jax.tree.map(np.asarray, records)
        count = self.islands
        return after, [jax.tree.map(lambda v, k=k: v[k : k + 1], host) for k in range(count)]

    def done(self, state: Island) -> Bool[Array, ""]:
        """All data absorbed, nothing left alive, or waiting for more state particles."""
        return (state.t >= state.increments.size) | state.dead | state.growing

    def status(self, states: Island) -> Status:
        """The data of the island that is last, and the state particles."""
        t, many = int(states.t.min()), states.particles.cloud.log_w.shape[-1]
        return Status(t / states.increments.shape[-1], f"datum {t}, {many} state particles")

    def populate(self, key: Key, program: Program) -> Population:
        """One island with the state particles that it began with, as a pure function."""
        fixed = dataclasses.replace(self, max_state_particles=self.state_particles)
        return super(SMC2, fixed).populate(key, program)

    def population(self, state: Island) -> Population:
        """The parameters of one island."""
        log_z = jnp.where(state.dead, -jnp.inf, jnp.sum(state.increments))
        return Population(state.particles.position, state.log_w, log_z)

    def gathered(self, run: Run) -> Islands:
        """The parameters of all islands, their evidence summed in double precision."""
        states: Island = run.states
        log_z = np.asarray(states.increments, float).sum(axis=1)
        variance, fourth = (np.asarray(v, float) for v in jax.vmap(Descent.sums)(states.descent))
        return Islands(
            position=np.asarray(states.particles.position),
            log_w=np.asarray(states.log_w, float),
            log_z=np.where(np.asarray(states.dead), -np.inf, log_z),
            eves=np.asarray(states.particles.eve),
            firsts=self.particles,
            variances=variance,
            fourths=fourth,
            stats={"log_likelihood": np.asarray(states.particles.cloud.log_z)},
            nan_count=int(np.sum(states.nan_count)),
            lines=self.particles,
            findings=self._few(self.history(run)),
        )

    def unfinished(self, run: Run) -> str:
        """Why data are left."""
        states: Island = run.states
        left = (np.asarray(states.t) < states.increments.shape[1]) & ~np.asarray(states.dead)
        if not left.any():
            return ""
        return f"the run was interrupted after {int(states.t.min())} data of a particle of SMC2."

    def history(self, run: Run) -> dict[str, np.ndarray]:
        """Every datum, and the evidence of every first part of the data."""
        found = super().history(run)
        found["log_evidence_of_first"] = np.cumsum(np.asarray(run.states.increments, float), axis=1)
        return found

    def finish(self, run: Run) -> Posterior:
        """All islands, each weighted by its evidence, with the states after the last datum.

        Raises:
            ZeroLikelihoodError: no filter of any island is left, with the step at which.
            MethodError: not all data are in.
        """
        states: Island = run.states
        if np.asarray(states.dead).all():
            raise dying(
                run.program,
                Filter(self.state_particles),
                f"no filter of any of the {self.particles} particles of SMC2 is left",
            )
        inner = parameters_of(run.program)
        flat, layout = flatten(inner)
        flat = dataclasses.replace(flat, data=run.flat.data)
        last = _last_states(run.program, states)
        sites = jax.eval_shape(inner.constrain, inner.template(), inner.data)
        wanted = run.kept.sites
        own = None if wanted is None else tuple(name for name in wanted if name in sites)
        if wanted is not None:
            last = {n: v for n, v in last.items() if n.removesuffix(_LAST) in wanted}
        kept = Kept(own, run.kept.summaries_only)
        found = super().finish(run._replace(program=inner, flat=flat, layout=layout, kept=kept))
        return dataclasses.replace(
            found,
            draws={**found.draws, **last},
            findings=(*found.findings, *self._noisy(found)),
        )

    def _few(self, history: dict[str, np.ndarray]) -> tuple[Finding, ...]:
        ess, data = history["ess"], history["data"]
        steps = np.unique(data[np.isfinite(data)])  # counts of data; the first has no row
        with_doublings = np.where(data[:, None] == steps[:, None], ess[:, None], np.inf).min(axis=2)
        least = np.where(np.isinf(with_doublings), np.nan, with_doublings)
        remedy = "Use more particles= and state_particles=, or"
        return few_particles(least, self.particles, remedy, first=1)

    def _noisy(self, found: Posterior) -> tuple[Finding, ...]:
        acceptance = found.history["move_acceptance"]
        many = found.history["state_particles"]
        tried = np.isfinite(acceptance)
        largest = int(np.nanmax(many))
        low = tried & (acceptance < self.grow_below / 2)
        if not low.any() or 2 * largest <= self.max_state_particles:
            return ()
        return (
            Finding(
                "noisy_likelihood",
                f"only {acceptance[low].min():.1%} of some moves were accepted with {largest} "
                f"state particles, and max_state_particles={self.max_state_particles} allows no "
                "more. Raise it, or use a filter with better proposals.",
            ),
        )


def _last_states(program: Program, states: Island) -> dict[str, np.ndarray]:
    """One state of every filter, drawn by weight, by name."""
    cloud = jax.tree.map(jnp.asarray, states.particles.cloud)

    def pick(key: Key, log_w: Array) -> Array:
        u = jax.random.uniform(key, (1,), log_w.dtype)
        return inverse_cdf(jnp.exp(log_w), u)[0]

    shape = cloud.log_z.shape
    keys = jax.random.split(jax.random.key(0), shape)
    chosen = jax.vmap(jax.vmap(pick))(keys, cloud.log_w)
    first, second = jnp.arange(shape[0])[:, None], jnp.arange(shape[1])[None]
    found = named(jax.tree.map(lambda leaf: leaf[first, second, chosen], cloud.state))
    return {f"{name}{_LAST}": np.asarray(value) for name, value in found.items()}


@partial(compiled, static=("method",))
def _all_grown(method: SMC2, program: Program, lanes: Lane) -> tuple[Lane, Absorbed]:
    found: tuple[Lane, Absorbed] = over_lanes(
        partial(method.grown, program), lanes, lanes.taken.shape[0]
    )
    return found
