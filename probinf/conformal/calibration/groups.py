"""Guarantees within groups (Mondrian): thresholds of each group's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.conformal.calibration.ranks import order_stat, upper_rank
from probinf.core.inputs.levels import Level, as_groups, as_levels
from probinf.errors import ArrayError


def group_thresholds(scores: Any, groups_cal: Any, groups_test: Any, alpha: Level) -> np.ndarray:
    """Thresholds (m, A) of each test point's own group, +inf for groups never calibrated."""
    values = np.asarray(scores)
    known, index = np.unique(as_groups("groups_cal", groups_cal, values.size), return_inverse=True)
    test = as_groups("groups_test", groups_test)
    if known.size and (known.dtype.kind in "US") != (test.dtype.kind in "US") and test.size:
        raise ArrayError(
            f"groups_cal are {known.dtype} and groups_test {test.dtype}: no name can be in both; "
            "give both as text or both as numbers."
        )
    levels = as_levels(alpha)
    table = np.full((known.size + 1, len(levels)), np.inf)  # the last row: unknown groups
    order = np.argsort(index, kind="stable")
    for g, part in enumerate(np.split(values[order], np.cumsum(np.bincount(index))[:-1])):
        table[g] = order_stat(part, upper_rank(part.size, levels))
    if not known.size:
        return np.full((test.size, len(levels)), np.inf)
    place = np.searchsorted(known, test)
    place[place == known.size] = 0
    return table[np.where(known[place] == test, place, known.size)]
