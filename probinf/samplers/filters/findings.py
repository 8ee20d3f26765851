"""What a filter says of steps at which hardly any particle was where the observation is."""

from __future__ import annotations

import numpy as np

from probinf.results.findings import Finding

FEW = 10.0
"""Effective sample size of a step below which its part of the evidence is not to be trusted; of
fewer than a hundred particles, a tenth."""


_REMEDY = "Use a proposal that looks at the observation (proposal=), more particles, or"


def few_particles(
    ess: np.ndarray, particles: int, remedy: str = _REMEDY, first: int = 0
) -> tuple[Finding, ...]:
    """A finding where a step rests on fewer than ten particles, or than a tenth of them.

    Args:
        ess: (island, step) effective sample size after each observation, 0 where an island dies and
            NaN after that; the (lower) median of the islands counts.
        particles: of an island.
        remedy: what may help, before "an emission that allows for outliers".
        first: step of the first column.
    """
    usual = np.nanquantile(ess, 0.5, axis=0, method="lower")
    least = min(FEW, particles / 10)
    few = np.flatnonzero(usual < least)
    if not few.size:
        return ()
    one = int(few[0])
    more = f", and fewer than {least:.0f} at {few.size - 1} more" if few.size > 1 else ""
    return (
        Finding(
            "few_particles",
            f"step {first + one} rests on {usual[one]:.1f} of {particles} particles (effective "
            f"sample size{more}): hardly any was where the observation is, by which the evidence "
            f"becomes too low and its error too small. {remedy} an emission that allows for "
            "outliers.",
        ),
    )
