"""Mixtures of flows: draws of all members, without a copy of the weights for every draw."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from probinf.amortized.nets.ensemble import Ensemble
from probinf.amortized.nets.regression import Regression
from probinf.core.flows.flow import SplineFlow

DRAWS, SIZE, CONTEXT = 512, 3, 2


def ensemble(members):
    make = partial(SplineFlow, size=SIZE, context=CONTEXT, layers=2, hidden=(32, 32), bins=4)
    found = Ensemble.of(jax.random.key(0), members, make, Regression.blank(SIZE, CONTEXT))
    noise = jax.random.key(1)
    return jax.tree.map(lambda w: w + 0.2 * jax.random.normal(noise, w.shape), found)


def of_picked_weights(self, key, context):
    """The mutant: the weights of the member that is drawn, in a batch once for every draw."""
    first, second = jax.random.split(key)
    member = jax.random.randint(first, (), 0, self.members)
    chosen = jax.tree.map(lambda leaf: leaf[member], self.flows)
    return self.start.inverse(chosen.draw(second, context), context)


def bytes_for_a_draw(model, draw):
    """Working memory of many draws at once, by draw."""

    def many(model, keys):
        return jax.vmap(lambda key: draw(model, key, jnp.zeros(CONTEXT)))(keys)

    dynamic, static = eqx.partition(model, eqx.is_array)
    keys = jax.random.split(jax.random.key(2), DRAWS)
    compiled = jax.jit(lambda d, k: many(eqx.combine(d, static), k)).lower(dynamic, keys).compile()
    return compiled.memory_analysis().temp_size_in_bytes / DRAWS


@pytest.mark.parametrize("members", [1, 3])
def test_draws_share_the_weights(members):
    model = ensemble(members)
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(model.flows)) / members
    assert bytes_for_a_draw(model, Ensemble.draw) < 0.5 * weights
    assert bytes_for_a_draw(model, of_picked_weights) > weights


def test_draws_are_those_of_the_picked_member():
    model, context = ensemble(3), jnp.asarray([0.5, -1.0])
    keys = jax.random.split(jax.random.key(3), 50)
    found = jax.vmap(lambda key: model.draw(key, context))(keys)
    expected = jax.vmap(lambda key: of_picked_weights(model, key, context))(keys)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_draws_follow_the_mixture():
    """Two flows that lie apart: a share of one half each, by an exact binomial test."""
    model = ensemble(2)
    biases = model.flows.stack.biases
    apart = jnp.asarray([-4.0, 4.0]).reshape(2, 1, 1)
    shift = jnp.zeros_like(biases[-1]).at[..., :: biases[-1].shape[-1] // SIZE].set(1.0) * apart
    model = eqx.tree_at(
        lambda m: (m.flows.stack.inputs, m.flows.stack.contexts, m.flows.stack.biases),
        model,
        (
            [0 * w for w in model.flows.stack.inputs],
            [0 * w for w in model.flows.stack.contexts],
            [0 * b for b in biases[:-1]] + [shift],
        ),
    )
    keys = jax.random.split(jax.random.key(4), 2000)
    found = np.asarray(jax.vmap(lambda key: model.draw(key, jnp.zeros(CONTEXT)))(keys))
    upper = (found[:, 0] > 0).sum()
    assert stats.binomtest(int(upper), 2000).pvalue > 1e-4
    assert np.abs(np.abs(found[:, 0]).mean() - 8) < 0.5  # two layers move by four each
