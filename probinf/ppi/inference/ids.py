"""Ids of clusters, strata and groups: one per row, none of them missing."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.core.inputs.arrays import unmasked
from probinf.errors import ArrayError


def as_ids(name: str, labels: Any, rows: int) -> np.ndarray:
    """Labels (rows,) of any sortable type as an array.

    Raises:
        ArrayError: a wrong number of labels, or missing ones (NaN, None, NA, NaT), which would
            otherwise be one group of their own.
    """
    ids = np.asarray(unmasked(name, labels))
    if ids.shape != (rows,):
        raise ArrayError(f"{name} has shape {ids.shape}; give one label for each of {rows} rows.")
    missing = np.flatnonzero(_missing(ids))
    if len(missing):
        raise ArrayError(
            f"{name} holds {len(missing)} missing label(s) (NaN, None, NA) of {rows}, the first "
            f"at [{missing[0]}]. Together they would count as one group: drop those rows, or give "
            "each its own label."
        )
    if ids.dtype.kind == "O" and not all(isinstance(v, str) for v in ids):
        kinds = sorted({type(v).__name__ for v in ids})
        try:
            np.unique(ids)
        except TypeError:
            raise ArrayError(
                f"{name} mixes labels that cannot be compared ({', '.join(kinds)}); make them all "
                "text or all numbers."
            ) from None
    return ids


def shared_numbers(name: str, pair: Any, n: int, N: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both samples as numbers from 0, equal where the labels are.

    Raises:
        ArrayError: as `as_ids`, or one sample has text and the other numbers.
    """
    first, second = pair
    shapes = np.shape(first), np.shape(second)
    if shapes != ((n,), (N,)):
        raise ArrayError(
            f"{name} must be a pair of arrays with {n} labelled and {N} unlabelled labels; "
            f"got shapes {shapes[0]} and {shapes[1]}."
        )
    a, b = as_ids(f"labelled {name}", first, n), as_ids(f"unlabelled {name}", second, N)
    if _is_text(a) != _is_text(b):
        raise ArrayError(
            f"{name}: one sample has text and the other {(b if _is_text(a) else a).dtype} labels, "
            "so no label of one can equal one of the other; give both the same type."
        )
    _, ids = np.unique(np.concatenate([a, b]), return_inverse=True)
    return ids[:n], ids[n:]


def _is_text(ids: np.ndarray) -> bool:
    return ids.dtype.kind in "US" or (ids.dtype.kind == "O" and isinstance(ids[0], str))


def _missing(ids: np.ndarray) -> np.ndarray:
    """Which labels are missing values."""
    if ids.dtype.kind in "fcmM":
        return ids != ids  # NaN and NaT alone differ from themselves
    if ids.dtype.kind != "O":
        return np.zeros(len(ids), bool)
    return np.array([_is_missing(v) for v in ids], bool)


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(value != value)
