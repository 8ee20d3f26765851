"""Scores of a number against a prediction, and the intervals they invert to."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import jax
import numpy as np

from probinf.core.inputs.arrays import ArrayLike, as_float, is_traced, namespace
from probinf.core.rounding import beyond, together
from probinf.errors import ArrayError


class RegressionScore(ABC):
    """Base class: ``score(pred, y)`` and its inverse ``score.interval(pred, *thresholds)``.

    A score with ``tails = 2`` returns one column for outcomes that are too low and one for
    outcomes that are too high; each gets its own share of alpha and its own threshold.
    """

    tails: ClassVar[int] = 1

    @abstractmethod
    def __call__(self, pred: Any, y: ArrayLike) -> Any:
        """(n,) scores, or (n, 2) for two tails."""

    @abstractmethod
    def interval(self, pred: Any, *thresholds: Any) -> tuple[Any, Any]:
        """All outcomes that score at most the threshold: lower and upper ends (m, A)."""


def _column(values: Any) -> Any:
    return values[:, None]


def _parts(pred: Any, names: tuple[str, ...]) -> list[Any]:
    if not isinstance(pred, tuple | list) or len(pred) != len(names):
        raise ArrayError(
            f"pred must be the tuple ({', '.join(names)}) of arrays for this score, got "
            f"{type(pred).__name__}."
        )
    first = _vector(f"pred: {names[0]}", pred[0])
    rest = [
        _vector(f"pred: {n}", p, size=first.shape[0])
        for n, p in zip(names[1:], pred[1:], strict=True)
    ]
    return list(together(first, *rest))


def _vector(name: str, values: Any, size: int | None = None) -> Any:
    """A vector of floats; integers of JAX leave it, whose floats cannot hold the large ones."""
    whole = isinstance(values, jax.Array) and not is_traced(values)
    if whole and np.issubdtype(values.dtype, np.integer):
        values = np.asarray(values)
    return as_float(name, values, ndim=1, size=size)


def _with_outcome(y: ArrayLike, *pred: Any) -> Any:
    """The outcomes and the predictions, subtracted in the widest type that one of them has."""
    return together(_vector("y", y, size=pred[0].shape[0]), *pred)


@dataclasses.dataclass(frozen=True)
class Absolute(RegressionScore):
    """``|y - mu|``: intervals of one width; ``pred`` is mu (n,).

    Source: Lei et al. (2018), algorithm 2.
    """

    def __call__(self, pred: Any, y: ArrayLike) -> Any:
        y, mu = _with_outcome(y, _vector("pred", pred))
        return abs(y - mu)

    def interval(self, pred: Any, *thresholds: Any) -> tuple[Any, Any]:
        (q,) = thresholds
        mu = _column(_vector("pred", pred))
        return beyond(mu, -q, -1), beyond(mu, q, 1)


@dataclasses.dataclass(frozen=True)
class Normalised(RegressionScore):
    """``|y - mu| / (sigma + offset)``: widths follow a difficulty; ``pred`` is (mu, sigma).

    Any positive sigma keeps the guarantee: a second model of the residuals, an ensemble's
    spread, a posterior standard deviation.

    Attributes:
        offset: added to sigma, in the units of y.

    Source: Papadopoulos et al. (2008); Lei et al. (2018), section 5.2.
    """

    offset: float = 0.0

    def _prediction(self, pred: Any) -> tuple[Any, Any]:
        mu, sigma = _parts(pred, ("mu", "sigma"))
        sigma = sigma + self.offset
        if not is_traced(sigma) and not bool((sigma > 0).all()):
            raise ArrayError(
                f"pred: sigma + offset must be positive, got {float(sigma.min()):.3g}; "
                "pass an offset such as Normalised(offset=1e-3)."
            )
        return mu, sigma

    def __call__(self, pred: Any, y: ArrayLike) -> Any:
        y, mu, sigma = _with_outcome(y, *self._prediction(pred))
        return abs(y - mu) / sigma

    def interval(self, pred: Any, *thresholds: Any) -> tuple[Any, Any]:
        (q,) = thresholds
        mu, sigma, q = together(*map(_column, self._prediction(pred)), q)
        return beyond(mu, -q * sigma, -1), beyond(mu, q * sigma, 1)


@dataclasses.dataclass(frozen=True)
class Signed(RegressionScore):
    """``y - mu`` with separate thresholds below and above, for skewed errors; ``pred`` is mu."""

    tails: ClassVar[int] = 2

    def __call__(self, pred: Any, y: ArrayLike) -> Any:
        y, mu = _with_outcome(y, _vector("pred", pred))
        r = y - mu
        return namespace(r).stack([-r, r], axis=1)

    def interval(self, pred: Any, *thresholds: Any) -> tuple[Any, Any]:
        low, high = thresholds
        mu = _column(_vector("pred", pred))
        return beyond(mu, -low, -1), beyond(mu, high, 1)


@dataclasses.dataclass(frozen=True)
class CQR(RegressionScore):
    """Conformalised quantile regression, ``max(low - y, y - high)``; ``pred`` is (low, high).

    Where the quantiles cross, the interval may be empty; it is reported, not swapped.

    Attributes:
        scale: ``"none"``; ``"width"`` divides by high - low (CQR-r); ``"median"`` divides each
            side by its distance from the median (CQR-m), and ``pred`` is (low, median, high).

    Source: Romano, Patterson & Candès (2019), equation 6; Sesia & Candès (2020), equations 6-7.
    """

    scale: str = "none"

    def __post_init__(self) -> None:
        if self.scale not in ("none", "width", "median"):
            raise ArrayError(f"CQR: scale must be none, width or median, got {self.scale!r}.")

    def _prediction(self, pred: Any) -> tuple[Any, Any, Any, Any]:
        """Low, high, and what each side's distance is measured in."""
        if self.scale == "median":
            low, mid, high = _parts(pred, ("low", "median", "high"))
            below, above = mid - low, high - mid
        else:
            low, high = _parts(pred, ("low", "high"))
            below = above = high - low if self.scale == "width" else namespace(low).ones_like(low)
        if self.scale != "none" and not is_traced(below):
            smallest = min(float(below.min()), float(above.min())) if below.size else 1.0
            if smallest <= 0:
                raise ArrayError(
                    f"pred: CQR(scale={self.scale!r}) divides by the predicted widths, whose "
                    f"smallest is {smallest:.3g}; use CQR() where quantiles may cross."
                )
        return low, high, below, above

    def __call__(self, pred: Any, y: ArrayLike) -> Any:
        y, low, high, below, above = _with_outcome(y, *self._prediction(pred))
        return namespace(low, y).maximum((low - y) / below, (y - high) / above)

    def interval(self, pred: Any, *thresholds: Any) -> tuple[Any, Any]:
        (q,) = thresholds
        low, high, below, above, q = together(*map(_column, self._prediction(pred)), q)
        return beyond(low, -q * below, -1), beyond(high, q * above, 1)


@dataclasses.dataclass(frozen=True)
class AsymmetricCQR(RegressionScore):
    """Quantile regression with a threshold of its own on each side; ``pred`` is (low, high).

    Source: Romano, Patterson & Candès (2019), theorem 2.
    """

    tails: ClassVar[int] = 2

    def __call__(self, pred: Any, y: ArrayLike) -> Any:
        y, low, high = _with_outcome(y, *_parts(pred, ("low", "high")))
        return namespace(low, y).stack([low - y, y - high], axis=1)

    def interval(self, pred: Any, *thresholds: Any) -> tuple[Any, Any]:
        low, high = map(_column, _parts(pred, ("low", "high")))
        return beyond(low, -thresholds[0], -1), beyond(high, thresholds[1], 1)
