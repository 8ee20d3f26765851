"""From auxiliary selection sizes to a selection: e-values and their pruning."""

from __future__ import annotations

import numpy as np

from probinf.conformal.calibration.randomness import uniforms
from probinf.core.inputs.arrays import Number
from probinf.core.program import Key
from probinf.errors import MethodError


def prune_candidates(
    key: int | Key, p: np.ndarray, sizes: np.ndarray, *, q: Number, beta: Number, prune: str
) -> tuple[np.ndarray, np.ndarray]:
    """Selected indices and e-values.

    Candidates have ``p_j <= q beta R_j / m``. The selection is the largest r such that r
    candidates have ``xi_j beta R_j <= r``: independent uniform xi_j (hete), one for all (homo), or
    one (dtm). Each keeps E[1{j selected} / |selection|] <= 1{candidate} / (beta R_j).

    Source: Bai & Jin (2024), section 3.2 and theorem 3.1.
    """
    m = p.size
    candidate = p <= q * beta * sizes / m + 1e-12
    e = np.where(candidate, m / (q * beta * np.maximum(sizes, 1)), 0.0)
    if prune == "hete":
        xi = uniforms(key, m)
    elif prune == "homo":
        xi = np.full(m, uniforms(key, 1)[0])
    elif prune == "dtm":
        xi = np.ones(m)
    else:
        raise MethodError(f"prune must be 'hete', 'homo' or 'dtm', got {prune!r}.")
    need = np.where(candidate, xi * beta * sizes, np.inf)
    ordered = np.sort(need)
    fits = np.flatnonzero(ordered <= np.arange(1, m + 1) + 1e-9)
    if not fits.size:
        return np.array([], int), e
    return np.flatnonzero(need <= fits[-1] + 1 + 1e-9), e
