"""What a filter says of steps at which hardly any particle was where the observation is."""

from __future__ import annotations

import numpy as np

from probinf.results.findings import Finding

FEW = 10.0
"""Effective sample size of a step below which its part of the evidence is not to be trusted."""


def few_particles(ess: np.ndarray, particles: int) -> tuple[Finding, ...]:
    """A finding where a step rests on fewer than ten particles.

    Args:
        ess: (island, step) effective sample size after each observation, NaN after an island has
            died; the median of the islands counts.
        particles: of an island.
    """
    usual = np.nanmedian(ess, axis=0)
    few = np.flatnonzero(usual < FEW)
    if not few.size:
        return ()
    worst = int(np.nanargmin(usual))
    more = f", and fewer than {FEW:.0f} at {few.size - 1} more" if few.size > 1 else ""
    return (
        Finding(
            "few_particles",
            f"step {worst} rests on {usual[worst]:.1f} of {particles} particles (effective sample "
            f"size{more}): hardly any was where the observation is, by which the evidence becomes "
            "too low and its error too small. Use a proposal that looks at the observation "
            "(proposal=), more particles, or an emission that allows for outliers.",
        ),
    )
