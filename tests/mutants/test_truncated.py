"""Broken twins of the draws from truncated distributions, which their tests must tell."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

import probinf as pi
from probinf.fronts.distributions import truncation
from probinf.fronts.distributions.tails import tail_quantile
from probinf.validity import check_base


def far() -> None:
    numpyro.sample("s", dist.TruncatedDistribution(dist.StudentT(3.0, 0.0, 10.0), low=5.0))


def without_lower_mass(self, u, v):
    """The quantile of the share, as if nothing lay below the lower end."""
    log_mass = self._log_mass()
    below, above = jnp.log(u) + log_mass, jnp.log(v) + log_mass
    z = tail_quantile(self.base_dist, jnp.minimum(jnp.minimum(below, above), jnp.log(0.5)))
    value = self.base_dist.loc + self.base_dist.scale * jnp.where(below < above, z, -z)
    return jnp.maximum(value, self.low + 1e-3)


def test_forgetting_the_lower_mass_fails_the_base_law(monkeypatch):
    assert check_base(pi.from_numpyro(far), key=1, draws=4000)
    jax.clear_caches()
    monkeypatch.setattr(truncation._Truncation, "_quantile", without_lower_mass)
    result = check_base(pi.from_numpyro(far), key=1, draws=4000)
    jax.clear_caches()
    assert not result


def test_a_forgotten_normalisation_fails_the_base_law(monkeypatch):
    jax.clear_caches()
    log_prob = truncation._Truncation.log_prob

    def broken(self, value, intermediates=None):
        return log_prob(self, value) + self._log_mass()

    monkeypatch.setattr(truncation._Truncation, "log_prob", broken)
    result = check_base(pi.from_numpyro(far), key=1, draws=4000)
    jax.clear_caches()
    assert not result
