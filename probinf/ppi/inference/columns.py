"""Columns that belong together by name: tables of both samples, outcomes and their predictions."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.core.inputs.frames import is_pandas
from probinf.errors import ArrayError


def same_columns(first: str, like: Any, second: str, a: Any) -> Any:
    """``a`` with its columns in the order of ``like``, another table of the same quantities.

    Only where both are DataFrames with names; columns that are merely numbered keep their order.

    Args:
        first: what messages call ``like``.
        like: whose order counts.
        second: what messages call ``a``.
        a: which is put in order.

    Raises:
        ArrayError: the names differ, or repeat in another order.
    """
    mine, theirs = _names(like), _names(a)
    if mine is None or theirs is None or mine == theirs:
        return a
    if _sorted_alike(mine, theirs):
        if len(set(mine)) < len(mine):
            raise ArrayError(
                f"{first} and {second} repeat names of columns in different orders; rename them, "
                "or pass .to_numpy() of both."
            )
        return a[mine]
    if _numbered(mine) or _numbered(theirs):
        return a
    listed = {
        f"{second} lacks": [c for c in mine if c not in theirs],
        f"{first} lacks": [c for c in theirs if c not in mine],
    }
    gaps = " and ".join(f"{k} {', '.join(map(str, v))}" for k, v in listed.items() if v)
    raise ArrayError(
        f"the columns of {first} and {second} differ: {gaps or 'some names repeat'}. Give both the "
        "same columns (in any order), or pass .to_numpy() to match them by position."
    )


def matching_columns(first: str, like: Any, second: str, a: Any) -> Any:
    """As `same_columns`, for tables whose columns may have names of their own.

    Outcomes ``quality, price`` and predictions ``quality_hat, price_hat`` match by position.

    Raises:
        ArrayError: some names are shared, but not all of them.
    """
    mine, theirs = _names(like), _names(a)
    if mine is None or theirs is None or _sorted_alike(mine, theirs):
        return same_columns(first, like, second, a)
    shared = set(mine) & set(theirs)
    if _numbered(mine) or _numbered(theirs) or not shared:
        return a
    raise ArrayError(
        f"{first} and {second} share the columns {', '.join(sorted(map(str, shared)))}, but not "
        "all others; rename them, or pass .to_numpy() of both to match columns by position."
    )


def class_columns(name: str, a: Any, classes: int) -> Any:
    """A table of class probabilities with its columns in the order of the class numbers.

    Raises:
        ArrayError: the columns are numbers, but not those of the classes.
    """
    names = _names(a)
    if names is None or not all(isinstance(c, int | np.integer) for c in names):
        return a
    if sorted(names) != list(range(classes)):
        raise ArrayError(
            f"{name} has the columns {', '.join(map(str, names))}; name them 0 to {classes - 1} "
            "after the classes, or pass .to_numpy() in that order."
        )
    return a[list(range(classes))]


def _names(a: Any) -> list[Any] | None:
    """Names of the columns of a DataFrame."""
    return list(a.columns) if is_pandas(a) and a.ndim == 2 else None


def _numbered(names: list[Any]) -> bool:
    """Whether these are the names that columns without names are given."""
    return names == list(range(len(names)))


def _sorted_alike(first: list[Any], second: list[Any]) -> bool:
    return sorted(map(repr, first)) == sorted(map(repr, second))
