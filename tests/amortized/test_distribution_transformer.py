"""Distribution Transformer: mixtures, meta-priors, programs, the filter, and a short training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import beta, invgamma, kstest, multivariate_normal

import probinf as pi
from probinf.amortized import (
    BetaBernoulli,
    DistributionTransformer,
    GaussianMixture,
    InverseGammaNormal,
    LinearMotion,
    LinearSensor,
    RandomMixtures,
    oracles,
)
from probinf.errors import ArrayError, RangeError, RangeWarning, StructureError, TrainingError

SENSOR = LinearSensor([[1.0, 0.0]], [[0.25]])
SMALL = dict(width=16, layers=1, heads=2, hidden=32, batch=16, draws=4)


def mixture() -> GaussianMixture:
    return RandomMixtures(2, SENSOR, 1).prior(jax.random.key(3))


def test_mixture_density_moments_and_bayes_rule() -> None:
    law = mixture()
    points = np.random.default_rng(0).normal(size=(6, 2))
    w = np.exp(np.asarray(law.log_w, float))
    each = [
        multivariate_normal(np.asarray(m, float), np.asarray(f @ f.T, float)).pdf(points)
        for m, f in zip(law.means, law.factors, strict=True)
    ]
    direct = np.log(w @ np.array(each))
    np.testing.assert_allclose(jax.vmap(law.log_density)(jnp.asarray(points)), direct, atol=1e-4)
    draws = np.asarray(law.sample(jax.random.key(0), (50_000,)))
    np.testing.assert_allclose(draws.mean(0), law.mean, atol=0.05)
    np.testing.assert_allclose(np.cov(draws.T), law.covariance, atol=0.1)
    # posterior ∝ prior · likelihood: the difference of log densities is one constant
    after = law.conditioned(jnp.asarray([0.7]), SENSOR.matrix, SENSOR.noise)
    excess = [
        float(after.log_density(p) - law.log_density(p)) + 0.5 * (0.7 - float(p[0])) ** 2 / 0.25
        for p in jnp.asarray(points)
    ]
    assert np.ptp(excess) < 1e-3
    assert float(jax.scipy.special.logsumexp(after.log_w)) == pytest.approx(0, abs=1e-5)
    moved = law.moved(jnp.asarray([[1.0, 0.5], [0.0, 0.8]]), 0.1 * jnp.eye(2), jnp.ones(2))
    F = np.array([[1.0, 0.5], [0.0, 0.8]])
    np.testing.assert_allclose(moved.mean, F @ np.asarray(law.mean) + 1, atol=1e-5)
    expected = F @ np.asarray(law.covariance) @ F.T + 0.1 * np.eye(2)
    np.testing.assert_allclose(moved.covariance, expected, rtol=1e-4, atol=1e-5)


def test_meta_priors_draw_from_their_exact_posteriors() -> None:
    """Draws after z have the conjugate law: probability transforms are uniform."""
    for meta, law in (
        (InverseGammaNormal(observations=3), _after_inverse_gamma),
        (BetaBernoulli(observations=6), _after_beta),
    ):
        keys = jax.random.split(jax.random.key(1), 800)
        s = jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda k, m=meta: m.draw(k, 2)))(keys))
        u = [law(s.prior[k], s.z[k][s.mask[k], 0], s.posterior[k, 0, 0]) for k in range(800)]
        assert kstest(u, "uniform").pvalue > 1e-3
        # the draw that made z fits that law as well: it is a posterior draw too
        v = [law(s.prior[k], s.z[k][s.mask[k], 0], s.draws[k, 0, 0]) for k in range(800)]
        assert kstest(v, "uniform").pvalue > 1e-3
        moved = [
            law(s.prior[k], s.z[k][s.mask[k], 0], s.posterior[k, 0, 0] + 0.3) for k in range(800)
        ]
        assert kstest(moved, "uniform").pvalue < 1e-3  # a third of a standard deviation is seen


def _after_inverse_gamma(prior, z, x) -> float:
    return invgamma(prior[0] + len(z) / 2, scale=prior[1] + np.sum(z**2) / 2).cdf(np.exp(x))


def _after_beta(prior, z, x) -> float:
    return beta(prior[0] + z.sum(), prior[1] + len(z) - z.sum()).cdf(1 / (1 + np.exp(-x)))


@pytest.fixture(scope="module")
def coin() -> pi.amortized.FittedDT:
    """Two hundred steps on coins."""
    network = DistributionTransformer(components=2, consistency=0.0, **SMALL)
    return network.fit(
        BetaBernoulli(observations=4), key=0, steps=250, learning_rate=5e-3, progress=False
    )


def test_a_short_training_learns_bayes_rule(coin) -> None:
    """The exact posterior mean within a tenth, for priors and data never seen."""
    for prior, z in (((2.0, 2.0), [1, 1, 0, 1]), ((1.0, 3.0), [0, 0]), ((4.0, 1.5), [1])):
        law = coin.mixture(np.array(z, float), prior=np.array(prior))
        draws = jax.nn.sigmoid(law.sample(jax.random.key(0), (4000,)))
        a, b = prior[0] + sum(z), prior[1] + len(z) - sum(z)
        assert float(draws.mean()) == pytest.approx(a / (a + b), abs=0.07)
        assert float(draws.std()) == pytest.approx(beta(a, b).std(), abs=0.07)


def test_the_shipped_coin_knows_priors_and_tosses_it_never_saw() -> None:
    network = pi.amortized.load("dt-beta")
    for prior, z in (((1.0, 1.0), [1] * 8 + [0]), ((0.7, 5.0), [1, 0]), ((3.0, 1.2), [0] * 10)):
        law = network.mixture(np.array(z, float), prior=np.array(prior))
        exact = beta(prior[0] + sum(z), prior[1] + len(z) - sum(z))
        p = np.asarray(jax.nn.sigmoid(law.sample(jax.random.key(0), (4000,))))[:, 0]
        assert p.mean() == pytest.approx(exact.mean(), abs=0.02)
        assert p.std() == pytest.approx(exact.std(), rel=0.1)


def coin_model(prior: jax.Array, z: jax.Array | None = None) -> None:
    p = numpyro.sample("p", dist.Beta(prior[0], prior[1]))
    with numpyro.plate("tosses", 4):
        numpyro.sample("z", dist.Bernoulli(p), obs=z)


def test_the_posterior_is_a_program_and_importance_corrects_it(coin) -> None:
    prior, z = np.array([2.0, 3.0]), np.array([1.0, 1.0, 0.0, 1.0])
    program = pi.from_numpyro(coin_model, jnp.asarray(prior), z=z.astype(int))
    q = coin.posterior(z, prior=prior, like=program)
    x = q.draw(jax.random.key(0), q.data)
    score = q.score(x, q.data)
    law = coin.mixture(z, prior=prior)
    assert float(score.log_weight) == 0
    flat = jnp.ravel(jax.tree.leaves(x)[0])
    assert float(score.log_base) == pytest.approx(float(law.log_density(flat)), abs=1e-5)
    assert 0 < float(q.constrain(x, q.data)["p"]) < 1
    found = pi.sample(pi.rebase(program, q), pi.Importance(draws=4000), key=1, progress=False)
    weights = np.exp(found.log_weights.ravel())
    mean = np.sum(weights * found.draws["p"].ravel()) / weights.sum()
    assert mean == pytest.approx(5 / 9, abs=0.01)
    exact = np.log(beta_binomial(2, 3, 3, 1))
    assert found.log_evidence.value == pytest.approx(exact, abs=0.05)
    alone = coin.posterior(z, prior=prior)
    x = alone.draw(jax.random.key(2), alone.data)
    assert 0 < float(alone.constrain(x, alone.data)["x"][0]) < 1


def beta_binomial(c1: float, c0: float, ones: int, zeros: int) -> float:
    from scipy.special import beta as B

    return B(c1 + ones, c0 + zeros) / B(c1, c0)


@pytest.fixture(scope="module")
def tracker() -> pi.amortized.FittedDT:
    network = DistributionTransformer(components=2, **SMALL)
    prior = RandomMixtures(2, SENSOR, 1, components=2)
    return network.fit(prior, key=0, steps=4, progress=False)


MOTION = LinearMotion(jnp.asarray([[0.9, 0.3], [-0.2, 0.9]]), 0.1 * jnp.eye(2))


def test_filter_is_the_network_step_by_step(tracker) -> None:
    start = GaussianMixture.normal(jnp.zeros(2), jnp.eye(2), components=2)
    z = np.array([0.3, -0.5, 0.8])
    found = pi.amortized.filter(tracker, MOTION, start, z)
    prior = start
    for k in range(3):
        after = tracker.mixture(z[k : k + 1], prior=prior, out_of_range="ignore")
        np.testing.assert_allclose(found.mixtures.means[k], after.means, atol=1e-4)
        prior = after.moved(*MOTION)
    assert found.means.shape == (3, 2) and found.covariances.shape == (3, 2, 2)
    with pytest.warns(RangeWarning, match="the first of them step 3: z is 1e"):
        long = pi.amortized.filter(tracker, MOTION, start, np.r_[z, 1e6])
    assert any("z is" in text for text in long.outside[-1])


def test_filter_with_bayes_rule_in_place_of_the_network_is_the_kalman_filter() -> None:
    """The recursion itself: posterior, motion, posterior, against the exact filter."""
    law = GaussianMixture.normal(jnp.zeros(2), jnp.eye(2))
    z = np.array([0.3, -0.5, 0.8, 1.1])
    means = []
    for value in z:
        after = law.conditioned(jnp.asarray([value]), SENSOR.matrix, SENSOR.noise)
        means.append(np.asarray(after.mean))
        law = after.moved(*MOTION)
    exact, _, _ = oracles.kalman_filter(
        z, transition=MOTION.matrix, process_noise=MOTION.noise, matrix=SENSOR.matrix,
        noise=SENSOR.noise, mean=np.zeros(2), covariance=np.eye(2),
    )  # fmt: skip
    np.testing.assert_allclose(means, exact, atol=1e-4)


def test_faded_components_return_as_copies_of_the_heaviest() -> None:
    from probinf.amortized.transformer.filtering import _revived

    law = mixture()
    same = _revived(law)
    np.testing.assert_allclose(same.log_w, law.log_w, atol=1e-6)
    assert np.array_equal(same.means, law.means) and np.array_equal(same.factors, law.factors)
    faded = GaussianMixture(jnp.log(jnp.asarray([1e-9, 1 - 1e-4, 1e-4])), law.means, law.factors)
    found = _revived(faded)
    np.testing.assert_allclose(np.exp(found.log_w), [1 / 6, 3 / 6, 2 / 6], rtol=1e-3)
    points = jax.random.normal(jax.random.key(0), (5, 2))
    heaviest = multivariate_normal(law.means[1], np.asarray(law.factors[1] @ law.factors[1].T))
    np.testing.assert_allclose(
        jax.vmap(found.log_density)(points), heaviest.logpdf(points), atol=1e-3
    )


def test_the_shipped_filter_stays_where_it_was_trained() -> None:
    """A hundred steps from three apart normals, whose wrong ones fade."""
    F = 0.97 * np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]])
    start = GaussianMixture(
        jnp.log(jnp.asarray([0.5, 0.3, 0.2])),
        jnp.asarray([[-1.5, 0.0], [1.5, 1.0], [0.0, -2.0]]),
        jnp.broadcast_to(0.5 * jnp.eye(2), (3, 2, 2)),
    )
    rng, x, z = np.random.default_rng(1), np.array([-1.5, 0.0]), []
    for _ in range(100):
        z.append(x[0] + 0.5 * rng.normal())
        x = F @ x + np.sqrt(0.1) * rng.normal(size=2)
    motion = LinearMotion(jnp.asarray(F), 0.1 * jnp.eye(2))
    found = pi.amortized.filter(pi.amortized.load("dt-position"), motion, start, np.array(z))
    assert not any(found.outside)
    totals = jax.scipy.special.logsumexp(found.mixtures.log_w, axis=1)
    np.testing.assert_allclose(totals, 0, atol=1e-6)


def test_saved_and_loaded(tracker, tmp_path) -> None:
    tracker.save(tmp_path / "dt.safetensors")
    found = pi.amortized.load(tmp_path / "dt.safetensors")
    law = GaussianMixture.normal(jnp.zeros(2), jnp.eye(2), components=2)
    one, two = tracker.mixture([0.2], prior=law), found.mixture([0.2], prior=law)
    assert np.array_equal(one.means, two.means)


def test_bad_input(coin, tracker) -> None:
    with pytest.raises(ArrayError, match="parameters of the prior"):
        coin.mixture([1.0], prior=[1.0, 2.0, 3.0])
    with pytest.raises(ArrayError, match="positive"):
        coin.mixture([1.0], prior=[1.0, -2.0])
    with pytest.raises(ArrayError, match="NaN"):
        coin.mixture([np.nan], prior=[1.0, 2.0])
    with pytest.raises(ArrayError, match=r"shape \(m, 1\)"):
        coin.mixture(np.zeros((2, 2)), prior=[1.0, 2.0])
    with pytest.raises(RangeError, match="prior parameter 1 is 1e-06"):
        coin.mixture([1.0], prior=[1e-6, 2.0])
    with pytest.raises(RangeError, match="observations is 9"):
        coin.mixture(np.ones(9), prior=[1.0, 2.0])
    with pytest.raises(ArrayError, match="GaussianMixture of 2 components"):
        tracker.mixture([0.1], prior=[1.0, 2.0])
    with pytest.raises(StructureError, match="parameters of a prior"):
        pi.amortized.filter(coin, MOTION, mixture(), [0.1])
    with pytest.raises(ArrayError, match="must both be"):
        bad = LinearMotion(jnp.eye(3), jnp.eye(3))
        start = GaussianMixture.normal(jnp.zeros(2), jnp.eye(2), components=2)
        pi.amortized.filter(tracker, bad, start, [0.1])
    with pytest.raises(ArrayError, match="not positive definite"):
        GaussianMixture.normal(jnp.zeros(2), -jnp.eye(2))
    with pytest.raises(StructureError, match="coordinates"):
        pi.amortized.mixture_program(
            mixture(), like=pi.from_numpyro(coin_model, jnp.ones(2), z=jnp.ones(4, int))
        )
    with pytest.raises(TrainingError, match="divide width"):
        DistributionTransformer(width=10, heads=4)
    with pytest.raises(TrainingError, match="priors have"):
        DistributionTransformer(components=5).fit(RandomMixtures(2, SENSOR, 1), key=0, steps=1)
    with pytest.raises(TrainingError, match="square noise"):
        LinearSensor([[1.0, 0.0]], [0.25])
