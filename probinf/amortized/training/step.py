"""Steps of a training, compiled: clipped gradients, Adam or another optimizer, an average."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from probinf.amortized.nets.fixed import trainable
from probinf.core.program import Key

Loss = Callable[[Any, Any, Key], Float[Array, ""]]
"""``(model, data, key) -> scalar``: a module-level function, frozen dataclass or Equinox module,
compared by value, so that a second training of the same structure does not compile again."""

LONGEST = 2000
"""Most steps of one call of ``advance``."""

_MEMORY = 500.0  # steps that the average of a network reaches back
_ADAM = optax.scale_by_adam()


class Settings(NamedTuple):
    """The dynamic numbers of a training: the schedule and the gradient clip."""

    steps: Float[Array, ""]
    learning_rate: Float[Array, ""]
    warmup: Float[Array, ""]
    clip: Float[Array, ""]


class Problem(NamedTuple):
    """What every step sees; without an optimizer it is Adam with the schedule."""

    loss: Loss
    optimizer: optax.GradientTransformation | None
    data: PyTree
    key: Key
    settings: Settings


class State(NamedTuple):
    """Between two steps: networks, the optimizer's state, steps taken, steps left out.

    ``average`` is exponential over the networks of the last steps; None without a validation.
    """

    model: Any
    average: Any
    optimizer: Any
    taken: Int[Array, ""]
    lost: Int[Array, ""]


def schedule(step: Int[Array, ""], settings: Settings) -> Float[Array, ""]:
    """Linear warm-up over a share of the steps, then a cosine to zero at the last one."""
    warm = jnp.maximum(settings.warmup * settings.steps, 1.0)
    done = (step - warm) / jnp.maximum(settings.steps - warm, 1.0)
    cosine = 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(done, 0.0, 1.0)))
    return settings.learning_rate * jnp.where(step < warm, (step + 1) / warm, cosine)


@eqx.filter_jit
def start(model: Any, optimizer: optax.GradientTransformation | None, averaged: bool) -> State:
    """Before the first step; ``averaged`` where a validation will look at an average."""
    zero = jnp.zeros((), int)
    chosen = _ADAM if optimizer is None else optimizer
    inner = chosen.init(eqx.filter(model, trainable(model)))
    return State(model, model if averaged else None, inner, zero, zero)


@eqx.filter_jit
def advance(
    problem: Problem, state: State, limit: Int[Array, ""]
) -> tuple[State, Float[Array, " length"]]:
    """``limit`` steps; step ``i`` uses ``fold_in(key, i)``, so chunks change nothing.

    Returns:
        The state, and the losses: the first ``limit`` of them count, NaN where one was left out.
    """
    loss, optimizer, data, key, settings = problem
    params, static = eqx.partition(state.model, trainable(state.model))
    averaged = state.average is not None
    average = eqx.filter(state.average, trainable(state.average)) if averaged else None
    first = state.taken

    def value(params: PyTree, key: Key) -> Float[Array, ""]:
        return loss(eqx.combine(params, static), data, key)

    def step(i: Int[Array, ""], carry: Any) -> Any:
        params, average, inner, lost, losses = carry
        now, gradient = jax.value_and_grad(value)(params, jax.random.fold_in(key, i))
        norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient)))
        scale = jnp.minimum(1.0, settings.clip / jnp.maximum(norm, 1e-30))
        gradient = jax.tree.map(lambda g: (g * scale).astype(g.dtype), gradient)
        if optimizer is None:
            updates, moved = _ADAM.update(gradient, inner, params)
            rate = -schedule(i, settings)
            updates = jax.tree.map(lambda u: (rate * u).astype(u.dtype), updates)
        else:
            updates, moved = optimizer.update(gradient, inner, params)
        finite = jnp.isfinite(now) & jnp.isfinite(norm)
        params, inner = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (optax.apply_updates(params, updates), moved),
            (params, inner),
        )
        losses = losses.at[i - first].set(jnp.where(finite, now, jnp.nan))
        if averaged:
            # the share of a step is larger at first, so that the start is soon forgotten
            share = jnp.maximum(1 / _MEMORY, 9 / (i + 10))
            average = jax.tree.map(
                lambda a, p: (a + share * (p - a)).astype(a.dtype), average, params
            )
        return params, average, inner, lost + ~finite, losses

    carry = (params, average, state.optimizer, state.lost, jnp.full(LONGEST, jnp.nan))
    params, average, inner, lost, losses = jax.lax.fori_loop(first, first + limit, step, carry)
    mean = eqx.combine(average, static) if averaged else None
    return State(eqx.combine(params, static), mean, inner, first + limit, lost), losses
