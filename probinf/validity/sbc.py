"""Law 6: simulation-based calibration, vectorised over data sets."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.core.program import Key, Program
from probinf.runtime.method import Method
from probinf.validity.replications import Amortized, replicate


@dataclasses.dataclass(frozen=True)
class SbcResult:
    """Ranks of the true parameters among posterior draws, uniform when all is right.

    Attributes:
        ranks: (replication, scalar), integers from 0 to ``draws``.
        draws: posterior draws that each truth was ranked among.
        names: scalar names.
        level: probability of a false alarm over all scalars.
    """

    ranks: np.ndarray
    draws: int
    names: list[str]
    level: float

    @property
    def p_values(self) -> dict[str, float]:
        """Chi-square p-value of uniform ranks per scalar."""
        from scipy.stats import chisquare

        found = {}
        for name, column in zip(self.names, self.ranks.T, strict=True):
            counts = np.bincount(column, minlength=self.draws + 1)
            bins = _bins(self.draws + 1, len(column))
            groups = np.array_split(counts, bins)
            expected = np.array([len(g) for g in groups]) / (self.draws + 1) * len(column)
            found[name] = float(chisquare([g.sum() for g in groups], expected).pvalue)
        return found

    @property
    def passed(self) -> bool:
        """Whether no scalar's ranks depart from uniform, after Bonferroni."""
        return min(self.p_values.values()) * len(self.names) > self.level

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        p = self.p_values
        worst = min(p, key=lambda k: p[k])
        verdict = "uniform" if self.passed else "NOT uniform"
        return (
            f"SBC, {len(self.ranks)} replications: ranks {verdict}; smallest p = {p[worst]:.3g} "
            f"({worst}) of {len(p)} scalars"
        )

    __repr__ = __str__

    def summary(self) -> str:
        """The verdict, for reading."""
        return str(self)

    def plot(self, names: list[str] | None = None, columns: int = 4) -> Any:
        """ECDF of the ranks minus the uniform one, with a 99 % simultaneous band."""
        import matplotlib.pyplot as plt

        names = self.names if names is None else names
        rows = -(-len(names) // columns)
        figure, axes = plt.subplots(
            rows, columns, figsize=(3 * columns, 2 * rows), squeeze=False, sharey=True
        )
        count = len(self.ranks)
        band = 1.628 / np.sqrt(count)  # Kolmogorov's 99 % quantile
        for axis in axes.ravel()[len(names) :]:
            axis.set_visible(False)
        for axis, name in zip(axes.ravel(), names, strict=False):
            column = (self.ranks[:, self.names.index(name)] + 0.5) / (self.draws + 1)
            u = np.sort(column)
            axis.plot(u, np.arange(1, count + 1) / count - u, drawstyle="steps-post")
            axis.axhspan(-band, band, color="0.9")
            axis.set_title(name)
        figure.tight_layout()
        return figure


def _bins(values: int, replications: int) -> int:
    return int(np.clip(min(values, replications // 25), 2, 20))


def sbc(
    program: Program,
    method: Method[Any] | None = None,
    *,
    key: int | Key,
    amortized: Amortized | None = None,
    replications: int = 1000,
    draws: int = 63,
    batch: int = 250,
    level: float = 1e-3,
) -> SbcResult:
    """Simulation-based calibration of an engine on a model, vectorised over data sets.

    Each replication draws parameters from the prior, simulates data, fits them and ranks the
    true parameters among ``draws`` posterior draws; ranks are uniform if model, simulator
    and engine agree.

    Args:
        program: a model with proper priors that simulates its observations.
        method: the engine; one chain or island per data set. By default NUTS with 200
            warm-up and ``5 * draws`` draws, thinned.
        key: random key or seed.
        amortized: a learned posterior to calibrate in place of the program's own; a normalised
            one needs no ``method``.
        replications: data sets.
        draws: posterior draws kept per data set, at most the engine's.
        batch: data sets fitted at once.
        level: probability of a false alarm over all scalars.

    Raises:
        StructureError: the program cannot simulate its observations.
        MethodError: the engine makes fewer than ``draws`` draws.

    Source: Talts, Betancourt, Simpson, Vehtari & Gelman (2018).
    """
    found = replicate(
        program,
        method,
        key=key,
        amortized=amortized,
        replications=replications,
        draws=draws,
        batch=batch,
    )
    assert found.values is not None and found.values_draws is not None
    below = (found.values_draws < found.values[:, None]).sum(axis=1)
    ties = (found.values_draws == found.values[:, None]).sum(axis=1)
    ranks = below + np.random.default_rng(0).integers(0, ties + 1)
    return SbcResult(ranks, draws, list(found.names), level)
