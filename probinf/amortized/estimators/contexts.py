"""Contexts for a network of labels: rows of a table, as many as it was trained on."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def balanced(
    rng: np.random.Generator, labels: Int[np.ndarray, " n"], least: int, most: int
) -> Int[np.ndarray, " rows"]:
    """Random rows, of each class as many as of the rarest; repeated where there are too few.

    Args:
        rng: source of randomness.
        labels: 0, 1, ... of all rows; every class occurs.
        least: smallest number of rows.
        most: largest number of rows.
    """
    places = [np.flatnonzero(labels == k) for k in range(labels.max() + 1)]
    rarest, classes = min(len(rows) for rows in places), len(places)
    each = min(max(rarest, -(-least // classes)), max(most // classes, 1))
    # a class with enough rows gives different ones, the rarest gives all of its own in turn
    return np.concatenate([np.resize(rng.permutation(rows), each) for rows in places])


def proportional(
    rng: np.random.Generator, labels: Int[np.ndarray, " n"], most: int
) -> Int[np.ndarray, " rows"]:
    """All rows, or ``most`` random ones with the classes in about their shares."""
    if len(labels) <= most:
        return np.arange(len(labels))
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # by class, at random within
    at = (np.arange(most) + rng.uniform()) * len(labels) / most
    return order[at.astype(int)]
