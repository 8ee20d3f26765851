"""The low-rank Fisher metric: exact on normal targets, positive in single precision, invariant."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf import kernels
from probinf.errors import MethodError
from probinf.kernels import noise
from probinf.kernels.base import Params
from probinf.kernels.metric import LowRank, fisher
from probinf.samplers.warmup.fisher import FisherAdaptation
from probinf.samplers.warmup.trial import MARGIN, Trial, told, trial_of
from probinf.validity import check_invariant, fitted_params
from tests.cases import targets


def dense(metric: LowRank) -> np.ndarray:
    scale, u, values = (np.asarray(v, float) for v in metric)
    inner = np.eye(scale.size) + (u * (values - 1)) @ u.T
    return scale[:, None] * inner * scale


def normal_draws(d: int, n: int, spread: float, seed: int = 0) -> tuple[Any, Any, np.ndarray]:
    """Draws and scores of a normal with correlated coordinates of very different scales."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    scales = np.geomspace(1, spread, d)
    root = np.exp(rng.normal(size=d))[:, None] * basis * np.sqrt(scales)
    covariance = root @ root.T
    x = rng.normal(size=(n, d)) @ root.T
    scores = -np.linalg.solve(covariance, x.T).T
    return jnp.asarray(x + 3.0), jnp.asarray(scores), covariance


@pytest.mark.parametrize("spread", [1e2, 1e5])
def test_exact_for_a_normal_with_more_draws_than_dimensions(spread: float) -> None:
    x, scores, covariance = normal_draws(12, 40, spread)
    assert x.dtype == jnp.float32
    found = dense(fisher(x, scores, jnp.ones(40, bool), 12))
    inverse_root = np.linalg.inv(np.linalg.cholesky(covariance))
    whitened = np.linalg.eigvalsh(inverse_root @ found @ inverse_root.T)
    assert whitened.min() > 0.45 and whitened.max() < 2.2  # what the cutoff of 2 leaves alone
    # the covariance of the same draws is far from that
    naive = np.linalg.eigvalsh(inverse_root @ np.cov(np.asarray(x).T) @ inverse_root.T)
    assert naive.max() / naive.min() > 5


def test_without_the_scores_the_law_fails() -> None:
    """The mutant that takes draws for scores is far from the covariance."""
    x, _, covariance = normal_draws(12, 40, 1e2)
    found = dense(fisher(x, x, jnp.ones(40, bool), 12))
    inverse_root = np.linalg.inv(np.linalg.cholesky(covariance))
    whitened = np.linalg.eigvalsh(inverse_root @ found @ inverse_root.T)
    assert whitened.max() / whitened.min() > 20


def test_few_directions_among_many_dimensions() -> None:
    """Rank 3 in 200 dimensions, found by subspace iteration; the rest stays diagonal."""
    rng = np.random.default_rng(1)
    u = np.linalg.qr(rng.normal(size=(200, 3)))[0]
    values = np.array([400.0, 100.0, 0.01])
    root = np.eye(200) + (u * (np.sqrt(values) - 1)) @ u.T
    x = rng.normal(size=(300, 200)) @ root.T
    scores = -(x @ np.linalg.inv(root @ root.T))
    metric = fisher(jnp.asarray(x), jnp.asarray(scores), jnp.ones(300, bool), 8)
    precision = np.linalg.inv(root @ root.T)

    def condition(covariance: np.ndarray) -> float:
        whitened = np.linalg.eigvals(precision @ covariance).real
        return float(whitened.max() / whitened.min())

    assert condition(dense(metric)) < 20 < 1000 < condition(np.diag(x.var(axis=0)))
    assert metric.directions.shape == (200, 8)
    # orthonormal, as the Hamiltonian kernels assume
    gram = np.asarray(metric.directions.T @ metric.directions)
    np.testing.assert_allclose(gram, np.eye(8), atol=1e-4)


@pytest.mark.parametrize("kind", ["constant", "nan", "one"])
def test_broken_buffers_give_a_usable_metric(kind: str) -> None:
    x = jnp.ones((20, 3)) if kind != "nan" else jnp.full((20, 3), jnp.nan)
    used = jnp.arange(20) < (1 if kind == "one" else 20)
    metric = fisher(x, x, used, 3)
    assert all(np.isfinite(leaf).all() for leaf in metric)
    assert (np.linalg.eigvalsh(dense(metric)) > 0).all()


def test_falls_back_to_variances() -> None:
    rng = np.random.default_rng(0)
    scale = np.array([0.1, 1.0, 10.0])
    x = rng.standard_t(8, size=(500, 3))
    scores = -9 * x / (8 + x**2)
    metric = fisher(jnp.asarray(x * scale), jnp.asarray(scores / scale), jnp.ones(500, bool), 3)
    np.testing.assert_array_equal(metric.values, 1)
    np.testing.assert_allclose(metric.scale / scale, metric.scale[0] / scale[0], rtol=0.1)


@pytest.mark.parametrize("kernel", [kernels.NUTS(max_depth=5), kernels.HMC(steps=4)])
def test_kernels_with_a_low_rank_metric_are_invariant(kernel: pi.Kernel) -> None:
    target = targets.skewed()
    draws = targets.exact_draws(target, 4000, seed=1)
    plain = fitted_params(kernel, draws["x"][:, None])
    metric = LowRank(jnp.sqrt(plain.covariance), jnp.ones((1, 1)), jnp.array([0.4]))
    params = Params(plain.step_size, plain.mean, metric)
    result = check_invariant(kernel, target.program, key=2, draws=draws, params=params, steps=3)
    assert result, result


def test_schedule() -> None:
    updates = FisherAdaptation(kernels.NUTS(), 1000).updates
    assert updates[0] == 20 and updates[-1] == 850
    assert all(a < b for a, b in itertools.pairwise(updates))
    assert FisherAdaptation(kernels.NUTS(), 10).updates == ()
    with_trial = FisherAdaptation(kernels.NUTS(), 1000, chooses=True)
    assert with_trial.updates[-4:] == (300, 500, 700, 850)
    assert all(a < b for a, b in itertools.pairwise(with_trial.updates))
    short = FisherAdaptation(kernels.NUTS(), 100, chooses=True)
    assert short.trial is None and short.updates == FisherAdaptation(kernels.NUTS(), 100).updates


def trials(speeds: tuple[list[float], list[float]], seed: int) -> Any:
    """Autoregressions that forget at such speeds: with variances first, then low-rank."""
    trial = trial_of(1000)
    assert trial is not None
    rng = np.random.default_rng(seed)
    x = np.zeros((1000, len(speeds[0])))
    for t in range(trial.begin + 1, trial.end):
        speed = np.asarray(speeds[0] if t < trial.middle else speeds[1])
        noise = rng.normal(size=speed.size) * np.sqrt(1 - (1 - speed) ** 2)
        x[t] = (1 - speed) * x[t - 1] + noise
    return trial, jnp.asarray(x), jnp.full(1000, 8), jnp.zeros(1000, bool)


def chosen(trial: Trial, x: Any, evaluations: Any, divergent: Any) -> bool:
    return bool(trial.advantage(x, evaluations, divergent) > np.log(MARGIN))


def by_the_mean(trial: Trial, x: Any, evaluations: Any, divergent: Any) -> bool:
    """A mutant: progress of all coordinates on average, as longer steps promise it."""
    jumps = [
        jnp.mean(jnp.diff(x[a:b], axis=0) ** 2)
        for a, b in ((trial.begin, trial.middle), (trial.middle, trial.end))
    ]
    return bool(jumps[1] > MARGIN * jumps[0])


@pytest.mark.parametrize("seed", range(20))
def test_the_trial_asks_the_slowest_coordinates(seed: int) -> None:
    even = trials(([0.1] * 20, [0.5] * 20), seed)
    assert chosen(*even) and by_the_mean(*even)
    uneven = trials(([0.1] * 20, [0.5] * 16 + [0.05] * 4), seed)  # four are left behind
    assert not chosen(*uneven) and by_the_mean(*uneven)
    trial, x, cost, calm = even
    dear = cost.at[trial.middle :].set(80)  # and each transition costs ten
    assert not chosen(trial, x, dear, calm)
    broken = calm.at[600:604].set(True)  # or some break
    assert not chosen(trial, x, cost, broken)
    assert chosen(trial, x, cost, broken.at[400:404].set(True))  # as those of the other do


def test_the_losing_trial_is_forgotten() -> None:
    trial, rows = Trial(300, 500, 700), jnp.arange(1000)
    kept_low = np.flatnonzero(trial.lost(rows, jnp.asarray(1.1)))
    kept_plain = np.flatnonzero(trial.lost(rows, jnp.asarray(0.0)))
    assert (kept_low[[0, -1]] == [300, 499]).all()
    assert (kept_plain[[0, -1]] == [500, 699]).all()
    assert not trial.lost(rows, jnp.asarray(jnp.nan)).any()
    assert told(np.log([2.0, 3.0])).startswith("low_rank:")
    assert told(np.array([-np.inf, 0.0])).startswith("diagonal:")
    assert told(np.log([1.0, 3.0])).startswith("low_rank in chains [1], diagonal in the others")


@pytest.mark.parametrize("key", [0, 1])
def test_the_default_takes_directions_where_they_are_needed(key: int) -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(10, 2))
    precision = np.linalg.inv(root @ root.T + 0.01 * np.eye(10))
    program = pi.from_log_density(correlated_bowl, precision, initial=np.zeros(10))
    method = pi.NUTS(chains=2, warmup=500, draws=50)
    posterior = pi.sample(program, method, key=key, progress=False, check=False)
    assert posterior.provenance["metric"].startswith("low_rank:")
    again = pi.MCMC(kernels.HMC(), metric="auto", chains=1, warmup=20, draws=5)
    assert "metric" not in pi.sample(program, again, key=0, progress=False).provenance


def test_only_hamiltonian_kernels() -> None:
    with pytest.raises(
        MethodError, match=r"does not serve Slice, whose metric is .diagonal. or .dense."
    ):
        pi.MCMC(kernels.Slice(), metric="low_rank")
    metric = LowRank(jnp.ones(2), jnp.eye(2), jnp.ones(2))
    with pytest.raises(MethodError, match="Hamiltonian kernels only"):
        Params(jnp.ones(()), jnp.zeros(2), metric).scale()


def correlated_bowl(x: Any, precision: Any) -> Any:
    return -0.5 * x @ precision @ x


@pytest.mark.slow
def test_four_times_the_diagonal_per_gradient() -> None:
    """Ten correlated coordinates: effective draws per gradient against the diagonal metric."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(10, 3))
    precision = np.linalg.inv(root @ root.T + 0.01 * np.eye(10))
    program = pi.from_log_density(correlated_bowl, precision, initial=np.zeros(10))
    worth = {}
    for metric in ("diagonal", "low_rank", "auto"):
        posterior = pi.sample(program, pi.NUTS(metric=metric), key=0, progress=False)
        ess = posterior.summary().columns["ess_bulk"].min()
        worth[metric] = ess / posterior.stats["evaluations"].sum()
    assert worth["low_rank"] > 4 * worth["diagonal"] and worth["auto"] > 4 * worth["diagonal"]


@pytest.mark.parametrize("d", [1, 3, 9, 12, 15, 16, 21])
def test_momenta_are_those_of_blackjax(d: int) -> None:
    """Numbers drawn by sixteens change nothing; a mutant with the inverse root is seen."""
    from blackjax.mcmc import metrics

    root = jax.random.normal(jax.random.key(1), (d, d)) / d**0.5 + jnp.eye(d)
    u, _ = jnp.linalg.qr(root)
    low = LowRank(jnp.linspace(0.5, 2.0, d), u[:, :1], jnp.asarray([3.0]))
    at, key = jnp.zeros(d), jax.random.key(2)
    for covariance in (jnp.linspace(0.3, 4.0, d), root @ root.T, low):
        theirs = metrics.LowRankInverseMassMatrix(*low) if covariance is low else covariance
        expected = metrics.default_metric(theirs)
        found = noise.metric(Params(jnp.ones(()), at, covariance)).sample_momentum(key, at)
        assert jnp.allclose(found, expected.sample_momentum(key, at), rtol=1e-5, atol=1e-6)
        mutant = expected.scale(at, noise.normal(key, at), inv=True, trans=False)
        assert not jnp.allclose(found, mutant, rtol=1e-2)


@pytest.mark.parametrize("each", [jax.vmap, lambda energy: lambda rows: jax.lax.map(energy, rows)])
def test_a_momentum_that_overflows_has_infinite_energy_never_minus_infinity(each):
    """An energy of minus infinity is always accepted: the chain goes there and never returns."""
    directions = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (10, 10)))[0]
    covariance = LowRank(jnp.ones(10), directions, jnp.ones(10).at[0].set(2.13))
    energy = noise.metric(Params(jnp.array(1.0), jnp.zeros(10), covariance)).kinetic_energy
    momenta = jax.random.normal(jax.random.key(25), (500, 10))
    assert jnp.all(each(energy)(1e25 * momenta) == jnp.inf)
    exact = 0.5 * jnp.sum(momenta**2, axis=1) + 0.565 * (momenta @ directions[:, 0]) ** 2
    assert jnp.allclose(each(energy)(momenta), exact, rtol=1e-5)
