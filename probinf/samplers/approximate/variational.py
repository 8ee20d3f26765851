"""VI: a law fitted by raising the evidence lower bound, until it no longer rises."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.coordinates import Layout
from probinf.core.inputs.limits import at_least, check_choice, positive
from probinf.core.laws import Scaled
from probinf.core.program import Key, Program, log_density
from probinf.core.zero_likelihood import zero_likelihood
from probinf.errors import MethodError
from probinf.results.findings import Finding
from probinf.results.posterior import Posterior
from probinf.runtime.method import Method, Plan, Run
from probinf.runtime.progress import Status
from probinf.samplers.approximate.climbing import climb_from_afar, climbed
from probinf.samplers.approximate.families import Family, first_law
from probinf.samplers.approximate.reporting import (
    approximate,
    as_law,
    end_key,
    require_smooth,
)
from probinf.samplers.approximate.widening import compared
from probinf.samplers.warmup.starting import START_TRIES

EPOCH = 50
"""Steps between two looks at the bound."""

_ASCENT = 200  # evaluations before the fit
_ARRIVED = 1e-2  # nats, of that ascent
_DENSE = 256  # coordinates up to which the curvature there is a matrix
_PROBES = 16  # of its diagonal, beyond
_NARROWEST, _WIDEST = 1e-5, 10.0
_REDUCTION = 0.3  # of the learning rate, where the bound stalls
_REDUCTIONS = 4
_STALLS = 2  # epochs without a gain
_STALLS_OF_A_FLOW = 5  # whose weights go on where its moments have settled
_MOST_SLOPE = 10.0  # nats per unit and coordinate of the law on average; more is cut
_OF_A_FLOW = 0.1  # of the learning rate: its weights move a law by more than a mean does


class Fit(NamedTuple):
    """A fit on its way; the law is one of ``z = (x - shift) / scale``.

    Attributes:
        law: that is moved.
        mean: of the laws over the last epoch, which is the answer.
        moments: of Adam.
        shift: (d,).
        scale: (d,) or (d, d).
        rate: learning rate.
        best: highest bound of an epoch at this rate, and its squared error.
        stalls: epochs without a gain.
        reductions: of the rate so far.
        steps: taken.
        started: whether there was a finite start.
        lost: draws at which the density was impossible.
    """

    law: Any
    mean: Any
    moments: Any
    shift: Float[Array, " d"]
    scale: Float[Array, "..."]
    rate: Float[Array, ""]
    best: tuple[Float[Array, ""], Float[Array, ""]]
    stalls: Int[Array, ""]
    reductions: Int[Array, ""]
    steps: Int[Array, ""]
    started: Bool[Array, ""]
    lost: Int[Array, ""]


class Epoch(NamedTuple):
    """What is recorded of some steps.

    Attributes:
        elbo: mean of their bounds.
        error: standard error of that mean.
        rate: learning rate.
    """

    elbo: Float[Array, ""]
    error: Float[Array, ""]
    rate: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class VI(Method[Posterior]):
    """Variational inference: the law of a family with the highest evidence lower bound (ELBO).

    An ascent to a high place and the curvature there give the scale; Adam then raises the bound,
    with a learning rate that falls where an epoch of 50 steps gains nothing. The fit has converged
    when it has fallen four times. ``posterior.history["elbo"]`` is the trace of the bound;
    ``diagnose`` says where it did not converge and, by Pareto k, where the law is too far from the
    posterior to be corrected by weights.

    Args:
        family: ``"mean_field"``, independent normal coordinates; ``"low_rank"``, variances and a
            few directions; ``"full_rank"``, a normal law with any covariance; ``"flow"``, an
            autoregressive spline flow, which can be skewed, heavy-tailed and curved.
        draws: from the fitted law, equally weighted.
        samples: of the law, for each gradient.
        learning_rate: of Adam at first, in units of the posterior's scale.
        max_steps: of Adam.
        rank: directions of ``"low_rank"``; 10 by default.
        subsample: entries of a plate for each gradient, ``{"data": 256}``, drawn anew each time;
            for models that index their data by the plate, or with ``numpyro.subsample``.

    Raises:
        MethodError: an option is outside its range, or there is no gradient.

    Source: Kucukelbir, Tran, Ranganath, Gelman & Blei (2017); Roeder, Wu & Duvenaud (2017) for the
    gradient; Welandawe, Andersen, Vehtari & Huggins (2024) for the falling rate and the average.
    """

    family: Family = "full_rank"
    draws: int = 4000
    samples: int = 16
    learning_rate: float = 0.05
    max_steps: int = 20_000
    rank: int | None = None
    subsample: Mapping[str, int] | tuple[tuple[str, int], ...] | None = None

    def __post_init__(self) -> None:
        check_choice("family", self.family, get_args(Family))
        at_least(100, draws=self.draws)
        at_least(1, samples=self.samples, rank=self.rank)
        at_least(EPOCH, max_steps=self.max_steps)
        positive(learning_rate=self.learning_rate)
        if self.rank is not None and self.family != "low_rank":
            raise MethodError(f"rank is an option of family='low_rank', not of {self.family!r}.")
        if self.subsample is not None:
            sizes = dict(self.subsample)
            for name, count in sizes.items():
                at_least(1, **{f"subsample[{name!r}]": count})
            object.__setattr__(self, "subsample", tuple(sorted(sizes.items())))

    @property
    def follows_gradients(self) -> bool:
        """It does."""
        return True

    def plan(self, program: Program, layout: Layout) -> Plan:
        """One lane, epochs as steps.

        Raises:
            MethodError: there is no gradient, or no plate to take a part of.
        """
        require_smooth(program, layout, "VI")
        if self.subsample:
            if program.subsampled is None:
                raise MethodError(
                    "VI: subsample= takes a part of a plate, which only a program straight from "
                    "pi.from_numpyro(model, ...) has, without discrete sites that are summed out."
                )
            x = jax.eval_shape(program.start, jax.random.key(0), program.data)
            jax.eval_shape(
                partial(program.subsampled, self.subsample), jax.random.key(0), x, program.data
            )
        return Plan(lanes=1, chunk=max(1, min(20, self.max_steps // EPOCH)))

    def init(self, key: Key, program: Program) -> Fit:
        """The standard normal law, at a high place and on the scale of its curvature."""
        first, second = jax.random.split(key)
        shift, scale, started = high_place(first, program, dense=self.family in _DENSE_FAMILIES)
        law = first_law(second, self.family, len(shift), shift.dtype, self.rank)
        lowest = jnp.asarray(-jnp.inf, shift.dtype)
        zero = jnp.zeros((), int)
        slow = _OF_A_FLOW if self.family == "flow" else 1.0
        rate = jnp.asarray(slow * self.learning_rate, shift.dtype)
        moments = _adam().init(law)
        best = (lowest, jnp.zeros_like(lowest))
        return Fit(law, law, moments, shift, scale, rate, best, zero, zero, zero, started, zero)

    def step(self, key: Key, program: Program, state: Fit) -> tuple[Fit, Epoch]:
        """One epoch."""

        def one(carry: Any, key: Key) -> Any:
            law, moments, total, lost = carry
            (_, (bound, missed)), slope = jax.value_and_grad(
                partial(self._loss, key, program, state), has_aux=True
            )(law)
            slope = jax.tree.map(
                lambda g: jnp.clip(jnp.nan_to_num(g), -_MOST_SLOPE, _MOST_SLOPE), slope
            )
            change, moments = _adam().update(slope, moments, law)
            law = jax.tree.map(lambda a, b: a - state.rate * b, law, change)
            total = jax.tree.map(jnp.add, total, law)
            return (law, moments, total, lost + missed), bound

        nothing = jax.tree.map(jnp.zeros_like, state.law)
        keys = jax.random.split(key, EPOCH)
        carry = (state.law, state.moments, nothing, jnp.zeros((), int))
        (law, moments, total, lost), bounds = jax.lax.scan(one, carry, keys)
        mean = jax.tree.map(lambda v: v / EPOCH, total)
        elbo = bounds.mean()
        error = bounds.std() / jnp.sqrt(EPOCH)
        return self._judged(state, law, mean, moments, elbo, error, lost)

    def _judged(
        self, state: Fit, law: Any, mean: Any, moments: Any, elbo: Array, error: Array, lost: Array
    ) -> tuple[Fit, Epoch]:
        """The fit after an epoch; where the bound stalls, a lower rate goes on from the average."""
        best, spread = state.best
        least = 2 * jnp.sqrt(error**2 + spread**2) + 1e-3
        gained = elbo > best + least
        better = elbo > best
        stalls = jnp.where(gained, 0, state.stalls + 1)
        fall = stalls >= (_STALLS_OF_A_FLOW if self.family == "flow" else _STALLS)
        lowest = jnp.full_like(best, -jnp.inf)
        found = state._replace(
            law=jax.tree.map(partial(jnp.where, fall), mean, law),
            mean=mean,
            moments=moments,
            rate=jnp.where(fall, _REDUCTION * state.rate, state.rate),
            best=(
                jnp.where(fall, lowest, jnp.where(better, elbo, best)),
                jnp.where(fall, 0.0, jnp.where(better, error, spread)),
            ),
            stalls=jnp.where(fall, 0, stalls),
            reductions=state.reductions + fall,
            steps=state.steps + EPOCH,
            lost=state.lost + lost,
        )
        return found, Epoch(elbo, error, state.rate)

    def _loss(self, key: Key, program: Program, state: Fit, law: Any) -> tuple[Array, Any]:
        """Minus the bound, from some draws; those with an impossible density count as lost."""
        draw_key, part_key = jax.random.split(key)

        def one(key: Key) -> tuple[Array, Array]:
            whole = Scaled(law, state.shift, state.scale)
            x, log_q = whole.sample_and_log_density(key)
            return _entropy_and_energy(self._log_density(part_key, program, x), log_q)

        gaps, fine = jax.vmap(one)(jax.random.split(draw_key, self.samples))
        bound = jnp.where(fine, gaps, 0.0).sum() / jnp.maximum(fine.sum(), 1)
        return -bound, (bound, self.samples - fine.sum())

    def _log_density(self, key: Key, program: Program, x: Any) -> Array:
        if not self.subsample:
            return log_density(program, x)
        assert program.subsampled is not None
        log_base, log_weight = program.subsampled(self.subsample, key, x, program.data)
        return log_base + log_weight

    def done(self, state: Fit) -> Bool[Array, ""]:
        """Converged, out of steps, or never begun."""
        settled = state.reductions >= _REDUCTIONS
        return settled | (state.steps + EPOCH > self.max_steps) | ~state.started

    def status(self, states: Fit) -> Status:
        """The bound."""
        share = max(
            float(states.steps.min()) / self.max_steps, float(states.reductions.min()) / _REDUCTIONS
        )
        return Status(share, f"rate {float(states.rate.max()):.3g}")

    def finish(self, run: Run) -> Posterior:
        """Draws of the average law of the last epoch.

        Raises:
            ZeroLikelihoodError: there was no start.
            MethodError: no epoch is over.
        """
        state: Fit = jax.tree.map(lambda leaf: leaf[0], run.states)
        if not state.started:
            raise zero_likelihood(
                run.flat,
                run.layout,
                f"no start with finite log density and gradient in {START_TRIES} tries",
            )
        record: Epoch | None = run.records[0]
        if record is None:
            raise MethodError("VI: the run was interrupted before the end of its first epoch.")
        law = as_law(Scaled(state.mean, state.shift, state.scale), run.layout)
        seen = compared(run, law, end_key(run), self.draws)
        settled = int(state.reductions) >= _REDUCTIONS
        findings = [] if settled else [self._unsettled(record)]
        told = {
            "family": self.family,
            "converged": settled,
            "steps": int(state.steps),
            "impossible_draws": int(state.lost),
        }
        history = {name: np.asarray(value, float)[None] for name, value in record._asdict().items()}
        return approximate(run, law, seen, findings=tuple(findings), told=told, history=history)

    def _unsettled(self, record: Epoch) -> Finding:
        last = np.asarray(record.elbo, float)[-10:]
        return Finding(
            "elbo_not_converged",
            f"the evidence lower bound had not settled after {EPOCH * len(record.elbo)} steps (it "
            f"went from {last[0]:.6g} to {last[-1]:.6g} in the last {EPOCH * len(last)}). Use more "
            f"max_steps, more samples (now {self.samples}), or a family that fits better.",
        )


_DENSE_FAMILIES = ("full_rank", "flow")


def _entropy_and_energy(log_p: Array, log_q: Array) -> tuple[Array, Array]:
    """One term of the bound, and whether it is finite; what is not has no gradient either."""
    fine = jnp.isfinite(log_p) & jnp.isfinite(log_q)
    return jnp.where(fine, log_p, 0.0) - jnp.where(fine, log_q, 0.0), fine


def high_place(key: Key, program: Program, *, dense: bool) -> tuple[Array, Array, Array]:
    """A position after a short ascent, the scale of the curvature there, whether it has begun.

    Args:
        key: random key.
        program: on flat positions.
        dense: whether the scale is a Cholesky factor, where the dimension allows it.
    """
    climb = climb_from_afar(key, program, False, candidates=4)

    def going(climb: Any) -> Array:
        return ~climb.stopped & (climb.evaluations < _ASCENT)

    climb = jax.lax.while_loop(going, lambda c: climbed(program, c, False, _ARRIVED), climb)
    x = climb.position
    if dense and len(x) <= _DENSE:
        return x, _factor(jax.jacfwd(jax.grad(partial(log_density, program)))(x)), climb.started
    signs = jax.random.rademacher(jax.random.fold_in(key, 1), (_PROBES, len(x)), x.dtype)
    slope = jax.grad(partial(log_density, program))
    probed = jax.lax.map(lambda v: v * jax.jvp(slope, (x,), (v,))[1], signs)
    curvature = jnp.abs(jnp.nan_to_num(probed.mean(axis=0)))
    return x, jnp.clip(1 / jnp.sqrt(curvature + 1e-30), _NARROWEST, _WIDEST), climb.started


def _factor(hessian: Array) -> Array:
    """Cholesky factor of the inverse of the absolute curvature, within bounds."""
    hessian = jnp.nan_to_num(0.5 * (hessian + hessian.T))
    values, vectors = jnp.linalg.eigh(hessian)
    widths = jnp.clip(1 / jnp.sqrt(jnp.abs(values) + 1e-30), _NARROWEST, _WIDEST)
    # F F' = V w² V' without squaring: R of the QR of (V w)'
    _, upper = jnp.linalg.qr((vectors * widths).T)
    return (upper * jnp.where(jnp.diagonal(upper) < 0, -1.0, 1.0)[:, None]).T


def _adam() -> Any:
    import optax

    return optax.scale_by_adam(b1=0.9, b2=0.99)
