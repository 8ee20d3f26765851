"""Chiseling: carve a subgroup with a positive mean out of the data that also test it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from probinf.conformal.calibration.columns import columns_of
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
    units = columns_of(X)
    a = np.column_stack([units(X), np.ones(len(X))])
    penalty = np.diag(np.append(1 / units.scale, 0.0))
    rows, target = np.vstack([a, penalty]), np.append(z, np.zeros(len(penalty)))
    beta = np.linalg.lstsq(rows, target, rcond=None)[0]
    return lambda x: np.asarray(units(x) @ beta[:-1] + beta[-1])


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
    them; those still masked stay a sample of the region. Tests along the way share alpha in equal
    parts. Their statistic is corrected for skewness, and on the left by the longest tail that any
    sample along the way or all data show: a sample that happens to lack its left tail has a large
    mean, a small spread and no skewness of its own.

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

    Source: Cheng, Spector & Janson (2025), algorithm 1, with a union bound over the tests: the
    correction for earlier tests not having rejected rests on the normal approximation far out,
    where skewed and heteroskedastic outcomes break it.
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

    masked = np.asarray(uniforms(key, n) > first)
    rules: list[tuple[Any, float]] = []
    critical = float(norm.ppf(1 - level / tests))
    least_skewness = min(0.0, _skewness(values))
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
        own = _skewness(sample)
        least_skewness = min(least_skewness, own)
        skewness = least_skewness if least_skewness < 0 else own
        done += 1
        if _normal(np.sqrt(sample.size) * mean / sd, sample.size, skewness) > critical:
            return _result(True, region, rules, mean, done, level)
    return _result(False, region, rules, float("nan"), done, level)


def _skewness(sample: np.ndarray) -> float:
    sd = float(sample.std(ddof=1))
    return float(np.mean((sample - sample.mean()) ** 3)) / sd**3 if sd > 0 else 0.0


def _normal(raw: float, n: int, skewness: float) -> float:
    """A studentised mean on the normal scale: Hall's skewness term, then Student's tails.

    The cubic makes the transformation increasing; the quadratic alone would turn a very negative
    mean of skewed values into a large statistic.

    Source: Hall (1992), the monotone transformation of the studentised mean.
    """
    from scipy.stats import norm, t

    slope = skewness / (3 * np.sqrt(n))
    bent = raw + slope * raw**2 + slope**2 * raw**3 / 3 + slope / 2
    return float(norm.ppf(t.cdf(bent, n - 1)))


def _result(
    rejected: bool, member: np.ndarray, rules: Any, estimate: float, tests: int, level: float
) -> Chiseled:
    promise = f"P(false discovery) <= {level:g} as n grows, iid data"
    return Chiseled(rejected, member, tuple(rules), estimate, tests, promise)
