"""Random walks that estimate anew where they are, now and then, while they warm up."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from probinf.core.coordinates import Mixed
from probinf.core.program import Key, Position, Program
from probinf.results.collecting import Transition
from probinf.samplers.mcmc import MCMC, Chain

_EVERY = 5  # transitions
_PART = 0.8  # of the warm-up; the rest leads back to the exact law


@dataclasses.dataclass(frozen=True)
class Refreshing(MCMC):
    """``MCMC`` that draws the random numbers of its current position afresh during warm-up.

    Wide starts lie where likelihoods are small and their estimates noisy: a lucky one is never
    beaten, and the chain stays there. With a fresh estimate it goes on. Transitions after four
    fifths of the warm-up keep the estimates that they accepted, and leave the measure invariant.

    Source: Monte Carlo within Metropolis, O'Neill et al. (2000); Andrieu & Roberts (2009),
    section 2.3.
    """

    def transition(
        self, key: Key, program: Program, own: Chain, taken: Int[Array, ""]
    ) -> tuple[Chain, Transition]:
        """One transition, from a fresh estimate where one is due."""
        key, fresh = jax.random.split(key)

        def again() -> Chain:
            there = self.kernel.init(program, _renewed(fresh, own.kernel.position))
            usable = jnp.isfinite(there.logdensity)
            kept = jax.tree.map(lambda a, b: jnp.where(usable, a, b), there, own.kernel)
            return own._replace(kernel=kept)

        due = (taken % _EVERY == _EVERY - 1) & (taken < int(_PART * self.warmup))
        return super().transition(key, program, jax.lax.cond(due, again, lambda: own), taken)


def _renewed(key: Key, position: Position) -> Position:
    """The same parameters, with other random numbers."""
    assert isinstance(position, Mixed)
    keys = (
        jax.random.split(jax.random.fold_in(key, i), old.shape)
        for i, old in enumerate(position.keys)
    )
    return Mixed(position.vector, tuple(keys))
