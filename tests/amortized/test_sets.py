"""An encoder that has seen sets of two answers for sets of many, with a head of its own."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.amortized import NPE, SetEmbedding, for_sets
from probinf.amortized.neural import sets as sets_file
from probinf.amortized.neural.base import require_count
from probinf.errors import RangeError, StructureError, TrainingError

SMALL = {"layers": 2, "hidden": (16, 16), "bins": 6}


def located(n, y=None):
    m = numpyro.sample("m", dist.Normal(0.0, 1.0))
    with numpyro.plate("datum", n):
        numpyro.sample("y", dist.Normal(m, 1.0), obs=y)


def program(n):
    return pi.from_numpyro(located, n, y=np.zeros(n))


def encoder_of(steps):
    embedding = SetEmbedding(hidden=(16, 16), means=4, size=4)
    method = NPE(simulations=2000, **SMALL, embedding=embedding)
    return method.fit(program(2), key=0, steps=steps, learning_rate=3e-3, progress=False)


@pytest.fixture(scope="module")
def pairs():
    return encoder_of(2)


def adapted(pairs):
    return for_sets(
        pairs, program(64), key=1, smallest=2, simulations=2000, head=NPE(**SMALL), steps=500,
        learning_rate=3e-3, progress=False,
    )  # fmt: skip


def errors(fitted):
    """Of means and sds, in exact sds, over sets of several sizes."""
    rng, found = np.random.default_rng(0), []
    for n in (2, 8, 64):
        for _ in range(3):
            y = rng.normal() + rng.normal(size=n)
            posterior = pi.sample(
                fitted.posterior(y), pi.Importance(draws=4000), key=1, progress=False
            )
            row, sd = posterior.summary()["m"], (1 + n) ** -0.5
            found.append([abs(row["mean"] - y.sum() / (1 + n)) / sd, abs(np.log(row["sd"] / sd))])
    return np.mean(found, axis=0)


@pytest.mark.slow
def test_sets_of_any_size_have_the_conjugate_posterior(monkeypatch):
    fitted = adapted(encoder_of(400))
    right = errors(fitted)
    assert right[0] < 0.6 and right[1] < 0.3, right

    def forgets(self, pooled, count):
        """The mutant: a summary that does not know how many data there are."""
        return jnp.append(self.white @ (pooled - self.mean), 0.0)

    monkeypatch.setattr(sets_file.Encoder, "summary", forgets)
    assert errors(fitted)[1] > 2 * right[1] + 0.3


def test_order_does_not_matter(pairs):
    network = pairs.network
    encoder = sets_file.Encoder(network.inputs, network.embedding, jnp.zeros(4), jnp.eye(4))
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(50, 1)), float)
    np.testing.assert_allclose(encoder(rows), encoder(rows[::-1]), atol=1e-5)


@pytest.mark.parametrize("value", [250.5, 300.0, "many", None])
def test_counts_are_whole_numbers(value):
    with pytest.raises(TrainingError, match="for_sets: simulations must be a whole number, got"):
        require_count("for_sets", "simulations", value, 200)
    require_count("for_sets", "simulations", np.int64(200), 200)


def test_what_cannot_be_done_is_said(pairs):
    with pytest.raises(TrainingError, match="smallest must lie between 1 and the 8 data"):
        for_sets(pairs, program(8), key=0, smallest=9)
    with pytest.raises(TrainingError, match="simulations must be at least 200, got 10"):
        for_sets(pairs, program(8), key=0, simulations=10)
    with pytest.raises(TrainingError, match="head= is an NPE without an embedding"):
        for_sets(pairs, program(8), key=0, simulations=200, head=NPE(embedding=SetEmbedding()))
    fitted = for_sets(
        pairs,
        program(8),
        key=0,
        smallest=4,
        simulations=300,
        head=NPE(**SMALL),
        steps=2,
        progress=False,
    )
    for n in (3, 9):
        with pytest.raises(RangeError, match=f"{n} data, trained on 4 to 8"):
            fitted.posterior(np.zeros(n))
    y = np.random.default_rng(0).normal(size=6)
    pi.sample(fitted.posterior(y), pi.Importance(draws=200), key=0, progress=False).diagnose()
    with pytest.raises(StructureError, match="must have a SetEmbedding"):
        for_sets(fitted.head, program(8), key=0)
