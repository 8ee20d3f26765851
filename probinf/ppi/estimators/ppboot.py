"""PPBoot: prediction-powered bootstrap of any estimator, by resampling rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.levels import as_level
from probinf.core.inputs.limits import at_least, check_choice
from probinf.core.keys import as_generator
from probinf.errors import ArrayError
from probinf.ppi.inference.checks import check_counts
from probinf.ppi.inference.labelled import frame
from probinf.ppi.inference.result import ALTERNATIVES
from probinf.ppi.inference.rows import check_rows, like_columns, one_sample, with_proxies

Rows = dict[str, np.ndarray]


class BootResult(NamedTuple):
    """Bootstrap limits of an estimator.

    Attributes:
        params: (d,) estimate.
        limits: (d, 2) confidence limits.
        draws: (draws, d) bootstrap estimates.
        lam: weight of the predictions.
    """

    params: np.ndarray
    limits: np.ndarray
    draws: np.ndarray
    lam: Number

    def summary(self) -> str:
        """Estimates and limits, for reading."""
        head = f"PPBoot, {len(self.draws)} resamples, weight of the predictions {self.lam:.3g}"
        rows = zip(self.params, self.limits, strict=True)
        return "\n".join(
            [head, *(f"  {j}: {v:.5g} [{a:.5g}, {b:.5g}]" for j, (v, (a, b)) in enumerate(rows))]
        )

    def __str__(self) -> str:
        return self.summary()

    def to_dataframe(self) -> Any:
        """A DataFrame with one row per parameter."""
        values = np.column_stack([self.params, self.draws.std(axis=0, ddof=1), self.limits])
        names = tuple(str(j) for j in range(len(values)))
        return frame(values, names, ("coef", "std err", "lower", "upper"))


def ppboot(
    estimator: Callable[[Rows], Any],
    labeled: dict[str, Any],
    proxies: dict[str, Any],
    unlabeled: dict[str, Any],
    *,
    lam: Number | None = None,
    draws: int = 1000,
    kind: str = "percentile",
    alpha: Number = 0.1,
    alternative: str = "two-sided",
    key: Any = 0,
) -> BootResult:
    """Interval of ``lam * est(unlabelled) + est(labelled) - lam * est(labelled, predicted)``.

    For estimators without a usable loss (a correlation, a Gini index). For smooth losses
    `Result.bootstrap` is far faster.

    Args:
        estimator: dictionary of arrays to a scalar or vector; plain NumPy.
        labeled: dictionary of true columns (n, ...).
        proxies: dictionary of predicted columns on the labelled rows.
        unlabeled: dictionary of columns (N, ...), predictions put in.
        lam: weight of the predictions; tuned on 50 resamples if left out.
        draws: resamples.
        kind: ``"percentile"`` or ``"basic"``.
        alpha: error rate.
        alternative: ``"two-sided"``; ``"larger"`` gives (lower, inf), ``"smaller"`` (-inf, upper).
        key: seed or key.

    Source: PPBoot (arXiv 2405.18379), algorithm 1.
    """
    check_choice("kind", kind, ("percentile", "basic"))
    check_choice("alternative", alternative, ALTERNATIVES)
    alpha = as_level(alpha)
    at_least(20, draws=draws)
    proxies = like_columns(labeled, "proxies", proxies)
    mine = check_rows("labeled", labeled)
    proxied = with_proxies(mine, check_rows("proxies", proxies))
    one_sample(labeled, proxies)
    other = check_rows("unlabeled", like_columns(labeled, "unlabeled", unlabeled))
    n, N = len(next(iter(mine.values()))), len(next(iter(other.values())))
    check_counts(n, N, 2, "a bootstrap")
    rng = as_generator(key)

    def value(rows: Rows) -> np.ndarray:
        found = np.atleast_1d(np.asarray(estimator(rows), float))
        if found.ndim != 1 or not np.isfinite(found).all():
            raise ArrayError(
                f"the estimator returned {found!r}; it must return finite numbers. A resample may "
                "lack a class or a group that it needs."
            )
        return found

    def three(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first, second = ({k: v[a] for k, v in rows.items()} for rows in (mine, proxied))
        return value(first), value(second), value({k: v[b] for k, v in other.items()})

    def resample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return three(rng.integers(n, size=n), rng.integers(N, size=N))

    if lam is None:
        g, h, u = (np.array(a) for a in zip(*(resample() for _ in range(50)), strict=True))
        spread = (h.var(axis=0) + u.var(axis=0)).sum()
        joint = ((g - g.mean(axis=0)) * (h - h.mean(axis=0))).mean(axis=0).sum()
        lam = float(np.clip(joint / spread, 0, 1)) if spread > 0 else 0.0
    g0, h0, u0 = three(slice(None), slice(None))
    point = lam * u0 + g0 - lam * h0
    rows = []
    for _ in range(draws):
        g, h, u = resample()
        rows.append(lam * u + g - lam * h)
    found = np.array(rows)
    level = alpha / 2 if alternative == "two-sided" else alpha
    low, high = np.quantile(found, [level, 1 - level], axis=0)
    if kind == "basic":
        low, high = 2 * point - high, 2 * point - low
    if alternative == "larger":
        high = np.full_like(high, np.inf)
    if alternative == "smaller":
        low = np.full_like(low, -np.inf)
    return BootResult(point, np.stack([low, high], axis=1), found, lam)
