"""train: the one loop that fits every network of this package, on fresh draws or on data."""

from __future__ import annotations

import pathlib
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from probinf.amortized.training.store import Store
from probinf.core.keys import as_key
from probinf.core.program import Key
from probinf.errors import TrainingError, TrainingWarning
from probinf.runtime.progress import Bar, Status

Loss = Callable[[Any, Any, Key], Float[Array, ""]]
"""``(model, data, key) -> scalar``: a module-level function, frozen dataclass or Equinox module,
compared by value, so that a second training of the same structure does not compile again."""

_TARGET_SECONDS = 1.0
_LONGEST = 2000
_LOST_SHARE = 0.01
_MEMORY = 500.0  # steps that the average of a network reaches back
_ADAM = optax.scale_by_adam()


class Fixed(eqx.Module):
    """A part of a network that no training moves, whatever the optimizer does (weight decay)."""


def trainable(model: Any) -> Any:
    """Where a network holds floating-point arrays that are not in a fixed part of it."""
    return jax.tree.map(
        lambda part: not isinstance(part, Fixed) and eqx.is_inexact_array(part),
        model,
        is_leaf=lambda part: isinstance(part, Fixed),
    )


class Trained(NamedTuple):
    """What a training leaves.

    Attributes:
        model: the network after the last step, or, where a validation loss was given, the one
            whose validation loss was smallest: the network before training, or an average over
            about the last 500 steps.
        losses: training loss of every step; NaN where the step was left out.
        validation_losses: one row ``(step, loss)`` per validation; empty without one.
        steps: steps taken; fewer than asked for when training stopped early.
        lost: steps left out because loss or gradient was not finite.
        seconds: running time, compilation and earlier parts of a resumed run included.
    """

    model: Any
    losses: np.ndarray
    validation_losses: np.ndarray
    steps: int
    lost: int
    seconds: float


class Settings(NamedTuple):
    """The dynamic numbers of a training: the schedule and the gradient clip."""

    steps: Float[Array, ""]
    learning_rate: Float[Array, ""]
    warmup: Float[Array, ""]
    clip: Float[Array, ""]


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
def _start(model: Any, optimizer: optax.GradientTransformation | None, averaged: bool) -> State:
    zero = jnp.zeros((), int)
    chosen = _ADAM if optimizer is None else optimizer
    inner = chosen.init(eqx.filter(model, trainable(model)))
    return State(model, model if averaged else None, inner, zero, zero)


@eqx.filter_jit
def _advance(
    loss: Loss,
    optimizer: optax.GradientTransformation | None,
    state: State,
    data: PyTree,
    key: Key,
    settings: Settings,
    limit: Int[Array, ""],
) -> tuple[State, Float[Array, " length"]]:
    """Up to ``limit`` steps; step ``i`` uses ``fold_in(key, i)``, so chunks change nothing."""
    params, static = eqx.partition(state.model, trainable(state.model))
    averaged = state.average is not None
    average = eqx.filter(state.average, trainable(state.average)) if averaged else None
    start = state.taken

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
        losses = losses.at[i - start].set(jnp.where(finite, now, jnp.nan))
        if averaged:
            # the share of a step is larger at first, so that the start is soon forgotten
            share = jnp.maximum(1 / _MEMORY, 9 / (i + 10))
            average = jax.tree.map(
                lambda a, p: (a + share * (p - a)).astype(a.dtype), average, params
            )
        return params, average, inner, lost + ~finite, losses

    carry = (params, average, state.optimizer, state.lost, jnp.full(_LONGEST, jnp.nan))
    params, average, inner, lost, losses = jax.lax.fori_loop(start, start + limit, step, carry)
    mean = eqx.combine(average, static) if averaged else None
    return State(eqx.combine(params, static), mean, inner, start + limit, lost), losses


@eqx.filter_jit
def _evaluate(loss: Loss, model: Any, data: PyTree, key: Key) -> Float[Array, ""]:
    return loss(model, data, key)


def train(
    model: Any,
    loss: Loss,
    *,
    key: int | Key,
    steps: int,
    data: PyTree = None,
    learning_rate: float = 1e-3,
    warmup: float = 0.05,
    clip: float | None = 1.0,
    optimizer: optax.GradientTransformation | None = None,
    validation: Loss | None = None,
    patience: int | None = None,
    chunk: int | None = None,
    checkpoint: str | pathlib.Path | None = None,
    progress: bool = True,
) -> Trained:
    """Minimise an expected loss by stochastic gradients; the result depends on the key alone.

    Adam with linear warm-up, a cosine to zero and a clipped global gradient norm; parts of the
    network that are :class:`Fixed` stay as they are. A step whose loss or gradient is not finite
    leaves the network as it was and is counted; past 1 % of the steps training is refused. Ctrl-C
    ends it after the current chunk and returns what exists.

    Args:
        model: an Equinox module (any pytree); its floating-point arrays are trained.
        loss: ``(model, data, key) -> scalar``; fresh draws are made inside, from ``key``.
        key: a JAX random key, or an integer seed.
        steps: number of gradient steps.
        data: arrays for ``loss`` and ``validation``; dynamic, never compiled in.
        learning_rate: the largest one, reached at the end of the warm-up.
        warmup: share of the steps over which the rate grows.
        clip: largest global norm of the gradient; None leaves it alone.
        optimizer: an optax transformation in place of Adam and the schedule (the clip stays).
        validation: ``(model, data, key) -> scalar``, called with one fixed key before the first
            step and every ``chunk`` steps, on an average of the network over about the last 500
            of them; the average with the smallest value is returned.
        patience: stop after so many validations without a smaller value.
        chunk: steps between validations and between checkpoints; a 50th of ``steps`` by default.
        checkpoint: a folder to which every chunk is written; the same call with the same folder
            continues an interrupted training bit for bit.
        progress: show a progress bar with the loss in a terminal.

    Raises:
        TrainingError: the loss is not a scalar, too many losses are not finite, or options
            contradict each other.
        SavedFileError: the checkpoint belongs to another training, was truncated or edited.
    """
    key = as_key(key)
    _check(steps, learning_rate, warmup, clip, validation, patience, chunk)
    _check_scalar("loss", loss, model, data, key)
    if validation is not None:
        _check_scalar("validation", validation, model, data, key)
    chunk = max(1, steps // 50) if chunk is None else chunk
    clip = np.inf if clip is None else clip
    settings = Settings(*(jnp.asarray(v, float) for v in (steps, learning_rate, warmup, clip)))
    history = History([], [], None)
    began, before = time.perf_counter(), 0.0
    state = _start(model, optimizer, validation is not None)
    store = None
    if checkpoint is not None:
        store = Store(checkpoint, (model, data), key, settings._asdict() | {"chunk": chunk})
        state, history, before = store.load(state, history)

    fixed = jax.random.fold_in(key, steps)

    def validated(history: History, state: State) -> History:
        if validation is None:
            return history
        value = float(_evaluate(validation, state.average, data, fixed))
        return history.with_validation(int(state.taken), value, state.average)

    def elapsed() -> float:
        return before + time.perf_counter() - began

    with Bar("training", progress) as bar:
        bar.show(Status(0.0, "compiling"))
        try:
            if not history.validations:
                history = validated(history, state)
            while int(state.taken) < steps and not _out_of_patience(history, patience):
                state, losses = _chunk(
                    loss, optimizer, state, data, key, settings, chunk, bar, steps
                )
                history.losses.append(losses)
                history = validated(history, state)
                if store is not None:
                    store.save(state, history, elapsed())
        except KeyboardInterrupt:
            warnings.warn(
                f"train: interrupted after {int(state.taken)} of {steps} steps; the network as it "
                "was then is returned.",
                TrainingWarning,
                stacklevel=2,
            )
    lost = int(state.lost)
    _refuse_lost(lost, int(state.taken), final=True)
    if lost:
        warnings.warn(
            f"train: {lost} of {int(state.taken)} steps had a loss or gradient that was not "
            "finite and were left out. Look for extreme draws in the simulator or prior.",
            TrainingWarning,
            stacklevel=2,
        )
    losses = np.concatenate(history.losses) if history.losses else np.zeros(0)
    validations = np.asarray(history.validations, float).reshape(-1, 2)
    best = state.model if history.best is None else history.best
    return Trained(best, losses, validations, int(state.taken), lost, elapsed())


class History(NamedTuple):
    """What a training remembers on the host: losses by chunk, validations, the best network."""

    losses: list[np.ndarray]
    validations: list[tuple[int, float]]
    best: Any

    def with_validation(self, step: int, value: float, model: Any) -> History:
        """One more validation; its network is kept when no earlier one was better.

        Raises:
            TrainingError: the validation loss is not finite.
        """
        if not np.isfinite(value):
            raise TrainingError(
                f"train: the validation loss is {value} after {step} steps. Check the validation "
                "data for NaN, or lower learning_rate."
            )
        earlier = min((v for _, v in self.validations), default=np.inf)
        best = model if value < earlier else self.best
        return History(self.losses, [*self.validations, (step, value)], best)


def _out_of_patience(history: History, patience: int | None) -> bool:
    if patience is None or not history.validations:
        return False
    values = [value for _, value in history.validations]
    return len(values) - 1 - int(np.argmin(values)) >= patience


def _chunk(
    loss: Loss,
    optimizer: optax.GradientTransformation | None,
    state: State,
    data: PyTree,
    key: Key,
    settings: Settings,
    chunk: int,
    bar: Bar,
    steps: int,
) -> tuple[State, np.ndarray]:
    """Steps up to the next multiple of ``chunk``, looked at about once a second."""
    taken = int(state.taken)
    end = min(steps, (taken // chunk + 1) * chunk)
    pieces, limit = [], 1
    while taken < end:
        limit = min(limit, end - taken, _LONGEST)
        began = time.perf_counter()
        state, losses = jax.block_until_ready(
            _advance(loss, optimizer, state, data, key, settings, jnp.asarray(limit))
        )
        pace = limit / max(time.perf_counter() - began, 1e-6)
        pieces.append(np.asarray(losses)[:limit])
        taken += limit
        limit = max(1, min(10 * limit, int(pace * _TARGET_SECONDS)))
        _refuse_lost(int(state.lost), taken)
        finite = pieces[-1][np.isfinite(pieces[-1])]
        text = f"loss {finite.mean():.4g}" if finite.size else "loss not finite"
        bar.show(Status(taken / steps, text))
    return state, np.concatenate(pieces)


def _refuse_lost(lost: int, taken: int, final: bool = False) -> None:
    if lost > _LOST_SHARE * taken and (final or taken >= 100):
        raise TrainingError(
            f"train: loss or gradient was NaN or infinite in {lost} of the first {taken} steps. "
            "Check the simulator and prior for NaN and extreme draws, or lower learning_rate "
            "or clip."
        )


def _check(
    steps: int,
    learning_rate: float,
    warmup: float,
    clip: float | None,
    validation: Loss | None,
    patience: int | None,
    chunk: int | None,
) -> None:
    if steps < 1:
        raise TrainingError(f"train: steps must be at least 1, got {steps}.")
    if not (np.isfinite(learning_rate) and learning_rate > 0):
        raise TrainingError(f"train: learning_rate must be positive, got {learning_rate}.")
    if not 0 <= warmup < 1:
        raise TrainingError(f"train: warmup is a share in [0, 1) of the steps, got {warmup}.")
    if clip is not None and not clip > 0:
        raise TrainingError(f"train: clip must be positive or None, got {clip}.")
    if patience is not None and (validation is None or patience < 1):
        raise TrainingError(
            f"train: patience={patience} needs a validation loss and must be at least 1."
        )
    if chunk is not None and chunk < 1:
        raise TrainingError(f"train: chunk must be at least 1, got {chunk}.")


def _check_scalar(name: str, loss: Loss, model: Any, data: PyTree, key: Key) -> None:
    found = eqx.filter_eval_shape(loss, model, data, key)
    if getattr(found, "shape", None) != () or not jnp.issubdtype(found.dtype, jnp.floating):
        raise TrainingError(f"train: {name} must return one real number, got {found}.")
