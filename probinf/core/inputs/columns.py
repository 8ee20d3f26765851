"""What users hand in, checked and turned into float64 NumPy arrays."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from probinf.errors import ArrayError, LevelError, MethodError, PredictionWarning, TooFewLabelsError

Number: TypeAlias = float | int | np.number  # what users write for a real number


class Column(NamedTuple):
    """A checked array and the names of its columns."""

    values: np.ndarray
    names: tuple[str, ...]
    pandas: bool


def warn(message: str) -> None:
    """A `PredictionWarning` that points at the caller's line."""
    warnings.warn(message, PredictionWarning, stacklevel=4)


def is_pandas(a: Any) -> bool:
    """Whether ``a`` is a Series or a DataFrame, without importing pandas."""
    return type(a).__module__.split(".")[0] == "pandas"


def plain(name: str, a: Any) -> Any:
    """``a``, unless turning it into an array of numbers would lose a part of it."""
    if isinstance(a, np.ma.MaskedArray) and np.ma.is_masked(a):
        raise ArrayError(f"{name} has masked values; drop those rows (for example a[~a.mask]).")
    if getattr(getattr(a, "dtype", None), "kind", "") == "c":
        raise ArrayError(f"{name} is complex; give its real part or its modulus.")
    return a


def numeric(name: str, a: Any, *, ndim: tuple[int, ...] = (1,)) -> np.ndarray:
    """``a`` as a finite float64 array with one of the allowed numbers of dimensions."""
    if isinstance(a, jax.core.Tracer):
        raise ArrayError(f"{name} is traced by JAX; inside jit or vmap use probinf.ppi.core.")
    whole = plain(name, a)
    try:
        values = np.asarray(whole, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise ArrayError(f"{name} does not hold numbers: {cause}.") from None
    if values.ndim not in ndim:
        allowed = " or ".join(map(str, ndim))
        raise ArrayError(f"{name} has shape {values.shape}; it must have {allowed} dimension(s).")
    if not np.isfinite(values).all():
        bad = np.argwhere(~np.isfinite(values))
        where = ", ".join(map(str, bad[0]))
        raise ArrayError(
            f"{name} holds {len(bad)} NaN or infinite value(s), the first at [{where}]; "
            "drop those rows, or move rows without a label to the unlabelled arguments."
        )
    return values


def column(name: str, a: Any, *, ndim: tuple[int, ...] = (1,)) -> Column:
    """A checked array with the names that its columns have, or are given."""
    values = numeric(name, a, ndim=ndim)
    pandas = is_pandas(a)
    if pandas and values.ndim == 2:
        names = tuple(str(c) for c in a.columns)
    elif pandas and getattr(a, "name", None) is not None:
        names = (str(a.name),)
    elif values.ndim == 2:
        names = tuple(f"x{j}" for j in range(values.shape[1]))
    else:
        names = ("mean",)
    return Column(values, names, pandas)


def same_index(**arrays: Any) -> None:
    """Raise unless all pandas arguments carry the same index in the same order."""
    frames = {k: a for k, a in arrays.items() if is_pandas(a)}
    first = None
    for name, frame in frames.items():
        if first is None:
            first = name
        elif len(frame) == len(frames[first]) and not frame.index.equals(frames[first].index):
            raise ArrayError(
                f"{first} and {name} have different indexes, so their rows may not belong "
                "together; align them (for example with .reindex) or pass .to_numpy()."
            )


def same_rows(**arrays: np.ndarray | None) -> int:
    """The common number of rows."""
    sizes = {name: len(a) for name, a in arrays.items() if a is not None}
    if len(set(sizes.values())) != 1:
        listed = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ArrayError(f"arguments differ in their number of rows: {listed}.")
    return next(iter(sizes.values()))


def positive(name: str, a: Any, rows: int) -> np.ndarray:
    """Finite, non-negative weights with a positive sum."""
    values = numeric(name, a)
    if len(values) != rows:
        raise ArrayError(f"{name} has {len(values)} values for {rows} rows.")
    if (values < 0).any() or values.sum() <= 0:
        raise ArrayError(f"{name} must be non-negative with a positive sum.")
    return values


def check_level(alpha: Number) -> float:
    """``alpha`` if it lies strictly between 0 and 1."""
    if not (isinstance(alpha, int | float | np.number) and 0 < alpha < 1):
        raise LevelError(
            f"alpha is the error rate of the interval and lies in (0, 1); got {alpha!r}. "
            "A 95 % interval has alpha=0.05."
        )
    return float(alpha)


def check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise MethodError(
            f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}."
        )


def check_counts(n: int, total: int, needed: int, what: str) -> None:
    """Raise when the labelled or unlabelled sample is too small for a variance."""
    if n < needed:
        raise TooFewLabelsError(
            f"{n} labelled row(s) are too few for {what}: at least {needed} are needed. "
            "Label more rows, or estimate fewer parameters."
        )
    if total < 2:
        raise TooFewLabelsError(
            f"{total} unlabelled row(s): at least 2 are needed. Without unlabelled rows, use "
            "method='classical'."
        )


def proxy_notes(
    f: np.ndarray, y: np.ndarray | None, fu: np.ndarray, *, random: bool = True
) -> list[str]:
    """What is suspicious about predictions; each sentence is also a `PredictionWarning`.

    Args:
        f: (n,) predictions on labelled rows.
        y: (n,) labels in the same units, or None where they are not comparable.
        fu: (N,) predictions on unlabelled rows.
        random: labelled rows are meant to be a simple random sample.
    """
    notes = []
    n, total = len(f), len(fu)
    spread, spread_u = f.std(), fu.std()
    if spread == 0 or spread_u == 0:
        where = "labelled" if spread == 0 else "unlabelled"
        notes.append(f"the predictions are constant on the {where} rows and cannot help")
    distinct = len(np.unique(f)) > 0.9 * n and n >= 8
    if distinct and all((fu == value).any() for value in f[:: max(1, n // 8)][:8]):
        notes.append(
            "the unlabelled rows seem to repeat the labelled ones (the same predictions occur in "
            "both): pass each row once"
        )
    if distinct and y is not None and np.array_equal(f, y):
        notes.append(
            "the predictions equal every label exactly: a model that has seen these labels "
            "breaks the guarantee; cross-fit it (ppi.cross_fit)"
        )
    error = np.hypot(spread / np.sqrt(n), spread_u / np.sqrt(total))
    if random and n >= 20 and error > 0 and abs(f.mean() - fu.mean()) > 5 * error:
        notes.append(
            "the predictions average differently on labelled and unlabelled rows "
            f"({f.mean():.4g} against {fu.mean():.4g}, more than 5 standard errors apart): the "
            "labelled rows may not be a random sample; see weights= and propensity="
        )
    for note in notes:
        warn(note)
    return notes
