"""Simulated data sets with known structure, for studies and tests."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.levels import fraction
from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_generator


class Labels(NamedTuple):
    """Rows of `dsl_sim`.

    Attributes:
        x: (rows, 5) intercept, X1, X1 squared, X2, X4: the regressors of interest.
        y: (rows,) true binary labels.
        f: (rows,) surrogate labels, right with probability ``accuracy``.
        features: (rows, 11) all ten variables and the surrogate label.
    """

    x: np.ndarray
    y: np.ndarray
    f: np.ndarray
    features: np.ndarray


def dsl_sim(rows: int = 10_000, accuracy: Number = 0.9, *, key: Any = 0) -> Labels:
    """Binary labels from a misspecified logistic regression, and surrogates that are often right.

    Args:
        rows: how many.
        accuracy: probability that a surrogate equals the label.
        key: seed or key.

    Source: the simulation of Egami et al. (2023), as used in arXiv 2506.09627.
    """
    at_least(1, rows=rows)
    accuracy = fraction("accuracy", accuracy, closed=True)
    rng = as_generator(key)
    z = np.sqrt(0.3) * rng.normal(size=(rows, 1)) + np.sqrt(0.7) * rng.normal(size=(rows, 10))
    z[:, 1] = z[:, 1] > 0.8416212335729143  # the 80 % quantile of the normal
    x1, x2, x3, x4, x6 = z[:, 0], z[:, 1], z[:, 2], z[:, 3], z[:, 5]
    eta = (
        0.1 / (1 + np.exp(0.5 * x3 - 0.5 * x2))
        + 1.3 * x4 / (1 + np.exp(-0.1 * x2))
        + 1.5 * x4 * x6
        + 0.5 * x1 * x2
        + 1.3 * x1
        + x2
    )
    y = (rng.uniform(size=rows) < 1 / (1 + np.exp(-eta))).astype(float)
    f = np.where(rng.uniform(size=rows) < accuracy, y, 1 - y)
    x = np.column_stack([np.ones(rows), x1, x1**2, x2, x4])
    return Labels(x, y, f, np.column_stack([z, f]))
