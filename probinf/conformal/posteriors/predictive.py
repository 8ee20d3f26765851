"""Predictive densities of a posterior, for the scores of densities."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from probinf.conformal.posteriors.draws import Draws, LogLik, draws_of, grid_blocks
from probinf.conformal.scores.density import PredictiveDensity
from probinf.core.inputs.arrays import ArrayLike, as_float
from probinf.core.rounding import must_survive_single


def predict_density(
    posterior: Draws,
    log_lik: LogLik,
    X: ArrayLike,
    *,
    grid: ArrayLike,
    draws: int | None = 1000,
) -> PredictiveDensity:
    """Posterior predictive densities ``log sum_t w_t f(y | x, theta_t)`` on a grid.

    Args:
        posterior: any posterior; weights are respected.
        log_lik: JAX function (draw, x, y) -> log density, as in ``conformal.bayes``.
        X: (n, ...) covariates.
        grid: (g,) or (n, g) ascending values.
        draws: thin to at most so many draws; None uses all.
    """
    must_survive_single(X=X)
    x = as_float("X", X)
    sites, log_w = draws_of(posterior, draws)
    values = np.asarray(as_float("grid", grid), float)
    must_survive_single(grid=values.T)
    values = np.broadcast_to(values, (x.shape[0], values.shape[-1]))
    log_density = np.empty(values.shape)
    share = log_w - logsumexp(log_w)
    for block, each in grid_blocks(log_lik, sites, np.asarray(x), values):
        for j, row in enumerate(each, block.start):
            log_density[j] = logsumexp(row + share, axis=1)
    return PredictiveDensity(values, log_density)
