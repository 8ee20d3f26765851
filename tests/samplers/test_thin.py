"""thin: fewer draws kept, less correlated, the same law; a memory estimate before the start."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import MethodError


def bowl(x):
    return -0.5 * jnp.sum((x - 1.0) ** 2)


def program(d: int = 2) -> pi.Program:
    return pi.from_log_likelihood(bowl, dist.Normal(0.0, 1.0).expand([d]).to_event(1))


def test_thinned_chains_are_less_correlated_and_right() -> None:
    def fit(thin: int) -> pi.Posterior:
        kernel = pi.kernels.RandomWalk()
        method = pi.MCMC(kernel, chains=2, warmup=1000, draws=4000, thin=thin)
        return pi.sample(program(), method, key=0, progress=False)

    plain, thinned = fit(1), fit(8)
    assert plain.log_weights.shape == thinned.log_weights.shape == (2, 4000)
    assert (thinned.stats["evaluations"] == 8).all() and (plain.stats["evaluations"] == 1).all()
    ess = [p.summary().columns["ess_bulk"].min() for p in (plain, thinned)]
    assert ess[1] > 3 * ess[0]
    row = thinned.summary()["x[0]"]
    assert abs(row["mean"] - 0.5) < 4 * row["mcse"] and abs(row["sd"] - 0.5**0.5) < 0.07
    assert thinned.provenance["warmup_evaluations"] == 2000
    with pytest.raises(MethodError, match="thin must be at least 1, got 0"):
        pi.NUTS(thin=0)


def test_more_than_the_memory_is_refused_before_the_start() -> None:
    huge = pi.NUTS(draws=10**9)
    with pytest.raises(MethodError, match=r"needs at least .* GB of memory.*thin="):
        pi.sample(program(50), huge, key=0, progress=False)
    small = pi.sample(program(), pi.NUTS(chains=1, warmup=50, draws=50), key=0, progress=False)
    assert 0 < small.provenance["memory_estimate_mb"] < 10
    assert np.isfinite(small.draws["x"]).all()
