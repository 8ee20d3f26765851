"""Fits of models whose discrete sites are summed out: against Gibbs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

import probinf as pi
from probinf import diagnostics, kernels
from tests.cases.discrete_models import Y, combinations, mixture


def test_gibbs_and_the_sum_have_one_target() -> None:
    """The density with the discrete sites kept, added up over them, is that of the sum."""
    summed = pi.from_numpyro(mixture, Y)
    kept = pi.from_numpyro(mixture, Y, allow_discrete=True)
    x = summed.start(jax.random.key(3), summed.data)
    z = jnp.stack([z["z"] for z in combinations(summed)])
    score = jax.jit(jax.vmap(lambda z: sum(kept.score({**x, "z": z}, kept.data))))
    want = sum(jax.jit(summed.score)(x, summed.data))
    assert abs(logsumexp(np.asarray(score(z), float)) - want) < 1e-5 * abs(want)


@pytest.mark.slow
def test_nuts_on_the_sum_agrees_with_gibbs() -> None:
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(-3.0, 0.7, 12), rng.normal(2.0, 0.7, 18)])
    summed = pi.sample(
        pi.from_numpyro(mixture, y), pi.NUTS(chains=4, warmup=500, draws=1000), key=1
    )
    kept = pi.from_numpyro(mixture, y, allow_discrete=True)
    parts = kernels.cycle(
        kernels.block("z", kernels.Enumerate()),
        kernels.block(("weights", "mu", "scale"), kernels.NUTS()),
    )
    gibbs = pi.sample(kept, pi.MCMC(parts, chains=4, warmup=500, draws=2000), key=2)
    # names of parts may be exchanged, hence what does not depend on them
    found = []
    for fit in (summed, gibbs):
        w, mu = fit.draws["weights"], fit.draws["mu"]
        shared = [fit.draws["scale"], (w * mu).sum(-1), (w * mu**2).sum(-1)]
        found.append([(v.mean(), v.std() / diagnostics.ess_mean(v) ** 0.5) for v in shared])
    for (a, ea), (b, eb) in zip(*found, strict=True):
        assert abs(a - b) < 4 * np.hypot(ea, eb), (a, b, ea, eb)
