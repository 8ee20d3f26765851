"""The coverage law: hold a method's coverage against the distribution that theory gives it."""

from __future__ import annotations

import numpy as np

from probinf.conformal.calibration.ranks import upper_rank
from probinf.core.check_result import CheckResult, z_to_p
from probinf.core.inputs.arrays import ArrayLike, Number
from probinf.errors import ArrayError


def check_coverage(
    covered: ArrayLike,
    *,
    alpha: Number,
    n: int | None = None,
    one_sided: bool = False,
    level: Number = 1e-4,
) -> CheckResult:
    """Does a conformal method cover as often as promised, over replications of the whole procedure?

    With ``n``, the law of split conformal is tested in full: given the calibration set, the
    number of covered test points is BetaBinomial(tests, k, n + 1 - k), for its mean (4 standard
    errors at the default level) and its whole distribution. Without ``n`` only the mean is tested,
    by its spread over the replications.

    Args:
        covered: (replications, tests) booleans; every row has fresh calibration and test data.
        alpha: miscoverage.
        n: calibration points, for scores without ties.
        one_sided: only undercoverage fails (ties, conservative methods).
        level: probability of a false alarm.

    Source: Vovk (2012), proposition 2b; Angelopoulos & Bates (2023), appendix C.
    """
    from scipy.stats import betabinom, kstest, norm

    inside = np.asarray(covered)
    if inside.ndim != 2 or len(inside) < 2 or inside.dtype != bool:
        raise ArrayError(
            f"covered must be booleans (replications, tests), got {inside.dtype} {inside.shape}."
        )
    replications, tests = inside.shape
    counts = inside.sum(axis=1)
    if n is None:
        expected = 1 - alpha
        error = max(counts.std(ddof=1) / tests, 1e-12) / np.sqrt(replications)
    else:
        k = int(upper_rank(n, alpha))
        expected = min(k / (n + 1), 1.0)
        law = betabinom(tests, k, n + 1 - k) if k <= n else None
        error = (law.std() / tests if law else 1e-12) / np.sqrt(replications)
    z = float((counts.mean() / tests - expected) / error)
    if abs(counts.mean() / tests - expected) < 1e-12:
        z = 0.0
    name = "coverage >= promise" if one_sided else "mean coverage"
    p_values = {name: float(norm.cdf(z)) if one_sided else z_to_p(z)}
    if n is not None and law is not None and not one_sided:
        u = np.random.default_rng(0).uniform(size=replications)
        pit = law.cdf(counts - 1) + u * law.pmf(counts)
        p_values["BetaBinomial law"] = float(kstest(pit, "uniform").pvalue)
    return CheckResult(
        f"coverage {counts.mean() / tests:.4f} at {1 - alpha:g}", p_values, float(level)
    )
