"""Pathfinder: normal laws along several ascents, mixed and weighted."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.coordinates import Layout
from probinf.core.inputs.limits import at_least
from probinf.core.laws import NormalMixture
from probinf.core.program import Key, Program, log_density
from probinf.core.psis import psis
from probinf.core.zero_likelihood import zero_likelihood
from probinf.results.posterior import Posterior
from probinf.runtime.method import Method, Plan, Run
from probinf.runtime.progress import Status
from probinf.samplers.approximate.reporting import (
    approximate,
    as_law,
    end_key,
    require_smooth,
)
from probinf.samplers.approximate.widening import SHARE, compared
from probinf.samplers.warmup.starting import START_TRIES, found_start, scattered

_STEPS, _LINE_SEARCH = 60, 30
_PILOT = 1000  # draws for the shares of the paths
_LEAST_SHARE = 0.02  # of a path, so that none is lost for a small sample
_JITTER = 1e-10


class Path(NamedTuple):
    """One ascent.

    Attributes:
        mean: (d,) of its best normal law.
        covariance: (d, d).
        elbo: its evidence lower bound; -inf where there is no law.
        walked: 1 once it is over.
    """

    mean: Float[Array, " d"]
    covariance: Float[Array, "d d"]
    elbo: Float[Array, ""]
    walked: Int[Array, ""]


class _Start(NamedTuple):
    position: Array
    logdensity: Array
    grad: Array


@dataclasses.dataclass(frozen=True)
class Pathfinder(Method[Posterior]):
    """Normal laws along the paths of L-BFGS to the modes, mixed, with Pareto-smoothed weights.

    Of the normal laws along each path the one with the highest evidence lower bound is kept, so
    that a path into a spike stops where most of the mass is. The draws come from a mixture of the
    paths, whose shares a pilot sample gives, and carry weights smoothed by a Pareto tail.

    Args:
        paths: ascents, each from its own over-dispersed start.
        draws: from the mixture, weighted.
        elbo_draws: of every normal law, for its bound.

    Raises:
        MethodError: a count is too small, or there is no gradient.

    Source: Zhang, Carpenter, Gelman & Vehtari (2022); Vehtari, Simpson, Gelman, Yao & Gabry (2024)
    for the weights; Cappé, Douc, Guillin, Marin & Robert (2008) for the shares.
    """

    paths: int = 8
    draws: int = 4000
    elbo_draws: int = 32

    def __post_init__(self) -> None:
        at_least(1, paths=self.paths)
        at_least(100, draws=self.draws)
        at_least(2, elbo_draws=self.elbo_draws)

    @property
    def follows_gradients(self) -> bool:
        """It climbs along them."""
        return True

    def plan(self, program: Program, layout: Layout) -> Plan:
        """A lane for each path, one step each."""
        require_smooth(program, layout, "Pathfinder")
        return Plan(lanes=self.paths, chunk=1)

    def init(self, key: Key, program: Program) -> Path:
        """A path not walked yet."""
        x = program.start(key, program.data)
        blank = jnp.zeros((len(x), len(x)), x.dtype)
        return Path(x, blank, jnp.asarray(-jnp.inf, x.dtype), jnp.zeros((), int))

    def step(self, key: Key, program: Program, state: Path) -> tuple[Path, Array]:
        """The whole path."""
        from probinf.kernels.blackjax import pathfinder

        first, second = jax.random.split(key)

        def attempt(key: Key, tries: Any) -> tuple[Any, Any]:
            x = scattered(program, key, tries)
            return _Start(x, *jax.value_and_grad(lambda x: log_density(program, x))(x)), x

        start, found = found_start(attempt, first)
        fitted, _ = pathfinder().approximate(
            second,
            lambda x: log_density(program, x),
            start,
            self.elbo_draws,
            maxiter=_STEPS,
            maxls=_LINE_SEARCH,
        )
        alpha, beta, gamma = fitted.alpha, fitted.beta, fitted.gamma
        covariance = jnp.diag(alpha) + beta @ gamma @ beta.T
        mean = fitted.position - covariance @ fitted.grad_position
        covariance = 0.5 * (covariance + covariance.T)
        fine = found & jnp.isfinite(fitted.elbo)
        fine &= jnp.isfinite(mean).all() & jnp.isfinite(covariance).all()
        elbo = jnp.where(fine, fitted.elbo, -jnp.inf).astype(state.elbo.dtype)
        dtype = state.mean.dtype
        moved = Path(mean.astype(dtype), covariance.astype(dtype), elbo, state.walked + 1)
        return moved, elbo

    def done(self, state: Path) -> Bool[Array, ""]:
        """Walked."""
        return state.walked >= 1

    def status(self, states: Path) -> Status:
        """Paths walked."""
        return Status(float(states.walked.mean()), "climbing")

    def finish(self, run: Run) -> Posterior:
        """Weighted draws of the mixture.

        Raises:
            ZeroLikelihoodError: no path arrived at a normal law.
        """
        states: Path = run.states
        parts = [_component(states, k) for k in range(self.paths)]
        usable = [part for part in parts if part is not None]
        if not usable:
            raise zero_likelihood(
                run.flat,
                run.layout,
                f"Pathfinder: none of {self.paths} paths, each with {START_TRIES} tries for a "
                "start, met a normal law with a finite evidence lower bound",
            )
        equal = jnp.full((len(usable),), -np.log(len(usable)))
        means, factors = (jnp.asarray(np.stack(v)) for v in zip(*usable, strict=True))
        law = as_law(NormalMixture(equal, means, factors), run.layout)
        key = end_key(run)
        law = law._replace(log_shares=_shares(run, law, jax.random.fold_in(key, 1)))
        seen = compared(run, law, key, self.draws - round(SHARE * self.draws))
        told = {
            "paths": [float(v) for v in np.asarray(states.elbo)],
            "shares": [float(v) for v in np.exp(np.asarray(law.log_shares))],
        }
        return approximate(run, law, seen, smoothed=True, told=told)


def _component(states: Path, k: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and Cholesky factor of a path's law; None where it has none."""
    if not np.isfinite(np.asarray(states.elbo)[k]):
        return None
    covariance = np.asarray(states.covariance[k], float)
    covariance = covariance + _JITTER * np.diag(np.diag(covariance))
    try:
        return np.asarray(states.mean[k], float), np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return None


def _shares(run: Run, law: NormalMixture, key: Key) -> Array:
    """Shares of the paths by a pilot sample's weights, none of them too small."""
    pilot = compared(run, law, key, _PILOT)
    w = np.exp(psis(pilot.log_ratio)[0])
    parts = np.asarray(jax.vmap(law.parts)(jnp.asarray(pilot.rows)), float)
    owned = np.exp(parts - pilot.log_q[:, None])
    shares = np.nan_to_num(w @ owned) + _LEAST_SHARE
    return jnp.log(jnp.asarray(shares / shares.sum(), law.log_shares.dtype))
