"""Columns: a table of numbers and categories as numbers, in any frame or array."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.errors import ArrayError

_RARE = 3  # rows; a level with fewer has no column of its own


@dataclasses.dataclass(frozen=True)
class Columns:
    """How columns become numbers, learned from training rows.

    A numeric column stays as it is, NaN for what is missing. A category becomes one column of 0
    and 1 for each level that three rows bear, missing entries being a level of their own; rows of
    other levels, and of levels unseen, are 0 in all of them. What the levels are called says
    nothing.

    Attributes:
        levels: for each column the levels that count, None where it is numeric.
    """

    levels: tuple[tuple[Any, ...] | None, ...]

    @classmethod
    def learn(cls, X: Any, categorical: Any, names: Any = None) -> Columns:
        """Find the levels of categories: ``categorical`` ones, and those of a frame that hold
        categories, texts or truth values.

        Args:
            X: a data frame, or an array with two axes.
            categorical: places or names of columns, or a mask of all columns; None for a frame's
                own.
            names: of the columns, where they have any.

        Raises:
            ArrayError: a column named there does not exist.
        """
        count = X.shape[1]
        chosen = _places(categorical, count, names)
        if hasattr(X, "dtypes") and hasattr(X, "iloc"):
            chosen |= {j for j in range(count) if _is_category(X.iloc[:, j].dtype)}
        return cls(tuple(_levels(_column(X, j)) if j in chosen else None for j in range(count)))

    def numbers(self, X: Any) -> np.ndarray:
        """The table as floats, rows by as many columns as numbers and levels ask for.

        Raises:
            ArrayError: a column that is no category holds what is no number, or an infinite one.
        """
        rows = X.shape[0]
        wide = [np.zeros((rows, 0))]
        for j, levels in enumerate(self.levels):
            column = _column(X, j)
            if levels is None:
                wide.append(_floats(column, j)[:, None])
            else:
                found = _plain(column)
                wide.append(np.stack([found == v for v in levels], 1) if levels else wide[0])
        return np.concatenate(wide, axis=1).astype(float)


def _is_category(dtype: Any) -> bool:
    kind = getattr(dtype, "kind", "O")
    return bool(kind in "OUSb" or getattr(dtype, "name", "") in ("category", "string", "str"))


def _places(categorical: Any, count: int, names: Any) -> set[int]:
    if categorical is None:
        return set()
    asked = np.atleast_1d(np.asarray(categorical))
    if asked.dtype == bool:
        if asked.shape != (count,):
            raise ArrayError(
                f"categorical: a mask needs one entry for each of {count} columns, got "
                f"{asked.shape}."
            )
        return set(np.flatnonzero(asked).tolist())
    known = [] if names is None else list(names)
    found = set()
    for name in asked.tolist():
        if name in known:
            found.add(known.index(name))
        elif isinstance(name, int) and -count <= name < count:
            found.add(name % count)
        else:
            raise ArrayError(
                f"categorical: there is no column {name!r}; give places 0 to {count - 1}"
                + (f" or names of {known[:8]}." if known else ", or a data frame for names.")
            )
    return found


def _column(X: Any, j: int) -> np.ndarray:
    return np.asarray(X.iloc[:, j] if hasattr(X, "iloc") else X[:, j], dtype=object)


def _plain(column: np.ndarray) -> np.ndarray:
    """Entries as they are, None where missing."""
    # what is missing does not equal itself (NaN), or cannot tell (NA)
    found = column.copy()
    found[[v is None or _unequal(v) for v in column]] = None
    return found


def _unequal(value: Any) -> bool:
    found = value != value
    return not isinstance(found, (bool, np.bool_)) or bool(found)


def _levels(column: np.ndarray) -> tuple[Any, ...]:
    counts: dict[Any, int] = {}
    for value in _plain(column).tolist():
        counts[value] = counts.get(value, 0) + 1
    kept = [v for v, k in counts.items() if k >= _RARE]
    if len(kept) == 2 and len(counts) == 2:
        kept = kept[:1]  # the other one is its complement
    return tuple(kept)


def _floats(column: np.ndarray, j: int) -> np.ndarray:
    try:
        found = np.array([np.nan if v is None else v for v in _plain(column)], float)
    except (TypeError, ValueError):
        bad = next((v for v in column if isinstance(v, (str, bytes))), column[0])
        raise ArrayError(
            f"column {j} holds {bad!r}, which is no number; declare it in categorical=, or give "
            "a data frame with a category there."
        ) from None
    if np.isinf(found).any():
        raise ArrayError(f"column {j} holds infinite values; make them NaN or drop these rows.")
    return found
