"""coverage: the share of questions that at least one of k tries gets right."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import optimize
from scipy.special import betaln, expit, gammaln
from scipy.stats import norm
from scipy.stats import t as student

from probinf.core.inputs.arrays import ArrayLike, Number
from probinf.core.inputs.levels import fraction
from probinf.errors import ArrayError


class Coverage(NamedTuple):
    """Coverage by the number of tries.

    Attributes:
        k: (K,) tries.
        coverage: (K,) share of questions with a right answer among k tries.
        lower, upper: (K,) ends of the interval, over questions.
        extrapolated: (K,) whether k is more than were taken, so that a law of the questions'
            difficulty (a Beta law) says what would have come.
    """

    k: np.ndarray
    coverage: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    extrapolated: np.ndarray

    def summary(self) -> str:
        """Coverage and interval of each number of tries, for reading."""
        rows = zip(*self, strict=True)
        return "\n".join(
            f"{k:8d} tries  {value:.1%} [{low:.1%}, {high:.1%}]{' extrapolated' if far else ''}"
            for k, value, low, high, far in rows
        )

    def __str__(self) -> str:
        return self.summary()

    def to_dataframe(self) -> Any:
        """A DataFrame with one row per number of tries."""
        import pandas as pd

        return pd.DataFrame(self._asdict()).set_index("k")

    def plot(self, axis: Any = None) -> Any:
        """Coverage by the number of tries with its interval; returns the axis."""
        axis = band(axis, self.k, self.coverage, self.lower, self.upper, "coverage")
        axis.set_xscale("log")
        return axis


def band(axis: Any, k: Any, value: Any, lower: Any, upper: Any, label: str) -> Any:
    """A curve over numbers of tries with its interval, on ``axis`` or a new one."""
    if axis is None:
        import matplotlib.pyplot as plt

        axis = plt.subplots(figsize=(6, 3.2), layout="constrained")[1]
    axis.fill_between(k, lower, upper, alpha=0.3, lw=0)
    axis.plot(k, value)
    axis.set(xlabel="tries", ylabel=label)
    return axis


def coverage(right: ArrayLike, tries: ArrayLike, k: ArrayLike, *, alpha: Number = 0.1) -> Coverage:
    """Coverage (pass@k) with an interval, from how many of how many tries were right.

    Up to the number of tries it is unbiased for every question: one less the chance that k of the
    n tries, drawn without replacement, are all wrong. Beyond, questions are taken to have chances
    of a Beta law, fitted to all of them; that interval is about the law's parameters.

    Args:
        right: (questions,) tries that were right.
        tries: (questions,) tries taken, or one number.
        k: (K,) whole numbers.
        alpha: error rate of the interval, which is about the population of questions.

    Raises:
        ArrayError: counts that are no counts, or more right tries than tries.

    Source: Chen et al. (2021), arXiv 2107.03374; curves: Brown et al. (2024), arXiv 2407.21787;
    interval of a share under a design: Kott & Carr (1997).
    """
    c = _counts("right", right)
    n = _counts("tries", np.broadcast_to(np.asarray(tries), c.shape))
    ks = _counts("k", np.atleast_1d(np.asarray(k)))
    level = fraction("alpha", alpha)
    if (n < 1).any() or (ks < 1).any():
        raise ArrayError("tries and k must be at least 1.")
    if (c > n).any():
        where = int(np.flatnonzero(c > n)[0])
        raise ArrayError(f"right[{where}] is {c[where]}, and only {n[where]} tries were taken.")
    beyond = ks > n.min()
    found = np.empty((3, ks.size))
    for j in np.flatnonzero(~beyond):
        each = 1 - np.exp(log_none(n, c, ks[j]))
        found[:, j] = _interval(each, level)
    if beyond.any():
        found[:, beyond] = _beyond(c, n, ks[beyond], level)
    return Coverage(ks, found[0], found[1], found[2], beyond)


def log_none(n: Any, c: np.ndarray, k: Any) -> np.ndarray:
    """Log of C(n - c, k) / C(n, k): none of k of n tries is among the c right ones."""
    wrong = n - c
    possible = wrong >= k
    w = np.where(possible, wrong, k)
    found = gammaln(w + 1) - gammaln(w - k + 1) - gammaln(n + 1) + gammaln(n - k + 1)
    return np.where(possible, found, -np.inf)


def _interval(each: np.ndarray, alpha: float) -> tuple[float, float, float]:
    """Mean of values in [0, 1], and Wilson's interval for as many draws as its variance says."""
    m, p = each.size, float(each.mean())
    variance = each.var(ddof=1) / m if m > 1 else 0.0
    effective = p * (1 - p) / variance if variance > 0 and 0 < p < 1 else float(m)
    z = float(student.ppf(1 - alpha / 2, max(m - 1, 1)))
    middle = (p + z**2 / (2 * effective)) / (1 + z**2 / effective)
    half = z * np.sqrt(p * (1 - p) / effective + z**2 / (4 * effective**2))
    half /= 1 + z**2 / effective
    return p, max(middle - half, 0.0), min(middle + half, 1.0)


def _loss(theta: np.ndarray, c: np.ndarray, n: np.ndarray) -> float:
    """Negative log likelihood of a Beta law of chances; ``theta`` are logs of its parameters."""
    a, b = np.exp(theta)
    return -float(np.sum(betaln(a + c, b + n - c) - betaln(a, b)))


def _log_odds(theta: np.ndarray, ks: np.ndarray) -> np.ndarray:
    """Log odds of coverage under the Beta law."""
    a, b = np.exp(theta)
    none = betaln(a, b + ks) - betaln(a, b)
    return np.asarray(np.log(-np.expm1(none)) - none)


def _beyond(c: np.ndarray, n: np.ndarray, ks: np.ndarray, alpha: float) -> np.ndarray:
    """The fitted law's coverage, its interval from the curvature of the likelihood."""
    fit = optimize.minimize(_loss, np.zeros(2), (c, n), bounds=[(-7, 9)] * 2).x
    steps = 1e-3 * np.eye(2)
    curvature = np.array(
        [
            [
                _loss(fit + u + v, c, n)
                - _loss(fit + u - v, c, n)
                - _loss(fit - u + v, c, n)
                + _loss(fit - u - v, c, n)
                for v in steps
            ]
            for u in steps
        ]
    ) / (4 * 1e-6)
    slope = np.array([_log_odds(fit + u, ks) - _log_odds(fit - u, ks) for u in steps]) / 2e-3
    variance = np.einsum("ik,ij,jk->k", slope, np.linalg.pinv(curvature), slope)
    half = float(norm.ppf(1 - alpha / 2)) * np.sqrt(np.maximum(variance, 0))
    middle = _log_odds(fit, ks)
    return np.asarray(expit(np.array([middle, middle - half, middle + half])))


def _counts(name: str, given: ArrayLike) -> np.ndarray:
    values = np.asarray(given)
    whole = values.dtype.kind in "iub" or (
        values.dtype.kind == "f" and np.isfinite(values).all() and (values == values.round()).all()
    )
    if values.ndim != 1 or values.size == 0 or not whole or (values < 0).any():
        raise ArrayError(f"{name} must be counts along one axis, got {given!r}.")
    return values.astype(int)
