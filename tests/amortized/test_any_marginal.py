"""Any-marginal models against enumeration: exact whatever the network, and near it when trained."""

from __future__ import annotations

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import chi2

import probinf as pi
from probinf.amortized import AnyMarginal, FittedAnyMarginal, refinement
from probinf.amortized.discrete.network import AnyMarginalNetwork
from probinf.errors import ArrayError, MethodError, TrainingError

RNG = np.random.default_rng(0)


def ising(shape, coupling, field):
    s = numpyro.sample("s", dist.Bernoulli(0.5 * jnp.ones(shape)))
    s = 2 * s - 1
    pairs = jnp.sum(s[1:] * s[:-1]) + jnp.sum(s[:, 1:] * s[:, :-1])
    numpyro.factor("energy", coupling * pairs + jnp.sum(field * s))


def grid(shape, coupling):
    field = 0.3 * np.random.default_rng(1).normal(size=shape)
    return pi.from_numpyro(ising, shape, coupling, field, allow_discrete=True)


def net(seen=None):
    """Rain, sprinkler with three settings, wet grass."""
    rain = numpyro.sample("rain", dist.Bernoulli(0.3))
    setting = jnp.where(rain > 0, jnp.array([0.8, 0.15, 0.05]), jnp.array([0.2, 0.3, 0.5]))
    sprinkler = numpyro.sample("sprinkler", dist.Categorical(setting))
    wet = jnp.clip(0.05 + 0.5 * rain + 0.2 * sprinkler, 0.0, 0.95)
    numpyro.sample("wet", dist.Bernoulli(wet))
    numpyro.sample("slippery", dist.Bernoulli(wet**2), obs=seen)


def enumerated(program, sites):
    """All points as vectors from zero on, and the log density of each."""
    sizes = [s.levels for s in sites.each for _ in range(s.size)]
    every = np.array(list(itertools.product(*map(range, sizes))))
    x = {k: jnp.asarray(v, int) for k, v in sites.split(every + sites.low).items()}
    return every, np.asarray(jax.vmap(lambda x: sum(program.score(x, program.data)))(x), float)


def random_network(program, seed=0, gain=8.0):
    """A network far from the program: that of a random start with larger outputs."""
    fitted = AnyMarginal(width=16, layers=1)
    from probinf.amortized.discrete.sites import DiscreteSites

    config = fitted._config(DiscreteSites.of(program))
    network = AnyMarginalNetwork(config, jax.random.key(seed))
    network = eqx.tree_at(
        lambda n: n.conditionals.last.weight, network, gain * network.conditionals.last.weight
    )
    return FittedAnyMarginal(network, config, {})


@pytest.fixture(scope="module")
def trained():
    method = AnyMarginal(width=32, layers=1)
    return method.fit(grid((2, 3), 0.4), key=0, steps=500, learning_rate=5e-3, progress=False)


def test_law_of_any_network_is_normalised_and_drawn_from():
    program = pi.from_numpyro(net, seen=1, allow_discrete=True)
    fitted = random_network(program)
    law = fitted.as_program(program)
    every, log_q = enumerated(law, fitted.sites)
    assert np.exp(log_q).sum() == pytest.approx(1.0, abs=1e-5)
    keys = jax.random.split(jax.random.key(3), 4000)
    x = jax.vmap(law.draw, (0, None))(keys, law.data)
    rows = fitted.sites.vectors({k: np.asarray(v) for k, v in x.items()})
    counts = np.array([(rows == z).all(1).sum() for z in every])
    expected = 4000 * np.exp(log_q)
    statistic = np.sum((counts - expected) ** 2 / expected)
    assert statistic < chi2.isf(1e-6, len(every) - 1)


def deviations(fitted, program, count=12):
    """Errors of exact log probabilities and evidence, in standard errors."""
    every, log_gamma = enumerated(program, fitted.sites)
    total, z = np.logaddexp.reduce(log_gamma), []
    for k in range(count):
        rng = np.random.default_rng(k)
        known, row = rng.uniform(size=every.shape[1]) < 0.5, every[rng.integers(len(every))]
        known[rng.permutation(len(row))[:2]] = [True, False]  # one known, one not, at least
        truth = np.logaddexp.reduce(log_gamma[(every[:, known] == row[known]).all(1)]) - total
        asked = fitted.sites.split(np.where(known, row + fitted.sites.low, np.nan))
        found = fitted.exact(program, asked, key=k, draws=4000)
        z += [found.log_probability.z(truth), found.log_z.z(total)]
    return np.array(z)


def test_exact_probabilities_from_a_poor_network():
    program = grid((2, 3), 0.2)
    z = deviations(random_network(program, gain=3.0), program)
    assert np.abs(z).max() < 5
    assert 0.3 < np.sqrt(np.mean(z**2)) < 2


def test_proposals_that_count_what_was_given_are_caught(monkeypatch):
    """A mutant: the given entries' own probabilities are part of the proposal's."""
    honest = AnyMarginalNetwork.log_steps

    def mutant(self, z, given, order):
        return honest(self, z, jnp.full_like(given, -1), order)

    monkeypatch.setattr(AnyMarginalNetwork, "log_steps", mutant)
    program = grid((2, 2), 0.2)  # a size that no other test compiles
    z = deviations(random_network(program, gain=3.0), program, count=3)
    assert np.abs(z).max() > 8


def test_trained_on_a_density_it_knows_every_marginal(trained):
    program = grid((2, 3), 0.4)
    every, log_gamma = enumerated(program, trained.sites)
    total = np.logaddexp.reduce(log_gamma)
    p = np.exp(log_gamma - total)
    value, error = trained.training["log_z"]
    assert value == pytest.approx(total, abs=0.02 + 5 * error)
    assert trained.training["pareto_k"] < 0.7
    known = np.array(list(itertools.product([False, True], repeat=6)))[1:]
    rows = every[RNG.integers(len(every), size=len(known))]
    truth = [p[(every[:, k] == r[k]).all(1)].sum() for k, r in zip(known, rows, strict=True)]
    asked = np.where(known, rows, np.nan).reshape(-1, 2, 3)
    assert np.abs(np.exp(trained.log_marginal(asked)) - truth).mean() < 0.03
    first = trained.probabilities()["s"][..., 1].ravel()
    assert np.abs(first - p @ every).mean() < 0.03


def test_conditionals_are_ratios_of_marginals_and_draws_keep_what_is_given(trained):
    given = np.full((2, 3), np.nan)
    given[0, :2] = [1, 0]
    asked = np.full((2, 3), np.nan)
    asked[1, 2] = 1
    both = np.where(np.isnan(given), asked, given)
    ratio = trained.log_marginal({"s": both}) - trained.log_marginal({"s": given})
    assert trained.log_conditional({"s": asked}, {"s": given}) == pytest.approx(ratio, abs=1e-5)
    p = trained.probabilities({"s": given})["s"]
    np.testing.assert_array_equal(p[0, :2], [[0, 1], [1, 0]])
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)
    draws = trained.draw(0, 500, given={"s": given})["s"]
    assert draws.shape == (500, 2, 3)
    assert (draws[:, 0, :2] == [1, 0]).all()
    with pytest.raises(ArrayError, match="in values and in given"):
        trained.log_conditional({"s": both}, {"s": given})


def test_refine_weights_a_good_network_and_moves_from_a_bad_one(trained):
    program = grid((2, 3), 0.4)
    every, log_gamma = enumerated(program, trained.sites)
    truth = np.exp(log_gamma - np.logaddexp.reduce(log_gamma)) @ every
    good = pi.refine(program, trained.as_program(program), key=1, draws=4000, progress=False)
    assert refinement(good).rung == "importance"
    poor = random_network(program).as_program(program)
    moved = pi.refine(program, poor, key=1, draws=1000, least_share=0.99, progress=False)
    assert refinement(moved).rung == "mcmc"
    for posterior in (good, moved):
        w = np.exp(posterior.log_weights.ravel())
        mean = w @ posterior.draws["s"].reshape(len(w), -1) / w.sum()
        assert np.abs(mean - truth).max() < 0.06


def test_draws_of_a_bayes_net_and_a_file(tmp_path):
    free = pi.from_numpyro(net, seen=1, allow_discrete=True)
    keys = jax.random.split(jax.random.key(0), 4000)
    draws = {k: np.asarray(v) for k, v in jax.vmap(free.draw, (0, None))(keys, free.data).items()}
    fitted = AnyMarginal(width=32, layers=1).fit(
        draws, key=0, steps=400, learning_rate=5e-3, progress=False
    )
    p = fitted.probabilities({"wet": 1})
    rain = np.array([0.7, 0.3])
    setting = np.array([[0.2, 0.3, 0.5], [0.8, 0.15, 0.05]])
    wet = np.clip(0.05 + 0.5 * np.arange(2)[:, None] + 0.2 * np.arange(3), 0, 0.95)
    joint = rain[:, None] * setting * wet
    joint /= joint.sum()
    np.testing.assert_allclose(p["rain"], joint.sum(1), atol=0.06)
    np.testing.assert_allclose(p["sprinkler"], joint.sum(0), atol=0.06)
    file = tmp_path / "net.safetensors"
    fitted.save(file)
    again = pi.amortized.load(file)
    assert again.log_marginal({"wet": 1}) == fitted.log_marginal({"wet": 1})
    assert again.sites == fitted.sites


def normal():
    z = numpyro.sample("z", dist.Bernoulli(0.5))
    numpyro.sample("mu", dist.Normal(z, 1.0))


def test_refusals(trained):
    with pytest.raises(TrainingError, match="width is too small"):
        AnyMarginal(width=0)
    with pytest.raises(MethodError, match="mu not discrete"):
        AnyMarginal().fit(pi.from_numpyro(normal, allow_discrete=True), key=0, progress=False)
    with pytest.raises(ArrayError, match="whole numbers"):
        AnyMarginal().fit({"a": [0.5] * 200}, key=0, progress=False)
    with pytest.raises(ArrayError, match="different numbers"):
        AnyMarginal().fit({"a": [0] * 200, "b": [0] * 100}, key=0, progress=False)
    with pytest.raises(ArrayError, match="at least 100 draws"):
        AnyMarginal().fit({"a": [0, 1]}, key=0, progress=False)
    with pytest.raises(ArrayError, match="no site named t"):
        trained.log_marginal({"t": 1})
    with pytest.raises(ArrayError, match="whole numbers from 0 to 1"):
        trained.log_marginal({"s": np.full((2, 3), 2)})
    with pytest.raises(ArrayError, match="must have shape"):
        trained.log_marginal({"s": np.ones(3)})
    with pytest.raises(MethodError, match="the program has the sites"):
        trained.as_program(grid((3, 2), 0.4))
    with pytest.raises(MethodError, match="at least 100 draws"):
        trained.exact(grid((2, 3), 0.4), key=0, draws=10)
    with pytest.raises(ArrayError, match="one point"):
        trained.draw(0, given={"s": np.ones((2, 2, 3))})
