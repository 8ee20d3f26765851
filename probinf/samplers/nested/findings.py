"""What nested sampling itself finds wrong: biased insertions, runs that disagree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probinf.core.estimate import Estimate
from probinf.results.findings import Finding
from probinf.samplers.nested.ancestry import Parted

_LEVEL = 1e-3


def judged(
    insertion_p_value: float, single: list[Estimate], few: Sequence[Parted] = ()
) -> tuple[Finding, ...]:
    """Findings about contours.

    Args:
        insertion_p_value: of the test that new live points come from the whole contour.
        single: the log evidence of each run.
        few: modes that were seen through too few points.
    """
    from scipy.special import chdtrc

    found = [
        Finding(
            "few_ancestors",
            f"a mode with {mode.share:.0%} of the posterior descends from few live points "
            f"({mode.lines:.1f} effectively): the odds of its share are known to a factor of "
            f"{np.exp(mode.spread):.1f} only, and the error of the log evidence is as large as it "
            "is on that account. Use more live points, or several runs.",
        )
        for mode in few
    ]
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
