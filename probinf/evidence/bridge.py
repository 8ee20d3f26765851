"""Bridge sampling: the evidence from draws of a Markov chain."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import numpy as np

from probinf.core.batches import mapped
from probinf.core.compiling import jitted
from probinf.core.coordinates import flatten
from probinf.core.estimate import Estimate
from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_key
from probinf.core.precision import precisely
from probinf.core.program import Key, Program
from probinf.errors import EvidenceError
from probinf.evidence.fitting import fit
from probinf.evidence.states import ratios_of_parameters, sums_states
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

    return mapped(one, x, 1024)


def bridge(posterior: Posterior, *, key: int | Key, particles: int | None = None) -> Estimate:
    """Log evidence by bridge sampling between a posterior's draws and a fitted distribution.

    A Student t distribution is fitted to the first half of every chain, and bridged to the
    second half, so that the fit is independent of what it is compared with. It needs a
    posterior that the chains have explored: a mode that they missed is missing here too.

    Of a state-space program (drawn by ``PMMH``, ``ParticleGibbs`` or ``NUTS``) only the
    parameters are fitted: particle filters sum the states out, without bias.

    Args:
        posterior: equally weighted draws of Markov chains.
        key: random key or seed.
        particles: of each filter; None takes so many that the variance of the log likelihood is
            about one.

    Raises:
        EvidenceError: the draws are weighted, the prior is improper, or the two distributions
            do not overlap.

    Source: Meng & Wong (1996); error: Frühwirth-Schnatter (2004), eq. 24; states: on the measure
    of parameters and random numbers of Andrieu, Doucet & Holenstein (2010).
    """
    if posterior.weighted:
        raise EvidenceError(
            "bridge: the draws are weighted; their engine estimates the evidence itself, see "
            "posterior.log_evidence."
        )
    posterior.require_positions("bridge")
    with_states = sums_states(posterior)
    if particles is not None:
        at_least(2, particles=particles)
        if not with_states:
            raise EvidenceError(
                f"bridge: particles={particles} is for programs of pi.from_state_space with "
                "unknown parameters; this one has no states to sum out. Leave it out."
            )
    with precisely(precision_of_evidence(posterior)):
        if with_states:
            return between(*ratios_of_parameters(posterior, as_key(key), particles))
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
    return between(at_draws.reshape(second.shape[:2]), at_proposals)


def between(at_draws: np.ndarray, at_proposals: np.ndarray) -> Estimate:
    """Log mass from log ratios ``gamma / q`` at draws of both.

    Args:
        at_draws: (chain, draw), at draws of ``gamma``.
        at_proposals: (n,), at independent draws of ``q``.

    Raises:
        EvidenceError: the two do not overlap.
    """
    at_proposals = np.where(np.isnan(at_proposals), -np.inf, at_proposals)
    if not np.isfinite(at_draws).all() or not np.isfinite(at_proposals).any():
        raise EvidenceError(
            "bridge: the density is not finite where it is needed; the draws and the fitted "
            "distribution do not overlap. Use SMC or Nested."
        )
    shape, count = at_draws.shape, at_proposals.size
    worth, at_draws = float(ess_mean(at_draws)), at_draws.ravel()
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
    size = float(ess_mean(below.reshape(shape)))
    variance = above.var() / above.mean() ** 2 / count + below.var() / below.mean() ** 2 / size
    return Estimate(float(log_z), float(np.sqrt(variance)))


def _log_bridge(log_ratio: np.ndarray, log_z: float, share: float) -> np.ndarray:
    """log of ``p / (share p + (1 - share) q)`` with p = gamma / Z."""
    relative = log_ratio - log_z
    return relative - np.logaddexp(np.log(share) + relative, np.log1p(-share))
