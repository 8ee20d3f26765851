"""Meta-priors with conjugate likelihoods: their posteriors can be drawn from exactly."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from probinf.amortized.priors.meta_prior import MetaPrior, Situation
from probinf.core.program import Key


class InverseGammaNormal(MetaPrior):
    """A variance x ~ InverseGamma(a, b), observed through z ~ N(0, x).

    Args:
        shape_law: NumPyro distribution of a; inverse-gamma(4, 6) unless given.
        rate_law: of b.
        observations: largest number of observations; any number from 1 on is trained.
    """

    shape_law: Any
    rate_law: Any
    observations: int = eqx.field(static=True)

    def __init__(
        self, shape_law: Any = None, rate_law: Any = None, *, observations: int = 1
    ) -> None:
        self.shape_law = dist.InverseGamma(4.0, 6.0) if shape_law is None else shape_law
        self.rate_law = dist.InverseGamma(4.0, 6.0) if rate_law is None else rate_law
        self.observations = observations

    @property
    def shape(self) -> dict[str, Any]:
        """A positive parameter with a two-parameter prior."""
        return {"dimension": 1, "parameters": 2, "columns": 1,
                "observations": self.observations, "support": "positive"}  # fmt: skip

    def draw(self, key: Key, draws: int) -> Situation:
        """Exact posterior draws by conjugacy; gamma variables are drawn as logarithms."""
        keys = jax.random.split(key, 6)
        a, b = self.shape_law.sample(keys[0]), self.rate_law.sample(keys[1])
        first = jnp.log(b) - jax.random.loggamma(keys[2], a, (draws,))
        z = jnp.exp(first[0] / 2) * jax.random.normal(keys[3], (self.observations,))
        count = jax.random.randint(keys[4], (), 1, self.observations + 1)
        mask = jnp.arange(self.observations) < count
        rate = b + 0.5 * jnp.sum(jnp.where(mask, z, 0.0) ** 2)
        after = jnp.log(rate) - jax.random.loggamma(keys[5], a + 0.5 * count, (draws,))
        return Situation(jnp.stack([a, b]), z[:, None], mask, after[:, None], first[:, None])


class BetaBernoulli(MetaPrior):
    """A probability x ~ Beta(c1, c0), observed through coin tosses.

    Args:
        law: NumPyro distribution of c1 and of c0; inverse-gamma(4, 6) unless given.
        observations: largest number of tosses; any number from 1 on is trained.
    """

    law: Any
    observations: int = eqx.field(static=True)

    def __init__(self, law: Any = None, *, observations: int = 10) -> None:
        self.law = dist.InverseGamma(4.0, 6.0) if law is None else law
        self.observations = observations

    @property
    def shape(self) -> dict[str, Any]:
        """A probability with a two-parameter prior."""
        return {"dimension": 1, "parameters": 2, "columns": 1,
                "observations": self.observations, "support": "unit"}  # fmt: skip

    def draw(self, key: Key, draws: int) -> Situation:
        """Exact posterior draws by conjugacy, as differences of log-gamma variables."""
        keys = jax.random.split(key, 7)
        c = self.law.sample(keys[0], (2,))

        def logits(one: Key, two: Key, c: Array) -> Array:
            return jax.random.loggamma(one, c[0], (draws,)) - jax.random.loggamma(
                two, c[1], (draws,)
            )

        first = logits(keys[1], keys[2], c)
        z = jax.random.bernoulli(keys[3], jax.nn.sigmoid(first[0]), (self.observations,))
        count = jax.random.randint(keys[4], (), 1, self.observations + 1)
        mask = jnp.arange(self.observations) < count
        ones = jnp.sum(jnp.where(mask, z, False))
        after = logits(keys[5], keys[6], c + jnp.stack([ones, count - ones]))
        return Situation(c, z[:, None].astype(float), mask, after[:, None], first[:, None])
