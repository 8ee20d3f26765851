"""Particles of parameters, each with a filter of its own: how they advance, move and grow."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.coordinates import layout_of
from probinf.core.population import no_nan
from probinf.core.program import Key, Program, log_density
from probinf.core.sequence import Sequence, StateSpace
from probinf.kernels.base import Params
from probinf.kernels.metropolis import matvec
from probinf.kernels.noise import normal
from probinf.samplers.pmcmc.filtering import Cloud, Filter
from probinf.samplers.pmcmc.space import given


class Filters(NamedTuple):
    """Parameters with their filters; leading axis of particles throughout.

    Attributes:
        position: (n, d) flat parameters.
        prior: (n,) their log density without data.
        cloud: the filter of each after the data so far.
        eve: first ancestor.
        line: of descent, for the variance of the evidence.
    """

    position: Float[Array, "n d"]
    prior: Float[Array, " n"]
    cloud: Cloud
    eve: Int[Array, " n"]
    line: Int[Array, " n"]


class Bench(NamedTuple):
    """What all particles share.

    Attributes:
        space: prior and sequence.
        prior: the parameters, flat.
        options: of the filters.
    """

    space: StateSpace
    prior: Program
    options: Filter

    def sequence(self, theta: Float[Array, " d"]) -> Sequence:
        """At given parameters."""
        return given(self.space, layout_of(self.prior).unravel(theta))

    def advance(self, key: Key, theta: Array, cloud: Cloud, t: Int[Array, ""]) -> Cloud:
        """A filter after datum ``t``, the first being 0."""
        sequence = self.sequence(theta)
        value = jax.tree.map(lambda leaf: leaf[t - 1], sequence.inputs)
        return self.options.advance(key, sequence, value, cloud)[0]

    def upto(self, key: Key, theta: Array, t: Int[Array, ""]) -> Cloud:
        """A new filter on the first ``t`` data."""
        first = self.options.begin(jax.random.fold_in(key, 0), self.sequence(theta))

        def step(k: Int[Array, ""], cloud: Cloud) -> Cloud:
            return self.advance(jax.random.fold_in(key, k), theta, cloud, k)

        return jax.lax.fori_loop(1, t, step, first)

    def moved(
        self, key: Key, particles: Filters, params: Params, t: Int[Array, ""]
    ) -> tuple[Filters, Float[Array, " n"], Int[Array, ""]]:
        """One particle marginal Metropolis move of each, on the first ``t`` data.

        Args:
            key: random key.
            particles: to move.
            params: leading axis n.
            t: data so far.

        Returns:
            The particles, their chances of acceptance, densities that were NaN.
        """

        def one(key: Key, theta: Array, prior: Array, cloud: Cloud, params: Params) -> Any:
            propose, filter_key, accept = jax.random.split(key, 3)
            there = theta + matvec(params.step_size * params.scale(), normal(propose, theta))
            density = log_density(self.prior, there)
            fresh = self.upto(filter_key, there, t)
            ratio = density + fresh.log_z - prior - cloud.log_z
            chance = jnp.where(jnp.isnan(ratio), 0.0, jnp.exp(jnp.minimum(ratio, 0.0)))
            taken = jax.random.uniform(accept, (), chance.dtype) < chance
            new, old = (there, density, fresh), (theta, prior, cloud)
            kept = jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, old)
            return kept, chance, jnp.isnan(fresh.log_z)

        keys = jax.random.split(key, particles.prior.shape[0])
        kept, chance, lost = jax.vmap(one)(
            keys, particles.position, particles.prior, particles.cloud, params
        )
        position, prior, cloud = kept
        after = particles._replace(position=position, prior=prior, cloud=cloud)
        return after, chance, lost.sum().astype(int)

    def exchanged(
        self, key: Key, particles: Filters, t: Int[Array, ""], finished: Bool[Array, ""]
    ) -> tuple[Filters, Float[Array, " n"]]:
        """New filters in place of the old ones, and what the log weights gain by that.

        Where the data are all in, the old ones are only laid out anew: twice as many particles,
        each twice.
        """
        keys = jax.random.split(key, particles.prior.shape[0])
        fresh = jax.vmap(self.upto, (0, 0, None))(keys, particles.position, t)
        old = particles.cloud
        gain = jnp.where(finished, 0.0, fresh.log_z - old.log_z)
        twice = Cloud(
            jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf], axis=1), old.state),
            jnp.concatenate([old.log_w, old.log_w], axis=1) - jnp.log(2.0),
            old.log_z,
        )
        cloud = jax.tree.map(lambda a, b: jnp.where(finished, a, b), twice, fresh)
        return particles._replace(cloud=cloud), no_nan(gain)[0]
