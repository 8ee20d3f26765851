"""Expected coverage: do credible regions hold the truth as often as they say?"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.core.keys import as_generator
from probinf.core.program import Key
from probinf.errors import ArrayError, LevelError, StructureError
from probinf.validity.replications import Replications, check_arrays, credibility


@dataclasses.dataclass(frozen=True)
class CoverageResult:
    """Credibility level at which each truth is reached; uniform when regions cover as they say.

    Attributes:
        law: which regions.
        credibility: (n,) in (0, 1), the mass of the smallest region that holds the truth.
        level: probability of a false alarm.
    """

    law: str
    credibility: np.ndarray
    level: float

    def coverage(self, nominal: Any) -> np.ndarray:
        """Share of truths inside the regions of nominal mass ``nominal``, any shape in [0, 1]."""
        nominal = np.asarray(nominal, float)
        if not ((nominal >= 0) & (nominal <= 1)).all():
            raise LevelError(f"coverage: nominal must lie in [0, 1], got {nominal}.")
        below = np.sort(self.credibility)
        return np.asarray(np.searchsorted(below, nominal, side="right") / below.size)

    @property
    def error(self) -> float:
        """Largest gap between nominal and empirical coverage, over all levels."""
        from scipy.stats import kstest

        return float(kstest(self.credibility, "uniform").statistic)

    @property
    def p_value(self) -> float:
        """Kolmogorov-Smirnov p-value of uniform credibilities."""
        from scipy.stats import kstest

        return float(kstest(self.credibility, "uniform").pvalue)

    @property
    def passed(self) -> bool:
        """Whether the test passes at its level."""
        return self.p_value > self.level

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        verdict = "holds" if self.passed else "FAILS"
        at = ", ".join(f"{q:.0%}: {float(self.coverage(q)):.1%}" for q in (0.5, 0.8, 0.95))
        return (
            f"{self.law} {verdict}, {self.credibility.size} replications: p = {self.p_value:.3g}, "
            f"largest gap {self.error:.3f}; coverage at {at}"
        )

    __repr__ = __str__

    def summary(self) -> str:
        """The verdict, for reading."""
        return str(self)

    def plot(self, axis: Any = None) -> Any:
        """Empirical against nominal coverage, with a 99 % simultaneous band."""
        import matplotlib.pyplot as plt

        if axis is None:
            _, axis = plt.subplots(figsize=(3.5, 3.5))
        grid = np.linspace(0, 1, 201)
        band = 1.628 / np.sqrt(self.credibility.size)  # Kolmogorov's 99 % quantile
        axis.fill_between(grid, np.clip(grid - band, 0, 1), np.clip(grid + band, 0, 1), color="0.9")
        axis.plot(grid, grid, color="0.6", linewidth=1)
        axis.plot(grid, self.coverage(grid))
        axis.set(xlabel="nominal", ylabel="empirical coverage", title=self.law)
        return axis.figure


def expected_coverage(
    found: Replications, *, level: float = 1e-3, key: int | Key = 0
) -> CoverageResult:
    """Coverage of highest-density regions, in expectation over the prior.

    The mass that the posterior gives to densities above the truth's is uniform when the
    posterior is right. Densities are those of the unconstrained coordinates.

    Args:
        found: from :func:`replicate`; needs its log densities.
        level: probability of a false alarm.
        key: random key or seed of random tie-breaking.

    Raises:
        StructureError: the log densities are missing.
        ArrayError: shapes differ, or a value is NaN.

    Source: Hermans et al. (2022), "A trust crisis in simulation-based inference".
    """
    check_arrays(found)
    true, others = found.log_density, found.log_density_draws
    if true is None or others is None:
        raise StructureError(
            "expected_coverage: the replications hold no log densities; use replicate, or tarp, "
            "which needs draws only."
        )
    if others.shape != found.draws.shape[:2] or true.shape != others.shape[:1]:
        raise ArrayError(
            f"log_density must be (n,) and log_density_draws (n, L), got {true.shape} and "
            f"{others.shape} for draws {found.draws.shape}."
        )
    if np.isnan(true).any() or np.isnan(others).any():
        raise ArrayError("expected_coverage: a log density is NaN.")
    mass = credibility(others > true[:, None], others == true[:, None], found, as_generator(key))
    return CoverageResult("coverage of highest-density regions", mass, level)
