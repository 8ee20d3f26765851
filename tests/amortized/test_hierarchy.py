"""A hierarchical NumPyro model as a task prior: rows of one group, and groups of one task."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from probinf.amortized import ModelPrior

GROUPS = 3


def model(x, y=None, *, groups=True, tasks=True):
    """Mutants: without ``groups`` each row has its own level, without ``tasks`` no centre."""
    rows = x.shape[0]
    centre = numpyro.sample("centre", dist.Normal(0.0, 1.0))
    spread = numpyro.sample("spread", dist.HalfNormal(1.0))
    with numpyro.plate("groups", GROUPS if groups else rows):
        level = numpyro.sample("level", dist.Normal(centre if tasks else 0.0, spread))
    of = jnp.floor(GROUPS * x[:, 0]).astype(int) if groups else jnp.arange(rows)
    with numpyro.plate("rows", rows):
        numpyro.sample("y", dist.Normal(level[of], 0.5), obs=y)


class Rows:
    """A design of fixed rows: two of one group, one of another."""

    def sample(self, key, shape):
        del key
        return jnp.array([[0.1], [0.2], [0.9]])[: shape[0]]


def covariances(key: int, **mutant) -> np.ndarray:
    """Of two rows of one group, of two groups, and the variance of a row."""
    prior = ModelPrior(lambda x, y=None: model(x, y, **mutant), 1, design=Rows())
    keys = jax.random.split(jax.random.key(key), 20_000)
    y = jax.jit(jax.vmap(lambda k: prior.draw(k, jnp.asarray(2), 2, 1).y))(keys)
    found = np.cov(np.asarray(y).T)
    return np.array([found[0, 1], found[0, 2], found[0, 0]])


EXACT = np.array([2.0, 1.0, 2.25])  # variances: 1 of centres, 1 of levels, 1/4 of noise


@pytest.mark.parametrize("mutant", [{}, {"groups": False}, {"tasks": False}])
def test_rows_share_their_group_and_their_task(mutant) -> None:
    off = abs(covariances(0, **mutant) - EXACT)
    assert off.max() > 0.5 if mutant else off.max() < 0.2
