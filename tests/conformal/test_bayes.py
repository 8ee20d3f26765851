"""Conformal Bayes and predictive densities."""

from __future__ import annotations

import tracemalloc
import warnings

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import norm, poisson

import probinf as pi
import probinf.conformal as pc
from probinf.errors import ArrayError, MethodError, UnreliableWeightsWarning
from tests.cases.coverage import coverage

SIGMA = 1.0


def exact_draws(rng, X, y, draws):
    """Posterior draws of a linear model with unit noise and a N(0, 100) prior."""
    precision = X.T @ X + np.eye(X.shape[1]) / 100
    root = np.linalg.cholesky(np.linalg.inv(precision))
    return np.linalg.solve(precision, X.T @ y) + rng.normal(size=(draws, X.shape[1])) @ root.T


def log_liks(beta, X, y, x, grid):
    data = norm.logpdf(y[None], beta @ X.T, SIGMA)
    return data, norm.logpdf(grid[:, :, None], (x @ beta.T)[:, None], SIGMA)


def problem(rng, n=60, noise=1.2, df=3, m=1):
    X, x = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
    beta = np.array([1.0, -1.0, 0.5])
    return (
        X, X @ beta + noise * rng.standard_t(df, size=n),
        x, x @ beta + noise * rng.standard_t(df, size=m),
    )  # fmt: skip


def normal_lik(draw, x, y):
    return dist.Normal(x @ draw["b"], 1.0).log_prob(y)


class Posterior:
    def __init__(self, draws):
        rng = np.random.default_rng(0)
        self.draws = {"b": rng.normal(size=(1, draws, 2)).astype(np.float32) / 40}
        self.log_weights = 0.3 * rng.normal(size=(1, draws))


def test_memory_stays_the_same_for_any_number_of_points():
    rng = np.random.default_rng(0)
    posterior, grid = Posterior(500), np.linspace(-3, 3, 40)
    x, y = rng.normal(size=(30, 2)), rng.normal(size=30)
    test = rng.normal(size=(900, 2))

    def peak(points):
        sets = pc.bayes(posterior, normal_lik, x, y, test[:points], grid=grid)
        density = pc.predict_density(posterior, normal_lik, test[:points], grid=grid)
        return sets, density

    few = peak(7)
    tracemalloc.start()
    many = peak(900)  # 18 million log densities, in blocks of 4
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 60e6
    for a, b in zip(few, many, strict=True):
        name = "p_values" if hasattr(a, "p_values") else "log_density"
        assert np.allclose(getattr(a, name), getattr(b, name)[:7], atol=1e-5)
    each = normal_lik({"b": posterior.draws["b"][0].T}, test[899], grid[:, None])
    weights = np.exp(posterior.log_weights[0])
    right = np.log(np.exp(np.asarray(each, float)) @ weights / weights.sum())
    assert np.allclose(many[1].log_density[899], right, atol=1e-4)


def test_weights_reproduce_refitting():
    # with exact posteriors of n + 1 points the ranks are known
    rng = np.random.default_rng(0)
    X, y, x, _ = problem(rng, n=25)
    beta = exact_draws(rng, X, y, 40_000)
    grid = np.linspace(-8, 8, 41)[None]
    out = pc.posteriors.bayes_arrays(*log_liks(beta, X, y, x, grid), grid=grid, fallback="keep")
    wrong = 0
    for g in range(41):
        A, b = np.vstack([X, x]), np.append(y, grid[0, g])
        cov = np.linalg.inv(A.T @ A + np.eye(3) / 100)
        mean = cov @ A.T @ b
        scale = np.sqrt(SIGMA**2 + np.einsum("ij,jk,ik->i", A, cov, A))
        sigma = norm.logpdf(b, A @ mean, scale)
        p = (1 + (sigma[:25] <= sigma[25]).sum()) / 26
        wrong += abs(p - out.p_values[0, g]) > 1.01 / 26
    assert wrong == 0
    assert out.ess.shape == (1, 41) and (out.ess <= 40_000 * (1 + 1e-9)).all()


def intervals(rng, draws=1500):
    X, y, x, truth = problem(rng)
    beta = exact_draws(rng, X, y, draws)
    grid = np.append(np.linspace(-15, 15, 80), truth)[None]
    grid.sort()
    out = pc.posteriors.bayes_arrays(*log_liks(beta, X, y, x, grid), grid=grid, fallback="keep")
    mean, sd = x @ beta.mean(axis=0), np.sqrt(SIGMA**2 + (x @ beta.T).var(axis=1))
    return out.contains(truth), abs(truth - mean) <= 1.645 * sd


@pytest.mark.slow
def test_misspecified_noise_coverage():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreliableWeightsWarning)
        both = coverage(lambda rng: np.array(intervals(rng))[:, 0], 2000)
    conformal, bayes = both[:, :1], both[:, 1:]
    print("conformal Bayes", conformal.mean(), "Bayes", bayes.mean())
    assert abs(conformal.mean() - 55 / 61) < 0.01 + 2 * conformal.std() / np.sqrt(2000)
    assert bayes.mean() < 0.85
    assert pc.check_coverage(conformal, alpha=6 / 61)


def test_weighted_draws_enter_the_formula():
    rng = np.random.default_rng(1)
    X, y, x, _ = problem(rng, n=20)
    beta = exact_draws(rng, X, y, 300)
    grid = np.linspace(-6, 6, 25)[None]
    data, candidates = log_liks(beta, X, y, x, grid)
    repeats = rng.integers(1, 4, 300)
    twice = pc.posteriors.bayes_arrays(
        np.repeat(data, repeats, axis=0), np.repeat(candidates, repeats, axis=2), grid=grid,
        fallback="keep",
    )  # fmt: skip
    weighted = pc.posteriors.bayes_arrays(
        data, candidates, grid=grid, log_weights=np.log(repeats), fallback="keep"
    )
    assert np.array_equal(twice.p_values, weighted.p_values)


def test_unreliable_weights_fall_back_as_stated():
    rng = np.random.default_rng(2)
    data, candidates = rng.normal(size=(500, 20)), 30 * rng.standard_t(2, size=(2, 9, 500))
    candidates[:, ::2] -= 1e5
    grid = np.linspace(-1, 1, 9)
    with pytest.warns(UnreliableWeightsWarning, match="hold everything"):
        out = pc.posteriors.bayes_arrays(data, candidates, grid=grid)
    assert out.replaced.all() and out.mask.all() and np.isinf(out.hull().upper).all()
    with pytest.warns(UnreliableWeightsWarning, match="were kept"):
        assert not pc.posteriors.bayes_arrays(
            data, candidates, grid=grid, fallback="keep"
        ).mask.all()
    with pytest.raises(MethodError, match="held-out"):
        pc.posteriors.bayes_arrays(data, candidates, grid=grid, fallback="raise")


def model(X, y=None):
    beta = numpyro.sample("beta", dist.Normal(0, 10).expand([2]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    with numpyro.plate("rows", X.shape[0]):
        numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def log_lik(draw, x, y):
    return dist.Normal(x @ draw["beta"], draw["sigma"]).log_prob(y)


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(90, 2)).astype(np.float32)
    y = (X @ [1.0, -2.0] + rng.standard_t(3, size=90)).astype(np.float32)
    program = pi.from_numpyro(model, jnp.asarray(X[:60]), y=jnp.asarray(y[:60]))
    posterior = pi.sample(program, pi.NUTS(chains=1, warmup=300, draws=600), key=0, progress=False)
    return posterior, X, y


def test_on_a_posterior(fitted):
    posterior, X, y = fitted
    out = pc.bayes(
        posterior, log_lik, X[:60], y[:60], X[60:], grid=np.linspace(-15, 15, 121), alpha=[0.1, 0.3]
    )
    hull = out.hull()
    assert hull.contains(y[60:]).mean(axis=0)[0] > 0.7
    assert (hull.size()[:, 0] > hull.size()[:, 1]).all() and (out.pareto_k < 0.7).all()


def test_density_scores_cover(fitted):
    posterior, X, y = fitted
    density = pc.predict_density(posterior, log_lik, X[60:], grid=np.linspace(-15, 15, 200))
    assert len(density) == 30
    for score in (pc.scores.LogPredictive(), pc.scores.PIT(), pc.scores.HDRMass()):
        out = pc.split(score, density[:20], y[60:80], density[20:], alpha=0.2)
        assert out.mask.shape == (10, 200) and 0 < out.mask.mean() < 0.6


@pytest.mark.parametrize(
    "score", [pc.scores.LogPredictive(), pc.scores.PIT(), pc.scores.HDRMass()], ids=str
)
def test_density_scores_law(score):
    grid = np.linspace(-30, 30, 400)

    def one(rng):
        mu, sigma = rng.normal(size=60), rng.uniform(0.5, 2, size=60)
        y = mu + sigma * 1.5 * rng.standard_t(4, size=60)
        rows = np.broadcast_to(grid, (60, 400))
        density = pc.scores.PredictiveDensity(rows, norm.logpdf(rows, mu[:, None], sigma[:, None]))
        scores = score(density, y)
        return scores[40:] <= pc.calibrate(scores[:40]).quantile(0.1)

    assert pc.check_coverage(coverage(one, 300), alpha=0.1, n=40)


def test_bad_input():
    data, grid = np.zeros((5, 3)), np.linspace(0, 1, 4)
    with pytest.raises(ArrayError, match="end in 5 draws"):
        pc.posteriors.bayes_arrays(data, np.zeros((1, 4, 6)), grid=grid)
    with pytest.raises(ArrayError, match="NaN"):
        pc.posteriors.bayes_arrays(data * np.nan, np.zeros((1, 4, 5)), grid=grid)
    with pytest.raises(MethodError, match="fallback"):
        pc.posteriors.bayes_arrays(data, np.zeros((1, 4, 5)), grid=grid, fallback="split")
    with pytest.raises(ArrayError, match="ascending"):
        pc.scores.PIT()(pc.scores.PredictiveDensity(np.ones((2, 4)), np.zeros((2, 4))), np.ones(2))


def test_repeated_outcomes_of_a_discrete_model_tie():
    rng = np.random.default_rng(0)
    y = rng.poisson(3, 49)
    rate = rng.gamma(1 + y.sum(), 1 / 50, 2000)
    grid = np.arange(16.0)
    data, candidates = (poisson.logpmf(v[:, None], rate) for v in (y, grid))
    out = pc.posteriors.bayes_arrays(data.T, candidates[None], grid=grid, alpha=0.2)
    w = np.exp(candidates - candidates.max(axis=1, keepdims=True))
    w /= w.sum(axis=1, keepdims=True)
    own = (w * np.exp(candidates)).sum(axis=1, keepdims=True)
    exact = (1 + (w @ np.exp(data).T <= own * (1 + 1e-9)).sum(axis=1)) / 50
    assert np.allclose(out.p_values[0], exact)


def test_impossible_candidates_rank_last():
    rng = np.random.default_rng(0)
    rate, y = rng.gamma(40, 1 / 40, 1000), rng.exponential(size=39)
    grid = np.linspace(-1, 8, 46)
    log_f = np.where(grid[:, None] >= -1e-9, np.log(rate) - rate * grid[:, None], -np.inf)
    out = pc.posteriors.bayes_arrays(
        np.log(rate)[:, None] - rate[:, None] * y, log_f[None], grid=grid
    )
    assert np.allclose(out.p_values[0, grid < -1e-9], 1 / 40) and np.isfinite(out.ess).all()
