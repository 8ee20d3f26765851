"""Law 5: exact on small discrete problems, by enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probinf import kernels
from probinf.core import resampling
from probinf.core.coordinates import flatten
from probinf.core.population import Population, resample, reweight
from probinf.core.program import log_density
from probinf.kernels.base import Params
from tests.cases import targets

WEIGHTS = [
    np.array([0.2, 0.5, 0.3]),
    np.array([0.05, 0.0, 0.9, 0.05]),
    np.array([0.25, 0.25, 0.25, 0.25]),
    np.array([0.61, 0.13, 0.0, 0.07, 0.19]),
]


def slices(weights, first=0.0, last=1.0):
    """Measure of the points in [first, last) that ``inverse_cdf`` sends to each index."""
    edges = np.concatenate([[first], np.cumsum(weights), [last]])
    edges = np.unique(np.clip(edges, first, last))
    middles = (edges[:-1] + edges[1:]) / 2
    index = np.asarray(resampling.inverse_cdf(jnp.asarray(weights), jnp.asarray(middles)))
    return np.bincount(index, weights=np.diff(edges), minlength=len(weights))


def expected_systematic(weights, draw=resampling.in_strata):
    """Exact expected counts: the uniform is cut at every value where a count changes."""
    n = len(weights)
    edges = np.unique(np.concatenate([[0.0, 1.0], (np.cumsum(weights) * n) % 1.0]))
    total = np.zeros(n)
    for low, high in itertools.pairwise(edges):
        index = draw(jnp.asarray(weights), jnp.asarray((low + high) / 2))
        total += (high - low) * np.bincount(np.asarray(index), minlength=n)
    return total


def expected_stratified(weights):
    """Exact expected counts: the point of each stratum moves while the others stay."""
    n = len(weights)
    edges = np.unique(np.concatenate([[0.0, 1.0], (np.cumsum(weights) * n) % 1.0]))
    total = np.zeros(n)
    for k, (low, high) in itertools.product(range(n), itertools.pairwise(edges)):
        u = jnp.full(n, 0.5).at[k].set((low + high) / 2)
        total[int(resampling.in_strata(jnp.asarray(weights), u)[k])] += high - low
    return total


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_expected_counts(weights):
    n = len(weights)
    np.testing.assert_allclose(expected_systematic(weights), n * weights, atol=1e-6)
    np.testing.assert_allclose(expected_stratified(weights), n * weights, atol=1e-6)
    strata = sum(slices(weights, j / n, (j + 1) / n) for j in range(n))
    np.testing.assert_allclose(n * strata, n * weights, atol=1e-6)
    np.testing.assert_allclose(n * slices(weights), n * weights, atol=1e-6)
    copies, rest = map(np.asarray, resampling.residual_parts(jnp.asarray(weights)))
    expected = copies + (n - copies.sum()) * slices(rest)
    np.testing.assert_allclose(expected, n * weights, atol=1e-6)


@pytest.mark.parametrize(
    "resampler",
    [
        resampling.systematic,
        resampling.stratified,
        resampling.multinomial,
        resampling.residual,
        resampling.killing,
        resampling.ssp,
    ],
    ids=lambda r: r.__name__,
)
@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_counts_of_the_resamplers(resampler, weights):
    n, repeats = len(weights), 20_000
    keys = jax.random.split(jax.random.key(1), repeats)
    index = np.asarray(jax.jit(jax.vmap(resampler, (0, None)))(keys, jnp.asarray(weights)))
    counts = (index[:, :, None] == np.arange(n)).sum(axis=1)
    assert (counts[:, weights == 0] == 0).all()
    assert (counts.sum(axis=1) == n).all()
    assert (np.diff(index, axis=1) >= 0).all()
    if resampler in (resampling.systematic, resampling.residual, resampling.ssp):
        assert (counts >= np.floor(n * weights + 1e-9)).all()
    if resampler in (resampling.systematic, resampling.ssp):
        assert (counts <= np.ceil(n * weights - 1e-9)).all()
    assert unbiased(counts, weights)


def unbiased(counts: np.ndarray, weights: np.ndarray) -> bool:
    """Whether counts (repeat, n) average to n times the weights, within five errors."""
    error = counts.std(axis=0) / np.sqrt(len(counts))
    gap = np.abs(counts.mean(axis=0) - weights.size * weights)
    return bool((gap <= 5 * error + 1e-12).all())


def replaced_from_all(key, weights):
    """Killing, whose dead are replaced from all particles alike."""
    survive, replace = jax.random.split(key)
    alive = jax.random.uniform(survive, weights.shape) * weights.max() < weights
    drawn = jax.random.randint(replace, weights.shape, 0, weights.size)
    return resampling.in_order(jnp.where(alive, jnp.arange(weights.size), drawn))


def larger_fraction_wins(key, weights):
    """Pairs of fractions settled for the larger one, without a draw."""
    copies, fraction = resampling.whole_and_fraction(weights)
    rest = weights.size - copies.sum()
    rank = jnp.argsort(jnp.argsort(-fraction))
    counts = copies + (rank < rest)
    return jnp.searchsorted(jnp.cumsum(counts), jnp.arange(weights.size), side="right")


@pytest.mark.parametrize("resampler", [replaced_from_all, larger_fraction_wins])
def test_broken_resamplers_have_other_counts(resampler):
    weights = WEIGHTS[0]
    keys = jax.random.split(jax.random.key(1), 20_000)
    index = np.asarray(jax.jit(jax.vmap(resampler, (0, None)))(keys, jnp.asarray(weights)))
    counts = (index[:, :, None] == np.arange(len(weights))).sum(axis=1)
    assert (counts.sum(axis=1) == len(weights)).all()
    assert not unbiased(counts, weights)


def thinned_counts(weights, offsets):
    """Expected counts of every second ancestor of systematic resampling, all uniforms tried."""
    n, points = len(weights), (np.arange(3000) + 0.5) / 3000
    strata = (np.arange(n)[None, :] + points[:, None]) / n
    index = np.asarray(jax.vmap(resampling.inverse_cdf, (None, 0))(jnp.asarray(weights), strata))
    chosen = np.concatenate([index[:, offset::2].ravel() for offset in offsets])
    return np.bincount(chosen, minlength=n) / (len(points) * len(offsets))


def test_every_second_ancestor_is_unbiased_only_from_a_random_start():
    weights = np.array([0.05, 0.1, 0.75, 0.1])
    np.testing.assert_allclose(thinned_counts(weights, (0, 1)), 2 * weights, atol=1e-3)
    assert np.abs(thinned_counts(weights, (0,)) - 2 * weights).max() > 0.05
    keys = jax.random.split(jax.random.key(3), 20_000)
    draw = jax.vmap(lambda k: resampling.thinned(k, jnp.asarray(weights), resampling.systematic, 2))
    index = np.asarray(jax.jit(draw)(keys))
    counts = (index[:, :, None] == np.arange(4)).sum(axis=1)
    error = counts.std(axis=0) / np.sqrt(len(keys))
    assert (np.abs(counts.mean(axis=0) - 2 * weights) <= 5 * error).all()


@pytest.mark.parametrize(
    "resampler", [resampling.systematic, resampling.residual, resampling.killing, resampling.ssp]
)
def test_rounding_never_revives_a_particle_of_weight_zero(resampler):
    with jax.enable_x64(False):
        weights = jax.random.dirichlet(jax.random.key(0), jnp.full((100_000,), 0.3, jnp.float32))
        weights = weights.at[::7].set(0.0)
        index = np.asarray(jax.jit(resampler)(jax.random.key(1), weights / weights.sum()))
        assert index.size == weights.size
        assert (np.asarray(weights)[index] > 0).all()


def walk_importance(values, base, likelihood, correct=True):
    """E[exp(log_z) sum W f] over every pair of draws from a three-point base."""
    total = 0.0
    for i, j in itertools.product(range(3), repeat=2):
        start = Population(jnp.asarray(values)[jnp.array([i, j])], jnp.full(2, -jnp.log(2.0)), 0.0)
        log_w = jnp.log(jnp.asarray(likelihood))[jnp.array([i, j])]
        found = reweight(start, log_w if correct else log_w + jnp.log(2.0))
        w = jax.nn.softmax(found.log_w)
        total += base[i] * base[j] * jnp.exp(found.log_z) * jnp.sum(w * found.x)
    return float(total)


BASE, LIKELIHOOD, VALUES = [0.2, 0.5, 0.3], [0.3, 1.7, 0.9], [1.0, -2.0, 5.0]


def test_importance_by_walking_every_branch():
    exact = sum(b * v * w for b, v, w in zip(BASE, VALUES, LIKELIHOOD, strict=True))
    assert walk_importance(VALUES, BASE, LIKELIHOOD) == pytest.approx(exact, abs=1e-12)


def test_resampling_by_walking_every_branch():
    log_w = jnp.log(jnp.array([0.2, 0.7, 0.1]))
    population = Population(jnp.asarray(VALUES), log_w, jnp.asarray(0.4))
    exact = float(jnp.exp(0.4) * jnp.sum(jnp.exp(log_w) * population.x))
    total = 0.0
    for ancestors in itertools.product(range(3), repeat=3):
        chance = float(jnp.exp(log_w[jnp.array(ancestors)].sum()))
        drawn = resample(jax.random.key(0), population, lambda key, w, a=ancestors: jnp.array(a))
        weights = jax.nn.softmax(drawn.log_w)
        total += chance * float(jnp.exp(drawn.log_z) * jnp.sum(weights * drawn.x))
    assert total == pytest.approx(exact, abs=1e-12)


def test_metropolis_acceptance_is_the_ratio():
    """Each accepted move reveals its proposal; its probability must be min(1, ratio)."""
    program = targets.skewed().program
    kernel = kernels.RandomWalk()
    params = Params(jnp.asarray(0.8), jnp.zeros(()), jnp.ones((1,)))
    flat, _ = flatten(program)
    state = kernel.init(flat, jnp.array([0.4]))
    keys = jax.random.split(jax.random.key(2), 2000)
    moved, info = jax.jit(jax.vmap(lambda k: kernel.step(k, flat, state, params)))(keys)
    accepted = np.asarray(moved.position[:, 0]) != 0.4
    ratio = np.exp(np.asarray(jax.vmap(lambda x: log_density(flat, x))(moved.position)))
    expected = np.minimum(1.0, ratio / np.exp(float(state.logdensity)))
    chance = np.asarray(info.acceptance)
    np.testing.assert_allclose(chance[accepted], expected[accepted], rtol=1e-9)
    # acceptance happened as often as it was promised
    spread = np.sqrt(np.sum(chance * (1 - chance)))
    assert abs(accepted.sum() - chance.sum()) < 4 * spread
