"""Schemes: a design resolved into weights of the estimating equation and variance rules."""

from __future__ import annotations

import dataclasses

import numpy as np

from probinf.errors import TooFewLabelsError
from probinf.ppi.inference.moments import Parts, parts, unlabeled_moments
from probinf.ppi.inference.sums import centre, collapse, evenness, sum_by, unbiased, within


@dataclasses.dataclass(frozen=True)
class Scheme:
    """Weights, clusters and strata of the labelled and unlabelled rows, as numbers.

    Attributes:
        alpha, gamma, beta: (n,), (n,), (N,) weights; see `probinf.ppi.core.Data`.
        joint: labelling probabilities are known; rows are one sample.
        clusters: (n,) and (N,) cluster numbers, or None.
        strata: (n,) and (N,) stratum numbers, or None.
        fraction: per labelled row n / (n + N) of its stratum for a finite population, or None.
        notes: what is suspicious about the design.
    """

    alpha: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    joint: bool = False
    clusters: tuple[np.ndarray, np.ndarray] | None = None
    strata: tuple[np.ndarray, np.ndarray] | None = None
    fraction: np.ndarray | None = None
    notes: tuple[str, ...] = ()

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

    def degrees(self, spent: int, tuning: int) -> tuple[float, float]:
        """Degrees of freedom of labelled and unlabelled variances after ``spent`` parameters.

        ``tuning`` of them are weights of the predictions, which cost clusters instead of rows.
        """
        used, other = (1, 1) if self.strata is None else (len(np.unique(s)) for s in self.strata)
        mine, theirs = float(self.n - used - spent + 1), float(self.N - other)
        if self.clusters is not None:
            mine = min(mine, float(len(np.unique(self.clusters[0])) - used - tuning))
            theirs = min(theirs, len(np.unique(self.clusters[1])) - other)
        if mine < 1:
            raise TooFewLabelsError(
                f"{self.n} labelled rows (or their clusters and strata) leave no degree of freedom "
                f"after {spent} estimated parameters; label more rows, or pass tune=1.0."
            )
        return max(mine * evenness(self.alpha), 1.0), max(theirs * evenness(self.beta), 1.0)

    def satterthwaite(self, rows: np.ndarray, spent: int) -> np.ndarray:
        """Degrees of freedom (d,) of labelled influence values (n, d), if strata differ."""
        assert self.strata is not None
        ids = self.strata[0]
        count = np.bincount(ids)[:, None]
        free = np.maximum(count - 1, 1)
        kept = 1.0 if self.fraction is None else (1 - self.fraction)[:, None]
        v = sum_by(rows**2 * kept, ids) * count / free
        used = len(np.unique(ids))
        share = (self.n - used - spent + 1) / (self.n - used)
        bottom = (v**2 / free).sum(axis=0)
        df = np.where(bottom > 0, v.sum(axis=0) ** 2 / np.where(bottom > 0, bottom, 1.0), 1.0)
        return np.maximum(df * share, 1.0)

    def factors(self, spent: int, tuning: int) -> tuple[float, float]:
        """Small-sample factors of labelled and unlabelled variances of `parts`, see `degrees`."""
        if self.simple:
            rest = (self.n - 1) / (self.n - spent)
            return unbiased(self.alpha) * rest, unbiased(self.beta)
        used = len(np.unique(self.strata[0])) if self.strata is not None else 1
        if self.clusters is None:
            return (self.n - used) / (self.n - used - spent + 1), 1.0
        count = len(np.unique(self.clusters[0]))
        rows = (self.n - used) / (self.n - used - spent + tuning + 1)
        return rows * (count - used) / (count - used - tuning), 1.0

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
        mine = centre(mine, self.alpha, strata[0])
        theirs[:, d : d + q] = centre(theirs[:, d:], self.beta, strata[1])
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
            V, W = within(mine, strata[0]), within(theirs, strata[1])
        elif np.isin(self.clusters[0], self.clusters[1]).any() or self.joint:
            count = len(np.unique(self.clusters[0]))
            sums = sum_by(np.vstack([mine, theirs]), np.concatenate(self.clusters))
            V, W = sums.T @ sums * count / (count - 1), np.zeros((mine.shape[1],) * 2)
        else:
            V = within(*collapse(mine, self.clusters[0], strata[0]))
            W = within(*collapse(theirs, self.clusters[1], strata[1]))
        gg, gc, cc, cu = V[:d, :d], V[:d, d:], V[d:, d:], W[d:, d:]
        if self.fraction is not None:
            root = np.sqrt(1 - self.fraction)[:, None]
            scaled = np.hstack([mine[:, :d] * root, mine[:, d:] / root])
            V = within(scaled, strata[0])
            gg, gc, cc, cu = V[:d, :d], V[:d, d:], V[d:, d:], np.zeros_like(cu)
        score = self.alpha @ g
        control = self.beta @ u - self.gamma @ h
        return Parts(score, control, gg, gc, cc, cu, cc + cu, jac_g, jac_c)
