"""Active labelling: spend labels where predictions are uncertain, and know the probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.levels import fraction
from probinf.core.keys import as_generator
from probinf.errors import LevelError
from probinf.ppi.inference.checks import numeric, shares


def active_probs(uncertainty: Any, budget: Number, *, mix: Number = 0.1) -> np.ndarray:
    """Labelling probabilities (rows,) proportional to uncertainty, which sum to the budget.

    For a mean the best uncertainty is the expected absolute error of the prediction; for parameter
    j of a regression that times the absolute entry j of the inverse Hessian times x.

    Args:
        uncertainty: (rows,) not negative.
        budget: expected number of labels.
        mix: share of the budget that is spread evenly, so that no probability is tiny.

    Raises:
        LevelError: a budget beyond the number of rows, or ``mix`` outside [0, 1].

    Source: active statistical inference (arXiv 2403.03208), equation 8.
    """
    size = numeric("uncertainty", uncertainty)
    if (size < 0).any():
        raise LevelError("uncertainty must not be negative.")
    if not 0 < budget <= len(size):
        raise LevelError(f"budget must lie in (0, {len(size)}], the number of rows; got {budget}.")
    mix = fraction("mix", mix, closed=True)
    if size.sum() == 0:
        return np.full(len(size), budget / len(size))
    shape = (1 - mix) * size / size.sum() + mix / len(size)
    probability = np.minimum(shape * budget, 1.0)
    for _ in range(len(size)):  # rows at 1 leave their surplus to the others
        free = probability < 1
        spare = budget - (~free).sum()
        if not free.any() or abs(probability.sum() - budget) < 1e-9 * budget:
            break
        if shape[free].sum() <= 0:
            probability[free] = spare / free.sum()
            break
        probability[free] = np.minimum(shape[free] * spare / shape[free].sum(), 1.0)
    return probability


def draw_labels(probabilities: Any, *, key: Any) -> np.ndarray:
    """Which rows (rows,) to label: one independent coin each.

    Args:
        probabilities: (rows,) in [0, 1], from `active_probs`.
        key: seed or key.
    """
    p = shares("probabilities", probabilities)
    return as_generator(key).uniform(size=len(p)) < p
