"""The pure core: solve ``g + M c = 0`` and take its moments, inside jit, vmap and grad.

Use it for simulation studies; `probinf.ppi.estimate` and its relatives wrap it with checks.
Double precision is needed: call it under ``jax.enable_x64(True)``.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from probinf.ppi.inference.losses.linear import Linear
from probinf.ppi.inference.losses.model import Model, Rows
from probinf.ppi.inference.moments import (
    Array,
    Parts,
    Tune,
    Unlabeled,
    covariance,
    over_blocks,
    parts,
    spread,
    tuned,
)


class Data(NamedTuple):
    """Rows and the weights that make them a design.

    Attributes:
        labeled: rows with true values.
        proxied: per predictor, the labelled rows with predictions put in.
        unlabeled: per predictor, the unlabelled rows with predictions put in.
        alpha: (n,) weights of labelled scores, summing to one.
        gamma: (n,) weights of labelled rows in the control; equal to alpha for a random sample.
        beta: (N,) weights of unlabelled rows in the control.

    Rows of weight zero are padding.
    """

    labeled: Rows
    proxied: tuple[Rows, ...]
    unlabeled: tuple[Rows, ...]
    alpha: Array
    gamma: Array
    beta: Array


class Solution(NamedTuple):
    """A root (d,), whether it is one, and the Newton steps that were taken.

    ``runaway``: the equation is met only because it flattens out, as if the root were infinite
    (separated classes); another Newton step would go on by as much as the last one.
    """

    theta: jax.Array
    converged: jax.Array
    steps: jax.Array
    runaway: jax.Array


class _Search(NamedTuple):
    theta: jax.Array
    move: jax.Array
    scale: jax.Array
    value: jax.Array
    size: jax.Array
    first: jax.Array
    units: jax.Array
    curved: jax.Array
    steps: jax.Array
    found: jax.Array
    stuck: jax.Array


class Fit(NamedTuple):
    """What `fit` returns: estimate (d,), covariances of labelled and unlabelled rows, tuning."""

    theta: jax.Array
    mine: jax.Array
    theirs: jax.Array
    M: jax.Array
    converged: jax.Array

    @property
    def covariance(self) -> jax.Array:
        """(d, d) covariance of the estimate."""
        return self.mine + self.theirs


def mean_data(y: jax.Array, f: jax.Array, fu: jax.Array) -> Data:
    """`Data` of a mean, for `fit` with ``Linear(Gaussian())``."""

    def rows(column: jax.Array) -> Rows:
        return {"x": jnp.ones((column.shape[0], 1)), "y": column}

    n, total = y.shape[0], fu.shape[0]
    alpha = jnp.full(n, 1 / n)
    return Data(rows(y), (rows(f),), (rows(fu),), alpha, alpha, jnp.full(total, 1 / total))


def _predicted(
    model: Model, theta: jax.Array, proxies: tuple[Rows, ...], weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Weighted scores (q,) of rows under all predictors, and their derivative (q, d)."""
    found = [model.linearised(theta, rows, weights) for rows in proxies]
    return jnp.concatenate([s for s, _ in found]), jnp.concatenate([J for _, J in found])


@partial(jax.jit, static_argnames=("model", "controls", "steps"))
def solve(
    model: Model,
    data: Data,
    M: jax.Array,
    init: jax.Array,
    *,
    controls: bool = True,
    steps: int = 60,
) -> Solution:
    """Damped Newton on ``g + M c``, until it is 1e-10 of the score's standard error.

    The last step is not looked at where quadratic convergence makes it ten times closer than that.

    Labelled-only fits of a loss descend on the loss along the curvature's absolute value, so that
    they end in a minimum; equations with controls, which are no gradients of a convex loss,
    reduce the norm of the equation from a start that is close.

    Args:
        model: the scores.
        data: the rows.
        M: (d, q) tuning matrix.
        init: (d,) where to start.
        controls: False solves ``g = 0`` without touching the unlabelled rows.
        steps: Newton steps at most.
    """
    descend = not controls and model.has_loss

    # One evaluation per turn, of all that is needed: little to compile.
    def evaluate(theta: jax.Array) -> tuple[jax.Array, ...]:
        F, J = model.linearised(theta, data.labeled, data.alpha)
        noise = jnp.sqrt((data.alpha**2) @ model.scores(theta, data.labeled) ** 2)
        if controls:
            plus, jac_plus = _predicted(model, theta, data.unlabeled, data.beta)
            minus, jac_minus = _predicted(model, theta, data.proxied, data.gamma)
            F, J = F + M @ (plus - minus), J + M @ (jac_plus - jac_minus)
        value = model.value(theta, data.labeled, data.alpha) if descend else jnp.sum(F * 0)
        return value, F, J, noise

    def direction(F: jax.Array, J: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Where to move, and whether the curvature is that of a minimum."""
        if descend:
            scale = jnp.sqrt(jnp.abs(jnp.diagonal(J)))
            scale = jnp.where(scale > 0, scale, 1.0)
            values, vectors = jnp.linalg.eigh(J / jnp.outer(scale, scale))
            size = jnp.maximum(jnp.abs(values), 1e-12)
            return -(vectors @ ((vectors.T @ (F / scale)) / size)) / scale, jnp.all(values > 0)
        move = jnp.linalg.solve(J, -F)
        slope = -J.T @ F / jnp.maximum(jnp.sum(J**2), 1e-300)
        return jnp.where(jnp.all(jnp.isfinite(move)), move, slope), jnp.ones((), bool)

    def turn(state: _Search) -> _Search:
        trial = state.theta + state.scale * state.move
        value, F, J, noise = evaluate(trial)
        size = jnp.linalg.norm(F)
        better = size < state.size
        if descend:  # close to the minimum rounding hides the descent, but not the gradient's
            level = jnp.abs(value - state.value) <= 1e-11 * (1 + jnp.abs(value))
            better = jnp.where(level, better, value < state.value)
        move, minimum = direction(F, J)
        first = jnp.where(jnp.isinf(state.first), size, state.first)
        curved = jnp.sqrt(jnp.abs(jnp.diagonal(J)))  # per parameter, at the start
        units = jnp.where(jnp.isinf(state.first), curved, state.units)
        # Newton's error falls by the square of what it fell by last: a step that must arrive, by a
        # margin, is taken without another pass over the rows to see it.
        fell = size / state.size
        sure = better & jnp.isfinite(state.size) & (fell <= 1e-2) & (not descend)
        sure &= jnp.all(jnp.abs(F) * fell**2 <= 1e-11 * noise)
        trial, move = trial + jnp.where(sure, move, 0.0), jnp.where(sure, move * fell**2, move)
        smallest = (state.scale < 1e-12) & ~better
        nil = jnp.max(units * jnp.abs(state.move)) <= 1e-12 * jnp.max(units * jnp.abs(state.theta))
        exact = smallest & (
            (state.size <= 1e-12 * state.first) | nil
        )  # rounding is all that is left
        return _Search(
            theta=jnp.where(better, trial, state.theta),
            move=jnp.where(better, move, state.move),
            scale=jnp.where(better, 1.0, state.scale / 2),
            value=jnp.where(better, value, state.value),
            size=jnp.where(better, size, state.size),
            first=first,
            units=units,
            curved=jnp.where(better, curved, state.curved),
            steps=state.steps + better,
            found=(better & minimum & jnp.all(jnp.abs(F) <= 1e-10 * noise)) | sure | exact,
            stuck=smallest | ~jnp.isfinite(first),
        )

    def unfinished(state: _Search) -> jax.Array:
        return ~state.found & ~state.stuck & (state.steps < steps)

    start = jnp.asarray(init, data.alpha.dtype)
    no, inf = jnp.zeros((), bool), jnp.full((), jnp.inf, start.dtype)
    one = jnp.ones((), start.dtype)
    nothing = jnp.zeros_like(start)
    state = _Search(
        start, nothing, one, inf, inf, inf, nothing, nothing, jnp.zeros((), int), no, no
    )
    state = jax.lax.while_loop(unfinished, turn, state)
    # At a root the next step is nil beside the parameters, and there is curvature. Where the
    # equation only flattens out, steps go on, or the curvature is lost far from the start.
    far, near = (jnp.max(state.units * jnp.abs(t)) for t in (state.theta, start))
    steps_on = jnp.any(state.units * jnp.abs(state.move) > 1e-5 * jnp.maximum(far, near))
    flat = jnp.any(state.curved < 1e-6 * state.units) & (far > near)
    runaway = (state.found & steps_on) | flat
    return Solution(state.theta, state.found & ~runaway, state.steps, runaway)


@partial(jax.jit, static_argnames=("model",))
def labeled_scores(model: Model, data: Data, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scores (n, d) of labelled rows and the derivative (d, d) of their weighted sum."""
    return model.scores(theta, data.labeled), model.linearised(theta, data.labeled, data.alpha)[1]


@partial(jax.jit, static_argnames=("model",))
def labeled_rows(
    model: Model, data: Data, theta: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Labelled scores (n, d), the same under predictions (n, q), weighted derivatives (n, d, d)."""

    def pull(row: Rows, weight: jax.Array) -> jax.Array:
        one = jax.tree.map(lambda a: a[None], row)
        return model.linearised(theta, one, weight[None])[1]

    g = model.scores(theta, data.labeled)
    h = _scores(model, theta, data.proxied) if data.proxied else g[:, :0]
    return g, h, jax.vmap(pull)(data.labeled, data.alpha)


@partial(jax.jit, static_argnames=("model",))
def score_rows(
    model: Model, data: Data, theta: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Scores of labelled rows (n, d), and under predictions (n, q) and (N, q)."""
    h, u = _scores(model, theta, data.proxied), _scores(model, theta, data.unlabeled)
    return model.scores(theta, data.labeled), h, u


def _scores(model: Model, theta: jax.Array, proxies: tuple[Rows, ...]) -> jax.Array:
    return jnp.concatenate([model.scores(theta, rows) for rows in proxies], axis=1)


def _unlabeled(
    model: Model, data: Data, theta: jax.Array, *, joint: bool
) -> tuple[Unlabeled, jax.Array]:
    """Moments of the unlabelled scores, and the derivative (q, d) of their weighted sum."""
    if isinstance(model, Linear) and len(data.unlabeled) == 1:
        found = model.totals(theta, data.unlabeled[0], data.beta)
        wide = found.raw if joint else found.centred(data.beta @ data.beta)
        return Unlabeled(found.mean, wide), found.jac
    plus, jac_plus = _predicted(model, theta, data.unlabeled, data.beta)

    def outer(rows: tuple[Rows, ...], weights: jax.Array) -> jax.Array:
        return spread(_scores(model, theta, rows), weights, None if joint else plus)

    return Unlabeled(plus, over_blocks(outer, data.unlabeled, data.beta)), jac_plus


@partial(jax.jit, static_argnames=("model", "joint"))
def moments(model: Model, data: Data, theta: jax.Array, *, joint: bool = False) -> Parts:
    """`Parts` of independent rows at ``theta``."""
    theirs, jac_plus = _unlabeled(model, data, theta, joint=joint)
    _, jac_minus = _predicted(model, theta, data.proxied, data.gamma)
    g, jac_g = labeled_scores(model, data, theta)
    h = _scores(model, theta, data.proxied)
    return parts(
        g, h, theirs, data.alpha, data.gamma, data.beta, jac_g, jac_plus - jac_minus, joint=joint
    )


@partial(jax.jit, static_argnames=("model", "tune", "clip", "joint"))
def fit(
    model: Model,
    data: Data,
    init: jax.Array,
    *,
    tune: Tune = "trace",
    clip: bool = True,
    joint: bool = False,
) -> Fit:
    """Estimate, tuned at the labelled-only fit, with its covariance.

    Args:
        model: for example ``Linear(Binomial())``.
        data: rows and weights.
        init: (d,) start of the labelled-only fit.
        tune: as in `probinf.ppi.estimate`.
        clip: keep scalar tuning within [0, 1].
        joint: the design has known labelling probabilities.

    Small-sample factors: rows / (rows - parameters - 1 if tuned).

    Source: PPI++ (arXiv 2311.01453), algorithm 1.
    """
    d = init.shape[0]
    first = solve(model, data, jnp.zeros((d, d)), init, controls=False)
    M = tuned(moments(model, data, first.theta, joint=joint), tune, clip=clip)
    root = solve(model, data, M, first.theta)
    n, total = (data.alpha > 0).sum(), (data.beta > 0).sum()
    spent = d + (tune is not None and not isinstance(tune, float))
    found = moments(model, data, root.theta, joint=joint)
    mine, theirs = covariance(found, M, n / (n - spent), total / (total - 1))
    return Fit(root.theta, mine, theirs, M, first.converged & root.converged)
