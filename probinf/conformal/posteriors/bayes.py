"""Conformal Bayes: credible sets made exact by adding each candidate to the posterior."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np

from probinf.conformal.posteriors.draws import Draws, LogLik, draws_of, grid_blocks, on_data
from probinf.conformal.regression.full import grid_set
from probinf.conformal.sets.grids import GridSet
from probinf.core.inputs.arrays import ArrayLike, as_float
from probinf.core.inputs.frames import same_index
from probinf.core.inputs.levels import Level
from probinf.core.psis import pareto_k
from probinf.core.rounding import must_survive_single
from probinf.errors import ArrayError, MethodError, UnreliableWeightsWarning

RELIABLE = 0.7
TIED = 1e-5  # log densities this close, relative to their size, differ by float32 rounding alone
PROMISE = ">= 1-alpha marginal, exchangeable data, up to Monte Carlo error of the posterior draws"


@dataclasses.dataclass(frozen=True)
class BayesSet(GridSet):
    """Conformal Bayes sets, with how far the add-one-in weights can be trusted.

    Attributes:
        ess: (m, g) effective number of draws after adding each candidate.
        pareto_k: (m,) Pareto shape of the weights at the worst end of each set.
        replaced: (m,) test points whose set was replaced by the fallback.
    """

    ess: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))
    pareto_k: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))
    replaced: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, bool))


def bayes_arrays(
    log_lik_data: ArrayLike,
    log_lik_grid: ArrayLike,
    *,
    grid: ArrayLike,
    alpha: Level = 0.1,
    log_weights: ArrayLike | None = None,
    fallback: str = "infinite",
) -> BayesSet:
    """Conformal Bayes from log likelihoods at T posterior draws.

    The posterior of the n data is reweighted by the likelihood of each candidate outcome, as if
    it had been fitted to n + 1 points; the candidate stays when its predictive density ranks
    above the lowest fraction alpha of all n + 1.

    Args:
        log_lik_data: (T, n) log density of each data point under each draw.
        log_lik_grid: (m, g, T) log density of each candidate at each test point.
        grid: (g,) or (m, g) the candidates, ascending.
        alpha: miscoverage, scalar or (A,).
        log_weights: (T,) log weights of the draws; equal by default.
        fallback: what to do where the weights' Pareto shape at an end of the set exceeds 0.7:
            ``"infinite"`` (the set holds everything), ``"raise"``, or ``"keep"``; the first
            and the last warn.

    Raises:
        ArrayError: NaN or shapes that differ.
        MethodError: the weights cannot be trusted and ``fallback="raise"``.

    Source: Fong & Holmes (2021), algorithm 1.
    """
    data = np.asarray(as_float("log_lik_data", log_lik_data, ndim=2))
    candidates = np.asarray(as_float("log_lik_grid", log_lik_grid, ndim=3))
    if candidates.shape[2] != len(data):
        raise ArrayError(f"log_lik_grid must end in {len(data)} draws, got {candidates.shape}.")
    values = np.broadcast_to(np.asarray(as_float("grid", grid), float), candidates.shape[:2])
    everything = [(slice(0, len(candidates)), candidates)]
    return _sets(data, everything, values, alpha, log_weights, fallback)


def _sets(
    data: np.ndarray,
    blocks: Iterable[tuple[slice, np.ndarray]],
    values: np.ndarray,
    alpha: Level,
    log_weights: ArrayLike | None,
    fallback: str,
) -> BayesSet:
    """The sets of m test points, whose candidates' log densities come in blocks."""
    draws, n = data.shape
    if fallback not in ("infinite", "raise", "keep"):
        raise MethodError(f"fallback must be 'infinite', 'raise' or 'keep', got {fallback!r}.")
    prior = np.zeros(draws) if log_weights is None else np.asarray(log_weights, float).ravel()
    if prior.shape != (draws,) or np.isnan(prior).any():
        raise ArrayError(f"log_weights must be {draws} numbers without NaN, got {prior.shape}.")
    m = len(values)
    top = np.maximum(data.max(axis=0), np.finfo(data.dtype).min).astype(float)
    likelihood = np.exp(data - top, dtype=np.float32)  # relative to each column: in [0, 1]
    p, ess, shape = np.empty(values.shape), np.empty(values.shape), np.empty(m)
    for block, rows in blocks:
        for j, row in enumerate(rows, block.start):
            row = np.asarray(as_float("log_lik_grid", row), float)
            p[j], ess[j] = _ranks(likelihood, top, row, prior)
            one = grid_set(values[j : j + 1], p[j : j + 1], alpha, PROMISE, n)
            shape[j] = _end_shape(row, np.asarray(one.mask)[0], prior)
    out = grid_set(values, p, alpha, PROMISE, n)
    mask = np.asarray(out.mask)
    bad = shape > RELIABLE
    if bad.any():
        said = f"at {int(bad.sum())} of {m} test points the add-one-in weights are unreliable "
        said += f"(Pareto k up to {shape.max():.2f} > {RELIABLE})"
        if fallback == "raise":
            raise MethodError(f"{said}: use split calibration on held-out data, or more draws.")
        kept = "their sets hold everything" if fallback == "infinite" else "their sets were kept"
        warnings.warn(f"{said}; {kept}.", UnreliableWeightsWarning, stacklevel=3)
        if fallback == "infinite":
            mask = mask | bad.reshape((m,) + (1,) * (mask.ndim - 1))
    replaced = bad & (fallback == "infinite")
    return BayesSet(values, mask, p, out.alpha, PROMISE, ess, shape, replaced)


def _ranks(
    likelihood: np.ndarray, top: np.ndarray, rows: np.ndarray, prior: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """p-values and effective sizes of the candidates (g, T) of one test point."""
    log_w = rows + prior
    largest = log_w.max(axis=1, keepdims=True)
    # a candidate impossible under every draw leaves the posterior alone, and ranks last
    dead = np.isneginf(largest)
    w = np.exp(np.where(dead, prior - prior.max(), log_w - np.where(dead, 0.0, largest)))
    w /= w.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        others = top + np.log(w.astype(np.float32) @ likelihood, dtype=float)
        highest = rows.max(axis=1, keepdims=True)
        highest = np.where(np.isneginf(highest), 0.0, highest)
        own = highest[:, 0] + np.log((w * np.exp(rows - highest)).sum(axis=1))
        # equal densities (repeated outcomes of a discrete model) must tie despite rounding
        tied = own + TIED * (1 + np.where(np.isfinite(own), abs(own), 0.0))
    p = (1 + (others <= tied[:, None]).sum(axis=1)) / (likelihood.shape[1] + 1)
    return p, 1 / (w**2).sum(axis=1)


def _end_shape(rows: np.ndarray, mask: np.ndarray, prior: np.ndarray) -> float:
    inside = np.flatnonzero(mask if mask.ndim == 1 else mask.any(axis=1))
    if not inside.size:
        return -np.inf
    return max(pareto_k(rows[i] + prior) for i in {inside[0], inside[-1]})


def bayes(
    posterior: Draws,
    log_lik: LogLik,
    X: ArrayLike,
    y: ArrayLike,
    X_test: ArrayLike,
    *,
    grid: ArrayLike,
    alpha: Level = 0.1,
    draws: int | None = 4000,
    fallback: str = "infinite",
) -> BayesSet:
    """Conformal Bayes sets from a posterior of the very data ``(X, y)``: no refit, no split.

    Args:
        posterior: fitted to all of (X, y), by any engine; weighted draws keep their weights.
        log_lik: JAX function (draw, x, y) -> log density of one outcome, where ``draw`` holds the
            sites of one draw by name. A module-level function compiles once.
        X: (n, ...) covariates and y: (n,) outcomes that the posterior was fitted to.
        X_test: (m, ...).
        grid: (g,) or (m, g) candidate outcomes.
        alpha: miscoverage, scalar or (A,).
        draws: thin to at most so many draws; None uses all.
        fallback: see :func:`bayes_arrays`.

    Raises:
        ArrayError, MethodError: see :func:`bayes_arrays`.

    Source: Fong & Holmes (2021), section 3.
    """
    same_index(X=X, y=y)
    must_survive_single(X=X, y=y)
    x, t = as_float("X", X), as_float("X_test", X_test)
    outcome = as_float("y", y, ndim=1, size=x.shape[0])
    sites, log_w = draws_of(posterior, draws)
    values = np.sort(np.asarray(as_float("grid", grid), float), axis=-1)
    values = np.broadcast_to(values, (t.shape[0], values.shape[-1]))
    data = on_data(log_lik, sites, jnp.asarray(x), jnp.asarray(outcome))
    data = np.asarray(as_float("log_lik of the data", data))
    blocks = grid_blocks(log_lik, sites, np.asarray(t), values)
    return _sets(data, blocks, values, alpha, log_w, fallback)
