"""Running: what a summary needs of draws that are not kept."""

from __future__ import annotations

import math

import numpy as np

from probinf.core.axes import NOTHING, Axes
from probinf.results.statistics.nested_rhat import nested_rhat_of
from probinf.results.summary import MIN_DRAWS, Summary

_SKETCH = 1000  # draws of all chains together from which quantiles are read


class Running:
    """Sums, sums of squares and batch means of every scalar, fed in blocks of one size.

    Everything is summed around the mean of the first block, in double precision, so that a
    large offset costs no digits.

    Args:
        chains: of every block.
        draws: that are planned for each chain.
        block: draws of each chain in a block; the last one may have fewer.
        axes: names and labels of dimensions.

    Source: for batch means, Flegal & Jones (2010); their length here is draws ** (2 / 3). R-hat
    is that of Gelman et al. (2013), section 11.4, on halves of chains, without ranks.
    """

    def __init__(self, chains: int, draws: int, block: int, axes: Axes = NOTHING) -> None:
        self.axes = axes
        self.chains, self.draws, self.block = chains, draws, block
        self.per_batch = max(1, round(draws ** (2 / 3) / block))  # blocks
        self.half = draws // 2 // block * block
        self.every = max(1, math.ceil(draws * chains / _SKETCH))
        self.seen = self.batches = self.in_batch = 0
        self.names: list[str] = []
        self.sketch: list[np.ndarray] = []
        self.count = np.zeros(2)

    def add(self, values: dict[str, np.ndarray]) -> None:
        """One more block, by site (chain, draw, ...)."""
        lead = next(iter(values.values())).shape[:2]
        parts = [np.asarray(v, float).reshape(*lead, -1) for v in values.values()]
        rows = np.concatenate(parts, axis=2)
        if self.seen == 0:
            self.names = self.axes.scalars({name: v.shape[2:] for name, v in values.items()})
            self.centre = rows.mean(axis=(0, 1))
            blank = np.zeros((self.chains, rows.shape[2]))
            self.total, self.square = np.stack([blank] * 2), np.stack([blank] * 2)
            self.partial, self.mean, self.mean_square = blank.copy(), blank.copy(), blank.copy()
        self.sketch.append(rows[:, -self.seen % self.every :: self.every].astype(np.float32))
        rows -= self.centre
        total = rows.sum(axis=1)
        half = int(self.seen >= self.half)
        self.total[half] += total
        self.square[half] += np.einsum("cnk,cnk->ck", rows, rows)
        self.count[half] += lead[1]
        self.seen += lead[1]
        self.partial += total
        self.in_batch += lead[1]
        if self.in_batch == self.per_batch * self.block:
            mean = self.partial / self.in_batch
            self.mean += mean
            self.mean_square += mean**2
            self.batches += 1
            self.in_batch = 0
            self.partial[:] = 0

    def summary(self, superchains: int | None = None) -> Summary:
        """The table: mean, sd, quantiles, mcse, ess (sd² / mcse²) and R-hat.

        With ``superchains``, groups of chains with one start each, a nested R-hat too.
        """
        size = self.chains * self.seen
        total, square = self.total.sum(axis=(0, 1)), self.square.sum(axis=(0, 1))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            variance = np.maximum(square - total**2 / size, 0) / max(size - 1, 1)
            pooled = np.concatenate(self.sketch, axis=1).reshape(-1, len(self.names))
            q5, q50, q95 = np.quantile(pooled.astype(float), [0.05, 0.5, 0.95], axis=0)
            mcse = self._mcse()
            moved = variance > 0
            columns = {
                "mean": self.centre + total / size,
                "sd": np.sqrt(variance),
                "q5": q5,
                "q50": q50,
                "q95": q95,
                "mcse": np.where(moved, mcse, np.nan),
                "ess": np.where(moved, variance / mcse**2, np.nan),
                "ess_bulk": np.full(len(self.names), np.nan),
                "ess_tail": np.full(len(self.names), np.nan),
                "r_hat": np.where(moved, self._r_hat(), np.nan),
            }
            if superchains is not None and 1 < superchains < self.chains:
                nested = nested_rhat_of(*self._by_chain(), superchains)
                columns["nested_r_hat"] = np.where(moved, nested, np.nan)
        return Summary(columns, self.names)

    def _by_chain(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of every chain."""
        mean, n = self.total.sum(axis=0) / self.seen, self.seen
        return mean, (self.square.sum(axis=0) - n * mean**2) / max(n - 1, 1)

    def _mcse(self) -> np.ndarray:
        """From the spread of all batch means, which sees chains that disagree too."""
        count = self.chains * self.batches
        if count < MIN_DRAWS:
            return np.full(len(self.names), np.nan)
        spread = self.mean_square.sum(axis=0) - self.mean.sum(axis=0) ** 2 / count
        return np.sqrt(np.maximum(spread, 0) / (count - 1) / count)

    def _r_hat(self) -> np.ndarray:
        counts = self.count[self.count >= MIN_DRAWS / 2]
        if self.seen < MIN_DRAWS or self.chains * len(counts) < 2:
            return np.full(len(self.names), np.nan)
        used = self.count >= MIN_DRAWS / 2
        n = self.count[used][:, None, None]
        means = self.total[used] / n
        within = ((self.square[used] - n * means**2) / (n - 1)).mean(axis=(0, 1))
        between = means.reshape(-1, len(self.names)).var(axis=0, ddof=1)
        length = 1 / np.mean(1 / counts)
        return np.sqrt((length - 1) / length + between / within)
