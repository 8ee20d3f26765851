"""Data for the tests of `probinf.ppi`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "ppi"


def real(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions of a data set that is not part of the project."""
    path = SHARED / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{name}.npz is not in shared/data/ppi")
    with np.load(path) as data:
        return data["Y"], data["Yhat"]


def galaxies() -> tuple[np.ndarray, np.ndarray]:
    """Whether a galaxy is spiral, by people and by a network: 16,743 rows."""
    return real("galaxies")


def regression(kind: str, n: int = 500, N: int = 5000, seed: int = 0) -> tuple[np.ndarray, ...]:
    """x, y, f, x_unlabeled, f_unlabeled of a regression with an intercept and skewed regressors."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n + N), rng.normal(size=n + N), rng.exponential(size=n + N) - 1])
    eta, hidden = x @ [0.2, 0.5, -0.4], rng.normal(size=n + N)
    if kind == "gaussian":
        y, f = eta + hidden + 0.5 * rng.standard_t(5, size=n + N), 0.8 * eta + hidden
    elif kind == "binomial":
        f = 1 / (1 + np.exp(-eta - 2 * hidden))
        y = (rng.uniform(size=n + N) < f).astype(float)
    else:
        f = np.exp(0.7 * eta + 0.4 * hidden)
        y = rng.poisson(f).astype(float)
    return x[:n], y[:n], f[:n], x[n:], f[n:]
