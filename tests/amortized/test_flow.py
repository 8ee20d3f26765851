"""The spline flow and the marginal maps: normalised, invertible, and their mutants are caught."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from probinf.amortized.neural.marginals import Marginals
from probinf.core.flows import flow as flow_module
from probinf.core.flows.flow import SplineFlow
from probinf.core.flows.laws import DrawnFlow, FittedFlow
from probinf.core.flows.splines import free_knots, spline, spline_inverse


@partial(jax.jit, static_argnums=(0, 1))
def rough(size, tails="identity"):
    """A flow far from the identity, though smooth enough for a grid to see."""
    made = SplineFlow(jax.random.key(0), size, 2, layers=2, hidden=(12, 12), bins=5, tails=tails)
    keys = iter(jax.random.split(jax.random.key(1), 100))

    def larger(leaf):
        noise = jax.random.normal(next(keys), leaf.shape) / jnp.sqrt(leaf.shape[-1])
        return leaf + (1.0 if size == 1 else 0.4) * noise

    return jax.tree.map(larger, made)


CONTEXT = jnp.asarray([0.3, -1.0])


def mass(flow, size):
    """Integral of the density over a wide grid, by the image of a uniform-in-arcsinh grid."""
    t = np.linspace(-8, 8, 100_000 if size == 1 else 600)
    axis, weight = np.sinh(t), np.cosh(t) * (t[1] - t[0])
    grid = np.stack(np.meshgrid(*[axis] * size, indexing="ij"), -1).reshape(-1, size)
    weights = np.ones(len(grid))
    for k in range(size):
        weights = weights * np.meshgrid(*[weight] * size, indexing="ij")[k].ravel()
    density = jax.jit(jax.vmap(flow.log_density, (0, None)))
    parts = [np.asarray(density(rows, CONTEXT), float) for rows in np.split(grid, 4)]
    return float(np.sum(np.exp(np.concatenate(parts)) * weights))


def forgets_the_slope(z, raw, tails):
    image, change = ORIGINAL(z, raw, tails)
    return image, change * 0


def forgets_the_scale(z, raw, tails):
    image, change = ORIGINAL(z, raw, tails)
    return image, change + 0.3 * jnp.tanh(raw[..., 1])


ORIGINAL = flow_module._forward


@pytest.mark.parametrize(("size", "tails"), [(1, "identity"), (2, "identity"), (1, "linear")])
def test_density_integrates_to_one(size, tails):
    assert abs(mass(rough(size, tails), size) - 1) < 2e-3


@pytest.mark.parametrize("mutant", [forgets_the_slope, forgets_the_scale])
def test_a_forgotten_jacobian_fails_the_integral(monkeypatch, mutant):
    monkeypatch.setattr(flow_module, "_forward", mutant)
    assert abs(mass(rough(1), 1) - 1) > 2e-2


@jax.jit
def there_and_back(flow, z):
    u, log_det = jax.vmap(flow.to_normal, (0, None))(z, CONTEXT)
    back = jax.vmap(flow.from_normal, (0, None))(u, CONTEXT)
    jacobian = jax.vmap(jax.jacfwd(lambda v: flow.to_normal(v, CONTEXT)[0]))(z)
    return back, log_det, jnp.linalg.slogdet(jacobian)[1]


@pytest.mark.parametrize(("size", "tails"), [(1, "identity"), (4, "identity"), (4, "linear")])
def test_inverse_undoes_the_map_in_and_beyond_the_box(size, tails, x64):
    flow = jax.tree.map(lambda leaf: leaf.astype(float), rough(size, tails))
    z = 4 * jax.random.normal(jax.random.key(5), (100, size))
    back, log_det, exact = there_and_back(flow, z)
    assert jnp.max(jnp.abs(back - z) / (1 + jnp.abs(z))) < 1e-6
    assert jnp.allclose(exact, log_det, atol=1e-6)


def test_every_coordinate_sees_all_earlier_ones_and_no_later_one():
    flow = rough(4)
    jacobian = jax.jit(jax.jacfwd(lambda z: flow.to_normal(z, CONTEXT)[0]))(jnp.ones(4))
    one = SplineFlow(jax.random.key(0), 4, 2, layers=1, hidden=(12, 12), bins=5)
    one = jax.tree.map(lambda leaf: leaf + 0.3, one)
    lower = jax.jit(jax.jacfwd(lambda z: one.to_normal(z, CONTEXT)[0]))(jnp.ones(4))
    assert np.all((np.abs(lower) > 0) == np.tri(4, 4, dtype=bool))
    assert np.all(np.abs(jacobian) > 0)  # forth and back: all coordinates depend on all
    assert np.all(np.sort(flow.orders, axis=1) == np.arange(4))


def test_gradient_agrees_with_finite_differences(x64):
    flow = jax.tree.map(lambda leaf: leaf.astype(float), rough(3))
    density = jax.jit(jax.vmap(flow.log_density, (0, None)))
    z = jnp.asarray([0.4, -1.2, 2.0])
    gradient = jax.jit(jax.grad(flow.log_density))(z, CONTEXT)
    steps = 1e-6 * jnp.eye(3)
    slope = (density(z + steps, CONTEXT) - density(z - steps, CONTEXT)) / 2e-6
    assert jnp.allclose(slope, gradient, atol=1e-4)


def test_draws_follow_the_density():
    flow = rough(1)
    draws = jax.jit(jax.vmap(flow.draw, (0, None)))(
        jax.random.split(jax.random.key(2), 20_000), CONTEXT
    )
    t = np.linspace(-8, 8, 20_001)
    axis = np.sinh(t)
    log_q = jax.jit(jax.vmap(flow.log_density, (0, None)))(jnp.asarray(axis)[:, None], CONTEXT)
    cdf = np.cumsum(np.exp(np.asarray(log_q, float)) * np.cosh(t) * (t[1] - t[0]))
    p = stats.kstest(np.asarray(draws[:, 0]), lambda v: np.interp(v, axis, cdf)).pvalue
    assert p > 1e-3
    shifted = stats.kstest(np.asarray(draws[:, 0]) + 0.1, lambda v: np.interp(v, axis, cdf))
    assert shifted.pvalue < 1e-3


def test_zeros_of_an_open_spline_are_the_identity_too():
    v = jnp.linspace(-9.0, 9.0, 50)[:, None]
    image, log_slope = flow_module._forward(v, jnp.zeros((1, 27)), "linear")
    assert jnp.allclose(image, v, atol=1e-5) and jnp.allclose(log_slope, 0, atol=1e-5)


def test_zeros_are_the_identity_and_knots_are_met():
    knots = free_knots(jnp.zeros(23), 5.0)
    v = jnp.linspace(-4.9, 4.9, 50)
    y, log_slope = jax.vmap(lambda x: spline(x, knots))(v)
    assert jnp.allclose(y, v, atol=1e-5) and jnp.allclose(log_slope, 0.0, atol=1e-5)
    rough_knots = free_knots(jax.random.normal(jax.random.key(0), (23,)), 5.0)
    met = jax.vmap(lambda x: spline(x, rough_knots)[0])(rough_knots.x)
    assert jnp.allclose(met, rough_knots.y, atol=1e-4)
    back = jax.vmap(lambda x: spline_inverse(x, rough_knots))(met)
    assert jnp.allclose(back, rough_knots.x, atol=1e-4)


SAMPLES = {
    "normal": lambda rng: 1e4 + 3 * rng.normal(size=5000),
    "logistic": lambda rng: rng.logistic(size=5000),
    "cauchy": lambda rng: rng.standard_cauchy(5000),
    "skewed": lambda rng: rng.lognormal(0, 2, 5000),
    "two modes": lambda rng: rng.choice([-5.0, 5.0], 5000) + 0.1 * rng.normal(size=5000),
    "counts": lambda rng: rng.poisson(0.5, 5000) + rng.uniform(-0.5, 0.5, 5000),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_marginals_are_about_normal_invertible_and_know_their_jacobian(name, x64):
    values = SAMPLES[name](np.random.default_rng(0))
    fitted = Marginals.of(values[:, None])
    z, log_det, back, slope = through(fitted, jnp.asarray(values)[:, None])
    assert abs(float(jnp.median(z))) < 0.1 and 0.8 < float(jnp.std(z)) < 1.4
    assert float(jnp.max(jnp.abs(z))) < 20
    assert np.max(np.abs(np.asarray(back)[:, 0] - values) / (1e-3 + np.abs(values))) < 1e-6
    assert jnp.allclose(jnp.log(slope[:, 0, 0]), log_det, atol=1e-6)


@jax.jit
def through(fitted, values):
    z, log_det = jax.vmap(fitted)(values)
    slope = jax.vmap(jax.jacfwd(lambda v: fitted(v)[0]))(values)
    return z, log_det, jax.vmap(fitted.inverse)(z), slope


def test_marginals_take_ties_and_constants():
    rng = np.random.default_rng(1)
    values = np.stack([rng.poisson(0.2, 1000), np.full(1000, 7.0), rng.integers(0, 2, 1000)], 1)
    z, log_det = jax.vmap(Marginals.of(values))(jnp.asarray(values, float))
    assert np.isfinite(np.asarray(z)).all() and np.isfinite(np.asarray(log_det)).all()
    assert float(jnp.std(z[:, 1])) == 0


@pytest.mark.parametrize("name", SAMPLES)
def test_straight_marginals_keep_normal_noise_normal(name, x64):
    """Equal steps of the data stay equal; a knot per quantile (the mutant) bends them."""
    values = SAMPLES[name](np.random.default_rng(0))
    low, high = np.quantile(values, [0.01, 0.99])
    steps = jnp.linspace(low, high, 9)[:, None]

    def bend(fitted):
        z, log_det, back, slope = through(fitted, steps)
        assert np.allclose(back, steps, rtol=1e-6, atol=1e-6)
        assert jnp.allclose(jnp.log(slope[:, 0, 0]), log_det, atol=1e-6)
        return float(jnp.max(jnp.abs(jnp.diff(z[:, 0], 2))))

    assert bend(Marginals.of(values[:, None], True)) < 1e-6
    if name != "normal":
        assert bend(Marginals.of(values[:, None])) > 0.05


def test_straight_marginals_take_ties_and_constants():
    values = np.stack([np.random.default_rng(1).poisson(0.2, 1000), np.full(1000, 7.0)], 1)
    z, log_det = jax.vmap(Marginals.of(values, np.array([True, True])))(jnp.asarray(values, float))
    assert np.isfinite(np.asarray(z)).all() and np.isfinite(np.asarray(log_det)).all()
    assert float(jnp.std(z[:, 1])) == 0


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("vector", ["f4", "f8"])
@pytest.mark.parametrize("law", [FittedFlow, DrawnFlow])
def test_a_flow_of_either_precision_takes_a_vector_of_either(law, vector, double):
    flow = SplineFlow(jax.random.key(0), 2, 0, layers=2, hidden=(8, 8), bins=4, tails="linear")
    single = float(law(flow).log_density(jnp.asarray([0.5, -4.0])))
    kept = jax.tree.map(lambda leaf: np.asarray(leaf, "f8" if double else "f4"), flow)
    with jax.enable_x64(True):  # a warning is an error here
        found = law(kept).log_density(jnp.asarray([0.5, -4.0], vector))
        assert np.isfinite(law(kept).sample(jax.random.key(1))).all()
    assert float(found) == pytest.approx(single, abs=1e-4)
