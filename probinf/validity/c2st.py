"""C2ST: can a classifier tell two samples apart?"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from probinf.core.keys import as_key
from probinf.core.program import Key
from probinf.errors import ArrayError, MethodError
from probinf.results.posterior import Posterior

_BATCH = 200
_PENALTY = 1e-4
_TOLERANCE = 1e-4
_PATIENCE = 10
_EPOCHS = 10_000
_ADAM = optax.adam(1e-3)


@dataclasses.dataclass(frozen=True)
class C2stResult:
    """Accuracy of a classifier between two samples: 0.5 when it cannot tell them apart, at most 1.

    Attributes:
        accuracy: on held-out rows, averaged over the folds.
        folds: (folds,) accuracy of each.
        size: rows per sample.
    """

    accuracy: float
    folds: np.ndarray
    size: int

    @property
    def error(self) -> float:
        """Standard error of the accuracy for fixed classifiers, ``sqrt(a (1 - a) / 2 n)``."""
        return float(np.sqrt(self.accuracy * (1 - self.accuracy) / (2 * self.size)))

    def __float__(self) -> float:
        return self.accuracy

    def __str__(self) -> str:
        return f"C2ST {self.accuracy:.3f} ± {self.error:.3f} ({self.size} rows per sample)"

    __repr__ = __str__

    def summary(self) -> str:
        """The verdict, for reading."""
        return str(self)


class _Training(NamedTuple):
    weights: Any
    optimizer: Any
    epoch: Any
    best: Any
    waited: Any


def _forward(weights: Any, x: jax.Array) -> jax.Array:
    for matrix, bias in weights[:-1]:
        x = jax.nn.relu(x @ matrix + bias)
    matrix, bias = weights[-1]
    return (x @ matrix + bias)[:, 0]


def _loss(weights: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    logits = _forward(weights, x)
    entropy = jnp.mean(jax.nn.softplus(logits) - y * logits)
    penalty = sum(jnp.sum(matrix**2) for matrix, _ in weights)
    return entropy + 0.5 * _PENALTY * penalty / x.shape[0]


def _initial(key: Key, sizes: tuple[int, ...]) -> list[tuple[jax.Array, jax.Array]]:
    weights = []
    for k, (n, m) in enumerate(itertools.pairwise(sizes)):
        bound = np.sqrt(6 / (n + m))
        first, second = jax.random.split(jax.random.fold_in(key, k))
        matrix = jax.random.uniform(first, (n, m), minval=-bound, maxval=bound)
        weights.append((matrix, jax.random.uniform(second, (m,), minval=-bound, maxval=bound)))
    return weights


def _fold(key: Key, x: jax.Array, y: jax.Array, test: jax.Array, hidden: int) -> jax.Array:
    """Accuracy on the rows ``test`` of a network trained on all others."""
    n, size = x.shape[0] - test.shape[0], min(_BATCH, x.shape[0] - test.shape[0])
    kept = jnp.argsort(jnp.zeros(x.shape[0], bool).at[test].set(True), stable=True)[:n]
    train_x, train_y = x[kept], y[kept]
    weights = _initial(key, (x.shape[1], hidden, hidden, 1))

    def step(carry: Any, rows: jax.Array) -> Any:
        weights, optimizer = carry
        loss, gradient = jax.value_and_grad(_loss)(weights, train_x[rows], train_y[rows])
        update, optimizer = _ADAM.update(gradient, optimizer)
        return (optax.apply_updates(weights, update), optimizer), loss

    def epoch(state: _Training) -> _Training:
        order = jax.random.permutation(jax.random.fold_in(key, state.epoch + 10), n)
        batches = order[: n // size * size].reshape(-1, size)
        (weights, optimizer), losses = jax.lax.scan(step, state[:2], batches)
        loss = losses.mean()
        waited = jnp.where(loss > state.best - _TOLERANCE, state.waited + 1, 0)
        return _Training(weights, optimizer, state.epoch + 1, jnp.minimum(loss, state.best), waited)

    def unfinished(state: _Training) -> jax.Array:
        return (state.waited <= _PATIENCE) & (state.epoch < _EPOCHS)

    zero = jnp.zeros((), int)
    start = _Training(weights, _ADAM.init(weights), zero, jnp.asarray(jnp.inf), zero)
    weights = jax.lax.while_loop(unfinished, epoch, start).weights
    return jnp.mean((_forward(weights, x[test]) > 0) == (y[test] > 0.5))


@jax.jit(static_argnames=("hidden",))
def _folds(key: Key, x: jax.Array, y: jax.Array, tests: jax.Array, hidden: int) -> jax.Array:
    keys = jax.random.split(key, tests.shape[0])
    return jax.lax.map(lambda pair: _fold(pair[0], x, y, pair[1], hidden), (keys, tests))


def _rows(name: str, sample: Any) -> np.ndarray:
    if isinstance(sample, Posterior):
        view = sample.resampled()
        sample = view.unconstrained.reshape(-1, view.unconstrained.shape[-1])
    rows = np.asarray(sample, float)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ArrayError(f"c2st: {name} must be (n, d) draws or a Posterior, got {rows.shape}.")
    if bad := int((~np.isfinite(rows)).sum()):
        raise ArrayError(f"c2st: {name} holds {bad} values that are NaN or infinite.")
    return rows


def c2st(
    reference: Any, draws: Any, *, key: int | Key, folds: int = 5, hidden: int | None = None
) -> C2stResult:
    """Classifier two-sample test: accuracy of a network between reference and other draws.

    The protocol of the benchmark of simulation-based inference: columns standardised by the
    reference, a network with two hidden layers of ``10 d`` rectified units trained by Adam
    until its loss no longer falls, accuracy by cross-validation, equally many rows of both.

    Args:
        reference: (n, d) draws, or a Posterior (unconstrained, resampled when weighted).
        draws: (m, d) draws, or a Posterior; the longer sample is cut at random.
        key: random key or seed.
        folds: of the cross-validation.
        hidden: units per layer; ``10 d`` by default.

    Raises:
        ArrayError: NaN, shapes that differ, or fewer than 20 rows.
        MethodError: fewer than two folds.

    Source: Lopez-Paz & Oquab (2017); Lueckmann et al. (2021), appendix.
    """
    first, second = _rows("reference", reference), _rows("draws", draws)
    if first.shape[1] != second.shape[1]:
        raise ArrayError(
            f"c2st: the samples have {first.shape[1]} and {second.shape[1]} columns; give both in "
            "the same coordinates."
        )
    if folds < 2:
        raise MethodError(f"c2st: folds must be at least 2, got {folds}.")
    n = min(len(first), len(second))
    if n < 20:
        raise ArrayError(f"c2st: at least 20 rows per sample are needed, got {n}.")
    key = as_key(key)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())
    first, second = (s[rng.permutation(len(s))[:n]] for s in (first, second))
    scale = first.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    x = np.concatenate([first, second])
    x = (x - first.mean(axis=0)) / scale
    y = np.repeat([0.0, 1.0], n)
    tests = rng.permutation(2 * n)[: 2 * n // folds * folds].reshape(folds, -1)
    units = 10 * x.shape[1] if hidden is None else hidden
    found = np.asarray(_folds(key, jnp.asarray(x, float), jnp.asarray(y, float), tests, units))
    return C2stResult(float(found.mean()), found, n)
