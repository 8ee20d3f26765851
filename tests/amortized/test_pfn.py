"""PFN: symmetries, a short training that learns, guards, and a wrong prior that is caught."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.amortized import (
    BNN,
    PFN,
    Bars,
    Categorical,
    GaussianProcess,
    Mixture,
    ModelPrior,
    Tabular,
    oracles,
)
from probinf.amortized.pfn.losses import PredictionLoss, Visible
from probinf.amortized.pfn.network import Network
from probinf.amortized.priors.task_prior import described
from probinf.errors import ArrayError, MethodError, RangeError, TrainingError

SMALL = dict(context=8, queries=8, batch=16, width=16, layers=2, heads=2)


def untrained(**options) -> tuple[Network, dict]:
    """A network whose attention does something, unlike at its start."""
    source = options.pop("source", GaussianProcess(2))
    amortizer = PFN(**{**SMALL, **options})
    model = amortizer.prepare(jax.random.key(0), source).model
    leaves, treedef = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [v + 0.3 * jax.random.normal(k, v.shape) for v, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(treedef, noisy), amortizer._config(source)


DATA = (
    jax.random.uniform(jax.random.key(2), (6, 2)),
    jax.random.normal(jax.random.key(3), (6,)),
    jax.random.uniform(jax.random.key(4), (5, 2)),
)


@pytest.mark.parametrize("standardise", [False, True])
def test_symmetries(standardise: bool) -> None:
    """Context order, other queries and hidden rows do not matter; the data do."""
    network, _ = untrained(head=Mixture(3), fourier=3, standardise=standardise)
    network = eqx.filter_jit(network)
    x, y, new = DATA
    mask = jnp.ones(6, bool)
    base = network(x, y, mask, new)
    order = jnp.asarray([3, 0, 5, 1, 4, 2])
    scale = 1 + float(jnp.abs(base).max())  # a loud, untrained network
    base = base / scale
    np.testing.assert_allclose(network(x[order], y[order], mask, new) / scale, base, atol=1e-5)
    alone = jnp.concatenate([network(x, y, mask, row[None]) for row in new])
    np.testing.assert_allclose(alone / scale, base, atol=1e-5)
    padded = network(
        jnp.concatenate([x, 7 * jnp.ones((3, 2))]), jnp.concatenate([y, 5 * jnp.ones(3)]),
        jnp.arange(9) < 6, new,
    )  # fmt: skip
    np.testing.assert_allclose(padded / scale, base, atol=1e-5)
    assert float(jnp.abs(network(x, -y, mask, new) / scale - base).max()) > 1e-2
    empty = network(x, y, jnp.zeros(6, bool), new)
    assert bool(jnp.isfinite(empty).all())
    assert float(jnp.abs(empty / scale - base).max()) > 1e-2


@pytest.fixture(scope="module")
def trained() -> pi.amortized.FittedPFN:
    """A small training, shared: lines through the origin with unknown noise scale."""
    prior = GaussianProcess(
        1, kernel="linear", outputscale=4.0, noise=1.0, variance=dist.InverseGamma(3.0, 2.0),
        design=dist.Uniform(-1.0, 1.0),
    )  # fmt: skip
    return PFN(head=Mixture(4), **SMALL).fit(
        prior, key=0, steps=300, learning_rate=4e-3, progress=False
    )


def gap(fitted: pi.amortized.FittedPFN, rows: int, tasks: int = 60) -> float:
    """Mean excess of the negative log score over the exact predictive's."""
    rng, total = np.random.default_rng(1), []
    for _ in range(tasks):
        s = 2.0 / rng.gamma(3.0)
        x, new = rng.uniform(-1, 1, (rows, 1)), rng.uniform(-1, 1, (16, 1))
        beta = rng.normal() * np.sqrt(4 * s)
        y = beta * x[:, 0] + np.sqrt(s) * rng.normal(size=rows)
        y_new = beta * new[:, 0] + np.sqrt(s) * rng.normal(size=16)
        exact = oracles.conjugate_regression(
            x, y, new, prior_mean=[0.0], prior_covariance=[[4.0]], a=3.0, b=2.0
        )
        law = fitted.predict(x, y, new, out_of_range="ignore")
        total.append(np.mean(exact.log_density(y_new) - np.asarray(law.log_density(y_new))))
    return float(np.mean(total))


def test_a_short_training_learns_the_student_predictive(trained) -> None:
    """The gap to the exact predictive falls far below that of the data-blind prediction."""
    assert gap(trained, 8) < 0.12
    blind = dataclasses.replace(trained)
    rng = np.random.default_rng(0)
    x, y = np.linspace(-1, 1, 8)[:, None], 3 * np.linspace(-1, 1, 8) + 0.1 * rng.normal(size=8)
    mean = np.asarray(blind.predict(x, y, [[0.9]], out_of_range="ignore").mean)
    assert mean[0] > 1.5  # and it follows the line


def test_rows_and_queries_of_any_number_cost_few_compilations(trained) -> None:
    from probinf.amortized.pfn import fitted as fitted_pfn

    x, y = np.linspace(-1, 1, 8)[:, None], np.zeros(8)
    trained.predict(x[:8], y[:8], x)
    trained.predict(x[:5], y[:5], x[:5])
    before = fitted_pfn._outputs._cached._cache_size()  # type: ignore[attr-defined]
    for n in (5, 6, 7, 8):
        trained.predict(x[:n], y[:n], x[:n])
    assert fitted_pfn._outputs._cached._cache_size() == before  # type: ignore[attr-defined]


def test_nearest_rows_only(trained) -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (40, 1))
    y = 2 * x[:, 0] + 0.3 * rng.normal(size=40)
    with pytest.raises(RangeError, match="context rows is 40, trained on 0 to 8"):
        trained.predict(x, y, x[:3])
    law = trained.predict(x, y, x[:3], nearest=6, out_of_range="ignore")
    for k in range(3):
        close = np.argsort(np.abs(x[:, 0] - x[k, 0]), kind="stable")[:6]
        one = trained.predict(x[close], y[close], x[k : k + 1], out_of_range="ignore")
        np.testing.assert_allclose(law.mean[k], one.mean[0], atol=1e-5)


def test_normal_and_soft_scores_have_one_mean() -> None:
    """Averaging over the outcomes of queries changes the loss's noise, not its expectation."""

    class Hard(GaussianProcess):
        def draw(self, *args):
            return super().draw(*args)._replace(mean=None, sd=None)

    network, _ = untrained(source=GaussianProcess(1), head=Mixture(3))
    loss = eqx.filter_jit(PredictionLoss(Visible(0, 8, 8, 400), Mixture(3)))
    keys = jax.random.split(jax.random.key(0), 5)
    hard = np.array([loss(network, Hard(1), k) for k in keys])
    soft = np.array([loss(network, GaussianProcess(1), k) for k in keys])
    assert soft.mean() == pytest.approx(hard.mean(), abs=4 * (hard - soft).std() / np.sqrt(5))


def model(x: jax.Array, y: jax.Array | None = None) -> None:
    slope = numpyro.sample("slope", dist.Normal(0, 2))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Poisson(jnp.exp(slope * x[:, 0])), obs=y)


@pytest.mark.slow
def test_any_numpyro_model_and_the_networks_as_priors() -> None:
    prior = ModelPrior(model, 1)
    draw = jax.vmap(lambda k: prior.draw(k, jnp.asarray(3), 4, 300))(
        jax.random.split(jax.random.key(0), 200)
    )
    assert draw.y.shape == (200, 304) and (np.asarray(draw.y) == np.round(draw.y)).all()
    assert described(prior).startswith("ModelPrior(model=model, columns=1")
    fitted = PFN(head=Mixture(3), **SMALL).fit(prior, key=0, steps=3, progress=False)
    assert np.isfinite(fitted.predict([0.5], [2.0], [0.1], out_of_range="ignore").mean).all()
    with pytest.raises(TrainingError, match="site 'z' of shape"):
        ModelPrior(model, 1, site="z")
    for source in (BNN(3), Tabular(5)):
        draws = jax.vmap(lambda k, s=source: s.draw(k, jnp.asarray(9), 10, 10))(
            jax.random.split(jax.random.key(1), 300)
        )
        assert np.isfinite(draws.x).all() and set(np.unique(draws.y)) == {0, 1}
        assert abs(np.asarray(draws.y).mean() - 0.5) < 0.1
    fitted = PFN(**{**SMALL, "smallest": 2}).fit(BNN(3), key=0, steps=3, progress=False)
    law = fitted.predict(np.zeros((4, 3)), [0, 1, 0, 1], np.zeros((2, 3)), out_of_range="ignore")
    assert law.probabilities.shape == (2, 2)
    with pytest.raises(ArrayError, match="labels 0 to 1"):
        fitted.predict(np.zeros((4, 3)), [0, 1, 2, 1], np.zeros((2, 3)))
    with pytest.raises(MethodError, match="labels"):
        fitted.check(np.zeros((4, 3)), [0, 1, 0, 1])


def test_saved_and_loaded(trained, tmp_path) -> None:
    trained.save(tmp_path / "pfn.safetensors")
    found = pi.amortized.load(tmp_path / "pfn.safetensors")
    x, y = np.array([[0.1], [0.5]]), np.array([0.3, -0.2])
    one, two = trained.predict(x, y, x), found.predict(x, y, x)
    assert np.array_equal(one.mean, two.mean) and found.training["steps"] == 300


def test_bad_input(trained) -> None:
    x, y = np.zeros((3, 1)), np.zeros(3)
    with pytest.raises(ArrayError, match=r"shape \(rows, 1\)"):
        trained.predict(np.zeros((3, 2)), y, x)
    with pytest.raises(ArrayError, match=r"y must have shape \(3,\)"):
        trained.predict(x, y[:2], x)
    with pytest.raises(ArrayError, match="x_new holds NaN"):
        trained.predict(x, y, [np.nan])
    with pytest.raises(ArrayError, match="y holds NaN"):
        trained.predict(x, [0.0, np.inf, 0.0], x)
    with pytest.raises(RangeError, match="x is 3, trained on -1 to 1"):
        trained.predict(x, y, [3.0])
    with pytest.raises(RangeError, match="y is"):
        trained.predict(x, y + 1e4, x)
    with pytest.raises(ArrayError, match="nearest"):
        trained.predict(x, y, x, nearest=0)
    with pytest.raises(ArrayError, match="at least 4 rows"):
        trained.check(x, y)
    with pytest.raises(TrainingError, match="no head for a prior"):
        PFN(head=Categorical(2)).fit(GaussianProcess(1), key=0, steps=1)
    with pytest.raises(TrainingError, match="divide width"):
        PFN(heads=3)
    with pytest.raises(TrainingError, match="context must be positive"):
        PFN(context=0)
    with pytest.raises(TrainingError, match="noise must be positive"):
        GaussianProcess(1, noise=0.0)
    assert isinstance(PFN(**SMALL)._default_head(GaussianProcess(1)), Bars)
