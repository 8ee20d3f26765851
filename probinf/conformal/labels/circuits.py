"""Implication circuits: knowledge that corrects predicted probabilities, with exact intervals."""

from __future__ import annotations

import dataclasses

import numpy as np

from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.levels import fraction
from probinf.errors import ArrayError

MAX_VARIABLES = 12


@dataclasses.dataclass(frozen=True)
class ImplicationCircuit:
    """Rules "variable a implies variable b" with weights, over at most twelve binary variables.

    An assignment has mass ``prod p^mu (1-p)^(1-mu) exp(sum of weights of rules it satisfies)``;
    probabilities are corrected by conditioning on that mass. All assignments are enumerated.

    Attributes:
        variables: number of variables K.
        rules: (antecedent, consequent, weight) triples.

    Source: Kang, Gürel, Li & Li (2024), section 3 (generic part).
    """

    variables: int
    rules: tuple[tuple[int, int, float], ...]

    def __post_init__(self) -> None:
        if not 1 <= self.variables <= MAX_VARIABLES:
            raise ArrayError(f"a circuit has 1 to {MAX_VARIABLES} variables, got {self.variables}.")
        for a, b, weight in self.rules:
            if not (0 <= a < self.variables and 0 <= b < self.variables and weight >= 0):
                raise ArrayError(f"rule {(a, b, weight)}: indices in 0..K-1, weight at least 0.")

    def _mass(self) -> np.ndarray:
        """(2,) * K weights of the assignments."""
        mu = np.indices((2,) * self.variables).astype(bool)
        total = np.zeros((2,) * self.variables)
        for a, b, weight in self.rules:
            total += weight * (~mu[a] | mu[b])
        return np.asarray(np.exp(total - total.max()))

    def corrected(self, p: ArrayLike) -> np.ndarray:
        """(..., K) probabilities given the rules.

        Args:
            p: (..., K) predicted probabilities.
        """
        values = self._probabilities("p", p)
        low, _ = self._bounds(values, values)
        return low

    def bounds(self, low: ArrayLike, high: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Exact range of the corrected probabilities when each p lies in ``[low, high]``.

        A corrected probability is fractional-linear in each p, hence monotone in each, so that its
        extremes lie at vertices; contracting the masses with both ends of one axis at a time
        visits all of them in O(K 2^K).

        Args:
            low, high: (..., K).
        """
        a, b = self._probabilities("low", low), self._probabilities("high", high)
        if (a > b).any():
            raise ArrayError("low exceeds high.")
        return self._bounds(a, b)

    def _probabilities(self, name: str, values: ArrayLike) -> np.ndarray:
        p = np.asarray(as_float(name, values), float)
        if p.shape[-1:] != (self.variables,) or p.min() < 0 or p.max() > 1:
            raise ArrayError(
                f"{name} must be (..., {self.variables}) probabilities, got {p.shape}."
            )
        return p

    def _bounds(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shape = low.shape
        low, high = low.reshape(-1, self.variables), high.reshape(-1, self.variables)
        ends = np.stack([low, high])  # (2, rows, K)
        matrices = np.stack([1 - ends, ends], axis=-1)  # (end, row, variable, state)
        found = np.empty((2, *low.shape))
        for j in range(self.variables):
            mass = np.moveaxis(self._mass(), j, 0)[None]  # (1, state of j, others...)
            table = np.broadcast_to(mass, (len(low), *mass.shape[1:]))
            for k in (i for i in range(self.variables) if i != j):
                # contract the first axis that remains; its two vertices go to the back
                table = np.einsum("erb,rab...->ra...e", matrices[:, :, k], table)
            off, on = (table[:, state].reshape(len(low), -1) for state in (0, 1))
            for e, pick in ((0, np.min), (1, np.max)):
                p = ends[e, :, j, None]
                top, bottom = p * on, p * on + (1 - p) * off
                ratio = np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), p)
                found[e, :, j] = pick(ratio, axis=1)
        return found[0].reshape(shape), found[1].reshape(shape)


def combine(
    p: ArrayLike, corrections: list[tuple[np.ndarray, ArrayLike]], *, weight: Number = 1.0
) -> np.ndarray:
    """Average corrections of several circuits, each over its own variables.

    Args:
        p: (..., V) predicted probabilities of all variables.
        corrections: (indices of the circuit's variables, corrected probabilities) pairs.
        weight: share of the corrections; a variable in no circuit keeps p.
    """
    values = np.asarray(as_float("p", p), float)
    share = fraction("weight", weight, closed=True)
    total, count = np.zeros_like(values), np.zeros(values.shape[-1])
    for index, corrected in corrections:
        total[..., index] += np.asarray(corrected)
        count[index] += 1
    mean = total / np.maximum(count, 1)
    return np.where(count > 0, (1 - share) * values + share * mean, values)
