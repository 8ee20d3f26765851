"""Knowledge about labels: attributes that each label has or lacks correct its probability."""

from __future__ import annotations

import dataclasses

import numpy as np

from probinf.core.inputs.arrays import ArrayLike, as_float
from probinf.errors import ArrayError

MAX_ATTRIBUTES = 12
_BLOCK = 2**21


@dataclasses.dataclass(frozen=True, eq=False)
class KnowledgeCircuit:
    """One label of K, and rules "label j has attribute l" or "label j lacks it" with weights.

    A label has the mass ``p_j prod_l (a_l exp(w_jl) + 1 - a_l)`` for rules that it has an
    attribute, ``(1 - a_l) exp(w_jl) + a_l`` for rules that it lacks one: the sum, over all
    assignments of the attributes, of their probability times the exponential of the rules that
    hold. Probabilities are corrected by conditioning on exactly one label.

    Attributes:
        rules: (K, L) weights: positive where the label has the attribute, negative where it lacks
            it, 0 where nothing is known.

    Source: Kang, Gürel, Li & Li (2024), section 3, for labels that exclude each other.
    """

    rules: np.ndarray

    def __post_init__(self) -> None:
        rules = np.asarray(as_float("rules", self.rules, ndim=2, finite=True), float)
        if rules.shape[0] < 2 or not 1 <= rules.shape[1] <= MAX_ATTRIBUTES:
            raise ArrayError(
                f"rules must be (labels, attributes) with 2 labels or more and 1 to "
                f"{MAX_ATTRIBUTES} attributes, got {rules.shape}."
            )
        object.__setattr__(self, "rules", rules)

    @property
    def classes(self) -> int:
        """Number of labels K."""
        return int(self.rules.shape[0])

    def corrected(self, p: ArrayLike) -> np.ndarray:
        """(m, K) probabilities of the labels given the rules.

        Args:
            p: (m, K + L) probabilities by the sensors of labels, then of attributes.
        """
        values = self._sensors("p", p)
        return self._share(values[:, : self.classes], self._factors(values[:, self.classes :]))

    def bounds(self, low: ArrayLike, high: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Exact range of the corrected probabilities when every sensor lies in ``[low, high]``.

        A corrected probability grows with its own label's sensor and falls with the others', and
        is fractional-linear in each attribute, so that its extremes lie at vertices of the box.

        Args:
            low, high: (m, K + L).
        """
        a, b = self._sensors("low", low), self._sensors("high", high)
        if a.shape != b.shape or (a > b).any():
            raise ArrayError("low exceeds high, or they differ in shape.")
        K, L = self.rules.shape
        least, most = np.empty((2, len(a), K))
        corners = (np.arange(2**L)[:, None] >> np.arange(L)) & 1
        rows = max(1, _BLOCK // (2**L * K))
        for start in range(0, len(a), rows):
            part = slice(start, start + rows)
            ends = np.stack([a[part, K:], b[part, K:]])  # (2, r, L)
            factors = self._ends(ends, corners)  # (r, 2^L, K)
            for j in range(K):
                own = np.arange(K) == j
                for out, mine, others, pick in (
                    (least, a[part, :K], b[part, :K], np.min),
                    (most, b[part, :K], a[part, :K], np.max),
                ):
                    mass = np.where(own, mine, others)[:, None] * factors
                    total = mass.sum(axis=2)
                    share = np.where(
                        total > 0, mass[:, :, j] / np.where(total > 0, total, 1), 1 / K
                    )
                    out[part, j] = pick(share, axis=1)
        return least, most

    def _factors(self, attributes: np.ndarray) -> np.ndarray:
        """(m, K) by which attributes (m, L) change the masses of the labels."""
        a = attributes[:, None, :]
        gain = np.exp(np.abs(self.rules))
        return np.asarray(
            np.where(self.rules >= 0, a * gain + 1 - a, (1 - a) * gain + a).prod(axis=2)
        )

    def _ends(self, ends: np.ndarray, corners: np.ndarray) -> np.ndarray:
        """(m, 2^L, K) factors at all vertices of boxes of attributes, ends (2, m, L)."""
        m, L = ends.shape[1:]
        points = np.where(corners[None], ends[1][:, None], ends[0][:, None])  # (m, 2^L, L)
        return self._factors(points.reshape(-1, L)).reshape(m, len(corners), self.classes)

    def _share(self, p: np.ndarray, factors: np.ndarray) -> np.ndarray:
        mass = p * factors
        total = mass.sum(axis=1, keepdims=True)
        return np.where(total > 0, mass / np.where(total > 0, total, 1), 1 / self.classes)

    def _sensors(self, name: str, values: ArrayLike) -> np.ndarray:
        p = np.asarray(as_float(name, values, ndim=2), float)
        wanted = sum(self.rules.shape)
        if p.shape[1] != wanted:
            raise ArrayError(
                f"{name} must be (m, {wanted}) probabilities: one column per label, then one per "
                f"attribute; got {p.shape}."
            )
        if p.min(initial=0) < 0 or p.max(initial=0) > 1:
            raise ArrayError(
                f"{name} must hold probabilities, from 0 to 1; it ranges from {p.min():g} to "
                f"{p.max():g}. Scores need a sigmoid or a calibration first."
            )
        return p
