"""What methods for series of forecasts are given: errors of the past, forecasts, outcomes."""

from __future__ import annotations

import numpy as np

from probinf.core.inputs.arrays import ArrayLike, as_float
from probinf.core.inputs.frames import same_index
from probinf.errors import ArrayError


def forecasts(
    residuals: ArrayLike, predictions: ArrayLike, y: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors (S, w) of the training period, forecasts as given, and their errors (S, T).

    Raises:
        ArrayError: NaN or shapes that differ.
    """
    same_index(predictions=predictions, y=y)
    r, mu, outcome = (
        np.asarray(as_float(name, v), float)
        for name, v in (("residuals", residuals), ("predictions", predictions), ("y", y))
    )
    if mu.shape != outcome.shape or r.ndim != mu.ndim or mu.ndim not in (1, 2):
        raise ArrayError(
            f"predictions and y must share the shape (T,) or (S, T), and residuals must have as "
            f"many axes; got {mu.shape}, {outcome.shape} and {r.shape}."
        )
    return np.atleast_2d(r), mu, np.atleast_2d(outcome - mu)
