"""What nested sampling itself finds wrong: biased insertions, runs that disagree."""

from __future__ import annotations

import numpy as np

from probinf.core.estimate import Estimate
from probinf.results.findings import Finding

_LEVEL = 1e-3


def judged(insertion_p_value: float, single: list[Estimate]) -> tuple[Finding, ...]:
    """Findings about contours.

    Args:
        insertion_p_value: of the test that new live points come from the whole contour.
        single: the log evidence of each run.
    """
    from scipy.special import chdtrc

    found = []
    if insertion_p_value < _LEVEL:
        found.append(
            Finding(
                "insertion",
                f"new live points were not drawn from the whole contour (insertion-rank test, "
                f"p = {insertion_p_value:.1e}): the evidence is biased. Use more moves, and more "
                "live points if there may be several modes.",
            )
        )
    alive = [e for e in single if np.isfinite(e.value)]
    if dead := len(single) - len(alive):
        found.append(
            Finding(
                "runs_disagree",
                f"{dead} of {len(single)} runs found no likelihood above zero at any live point: "
                "the rest saw little of where it is. Use more live points, or a closer prior.",
            )
        )
    value = np.array([e.value for e in alive])
    error = np.array([e.error for e in alive])
    if len(alive) > 1:
        spread = float(np.sum(((value - np.average(value, weights=error**-2)) / error) ** 2))
        if chdtrc(len(alive) - 1, spread) < _LEVEL:
            found.append(
                Finding(
                    "runs_disagree",
                    f"the runs' log evidences range from {value.min():.2f} to {value.max():.2f}, "
                    f"more than their errors of {error.mean():.2f} allow: some lost a mode. Use "
                    "more live points.",
                )
            )
    return tuple(found)
