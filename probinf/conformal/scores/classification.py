"""Scores of a label against predicted class probabilities."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from probinf.core.inputs.arrays import Array, ArrayLike, as_labels, as_probabilities, namespace
from probinf.errors import ArrayError


class LabelScore(ABC):
    """Base class: ``score.labels(probabilities, u)`` scores every label, shape (n, K).

    ``u`` (n,) holds one uniform number per point, shared by its labels: sets of a score that
    accumulates probabilities are then prefixes of the labels in order of probability.
    """

    randomised: ClassVar[bool] = False

    @abstractmethod
    def labels(self, probabilities: Any, u: Any = None) -> Any:
        """(n, K) scores."""

    def __call__(self, probabilities: ArrayLike, y: ArrayLike, u: Any = None) -> Any:
        """(n,) scores of the labels y."""
        p = as_probabilities("pred", probabilities)
        y = as_labels("y", y, p.shape[1], size=p.shape[0])
        return self.labels(p, u)[np.arange(p.shape[0]), y]


def _ranked(p: Array) -> tuple[Array, Array]:
    """Mass of the labels that are strictly more probable, and how many they are."""
    if namespace(p) is jnp:
        return _ranked_without_sort(p)
    p = _summable(p)
    rows = np.arange(p.shape[0])[:, None]
    order = np.argsort(-p, axis=1)
    ordered = p[rows, order]
    before = np.cumsum(ordered, axis=1) - ordered
    count = np.broadcast_to(np.arange(p.shape[1]), p.shape)
    tied = np.zeros(p.shape, bool)
    tied[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    if tied.any():  # equal probabilities share the place of the first of them
        first = np.maximum.accumulate(np.where(tied, 0, count), axis=1)
        before, count = before[rows, first], first
    mass, number = np.empty_like(p), np.empty(p.shape, int)
    mass[rows, order] = before
    number[rows, order] = count
    return mass, number


def _summable(p: Any) -> Any:
    """Probabilities as multiples of 2^-40, whose float64 sums are exact in any order.

    The score of a label is then one number, however it was summed, and ties stay ties.
    """
    return np.round(np.asarray(p, float) * 2.0**40) * 2.0**-40


def _ranked_true(p: Array, y: Array) -> tuple[Array, Array]:
    """As ``_ranked``, for one label per row, without a sort."""
    exact = _summable(p)
    more = exact > exact[np.arange(len(exact)), y][:, None]
    return np.where(more, exact, 0.0).sum(axis=1, keepdims=True), more.sum(axis=1, keepdims=True)


@jax.jit
def _ranked_without_sort(p: Array) -> tuple[Array, Array]:
    def add(k: Any, found: tuple[Any, Any]) -> tuple[Any, Any]:
        other = lax.dynamic_slice_in_dim(p, k, 1, axis=1)
        more = other > p
        return found[0] + jnp.where(more, other, 0), found[1] + more

    zero = jnp.zeros_like(p)
    return lax.fori_loop(0, p.shape[1], add, (zero, jnp.zeros(p.shape, jnp.int32)))


def _uniform(u: Any, p: Any) -> Any:
    if u is None:
        return 1.0
    u = namespace(u, p).asarray(u)
    if u.shape != (p.shape[0],):
        raise ArrayError(
            f"u must hold one uniform number per point, ({p.shape[0]},), got {u.shape}."
        )
    return u[:, None]


class RankedScore(LabelScore):
    """Base class of scores made of a label's probability, and of the labels that are likelier."""

    @abstractmethod
    def combine(self, p: Any, mass: Any, ahead: Any, best: Any, u: Any) -> Any:
        """Scores from the probability, the mass and number of likelier labels, and the largest."""

    def labels(self, probabilities: Any, u: Any = None) -> Any:
        p = as_probabilities("pred", probabilities)
        mass, ahead = _ranked(p)
        p = p if namespace(p) is jnp else _summable(p)
        return self.combine(p, mass, ahead, p.max(axis=1, keepdims=True), _uniform(u, p))

    def __call__(self, probabilities: ArrayLike, y: ArrayLike, u: Any = None) -> Any:
        p = as_probabilities("pred", probabilities)
        if namespace(p, y) is jnp:
            return super().__call__(p, y, u)
        y = as_labels("y", y, p.shape[1], size=p.shape[0])
        mass, ahead = _ranked_true(p, y)
        exact = _summable(p)
        own, best = exact[np.arange(len(exact)), y][:, None], exact.max(axis=1, keepdims=True)
        return self.combine(own, mass, ahead, best, _uniform(u, p))[:, 0]


@dataclasses.dataclass(frozen=True)
class LAC(LabelScore):
    """``1 - p_y``: the smallest sets on average, possibly empty.

    Source: Sadinle, Lei & Wasserman (2019).
    """

    def labels(self, probabilities: Any, u: Any = None) -> Any:
        return 1 - as_probabilities("pred", probabilities)


@dataclasses.dataclass(frozen=True)
class Margin(LabelScore):
    """``max_{l != y} p_l - p_y``: how far the label is behind (or ahead of) the best other.

    Source: Johansson et al. (2017).
    """

    def labels(self, probabilities: Any, u: Any = None) -> Any:
        p = as_probabilities("pred", probabilities)
        xp = namespace(p)
        best = p.max(axis=1, keepdims=True)
        others = xp.where(p == best, -np.inf, p).max(axis=1, keepdims=True)
        several = (p == best).sum(axis=1, keepdims=True) > 1
        return xp.where((p == best) & ~several, others, best) - p


@dataclasses.dataclass(frozen=True)
class APS(RankedScore):
    """Adaptive sets: probability of all likelier labels plus ``u`` of the label's own.

    Attributes:
        randomised: False takes u = 1, which gives larger sets that need no key.

    Source: Romano, Sesia & Candès (2020), equation 7.
    """

    randomised: bool = True  # type: ignore[misc]

    def combine(self, p: Any, mass: Any, ahead: Any, best: Any, u: Any) -> Any:
        return mass + u * p


@dataclasses.dataclass(frozen=True)
class RAPS(RankedScore):
    """Regularised APS: every label after the ``free``-th likeliest costs ``penalty`` more.

    Attributes:
        penalty: lambda, in probability.
        free: labels without penalty.
        randomised: False takes u = 1. With u the label's own penalty is randomised too.

    Source: Angelopoulos, Bates, Malik & Jordan (2021), algorithm 3.
    """

    penalty: float = 0.01
    free: int = 1
    randomised: bool = True  # type: ignore[misc]

    def combine(self, p: Any, mass: Any, ahead: Any, best: Any, u: Any) -> Any:
        earlier = self.penalty * namespace(p).maximum(ahead - self.free, 0)
        return mass + earlier + u * (p + self.penalty * (ahead >= self.free))


@dataclasses.dataclass(frozen=True)
class SAPS(RankedScore):
    """Sorted adaptive sets: the largest probability, then a constant cost per rank.

    Attributes:
        penalty: lambda, the cost per rank.
        randomised: False takes u = 1.

    Source: Huang et al. (2024), equation 9.
    """

    penalty: float = 0.1
    randomised: bool = True  # type: ignore[misc]

    def combine(self, p: Any, mass: Any, ahead: Any, best: Any, u: Any) -> Any:
        return namespace(p).where(ahead == 0, u * best, best + (ahead - 1 + u) * self.penalty)


@dataclasses.dataclass(frozen=True)
class TopK(RankedScore):
    """The rank of the label: sets of (almost) one size.

    Attributes:
        randomised: subtract one uniform number per point, which breaks the ties between ranks.

    Source: Angelopoulos, Bates, Malik & Jordan (2021), section 2.
    """

    randomised: bool = True  # type: ignore[misc]

    def combine(self, p: Any, mass: Any, ahead: Any, best: Any, u: Any) -> Any:
        return ahead + u
