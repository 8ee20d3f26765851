"""Any estimate as one look of many: intervals that hold after every label at once."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.levels import as_level, fraction
from probinf.core.inputs.limits import at_least, check_choice, positive
from probinf.errors import MethodError
from probinf.ppi.estimators.quantile import QuantileResult
from probinf.ppi.inference.result import Result
from probinf.ppi.sequential.marginals import Prior, check_prior, log_marginal


def reach(alpha: Number, t: Number, t_opt: Number) -> float:
    """Standard errors that a confidence sequence reaches to either side after ``t`` labels.

    Narrowest at ``t_opt``, where it is about 1.6 times the reach of a single look.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), theorem 2.2.
    """
    best = -2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)
    x = float(t) * best / float(t_opt)
    return math.sqrt((1 + 1 / x) * math.log((x + 1) / alpha**2))


def anytime(
    result: Result,
    *,
    alpha: Number | None = None,
    prior: Prior = None,
    t_opt: Number = 100.0,
    n_min: int = 40,
    split: Number = 0.1,
    parameters: str = "each",
) -> Any:
    """Limits (d, 2) of an estimate that may be looked at after every label.

    Call it with the estimate of all labels so far, as often as labels come, always with the same
    options: with probability ``1 - alpha`` (asymptotically in ``n_min``) the limits of all looks
    cover at once, so that one may stop whenever they are narrow enough. It serves every estimate
    that has influence values: `mean`, `ols`, `logistic`, `glm`, `estimate` with any convex loss,
    contrasts of these, and `quantile`, whose limits invert the distribution function. Labels come
    in random order; unlabelled rows may be the same at all looks, or grow in proportion.

    Args:
        result: from the labels so far.
        alpha: probability that any look misses a parameter; that of the result by default.
        prior: None, ``("normal", scale)``, ``("laplace", scale)`` or ``("t", df, scale)`` on how
            far predictions alone are off, in standard deviations of one label's contribution. It
            narrows the limits where predictions are good, and costs width elsewhere, not coverage.
        t_opt: labels at which limits without prior are narrowest.
        n_min: labels before the first limits; until then they are infinite.
        split: with a prior, the share of alpha that pays for the error of the unlabelled rows.
        parameters: ``"each"`` has probability alpha for every parameter, ``"together"`` for all
            of them (Bonferroni).

    Raises:
        MethodError: a result without influence values; a prior for quantiles, clusters, or several
            predictors.

    Source: Cortinovis & Caron (arXiv 2505.18000); for estimates that are asymptotically means
    Waudby-Smith et al. (2024), section 2.4.
    """
    check_prior(prior)
    check_choice("parameters", parameters, ("each", "together"))
    at_least(2, n_min=n_min)
    positive(t_opt=t_opt)
    fraction("split", split)
    level = as_level(result.alpha if alpha is None else alpha)
    d = len(result.theta)
    level = level / d if parameters == "together" else level
    t = result.n if result.clusters is None else len(np.unique(result.clusters[0]))
    if t < n_min:
        return result._intervals(np.tile([-np.inf, np.inf], (d, 1)))
    if isinstance(result, QuantileResult) and result.processes:
        if prior is not None:
            raise MethodError("anytime: quantiles take no prior; use prior=None.")
        far = reach(level, t, t_opt)
        rows = [p.accepted(far, "two-sided", extend=result.extend) for p in result.processes]
        return result._intervals(np.array(rows))
    se = np.sqrt(np.diag(result.cov))
    if result.contributions is None:
        raise MethodError(f"anytime: {result.method} does not give influence values.")
    if prior is None:
        half = reach(level, t, t_opt) * se
    else:
        half = _assisted(result, prior, level, t, float(t_opt), float(split))
    half = np.where(se > 0, half, np.inf)  # errors of which no look has seen any
    return result._limits(half, half)


def _assisted(
    result: Result, prior: Any, alpha: float, t: int, t_opt: float, split: float
) -> np.ndarray:
    """Half-widths (d,) with a prior on the error of predictions alone."""
    if result.imputed is None or result.clusters is not None:
        raise MethodError(
            "anytime: a prior needs one predictor and independent rows; with several predictors, "
            "clusters or differences of results use prior=None."
        )
    mine, theirs = result.influence
    bias, alone = result.imputed()
    seen = (mine**2).sum(axis=0) + (theirs**2).sum(axis=0)
    factor = np.diag(result.cov) / np.where(seen > 0, seen, 1.0)  # that of small samples
    sd = np.sqrt(t * factor * ((mine**2).sum(axis=0) + ((theirs - alone) ** 2).sum(axis=0)))
    safe = np.where(sd > 0, sd, 1.0)
    with jax.enable_x64(True):
        evidence = np.asarray(
            log_marginal(prior, jnp.asarray(bias / safe), jnp.full(bias.shape, float(t)))
        )
    rest = alpha * (1 - split)
    growth = np.log(t / (2 * np.pi * rest**2)) - 2 * evidence
    other = np.sqrt((alone**2).sum(axis=0)) * reach(alpha * split, t, t_opt)
    return np.asarray(sd / np.sqrt(t) * np.sqrt(np.maximum(growth, 0.0)) + other)
