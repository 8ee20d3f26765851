"""A filter of distinct texts: its mass without bias, its draws, and what breaks them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf.errors import MethodError, RewardError
from probinf.lm import TableLM
from probinf.tokens import branching
from tests.cases import tokens as case

PROGRAM = case.program("power")
SIZES = PROGRAM.state_space.sizes


def runs(select, count=1000, n=24, k=2, key=0):
    """Log masses, tokens and log weights of many runs."""

    def one(key):
        rows, log_w, _ = branching.branched(key, PROGRAM.data, sizes=SIZES, n=n, k=k, select=select)
        return jax.scipy.special.logsumexp(log_w), rows.tokens, log_w

    keys = jax.random.split(jax.random.key(key), count)
    return jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=100))(keys)


def uncorrected(key, log_w, n):
    """The heaviest branches, as a beam keeps them."""
    kept = jnp.argsort(-log_w)[:n]
    return kept, log_w[kept]


def test_the_mass_is_unbiased_and_a_beam_loses_some():
    truth = case.exact("power")
    assert abs(case.z_score(runs(branching.distinct)[0], truth.log_z)) < 4
    _, tokens, log_w = runs(branching.distinct, count=100, n=64, k=4)
    own = log_w - jax.scipy.special.logsumexp(log_w, axis=1, keepdims=True)
    assert truth.tv(case.pooled(truth, np.zeros(100), tokens, own)) < 0.01
    log_z = runs(uncorrected, count=2, k=4)[0]  # nothing is drawn
    assert np.all(np.exp(log_z - truth.log_z) < 0.99)


def test_all_texts_are_the_exact_law():
    program = case.program("power", max_tokens=3)
    truth = case.exact("power", max_tokens=3)
    found = pi.tokens.branching_filter(program, key=0, particles=64, candidates=4)
    real = np.isfinite(found.log_weights)
    assert real.sum() == len(truth.lengths) == len(np.unique(found.tokens[real], axis=0))
    np.testing.assert_allclose(found.log_evidence, truth.log_z, rtol=1e-5)
    np.testing.assert_allclose(
        found.log_weights[real], truth.log_mass[truth.index(found.tokens[real])], atol=1e-4
    )
    assert found.draw(1, 5).shape == (5, 3)


def test_expected_weights_are_those_of_the_candidates():
    log_w = jnp.log(jnp.asarray([0.5, 0.0, 0.1, 0.02, 0.2, 0.05, 0.13]))

    def one(key):
        kept, weights = branching.distinct(key, log_w, 4)
        return jnp.zeros(7).at[kept].add(jnp.exp(weights)), jnp.zeros(7).at[kept].add(1)

    sums, counts = jax.vmap(one)(jax.random.split(jax.random.key(0), 20_000))
    assert counts.max() == 1
    np.testing.assert_allclose(sums.mean(0), jnp.exp(log_w), atol=0.004)


def test_what_it_refuses():
    with pytest.raises(MethodError, match="branching_filter serves powers"):
        pi.tokens.branching_filter(case.program("reward"), key=0)
    lm = TableLM(case.LM.logits.at[2].set(jnp.nan), case.LM.eos)
    broken = pi.from_language_model(lm, max_tokens=3, exponent=2.0)
    with pytest.raises(RewardError, match="logits"):
        pi.tokens.branching_filter(broken, key=0)
