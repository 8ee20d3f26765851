"""Nested R-hat: convergence of many short chains."""

from __future__ import annotations

import numpy as np

from probinf.errors import ArrayError


def nested_rhat(draws: np.ndarray, superchains: int) -> np.ndarray:
    """Nested R-hat: do groups of chains agree that started from one point each?

    Averaging over a group removes the noise of short chains, so that what remains is what the
    starting points still say. It needs no long chains: one draw per chain is enough.

    Args:
        draws: (chain, draw, ...), chains ordered by superchain.
        superchains: groups of equal size, each with a starting point of its own.

    Returns:
        (...), near 1 when the starts are forgotten; NaN where draws are constant or not finite.

    Raises:
        ArrayError: fewer than two superchains, or the chains do not divide into them.

    Source: Margossian et al. (2024), eq. 8-11.
    """
    draws = np.asarray(draws, float)
    chains, n = draws.shape[:2]
    if superchains < 2 or chains % superchains or chains == superchains:
        raise ArrayError(
            f"nested_rhat: {chains} chains do not divide into {superchains} superchains of two or "
            "more chains each."
        )
    means = draws.mean(axis=1)
    variances = draws.var(axis=1, ddof=1) if n > 1 else np.zeros_like(means)
    value = nested_rhat_of(means, variances, superchains)
    fine = np.isfinite(draws).all(axis=(0, 1)) & (np.ptp(draws, axis=(0, 1)) > 0)
    return np.where(fine, value, np.nan)


def nested_rhat_of(means: np.ndarray, variances: np.ndarray, superchains: int) -> np.ndarray:
    """Nested R-hat from the mean and variance of every chain, (chain, ...) each."""
    means, variances = (
        v.reshape(superchains, v.shape[0] // superchains, *v.shape[1:]) for v in (means, variances)
    )
    between = means.mean(axis=1).var(axis=0, ddof=1)
    within = (means.var(axis=1, ddof=1) + variances.mean(axis=1)).mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(1 + between / within))
