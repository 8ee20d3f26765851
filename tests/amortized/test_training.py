"""Training: one record for every method, the same bits as its fields given as keywords."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.amortized import (
    NLE,
    NPE,
    PFN,
    DistributionTransformer,
    GaussianProcess,
    InverseGammaNormal,
    Mixture,
    Training,
)
from probinf.amortized.training.options import Options
from probinf.errors import TrainingError
from tests.cases.tiers import tiers


def model(y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu, 1.0).expand([2]).to_event(1), obs=y)


FLOW = dict(simulations=200, layers=1, hidden=(4,), bins=2, batch=10)
METHODS = {
    "NPE": (NPE(**FLOW), lambda: pi.from_numpyro(model, y=np.zeros(2))),
    "NLE": (NLE(**FLOW), lambda: pi.from_numpyro(model, y=np.zeros(2))),
    "PFN": (
        PFN(head=Mixture(2), context=4, queries=2, batch=2, width=4, layers=1, heads=1),
        lambda: GaussianProcess(1),
    ),
    "DistributionTransformer": (
        DistributionTransformer(
            components=2, width=4, layers=1, heads=1, hidden=4, batch=2, draws=2
        ),
        InverseGammaNormal,
    ),
}


def arrays(fitted) -> list[np.ndarray]:
    return [np.asarray(v) for v in jax.tree.leaves(eqx.filter(fitted.network, eqx.is_array))]


@pytest.mark.parametrize("name", tiers(METHODS, ("NPE", "PFN")))
def test_the_record_and_the_keywords_are_the_same_training(name) -> None:
    method, source = METHODS[name]
    record = method.fit(source(), key=0, training=Training(steps=50, clip=0.5, progress=False))
    mixed = method.fit(source(), key=0, training=Training(clip=0.5), steps=50, progress=False)
    keywords = method.fit(source(), key=0, steps=50, clip=0.5, progress=False)
    for one, two, three in zip(*map(arrays, (record, mixed, keywords)), strict=True):
        assert np.array_equal(one, two) and np.array_equal(one, three)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_given_twice_missing_or_unknown_is_named(name) -> None:
    method, source = METHODS[name]
    with pytest.raises(TrainingError, match=f"{name}: learning_rate, steps given as keyword and"):
        method.fit(
            source(), key=0, steps=5, learning_rate=1e-3,
            training=Training(steps=5, learning_rate=1e-3, warmup=0.1),
        )  # fmt: skip
    with pytest.raises(TrainingError, match=f"{name}: no option named stepz"):
        method.fit(source(), key=0, stepz=5)
    if name in ("PFN", "DistributionTransformer"):
        with pytest.raises(TrainingError, match="steps= is missing"):
            method.fit(source(), key=0)
        with pytest.raises(TrainingError, match="needs a validation"):
            method.fit(source(), key=0, steps=5, training=Training(patience=3))


def test_the_record_is_checked_when_it_is_made() -> None:
    for wrong in (
        {"steps": 0}, {"learning_rate": 0.0}, {"warmup": 1.0}, {"clip": -1.0}, {"patience": 0},
        {"chunk": 0},
    ):  # fmt: skip
        with pytest.raises(TrainingError, match=f"Training: {next(iter(wrong))}"):
            Training(**wrong)
    assert Training(clip=None, patience=None).given() == {"clip": None, "patience": None}
    assert Training().given() == {}


def test_keywords_and_fields_are_the_same_names() -> None:
    fields = [field.name for field in dataclasses.fields(Training)]
    assert list(get_type_hints(Options)) == fields


def slope(model: jax.Array, data: jax.Array, key: jax.Array) -> jax.Array:
    return jnp.sum((model - data - jax.random.normal(key)) ** 2)


def test_train_takes_the_record_and_ends_where_validations_stop_helping() -> None:
    options = Training(steps=40, chunk=10, learning_rate=0.1, progress=False)
    record = pi.amortized.train(
        jnp.zeros(()), slope, key=0, data=jnp.ones(()), validation=slope, training=options
    )
    keywords = pi.amortized.train(
        jnp.zeros(()), slope, key=0, data=jnp.ones(()), validation=slope, **options.given()
    )
    assert np.array_equal(record.losses, keywords.losses) and record.losses.shape == (40,)
    assert np.array_equal(record.validation_losses[:, 0], np.arange(0, 50, 10))
    assert np.array_equal(record.model, keywords.model)
