"""The evidence of state-space programs: ratios at parameters, particle filters for the states."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.batches import mapped
from probinf.core.compiling import jitted
from probinf.core.coordinates import Layout, flatten, vector_of
from probinf.core.program import Key, Program
from probinf.core.resampling import multinomial
from probinf.core.sequence import particle_filter
from probinf.evidence.fitting import fit
from probinf.fronts.states.program import StateSpaceOf
from probinf.results.posterior import Posterior
from probinf.samplers.pmcmc.conditional import conditional_likelihood
from probinf.samplers.pmcmc.space import given, parameters_of, prior_density

_MOST = 2000  # draws at which filters run
_AT_ONCE = 64
_FIRST, _LARGEST, _PILOTS = 128, 2**14, 32


class _Parts(NamedTuple):
    """Programs that the functions below share.

    Attributes:
        program: of parameters and states.
        base: fitted to the parameters, flat.
    """

    program: Program
    base: Program


def sums_states(posterior: Posterior) -> bool:
    """Whether its program has parameters and states that can be told apart."""
    program = posterior.program
    if program is None or not isinstance(program.state_space, StateSpaceOf):
        return False
    return Layout.of(program.state_space(program.data).prior, integers=True).size > 0


def ratios_of_parameters(
    posterior: Posterior, key: Key, particles: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Log ratios of prior times estimated likelihood to a fitted law, at draws of both.

    At draws of the posterior the likelihood is that of conditional SMC around their path, so that
    draws and estimates together are from the measure whose density the ratio has.

    Returns:
        (chain, draw) at the second half of the posterior, and (n,) at the law's own draws.
    """
    program = posterior.program
    assert program is not None
    chains, draws = posterior.log_weights.shape
    half = draws // 2
    inner, layout = flatten(parameters_of(program))
    flat = posterior.unconstrained
    theta = np.asarray(_parameters(program, flat.reshape(chains * draws, -1)))
    first = dataclasses.replace(
        posterior,
        program=parameters_of(program),
        unconstrained=theta.reshape(chains, draws, -1)[:, :half],
        log_weights=posterior.log_weights[:, :half],
        keys=(),
        approximation=None,
    )
    jax.eval_shape(inner.draw, jax.random.key(0), inner.data)  # an improper prior refuses here
    parts = _Parts(program, flatten(fit(first))[0])
    chosen = np.unique(np.linspace(half, draws - 1, max(_MOST // chains, 1)).astype(int))
    pilot_key, draw_key, own_key, filter_key = jax.random.split(key, 4)
    if particles is None:
        centre = jnp.asarray(theta.mean(axis=0), layout.dtype)
        noisy = _fresh(parts, jnp.tile(centre, (_PILOTS, 1)), pilot_key, _FIRST)
        variance = float(np.var(np.asarray(noisy, float), ddof=1))
        many = _FIRST * variance if np.isfinite(variance) else _LARGEST
        particles = int(np.clip(2 ** np.ceil(np.log2(max(many, 1))), _FIRST, _LARGEST))
    rows = flat[:, chosen].reshape(chains * chosen.size, -1)
    at_draws = _around(parts, jnp.asarray(rows), own_key, particles)
    proposals = _drawn(parts.base, draw_key, len(rows))
    at_proposals = _fresh(parts, proposals, filter_key, particles)
    return (
        np.asarray(at_draws, float).reshape(chains, chosen.size),
        np.asarray(at_proposals, float),
    )


@partial(jitted, static=("count",))
def _drawn(base: Program, key: Key, count: int) -> jax.Array:
    return jax.vmap(base.draw, (0, None))(jax.random.split(key, count), base.data)


@jitted
def _parameters(program: Program, rows: Any) -> jax.Array:
    """Flat parameters of flat positions."""
    layout, own = Layout.of(program, integers=True), flatten(parameters_of(program))[1]
    space: Any = program.state_space
    return vector_of(jax.vmap(lambda x: own.ravel(space.split(layout.unravel(x))[0]))(rows))


@partial(jitted, static=("particles",))
def _around(parts: _Parts, rows: Any, key: Key, particles: int) -> jax.Array:
    """Log ratios at flat positions of parameters and states."""
    layout = Layout.of(parts.program, integers=True)
    space: Any = parts.program.state_space

    def one(item: Any) -> jax.Array:
        key, x = item
        theta = space.split(layout.unravel(x))[0]
        path = space.path(layout.unravel(x), parts.program.data)[0]

        def likelihood(sequence: Any) -> jax.Array:
            return conditional_likelihood(key, sequence, path, particles)

        return _ratio(parts, theta, likelihood)

    keys = jax.random.split(key, rows.shape[0])
    return mapped(one, (keys, rows), _AT_ONCE)


@partial(jitted, static=("particles",))
def _fresh(parts: _Parts, rows: Any, key: Key, particles: int) -> jax.Array:
    """Log ratios at flat parameters, each with a filter of its own."""
    layout = flatten(parameters_of(parts.program))[1]

    def one(item: Any) -> jax.Array:
        key, x = item

        def likelihood(sequence: Any) -> jax.Array:
            return particle_filter(
                key, sequence, particles, resample_below=1.0, resampler=multinomial
            ).log_z

        return _ratio(parts, layout.unravel(x), likelihood)

    keys = jax.random.split(key, rows.shape[0])
    return mapped(one, (keys, rows), _AT_ONCE)


def _ratio(parts: _Parts, theta: Any, likelihood: Any) -> jax.Array:
    space: Any = parts.program.state_space
    taken_apart = space(parts.program.data)
    own = flatten(parameters_of(parts.program))[1]
    base = parts.base.score(own.ravel(theta), parts.base.data).log_base
    return prior_density(taken_apart, theta) + likelihood(given(taken_apart, theta)) - base
