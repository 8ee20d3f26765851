"""Designs: how rows were sampled, as weights of the estimating equation and variance rules."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.core.inputs.columns import positive, warn
from probinf.errors import ArrayError, LevelError, MethodError, TooFewLabelsError
from probinf.ppi.inference.moments import Parts, parts, unlabeled_moments


@dataclasses.dataclass(frozen=True)
class Design:
    """Weights, clusters and strata of the labelled and unlabelled rows.

    Attributes:
        alpha, gamma, beta: (n,), (n,), (N,) weights; see `probinf.ppi.core.Data`.
        joint: labelling probabilities are known; rows are one sample.
        clusters: (n,) and (N,) cluster numbers, or None.
        strata: (n,) and (N,) stratum numbers, or None.
        fraction: per labelled row n / (n + N) of its stratum for a finite population, or None.
    """

    alpha: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    joint: bool = False
    clusters: tuple[np.ndarray, np.ndarray] | None = None
    strata: tuple[np.ndarray, np.ndarray] | None = None
    fraction: np.ndarray | None = None

    @property
    def n(self) -> int:
        """Labelled rows."""
        return len(self.alpha)

    @property
    def N(self) -> int:
        """Unlabelled rows."""
        return len(self.beta)

    @property
    def simple(self) -> bool:
        """Whether rows are independent and identically distributed within each sample."""
        return self.clusters is None and self.strata is None and self.fraction is None

    @property
    def random(self) -> bool:
        """Whether labelled rows are a simple random sample of all."""
        plain = self.clusters is None and self.strata is None and not self.joint
        return plain and bool(np.ptp(self.alpha) == 0)

    @property
    def cov_type(self) -> str:
        """Name of the variance rule."""
        if self.clusters is not None:
            return "cluster"
        return "known propensity" if self.joint else "robust"

    def degrees(self, spent: int) -> tuple[float, float]:
        """Degrees of freedom of labelled and unlabelled variances after ``spent`` parameters."""
        used, other = (1, 1) if self.strata is None else (len(np.unique(s)) for s in self.strata)
        mine, theirs = float(self.n - used - spent + 1), float(self.N - other)
        if self.clusters is not None:
            mine = min(mine, len(np.unique(self.clusters[0])) - used)
            theirs = min(theirs, len(np.unique(self.clusters[1])) - other)
        if mine < 1:
            raise TooFewLabelsError(
                f"{self.n} labelled rows (or their clusters and strata) leave no degree of freedom "
                f"after {spent} estimated parameters; label more rows, or pass tune=1.0."
            )
        return max(mine * _evenness(self.alpha), 1.0), max(theirs * _evenness(self.beta), 1.0)

    def satterthwaite(self, rows: np.ndarray, spent: int) -> np.ndarray:
        """Degrees of freedom (d,) of labelled influence values (n, d), if strata differ."""
        assert self.strata is not None
        ids = self.strata[0]
        count = np.bincount(ids)[:, None]
        free = np.maximum(count - 1, 1)
        kept = 1.0 if self.fraction is None else (1 - self.fraction)[:, None]
        v = _sum_by(rows**2 * kept, ids) * count / free
        used = len(np.unique(ids))
        share = (self.n - used - spent + 1) / (self.n - used)
        bottom = (v**2 / free).sum(axis=0)
        df = np.where(bottom > 0, v.sum(axis=0) ** 2 / np.where(bottom > 0, bottom, 1.0), 1.0)
        return np.maximum(df * share, 1.0)

    def factors(self, spent: int) -> tuple[float, float]:
        """Small-sample factors of labelled and unlabelled variances of `parts`."""
        if self.simple:
            rest = (self.n - 1) / (self.n - spent)
            return _unbiased(self.alpha) * rest, _unbiased(self.beta)
        used = len(np.unique(self.strata[0])) if self.strata is not None else 1
        return (self.n - used) / (self.n - used - spent + 1), 1.0

    def contributions(
        self, g: np.ndarray, h: np.ndarray, u: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Centred contributions (n, d + q) and (N, d + q) of every row to (score, control)."""
        d, q = g.shape[1], h.shape[1]
        mine = np.hstack([self.alpha[:, None] * g, -self.gamma[:, None] * h])
        theirs = np.hstack([np.zeros((len(u), d)), self.beta[:, None] * u])
        if self.joint:
            mean = (mine.sum(axis=0) + theirs.sum(axis=0)) / (len(g) + len(u))
            return mine - mean, theirs - mean
        strata = self.strata or (np.zeros(self.n, int), np.zeros(self.N, int))
        mine = _centre(mine, self.alpha, strata[0])
        theirs[:, d : d + q] = _centre(theirs[:, d:], self.beta, strata[1])
        return mine, theirs

    def parts(
        self, g: np.ndarray, h: np.ndarray, u: np.ndarray, jac_g: np.ndarray, jac_c: np.ndarray
    ) -> Parts:
        """`Parts` of this design from the scores of all rows; as `probinf.ppi.moments.parts`."""
        if self.simple:
            a, c, b = self.alpha, self.gamma, self.beta
            rest = unlabeled_moments(u, b, joint=self.joint)
            return parts(g, h, rest, a, c, b, jac_g, jac_c, joint=self.joint)
        d = g.shape[1]
        mine, theirs = self.contributions(g, h, u)
        strata = self.strata or (np.zeros(self.n, int), np.zeros(self.N, int))
        if self.clusters is None:
            V, W = _within(mine, strata[0]), _within(theirs, strata[1])
        elif np.isin(self.clusters[0], self.clusters[1]).any() or self.joint:
            count = len(np.unique(self.clusters[0]))
            sums = _sum_by(np.vstack([mine, theirs]), np.concatenate(self.clusters))
            V, W = sums.T @ sums * count / (count - 1), np.zeros((mine.shape[1],) * 2)
        else:
            V = _within(*_collapse(mine, self.clusters[0], strata[0]))
            W = _within(*_collapse(theirs, self.clusters[1], strata[1]))
        gg, gc, cc, cu = V[:d, :d], V[:d, d:], V[d:, d:], W[d:, d:]
        if self.fraction is not None:
            root = np.sqrt(1 - self.fraction)[:, None]
            scaled = np.hstack([mine[:, :d] * root, mine[:, d:] / root])
            V = _within(scaled, strata[0])
            gg, gc, cc, cu = V[:d, :d], V[:d, d:], V[d:, d:], np.zeros_like(cu)
        score = self.alpha @ g
        control = self.beta @ u - self.gamma @ h
        return Parts(score, control, gg, gc, cc, cu, cc + cu, jac_g, jac_c)


def _evenness(weights: np.ndarray) -> float:
    """Share of the rows that a variance with these weights rests on: 1 if they are equal."""
    if np.ptp(weights) == 0:
        return 1.0
    return float((weights**2).sum() ** 2 / (weights**4).sum() / len(weights))


def _unbiased(weights: np.ndarray) -> float:
    """Factor that makes the variance around a weighted mean unbiased; n / (n - 1) if equal."""
    if np.ptp(weights) == 0:
        return len(weights) / (len(weights) - 1)
    w = weights / weights.sum()
    second = (w**2).sum()
    return float(second / (second - 2 * (w**3).sum() + second**2))


def _centre(rows: np.ndarray, weights: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Subtract from each stratum its weighted mean, in proportion to the weights."""
    total = np.bincount(strata, weights)
    sums = _sum_by(rows, strata, len(total))
    return rows - weights[:, None] * (sums / total[:, None])[strata]


def _sum_by(rows: np.ndarray, ids: np.ndarray, size: int = 0) -> np.ndarray:
    columns = [np.bincount(ids, column, minlength=size) for column in rows.T]
    return np.stack(columns, axis=1)


def _collapse(
    rows: np.ndarray, clusters: np.ndarray, strata: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster sums and the stratum of every cluster."""
    _, first, ids = np.unique(clusters, return_index=True, return_inverse=True)
    return _sum_by(rows, ids), strata[first]


def _within(rows: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Sum over strata of count / (count - 1) times the sum of squares."""
    count = np.bincount(strata)
    scale = np.sqrt(count / np.maximum(count - 1, 1))[strata][:, None]
    return (rows * scale).T @ (rows * scale)


def _clusters_per(clusters: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Number of clusters in every stratum."""
    pairs = np.unique(np.stack([strata, clusters]), axis=1)
    return np.bincount(pairs[0])


def _numbers(name: str, first: Any, second: Any, n: int, N: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both samples as shared integers."""
    a, b = np.asarray(first), np.asarray(second)
    if a.shape != (n,) or b.shape != (N,):
        raise ArrayError(
            f"{name} must be a pair of arrays with {n} labelled and {N} unlabelled labels; got "
            f"shapes {a.shape} and {b.shape}."
        )
    _, ids = np.unique(np.concatenate([a, b]), return_inverse=True)
    return ids[:n], ids[n:]


def _pair(name: str, value: Any) -> tuple[Any, Any]:
    if not (isinstance(value, tuple | list) and len(value) == 2):
        raise ArrayError(f"{name} must be a pair (labelled, unlabelled) of arrays.")
    return value[0], value[1]


def make_design(
    n: int,
    N: int,
    *,
    weights: Any = None,
    propensity: Any = None,
    groups: Any = None,
    strata: Any = None,
    finite_population: bool = False,
) -> Design:
    """The design of n labelled and N unlabelled rows; arguments as in `probinf.ppi.estimate`."""
    if finite_population and not (weights is None and propensity is None and groups is None):
        raise MethodError(
            "finite_population=True describes a simple or stratified random sample of labels; it "
            "cannot be combined with weights, propensity or groups."
        )
    clusters = None if groups is None else _numbers("groups", *_pair("groups", groups), n, N)
    if clusters is not None and len(np.unique(clusters[0])) < 2:
        raise TooFewLabelsError("groups holds a single labelled cluster; a variance needs two.")
    if propensity is not None:
        if weights is not None or strata is not None:
            raise MethodError("propensity cannot be combined with weights or strata.")
        p = positive("propensity", propensity, n)
        if (p <= 0).any() or (p > 1).any():
            raise LevelError(
                f"propensity must lie in (0, 1]; it ranges from {p.min():.3g} to {p.max():.3g}. It "
                "holds the probabilities with which the labelled rows were labelled."
            )
        if p.min() * (n + N) < 5:
            warn(
                f"the smallest labelling probability, {p.min():.2g}, lets a single row dominate; "
                "the normal approximation may fail"
            )
        all_rows = n + N
        alpha, gamma = 1 / (p * all_rows), (1 / p - 1) / all_rows
        return Design(alpha, gamma, np.full(N, 1 / all_rows), joint=True, clusters=clusters)
    w, v = np.ones(n), np.ones(N)
    if weights is not None:
        first, second = _pair("weights", weights)
        w = w if first is None else positive("weights[0]", first, n)
        v = v if second is None else positive("weights[1]", second, N)
    if strata is None:
        fraction = np.full(n, n / (n + N)) if finite_population else None
        alpha = w / w.sum()
        return Design(alpha, alpha, v / v.sum(), clusters=clusters, fraction=fraction)
    ids = _numbers("strata", *_pair("strata", strata), n, N)
    size = max(ids[0].max(), ids[1].max()) + 1
    labeled, other = np.bincount(ids[0], minlength=size), np.bincount(ids[1], minlength=size)
    if labeled.min() < 2 or other.min() < 2:
        raise TooFewLabelsError(
            "strata: every stratum needs at least 2 labelled and 2 unlabelled rows; the smallest "
            f"counts are {labeled.min()} and {other.min()}. Merge strata."
        )
    share = (labeled + other) / (n + N)
    if (
        clusters is not None
        and min(_clusters_per(c, s).min() for c, s in zip(clusters, ids, strict=True)) < 2
    ):
        raise TooFewLabelsError(
            "strata: every stratum needs at least 2 labelled and 2 unlabelled clusters. Merge "
            "strata."
        )
    alpha = w * (share / np.bincount(ids[0], w))[ids[0]]
    beta = v * (share / np.bincount(ids[1], v))[ids[1]]
    fraction = (labeled / (labeled + other))[ids[0]] if finite_population else None
    return Design(alpha, alpha, beta, clusters=clusters, strata=ids, fraction=fraction)
