"""Chiseling: carve a subgroup with a positive mean out of the data that also test it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from probinf.conformal.calibration.randomness import uniforms
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.levels import fraction
from probinf.core.program import Key
from probinf.errors import ArrayError

Learner = Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Chiseled:
    """The outcome of a search for a subgroup.

    Attributes:
        rejected: whether a subgroup with a positive mean was found.
        member: (n,) points of the data inside the region when it stopped.
        rules: the (predictor, threshold) pairs that define the region: all must exceed.
        estimate: mean of z over the points that were still masked, NaN without rejection.
        tests: number of tests made.
        guarantee: what is promised, and under which assumption.
    """

    rejected: bool
    member: np.ndarray
    rules: tuple[tuple[Any, float], ...]
    estimate: float
    tests: int
    guarantee: str

    def contains(self, X: ArrayLike) -> np.ndarray:
        """Whether new points lie in the region."""
        x = np.asarray(as_float("X", X, ndim=2), float)
        inside = np.ones(len(x), bool)
        for predictor, threshold in self.rules:
            inside &= np.asarray(predictor(x)) > threshold
        return inside


def ridge_learner(X: np.ndarray, z: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The default learner: ridge regression of z on X with an intercept."""
    a = np.column_stack([X, np.ones(len(X))])
    penalty = np.append(np.full(X.shape[1], 1.0), 1e-6)
    beta = np.linalg.solve(a.T @ a + np.diag(penalty), a.T @ z)
    return lambda x: np.asarray(x @ beta[:-1] + beta[-1])


def chisel(
    X: ArrayLike,
    z: ArrayLike,
    *,
    key: int | Key,
    alpha: Number = 0.05,
    learner: Learner = ridge_learner,
    start: Number = 0.2,
    tests: int = 8,
    least: int = 30,
) -> Chiseled:
    """Find a region with ``E[z | x in region] > 0``, all data used for search and test.

    Points are revealed to a learner, the least promising first, and the region shrinks past
    them; those still masked stay a sample of the region. Tests along the way share alpha, each
    correcting for the earlier ones not having rejected.

    Args:
        X: (n, d) covariates.
        z: (n,) what should have a positive mean: an outcome minus a threshold, or the
            inverse-probability pseudo-outcome of a randomised trial.
        key: random key or seed of the points revealed first.
        alpha: probability of a false discovery, in large samples.
        learner: (X, z) -> predictor of new X.
        start: fraction of points revealed before the first test.
        tests: number of tests planned.
        least: masked points that a test needs.

    Raises:
        ArrayError: NaN, too few points, no tests.

    Source: Cheng, Spector & Janson (2025), algorithm 1.
    """
    x = np.asarray(as_float("X", X, ndim=2), float)
    values = np.asarray(as_float("z", z, ndim=1, size=len(x)), float)
    level, first = fraction("alpha", alpha), fraction("start", start)
    n = values.size
    if tests < 1 or least < 2:
        raise ArrayError(f"tests must be at least 1 and least at least 2, got {tests}, {least}.")
    if n < 2 * least:
        raise ArrayError(f"chisel needs at least {2 * least} points (2 x least), got {n}.")
    from scipy.stats import norm

    share = 1 - (1 - level) ** (1 / tests)
    masked = np.asarray(uniforms(key, n) > first)
    rules: list[tuple[Any, float]] = []
    history: list[tuple[float, float, np.ndarray]] = []  # raw critical value, sd, masked then
    region = np.ones(n, bool)
    done = 0
    schedule = np.linspace(1.0, 0.15, tests) * masked.sum()
    for target in schedule:
        remove = int(masked.sum() - max(target, least))
        if remove > 0 or not rules:
            predictor = learner(x[~masked], values[~masked])
            f = np.asarray(predictor(x))
            ranked = np.flatnonzero(masked)[np.argsort(f[masked], kind="stable")]
            if remove > 0:
                threshold = float(f[ranked[remove - 1]])
                keep = masked & (f > threshold)
                if keep.sum() < least:
                    break
                rules.append((predictor, threshold))
                region &= f > threshold
                masked = keep
        sample = values[masked]
        sd = float(sample.std(ddof=1))
        if sd <= 0:
            break
        mean = float(sample.mean())
        scale = _Scale(sample.size, float(np.mean((sample - mean) ** 3) / sd**3))
        statistic = scale.normal(np.sqrt(sample.size) * mean / sd)
        truncation = scale.normal(_truncation(history, values, masked, sd))
        critical = max(0.0, float(norm.ppf((1 - share) * norm.cdf(truncation))))
        done += 1
        if statistic > critical:
            return _result(True, region, rules, mean, done, level)
        history.append((scale.raw(critical), sd, masked.copy()))
    return _result(False, region, rules, float("nan"), done, level)


class _Scale(NamedTuple):
    """From a studentised mean to the normal scale: Hall's skewness term, then Student's tails.

    The cubic makes the transformation increasing; the quadratic alone would turn a very negative
    mean of skewed values into a large statistic.

    Source: Hall (1992), the monotone transformation of the studentised mean.
    """

    n: int
    skewness: float

    @property
    def _slope(self) -> float:
        return self.skewness / (3 * np.sqrt(self.n))

    def normal(self, raw: float) -> float:
        """The statistic on the normal scale."""
        from scipy.stats import norm, t

        if np.isinf(raw):
            return float(raw)
        slope = self._slope
        bent = raw + slope * raw**2 + slope**2 * raw**3 / 3 + slope / 2
        return float(norm.ppf(t.cdf(bent, self.n - 1)))

    def raw(self, normal: float) -> float:
        """The inverse of :meth:`normal`."""
        from scipy.stats import norm, t

        slope = self._slope
        bent = float(t.ppf(norm.cdf(normal), self.n - 1)) - slope / 2
        if abs(slope) < 1e-8:
            return bent
        return float((np.cbrt(1 + 3 * slope * bent) - 1) / slope)


def _truncation(history: Any, values: np.ndarray, masked: np.ndarray, sd: Number) -> float:
    """The largest studentised mean that is possible, given that no earlier test rejected."""
    least = np.inf
    for critical, sd_then, masked_then in history:
        count_then = masked_then.sum()
        revealed = values[masked_then & ~masked].sum() / (sd_then * np.sqrt(count_then))
        ratio = np.sqrt(sd**2 * masked.sum() / (sd_then**2 * count_then))
        least = min(least, (critical - revealed) / ratio)
    return float(least)


def _result(
    rejected: bool, member: np.ndarray, rules: Any, estimate: float, tests: int, level: float
) -> Chiseled:
    promise = f"P(false discovery) <= {level:g} as n grows, iid data"
    return Chiseled(rejected, member, tuple(rules), estimate, tests, promise)
