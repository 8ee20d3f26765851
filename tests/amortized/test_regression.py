"""The linear start of a flow: a bijection, the exact answer of a linear-Gaussian model, fixed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest

import probinf as pi
from probinf.amortized import NPE
from probinf.amortized.nets import regression as module
from probinf.amortized.nets.regression import Regression

SLOPES = np.array([[1.0, 0.5, 0.0], [0.2, -1.0, 2.0]])


def pairs(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two targets given three contexts, with correlated noise."""
    rng = np.random.default_rng(seed)
    context = rng.normal(size=(n, 3))
    noise = rng.normal(size=(n, 2)) @ np.array([[0.5, 0.0], [0.4, 0.3]]).T
    return context @ SLOPES.T + 1.0 + noise, context


def test_a_bijection_with_its_jacobian(x64: None) -> None:
    start = Regression.of(*pairs(500))
    z, context = jnp.asarray([0.3, -2.0]), jnp.asarray([1.0, -0.5, 2.0])
    image, log_det = start(z, context)
    np.testing.assert_allclose(start.inverse(image, context), z, atol=1e-10)
    jacobian = jax.jacfwd(lambda v: start(v, context)[0])(z)
    assert log_det == pytest.approx(float(np.linalg.slogdet(jacobian)[1]), abs=1e-10)


def test_what_is_left_over_is_standard_normal_on_fresh_rows() -> None:
    start = Regression.of(*pairs(20_000))
    fresh = [jnp.asarray(v, float) for v in pairs(20_000, seed=1)]
    left = np.asarray(jax.vmap(start)(*fresh)[0])
    assert np.abs(left.mean(axis=0)).max() < 0.04
    assert np.abs(np.cov(left.T) - np.eye(2)).max() < 0.05


def nothing_to_see(n: int = 60, width: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Targets that the contexts say nothing about, almost as many contexts as rows."""
    rng = np.random.default_rng(3)
    return rng.normal(size=(n, 2)), rng.normal(size=(n, width))


def test_few_rows_do_not_make_it_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    z, context = nothing_to_see()
    spread = np.diag(np.asarray(Regression.of(z, context).factor))
    assert spread.min() > 0.6
    assert np.abs(np.asarray(Regression.of(z, context).weight)).max() < 0.3
    # a least-squares fit without a penalty finds slopes in noise
    monkeypatch.setattr(module, "_PENALTIES", np.array([1e-8]))
    assert np.abs(np.asarray(Regression.of(z, context).weight)).max() > 0.5


def line(y=None):
    """A normal mean seen through four normal data: the posterior is exactly linear-Gaussian."""
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mean, 1.0).expand([4]).to_event(1), obs=y)


def test_training_starts_from_the_linear_gaussian_answer() -> None:
    y = np.array([1.0, 0.0, 2.0, 1.5])
    program = pi.from_numpyro(line, y=y)
    method = NPE(simulations=4000, layers=2, hidden=(16,), bins=5)
    fitted = method.fit(program, key=0, steps=2, progress=False)
    draws = pi.sample(fitted.posterior(), pi.Importance(draws=20_000), key=1, progress=False)
    assert abs(draws.draws["mean"].mean() - y.sum() / 5) < 0.04
    assert abs(draws.draws["mean"].std() - np.sqrt(1 / 5)) < 0.04
    assert fitted.training.validation_losses[0, 0] == 0  # the start has been judged too


class Scaled(eqx.Module):
    """A slope that is trained, and a start that is not."""

    slope: jax.Array
    start: Regression


def loss(model: Scaled, data: jax.Array, key: jax.Array) -> jax.Array:
    return (model.slope - 3.0) ** 2 + jnp.sum(model.start.weight**2)


def test_no_optimizer_moves_a_fixed_part() -> None:
    """Weight decay shrinks whatever it is given, with a gradient or without."""
    model = Scaled(jnp.asarray(1.0), Regression.of(*pairs(100)))
    found = pi.amortized.train(
        model, loss, key=0, steps=50, optimizer=optax.adamw(0.1, weight_decay=0.5), progress=False
    )
    assert float(found.model.slope) > 1.5
    assert eqx.tree_equal(found.model.start, model.start)
    decayed = optax.adamw(0.1, weight_decay=0.5)
    state = decayed.init(model)
    moved, _ = decayed.update(jax.tree.map(jnp.zeros_like, model), state, model)
    assert np.abs(np.asarray(moved.start.weight)).max() > 0  # what the fixed part is spared
