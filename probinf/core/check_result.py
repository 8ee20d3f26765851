"""CheckResult: what a law's test found, with a known error rate."""

from __future__ import annotations

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """Outcome of one check; true when the law holds as far as the test can see.

    Attributes:
        law: which law was tested.
        p_values: per test statistic; under the law each is uniform on [0, 1].
        level: probability of a false alarm of the whole check.
        failures: further reasons to fail (a kernel that never moves, say).
    """

    law: str
    p_values: dict[str, float]
    level: float
    failures: tuple[str, ...] = ()

    @property
    def p_value(self) -> float:
        """Bonferroni-adjusted p-value of the whole check."""
        if not self.p_values:
            return 1.0
        worst = min(self.p_values.values()) * len(self.p_values)
        return float(min(1.0, worst)) if not np.isnan(worst) else 0.0

    @property
    def passed(self) -> bool:
        """Whether the check passes at its level."""
        return not self.failures and self.p_value > self.level

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        verdict = "holds" if self.passed else "FAILS"
        worst = min(self.p_values, key=lambda k: self.p_values[k]) if self.p_values else "-"
        lines = [f"{self.law} {verdict}: adjusted p = {self.p_value:.3g} (worst: {worst})"]
        return "\n".join([*lines, *self.failures])

    __repr__ = __str__

    def summary(self) -> str:
        """The verdict, for reading."""
        return str(self)


def two_sample(first: np.ndarray, second: np.ndarray, names: list[str]) -> dict[str, float]:
    """Kolmogorov-Smirnov p-value per column of two independent samples.

    Columns are joined by the squared distance from the pooled mean, standardised, which sees
    changes of dependence that no single column shows.
    """
    from scipy.stats import ks_2samp

    pooled = np.concatenate([first, second])
    centre, scale = pooled.mean(axis=0), pooled.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    p_values = {}
    for j, name in enumerate(names):
        p_values[name] = float(ks_2samp(first[:, j], second[:, j]).pvalue)
    if first.shape[1] > 1:
        for label, sign in (("sum", 1.0), ("contrast", -1.0)):
            mix = np.where(np.arange(first.shape[1]) % 2 == 0, 1.0, sign)
            a, b = ((first - centre) / scale) @ mix, ((second - centre) / scale) @ mix
            p_values[f"({label})"] = float(ks_2samp(a, b).pvalue)
    radius = [np.sum(((s - centre) / scale) ** 2, axis=1) for s in (first, second)]
    p_values["(radius)"] = float(ks_2samp(*radius).pvalue)
    return p_values


def z_to_p(z: float) -> float:
    """Two-sided normal p-value; NaN becomes 0."""
    p = math.erfc(abs(z) / math.sqrt(2))
    return 0.0 if math.isnan(p) else p
