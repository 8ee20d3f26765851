"""Classes at the door: integer labels and rows of class probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.core.inputs.arrays import Array, as_float, is_traced, namespace, unmasked
from probinf.errors import ArrayError


def as_labels(name: str, values: Any, classes: int, *, size: int | None = None) -> Array:
    """Integer class labels from 0 to ``classes - 1``.

    Raises:
        ArrayError: a label is not such an integer.
    """
    xp = namespace(values)
    labels = xp.asarray(unmasked(name, values))
    labels = labels.astype(int) if labels.dtype == bool else labels
    if labels.ndim != 1 or not xp.issubdtype(labels.dtype, np.integer):
        raise ArrayError(
            f"{name} must be a vector of integer labels 0..{classes - 1}, got {labels.dtype} of "
            f"shape {labels.shape}; encode names first (sklearn's LabelEncoder, say)."
        )
    if size is not None and labels.shape[0] != size:
        raise ArrayError(f"{name} must have {size} entries, got {labels.shape[0]}.")
    if not is_traced(labels) and not bool(((labels >= 0) & (labels < classes)).all()):
        raise ArrayError(
            f"{name} must lie in 0..{classes - 1} (one per column of the probabilities), got "
            f"{int(labels.min())}..{int(labels.max())}."
        )
    return labels


def as_probabilities(name: str, values: Any) -> Array:
    """(n, K) class probabilities: nonnegative rows that sum to one.

    Raises:
        ArrayError: a row is not a probability vector.
    """
    p = as_float(name, values, ndim=2)
    if is_traced(p) or p.size == 0:
        return p
    off = float(abs(p.sum(axis=1) - 1).max())
    if float(p.min()) < 0 or off > 1e-3:
        raise ArrayError(
            f"{name}: every row must be a probability vector; the smallest entry is "
            f"{float(p.min()):.3g} and a row sum is off by {off:.3g}. "
            "Apply a softmax to logits first."
        )
    return p
