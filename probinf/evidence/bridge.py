"""Bridge sampling: the evidence from draws of a Markov chain."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import numpy as np

from probinf.core.compiling import jitted
from probinf.core.coordinates import flatten
from probinf.core.estimate import Estimate
from probinf.core.keys import as_key
from probinf.core.precision import precisely
from probinf.core.program import Key, Program
from probinf.errors import EvidenceError
from probinf.evidence.fitting import fit
from probinf.results.posterior import Posterior
from probinf.results.precision import precision_of_evidence
from probinf.results.statistics.ess import ess_mean

_ITERATIONS = 1000


@partial(jitted, static=("count",))
def _draw(base: Program, key: Key, count: int) -> jax.Array:
    return jax.vmap(base.draw, (0, None))(jax.random.split(key, count), base.data)


@jitted
def _log_ratios(program: Program, base: Program, x: jax.Array) -> jax.Array:
    """log gamma - log q."""

    def one(x: jax.Array) -> jax.Array:
        score = program.score(x, program.data)
        return score.log_base + score.log_weight - base.score(x, base.data).log_base

    return jax.lax.map(one, x, batch_size=1024)


def bridge(posterior: Posterior, *, key: int | Key) -> Estimate:
    """Log evidence by bridge sampling between a posterior's draws and a fitted distribution.

    A Student t distribution is fitted to the first half of every chain, and bridged to the
    second half, so that the fit is independent of what it is compared with. It needs a
    posterior that the chains have explored: a mode that they missed is missing here too.

    Args:
        posterior: equally weighted draws, from ``NUTS`` or ``MCMC``.
        key: random key or seed.

    Raises:
        EvidenceError: the draws are weighted, the prior is improper, or the two distributions
            do not overlap.

    Source: Meng & Wong (1996); error: Frühwirth-Schnatter (2004), eq. 24.
    """
    if posterior.weighted:
        raise EvidenceError(
            "bridge: the draws are weighted; their engine estimates the evidence itself, see "
            "posterior.log_evidence."
        )
    posterior.require_positions("bridge")
    with precisely(precision_of_evidence(posterior)):
        return _bridged(posterior, key)


def _bridged(posterior: Posterior, key: int | Key) -> Estimate:
    half = posterior.log_weights.shape[1] // 2
    first = dataclasses.replace(
        posterior,
        unconstrained=posterior.unconstrained[:, :half],
        log_weights=posterior.log_weights[:, :half],
    )
    base, _ = flatten(fit(first))
    assert posterior.program is not None  # or fit would have refused
    program, layout = flatten(posterior.program)
    jax.eval_shape(program.draw, jax.random.key(0), program.data)  # an improper prior refuses here
    second = posterior.unconstrained[:, half:]
    count = second.shape[0] * second.shape[1]
    proposals = _draw(base, as_key(key), count)
    at_proposals = np.asarray(_log_ratios(program, base, proposals), float)
    at_draws = np.asarray(_log_ratios(program, base, second.reshape(count, layout.size)), float)
    at_proposals = np.where(np.isnan(at_proposals), -np.inf, at_proposals)
    if not np.isfinite(at_draws).all() or not np.isfinite(at_proposals).any():
        raise EvidenceError(
            "bridge: the density is not finite where it is needed; the draws and the fitted "
            "distribution do not overlap. Use SMC or Nested."
        )
    worth = float(ess_mean(at_draws.reshape(second.shape[:2])))
    share = worth / (worth + count)
    log_z = float(np.median(at_draws))
    for _ in range(_ITERATIONS):
        above = np.exp(_log_bridge(at_proposals, log_z, share))
        below = np.exp(_log_bridge(at_draws, log_z, share) - at_draws + log_z)
        step = np.log(above.mean()) - np.log(below.mean())
        log_z += step
        if abs(step) < 1e-10:
            break
    # relative variances of the two averages; the draws' one grows with their autocorrelation
    size = float(ess_mean(below.reshape(second.shape[:2])))
    variance = above.var() / above.mean() ** 2 / count + below.var() / below.mean() ** 2 / size
    return Estimate(float(log_z), float(np.sqrt(variance)))


def _log_bridge(log_ratio: np.ndarray, log_z: float, share: float) -> np.ndarray:
    """log of ``p / (share p + (1 - share) q)`` with p = gamma / Z."""
    relative = log_ratio - log_z
    return relative - np.logaddexp(np.log(share) + relative, np.log1p(-share))
