"""Weights of neighbours from a forest: how often a calibration row shares a leaf with a new one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.core.inputs.limits import at_least
from probinf.errors import MethodError, MissingPackageError

_BLOCK = 20_000_000  # comparisons of leaves held at once


@dataclasses.dataclass(frozen=True)
class LeafWeights:
    """A forest and the leaves of the rows it was grown on.

    Attributes:
        forest: the forest, grown by scikit-learn.
        leaves: (n, trees) leaf of each row in each tree.

    Source: Meinshausen (2006), quantile regression forests, section 3.
    """

    forest: Any
    leaves: np.ndarray

    def weights(self, X: np.ndarray) -> np.ndarray:
        """(m, n) shares of the rows in what the forest knows of each new row; they sum to 1."""
        new = self.forest.apply(X)
        n, trees = self.leaves.shape
        found = np.zeros((len(new), n))
        step = max(1, _BLOCK // (n * trees))
        for first in range(0, len(new), step):
            same = new[first : first + step, None, :] == self.leaves
            found[first : first + step] = (same / same.sum(axis=1, keepdims=True)).mean(axis=2)
        return found


def grow(X: np.ndarray, target: np.ndarray, *, trees: int, leaf: int, seed: int) -> LeafWeights:
    """A forest for one target (n,) or several (n, p), with at least ``leaf`` rows in each leaf.

    Raises:
        MethodError: fewer rows than two leaves hold, no trees.
        MissingPackageError: scikit-learn is not installed.
    """
    at_least(1, trees=trees, leaf=leaf)
    if len(X) < 2:
        raise MethodError(f"a forest needs at least 2 rows, got {len(X)}.")
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError:
        raise MissingPackageError(
            "forests need scikit-learn; pip install 'probinf[sklearn]'."
        ) from None
    forest = RandomForestRegressor(
        trees, min_samples_leaf=leaf, max_features=1 / 3, random_state=seed
    ).fit(X, target)
    return LeafWeights(forest, forest.apply(X))
