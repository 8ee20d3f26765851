"""Discrete sites summed out: the same as writing all terms out, in value and in what is found."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.special import logsumexp

import probinf as pi
from probinf.errors import DiscreteLatentError, ModelError
from probinf.fronts.enumeration import density, elimination, tables
from tests.cases.discrete_models import CASES, Y, combinations, joint, mixture

FAST = ("mixture", "nested", "hidden Markov", "two sites", "masked", "labels", "holes")
NAMES = [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in CASES]


def check(name: str) -> None:
    """Value, likelihood per datum, probabilities and mode against the written-out sum."""
    case = CASES[name]
    with jax.enable_x64(True):
        program = pi.from_numpyro(case.model, *case.args)
        zs = combinations(program)
        x = jax.jit(program.start)(jax.random.key(1), program.data)
        value = jax.jit(program.score)(x, program.data)
        terms = joint(case, program, x, zs)
        assert abs(sum(value) - logsumexp(terms)) < 1e-10
        pointwise = jax.jit(program.pointwise)(x, program.data)
        assert {n: v.shape for n, v in pointwise.items()} == case.pointwise
        assert abs(sum(v.sum() for v in pointwise.values()) - value.log_weight) < 1e-10
        shares = jax.jit(program.discrete.probabilities)(x, program.data)
        best = jax.jit(lambda x, data: program.discrete.draw(None, x, data))(x, program.data)
        posterior = np.exp(terms - logsumexp(terms))
        for site in program.score.model.summed.sites:
            low, high = site.levels
            one_hot = np.stack([np.eye(high - low + 1)[z[site.name] - low] for z in zs])
            assert np.abs(np.tensordot(posterior, one_hot, 1) - shares[site.name]).max() < 1e-10
            assert np.array_equal(best[site.name], zs[int(terms.argmax())][site.name])


@pytest.mark.parametrize("name", NAMES)
def test_the_sum_is_the_written_out_one(name: str) -> None:
    check(name)


@pytest.mark.usefixtures("fresh_traces")
def test_a_plate_that_is_summed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, names: Any) -> Any:
        axes = tuple(k for k, n in enumerate(self.names) if n in names)
        rest = tuple(n for n in self.names if n not in names)
        return tables.Table(rest, self.values.mean(axis=axes))

    monkeypatch.setattr(tables.Table, "added", broken)
    with pytest.raises((AssertionError, DiscreteLatentError)):
        check("nested")


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_traces")
def test_a_prior_counted_twice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = density.grouped

    def twice(*args: Any) -> Any:
        groups, graph = real(*args)
        return [g._replace(tables=[*g.tables, *g.prior]) for g in groups], graph

    monkeypatch.setattr(density, "grouped", twice)
    with pytest.raises(AssertionError):
        check("mixture")


@pytest.mark.usefixtures("fresh_traces")
def test_a_largest_term_for_the_sum_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elimination, "reduced", lambda values, over: jnp.max(values, axis=-1))
    with pytest.raises(AssertionError):
        check("mixture")


def mixed_up(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("data", len(y)):
        z = numpyro.sample("z", dist.Bernoulli(0.3))
    numpyro.sample("total", dist.Normal(mu + z.sum(), 1.0), obs=y[0])


def endless(y):
    rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
    count = numpyro.sample("count", dist.Poisson(rate))
    numpyro.sample("y", dist.Normal(count, 1.0), obs=y[0])


def no_plate(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    z = numpyro.sample("z", dist.Bernoulli(0.3).expand([len(y)]))
    numpyro.sample("y", dist.Normal(mu + z, 1.0), obs=y)


def moving(y):
    z = numpyro.sample("z", dist.Bernoulli(0.3))
    u = numpyro.sample("u", dist.Uniform(0.0, 1.0 + z))
    numpyro.sample("y", dist.Normal(u, 1.0), obs=y[0])


def scaled(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    with numpyro.plate("n", y.shape[0]), numpyro.handlers.scale(scale=0.5):
        z = numpyro.sample("z", dist.Bernoulli(0.3))
        numpyro.sample("y", dist.Normal(mu + 2.0 * z, 1.0), obs=y)


def crowd(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    total = mu
    for k in range(4):
        total = total + numpyro.sample(f"z{k}", dist.Categorical(jnp.ones(200) / 200))
    numpyro.sample("y", dist.Normal(total, 1.0), obs=y[0])


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (mixed_up, "'total'.*mixes their entries"),
        (endless, "'count'.*infinitely many"),
        (no_plate, "'z'.*no plate"),
        (moving, "'u'.*support depends on the discrete 'z'"),
        (scaled, "'z'.*under a scale handler"),
        (crowd, "1.6e\\+09 entries"),
    ],
)
def test_what_cannot_be_summed_is_refused(model: Any, says: str) -> None:
    with pytest.raises(DiscreteLatentError, match=says):
        pi.from_numpyro(model, Y)


def counted(who):
    with numpyro.plate("annotators", int(who.max()) + 1):
        right = numpyro.sample("right", dist.Beta(2.0, 1.0))
    with numpyro.plate("votes", len(who)):
        truth = numpyro.sample("truth", dist.Bernoulli(0.5))
        numpyro.sample("vote", dist.Normal(right[who] + truth, 1.0), obs=1.0 * who)


def test_a_size_that_is_read_off_an_array_is_refused() -> None:
    with pytest.raises(ModelError, match="array is used as a Python number"):
        pi.from_numpyro(counted, np.array([0, 1, 1]))


def test_both_wishes_at_once_are_refused() -> None:
    with pytest.raises(ModelError, match="one of them"):
        pi.from_numpyro(mixture, Y, discrete="sum", allow_discrete=True)
