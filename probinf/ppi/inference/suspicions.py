"""What is suspicious about predictions, as notes of a result and as warnings."""

from __future__ import annotations

import warnings

import numpy as np

from probinf.errors import PredictionWarning


def warn(message: str, *, depth: int = 2) -> None:
    """A `PredictionWarning` that points at a user's line, so many calls above the caller's."""
    warnings.warn(message, PredictionWarning, stacklevel=depth + 2)


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
