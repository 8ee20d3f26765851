"""train: the one loop that fits every network of this package, on fresh draws or on data."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from probinf.amortized.training.checkpoint import TrainingCheckpoint
from probinf.amortized.training.history import History
from probinf.amortized.training.options import Options, Training, settled
from probinf.amortized.training.step import LONGEST, Loss, Problem, Settings, State, advance, start
from probinf.core.keys import as_key
from probinf.core.program import Key
from probinf.errors import TrainingError, TrainingWarning
from probinf.runtime.pace import Pace
from probinf.runtime.progress import Bar, Status

_LOST_SHARE = 0.01


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


def train(
    model: Any,
    loss: Loss,
    *,
    key: int | Key,
    data: PyTree = None,
    validation: Loss | None = None,
    training: Training | None = None,
    **options: Unpack[Options],
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
        data: arrays for ``loss`` and ``validation``; dynamic, never compiled in.
        validation: ``(model, data, key) -> scalar``, called with one fixed key before the first
            step and every ``chunk`` steps, on an average of the network over about the last 500
            of them; the average with the smallest value is returned.
        training: the options; ``steps`` must be among them.
        **options: fields of :class:`Training`, each here or there.

    Raises:
        TrainingError: the loss is not a scalar, too many losses are not finite, or options
            are missing, given twice, or contradict each other.
        SavedFileError: the checkpoint belongs to another training, was truncated or edited.
    """
    key = as_key(key)
    chosen = settled("train", {}, training, options)
    steps, patience, clip = chosen["steps"], chosen["patience"], chosen["clip"]
    if patience is not None and validation is None:
        raise TrainingError(f"train: patience={patience} needs a validation loss.")
    _check_scalar("loss", loss, model, data, key)
    if validation is not None:
        _check_scalar("validation", validation, model, data, key)
    chunk = chosen["chunk"] or max(1, steps // 50)
    numbers = steps, chosen["learning_rate"], chosen["warmup"], np.inf if clip is None else clip
    settings = Settings(*(jnp.asarray(v, float) for v in numbers))
    problem = Problem(loss, chosen["optimizer"], data, key, settings)
    history = History([], [], None)
    began, before = time.perf_counter(), 0.0
    state = start(model, chosen["optimizer"], validation is not None)
    store = None
    if chosen["checkpoint"] is not None:
        facts = settings._asdict() | {"chunk": chunk}
        store = TrainingCheckpoint(chosen["checkpoint"], (model, data), key, facts)
        state, history, before = store.load(state, history)

    fixed = jax.random.fold_in(key, steps)

    def validated(history: History, state: State) -> History:
        if validation is None:
            return history
        value = float(_evaluate(validation, state.average, data, fixed))
        return history.with_validation(int(state.taken), value, state.average)

    def elapsed() -> float:
        return before + time.perf_counter() - began

    with Bar("training", chosen["progress"]) as bar:
        bar.show(Status(0.0, "compiling"))
        pace = Pace(1, LONGEST)
        try:
            if not history.validations:
                history = validated(history, state)
            while int(state.taken) < steps and not history.out_of_patience(patience):
                end = min(steps, (int(state.taken) // chunk + 1) * chunk)
                state, losses = _until(end, problem, state, pace, bar.show)
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


def _until(
    end: int, problem: Problem, state: State, pace: Pace, show: Callable[[Status], None]
) -> tuple[State, np.ndarray]:
    """Steps up to this one, looked at about once a second."""
    taken, pieces = int(state.taken), []
    while taken < end:
        count = min(pace.limit, end - taken)
        began = time.perf_counter()
        state, losses = jax.block_until_ready(advance(problem, state, jnp.asarray(count)))
        pace.took(count, time.perf_counter() - began)
        pieces.append(np.asarray(losses)[:count])
        taken += count
        _refuse_lost(int(state.lost), taken)
        finite = pieces[-1][np.isfinite(pieces[-1])]
        text = f"loss {finite.mean():.4g}" if finite.size else "loss not finite"
        show(Status(taken / float(problem.settings.steps), text))
    return state, np.concatenate(pieces)


@eqx.filter_jit
def _evaluate(loss: Loss, model: Any, data: PyTree, key: Key) -> Float[Array, ""]:
    return loss(model, data, key)


def _refuse_lost(lost: int, taken: int, final: bool = False) -> None:
    if lost > _LOST_SHARE * taken and (final or taken >= 100):
        raise TrainingError(
            f"train: loss or gradient was NaN or infinite in {lost} of the first {taken} steps. "
            "Check the simulator and prior for NaN and extreme draws, or lower learning_rate "
            "or clip."
        )


def _check_scalar(name: str, loss: Loss, model: Any, data: PyTree, key: Key) -> None:
    found = eqx.filter_eval_shape(loss, model, data, key)
    if getattr(found, "shape", None) != () or not jnp.issubdtype(found.dtype, jnp.floating):
        raise TrainingError(f"train: {name} must return one real number, got {found}.")
