"""Calibration of amortized posteriors on fresh simulations, global or local in the data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.conformal.calibration.ranks import order_stat, upper_rank
from probinf.conformal.sets.reporting import check_test, too_few, warn_infinite
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.frames import same_index
from probinf.core.inputs.levels import fraction
from probinf.core.keys import as_generator
from probinf.core.program import Key
from probinf.errors import ArrayError, MethodError, MissingPackageError

GLOBAL = ">= 1-alpha over parameters from the prior and their data"
LOCAL = ">= 1-alpha within every cell of a partition of the data, over the prior"


@dataclasses.dataclass(frozen=True)
class PosteriorRegion:
    """Credible regions ``{theta : score(theta, x) <= threshold(x)}`` with frequentist coverage.

    Attributes:
        thresholds: (cells,) one per cell of the data space.
        alpha: miscoverage.
        guarantee: what is promised, and over what.
        tree: the fitted partition, or None for one cell.
    """

    thresholds: np.ndarray
    alpha: float
    guarantee: str
    tree: Any = None

    def threshold(self, x: ArrayLike) -> np.ndarray:
        """(m,) thresholds at data (m, d)."""
        data = np.asarray(as_float("x", x, ndim=2), float)
        if self.tree is None:
            return np.full(len(data), self.thresholds[0])
        return np.asarray(self.thresholds[self.tree.apply(data)])

    def contains(self, scores: ArrayLike, x: ArrayLike) -> np.ndarray:
        """(m,) whether parameters with these scores lie in the regions of their data."""
        values = np.asarray(as_float("scores", scores, ndim=1), float)
        limits = self.threshold(x)
        check_test("scores", values.size, limits.size)
        return np.asarray(values <= limits)


def hpd_scores(log_prob: ArrayLike, log_prob_draws: ArrayLike) -> np.ndarray:
    """(n,) estimated posterior mass of the parameters more probable than the true one.

    Args:
        log_prob: (n,) log q(theta_i | x_i) of the true parameters.
        log_prob_draws: (n, L) log q of L draws from q(. | x_i).
    """
    true = np.asarray(as_float("log_prob", log_prob, ndim=1), float)
    draws = np.asarray(as_float("log_prob_draws", log_prob_draws, ndim=2, size=true.size), float)
    return np.asarray((draws > true[:, None]).mean(axis=1))


def waldo_scores(theta: ArrayLike, draws: ArrayLike) -> np.ndarray:
    """(n,) squared distance of theta from the posterior mean, in posterior covariances.

    Args:
        theta: (n, p) parameters.
        draws: (n, L, p) draws from q(. | x_i).

    Source: Masserano, Dorigo, Izbicki, Kuusela & Lee (2023).
    """
    t = np.asarray(as_float("theta", theta, ndim=2), float)
    d = np.asarray(as_float("draws", draws, ndim=3, size=len(t)), float)
    if d.shape[1] <= t.shape[1]:
        raise ArrayError(f"draws must be more than the {t.shape[1]} parameters, got {d.shape[1]}.")
    centred = d - d.mean(axis=1, keepdims=True)
    covariance = np.einsum("nlp,nlq->npq", centred, centred) / (d.shape[1] - 1)
    gap = t - d.mean(axis=1)
    return np.asarray(
        np.einsum("np,np->n", gap, np.linalg.solve(covariance, gap[..., None])[..., 0])
    )


def calibrate_posterior(
    scores: ArrayLike,
    x: ArrayLike | None = None,
    *,
    alpha: Number = 0.1,
    local: bool = False,
    leaf: int = 300,
    key: int | Key = 0,
) -> PosteriorRegion:
    """Give an amortized posterior's regions exact coverage, by fresh simulations.

    Args:
        scores: (n,) scores of true parameters: :func:`hpd_scores`, :func:`waldo_scores`, or
            ``-log q(theta | x)``, for pairs drawn from the joint and not used in training.
        x: (n, d) their data, or summaries of them; needed when ``local``.
        alpha: miscoverage.
        local: partition the data space by a regression tree of the scores, grown on half of the
            pairs and calibrated on the other half (needs scikit-learn).
        leaf: fewest pairs per cell of the growing half.
        key: random key or seed of the halving.

    Raises:
        ArrayError: NaN, or shapes that differ.
        MethodError: ``local`` without x.

    Source: Masserano et al. (2023); Cabezas, Soares, Ramos, Stern & Izbicki (2024), LOCART.
    """
    same_index(scores=scores, x=x)
    s = np.asarray(as_float("scores", scores, ndim=1), float)
    level = fraction("alpha", alpha)
    if not local:
        q = order_stat(s, upper_rank(s.size, level))
        warn_infinite(q, too_few(s.size, level))
        return PosteriorRegion(np.array([q]), level, GLOBAL)
    if x is None:
        raise MethodError("local=True needs x, the data of each pair.")
    try:
        from sklearn.tree import DecisionTreeRegressor
    except ImportError:
        raise MissingPackageError(
            "local=True needs scikit-learn: pip install 'probinf[sklearn]'."
        ) from None
    data = np.asarray(as_float("x", x, ndim=2, size=s.size), float)
    rng = as_generator(key)
    grow = rng.permutation(s.size) < s.size // 2
    tree = DecisionTreeRegressor(min_samples_leaf=leaf, random_state=int(rng.integers(2**31)))
    tree.fit(data[grow], s[grow])
    cells = tree.apply(data[~grow])
    thresholds = np.full(tree.tree_.node_count, np.inf)
    for cell in np.unique(cells):
        part = s[~grow][cells == cell]
        thresholds[cell] = order_stat(part, upper_rank(part.size, level))
    used = thresholds[np.unique(tree.apply(data[grow]))]
    warn_infinite(used, "some cells have too few pairs; raise leaf or simulate more.")
    return PosteriorRegion(thresholds, level, LOCAL, tree)
