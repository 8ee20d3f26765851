"""Drive an online method along score series."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections import deque
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.conformal.online.window import Window, leaving, push
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.levels import fraction
from probinf.errors import ArrayError, MethodError


class OnlineMethod:
    """Base class: a frozen record of options with pure functions of state and window."""

    @abstractmethod
    def start(self, alpha: jax.Array, steps: int) -> Any:
        """The state before the first score."""

    @abstractmethod
    def threshold(self, state: Any, window: Window, alpha: jax.Array) -> jax.Array:
        """The next threshold, before the score is seen."""

    @abstractmethod
    def update(
        self, state: Any, window: Window, alpha: jax.Array, q: jax.Array, score: jax.Array
    ) -> Any:
        """The state after the score."""

    def promise(self, alpha: Number, steps: int) -> str:
        """What holds after this many steps."""
        return "long-run coverage 1-alpha on any sequence of scores"

    def stream(self, *, alpha: Number = 0.1, window: int = 200) -> OnlineStream:
        """The method one score at a time, for data that arrive while one waits.

        Args:
            alpha: miscoverage.
            window: how many recent scores the empirical quantiles look back on.

        Raises:
            ArrayError: a window below 1.
            LevelError: alpha outside (0, 1).
        """
        return OnlineStream(self, fraction("alpha", alpha), _window(window))


@dataclasses.dataclass(frozen=True)
class OnlineResult:
    """Thresholds along score series.

    Attributes:
        thresholds: (T,) or (S, T); the set at time t is {y : score <= thresholds[t]}.
        errors: like ``thresholds``; True where the score exceeded its threshold.
        alpha: the miscoverage asked for.
        guarantee: what is promised.
    """

    thresholds: np.ndarray
    errors: np.ndarray
    alpha: float
    guarantee: str

    @property
    def coverage(self) -> np.ndarray:
        """Fraction covered, per series."""
        return np.asarray(1 - self.errors.mean(axis=-1))

    @property
    def infinite_fraction(self) -> float:
        """Fraction of steps whose set held everything."""
        return float(np.isposinf(self.thresholds).mean())

    def rolling_coverage(self, width: int = 100) -> np.ndarray:
        """Coverage over the last ``width`` steps, (..., T - width + 1)."""
        steps = self.errors.shape[-1]
        if not 1 <= width <= steps:
            raise ArrayError(f"width must lie in 1..{steps}, the number of steps, got {width}.")
        total = np.cumsum(~self.errors, axis=-1)
        before = np.concatenate([np.zeros_like(total[..., :1]), total[..., :-width]], axis=-1)
        return np.asarray((total[..., width - 1 :] - before) / width)

    def summary(self) -> str:
        """Coverage and infinite sets, for reading."""
        coverage = np.atleast_1d(self.coverage)
        return (
            f"{coverage.size} series of {self.errors.shape[-1]} steps at alpha {self.alpha:g}: "
            f"coverage {coverage.mean():.4f} ({coverage.min():.4f} to {coverage.max():.4f}), "
            f"{self.infinite_fraction:.1%} infinite; {self.guarantee}"
        )

    __str__ = summary


class OnlineStream:
    """Thresholds of one series, score by score; made by ``ACI().stream()`` and the like.

    ``threshold`` is set before the next score is seen, and is the one that :func:`track` gives to
    the series as a whole. ``update`` changes the stream itself, and returns it.

    Attributes:
        method: ``ACI()``, ``PID()``, ...
        alpha: the miscoverage asked for.
        threshold: of the next set, {y : score <= threshold}.
        steps: scores seen.
        misses: how many of them exceeded their threshold.
    """

    def __init__(self, method: OnlineMethod, alpha: float, window: int) -> None:
        self.method, self.alpha = method, alpha
        self.steps = self.misses = 0
        self._recent: deque[float] = deque(maxlen=window)
        with jax.enable_x64(True):
            state = method.start(jnp.asarray(alpha), _UNENDING)
            self._carry = state, jnp.full(window, jnp.inf)
            self.threshold = float(_threshold(method, *self._carry, self.steps, alpha))

    def update(self, score: ArrayLike) -> OnlineStream:
        """Take in the score of the outcome that came, and move on to the next threshold.

        Raises:
            ArrayError: the score is not one finite number.
        """
        s = float(as_float("score", score, ndim=0, finite=True))
        self.misses += s > self.threshold
        full = len(self._recent) == self._recent.maxlen
        oldest = self._recent[0] if full else np.inf
        with jax.enable_x64(True):
            now = self.steps, self.alpha, self.threshold, s, oldest
            self._carry, q = _advance(self.method, *self._carry, *map(np.asarray, now))
        self._recent.append(s)
        self.steps += 1
        self.threshold = float(q)
        return self

    @property
    def coverage(self) -> float:
        """Fraction covered so far; NaN before the first score."""
        return 1 - self.misses / self.steps if self.steps else np.nan

    @property
    def guarantee(self) -> str:
        """What holds after the steps so far."""
        return self.method.promise(self.alpha, max(self.steps, 1))

    def __repr__(self) -> str:
        return (
            f"{self.method}: {self.steps} steps at alpha {self.alpha:g}, coverage "
            f"{self.coverage:.4f}, next threshold {self.threshold:.6g}; {self.guarantee}"
        )


_UNENDING = 2**24  # steps for which SAOCP keeps slots; those not needed yet stay empty


def _threshold(method: OnlineMethod, state: Any, ordered: Any, count: Any, alpha: Any) -> Any:
    window = Window(ordered, jnp.asarray(count, jnp.int32))
    return method.threshold(state, window, jnp.asarray(alpha))


@partial(jax.jit, static_argnames=("method",))
def _advance(
    method: OnlineMethod,
    state: Any,
    ordered: jax.Array,
    count: jax.Array,
    alpha: jax.Array,
    q: jax.Array,
    score: jax.Array,
    oldest: jax.Array,
) -> Any:
    """One step as that of ``_scan``, and the threshold after it."""
    window = Window(ordered, count.astype(jnp.int32))
    state = method.update(state, window, alpha, q, score)
    ordered = push(ordered, oldest, score)
    return (state, ordered), _threshold(method, state, ordered, count + 1, alpha)


def _window(size: Any) -> int:
    if not isinstance(size, int | np.integer) or size < 1:
        raise ArrayError(f"window must be an integer of at least 1, got {size}.")
    return int(size)


@partial(jax.jit, static_argnames=("method", "size"))
def _scan(method: OnlineMethod, scores: jax.Array, alpha: jax.Array, size: int) -> Any:
    steps = scores.shape[-1]
    time = jnp.arange(steps, dtype=jnp.int32)

    def one(series: jax.Array, oldest: jax.Array) -> Any:
        def step(carry: Any, now: Any) -> Any:
            state, ordered = carry
            score, out, count = now
            window = Window(ordered, count)
            q = method.threshold(state, window, alpha)
            state = method.update(state, window, alpha, q, score)
            return (state, push(ordered, out, score)), q

        first = method.start(alpha, steps), jnp.full(size, jnp.inf, series.dtype)
        return jax.lax.scan(step, first, (series, oldest, time))[1]

    return jax.vmap(one)(scores, leaving(scores, size))


def track(
    method: OnlineMethod, scores: ArrayLike, *, alpha: Number = 0.1, window: int = 200
) -> OnlineResult:
    """Adapt thresholds along one or many series of scores, each seen after its threshold is set.

    Args:
        method: ``ACI()``, ``DtACI()``, ``AgACI()``, ``PID()``, ``SFOGD()`` or ``SAOCP()``.
        scores: (T,) or (S, T) nonconformity scores in order of time.
        alpha: miscoverage.
        window: how many recent scores the empirical quantiles look back on.

    Raises:
        ArrayError: NaN, an infinite score, no steps, a window below 1.
        LevelError: alpha outside (0, 1).
        MethodError: ``method`` is not an online method.
    """
    s = np.asarray(as_float("scores", scores), float)
    if s.ndim not in (1, 2) or s.shape[-1] == 0:
        raise ArrayError(f"scores must be (T,) or (S, T) with T > 0, got {s.shape}.")
    if not np.isfinite(s).all():
        raise ArrayError("scores must be finite in online calibration.")
    if not isinstance(method, OnlineMethod):
        raise MethodError(f"method must be an object such as ACI() or PID(), got {method!r}.")
    level, size = fraction("alpha", alpha), min(_window(window), s.shape[-1])
    with jax.enable_x64(True):  # thresholds are scores of before: none may lose digits
        q = np.asarray(_scan(method, jnp.asarray(np.atleast_2d(s)), jnp.asarray(level), size))
    q = q if s.ndim == 2 else q[0]
    return OnlineResult(q, s > q, level, method.promise(level, s.shape[-1]))
