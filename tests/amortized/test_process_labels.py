"""Labels of a Gaussian process or its scale mixture: the oracle against direct sums, the prior
against the oracle."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.special
from scipy import stats

from probinf.amortized import PFN, GaussianProcess, oracles
from probinf.errors import ArrayError, MethodError, TrainingError

GAMMA = (0.3, 0.05)  # so heavy that sharing it shows
OPTIONS = {"lengthscale": 0.7, "outputscale": 1.0, "noise": 0.1}
X = np.array([[0.8, 0.6], [0.9, 0.7], [0.7, 0.8]])


@lru_cache
def points(dimension: int, rows: int, gamma: tuple[float, float] | None) -> tuple[Any, Any]:
    """Evenly spread normal vectors, and with each a variance for every row."""
    u = stats.qmc.Sobol(dimension + rows, seed=0).random_base2(17)
    u = np.clip(u, 1e-12, 1 - 1e-12)
    if gamma is None:
        return stats.norm.ppf(u[:, :dimension]), np.ones((len(u), rows))
    return stats.norm.ppf(u[:, :dimension]), stats.invgamma(gamma[0], scale=gamma[1]).ppf(
        u[:, dimension:]
    )


def joint(x, y, classes, kernel, gamma, *, shared=True, link=True) -> float:
    """Probability of the labels by a sum over the processes' differences from class 0.

    Mutants: ``shared=False`` draws a scale for every row, without ``link`` the label is that of
    the largest value.
    """
    n, contrasts = len(y), classes - 1
    covariance = oracles._kernel(kernel, x, x, OPTIONS["lengthscale"], OPTIONS["outputscale"])
    factor = np.linalg.cholesky(covariance + OPTIONS["noise"] * np.eye(n))
    between = np.linalg.cholesky(np.eye(contrasts) + 1)
    normal, variance = points(n * contrasts, 1 if shared else n, gamma)
    values = factor @ normal.reshape(-1, n, contrasts) @ between.T
    values = np.concatenate([np.zeros((len(values), n, 1)), values], -1)
    scale = np.sqrt(variance)[:, :, None] if link else 1e6
    shares = scipy.special.softmax(scale * values, -1)
    return float(shares[:, np.arange(n), y].prod(-1).mean())


def predictive(x, y, classes, kernel, gamma, **mutant) -> np.ndarray:
    """Of the last row of x given labels of those before it."""
    both = [joint(x, [*y, k], classes, kernel, gamma, **mutant) for k in range(classes)]
    return np.array(both) / sum(both)


@pytest.mark.parametrize(("kernel", "gamma"), [("arccosine", None), ("linear", GAMMA)])
def test_two_classes_against_a_direct_sum(kernel, gamma) -> None:
    law = oracles.gaussian_process_labels(
        X[:2], [1, 1], X[2:], kernel=kernel, inverse_gamma=gamma, key=1, draws=160, **OPTIONS
    )
    found, error = law.probabilities[0, 1], law.error[0, 1]
    assert abs(found - predictive(X, [1, 1], 2, kernel, gamma)[1]) < 4.5 * error
    assert abs(found - predictive(X, [1, 1], 2, kernel, gamma, link=False)[1]) > 8 * error
    if gamma is not None:
        apart = predictive(X, [1, 1], 2, kernel, gamma, shared=False)[1]
        assert error < 0.005 and abs(found - apart) > 5 * error


def test_three_classes_against_a_direct_sum() -> None:
    law = oracles.gaussian_process_labels(
        X[:1], [2], X[1:2], classes=3, kernel="matern52", inverse_gamma=GAMMA, key=2, draws=160,
        **OPTIONS,
    )  # fmt: skip
    direct = predictive(X[:2], [2], 3, "matern52", GAMMA)
    assert law.error.max() < 0.006
    assert (abs(law.probabilities[0] - direct) < 4.5 * law.error[0]).all()
    assert law.log_density([2])[0] == np.log(law.probabilities[0, 2])


class Rows:
    """A design of fixed rows."""

    def sample(self, key, shape):
        del key
        return jnp.asarray(X[: shape[0]])


def frequencies(prior: GaussianProcess, tasks: int, key: int) -> np.ndarray:
    """Of each table of three labels."""
    keys = jax.random.split(jax.random.key(key), tasks)
    y = jax.jit(jax.vmap(lambda k: prior.draw(k, jnp.asarray(1), 2, 1).y))(keys)
    counts = np.bincount(np.asarray(y) @ [4, 2, 1], minlength=8)
    return counts / tasks


def deviance(found: np.ndarray, tasks: int, **mutant) -> float:
    """Pearson's statistic against the direct sums; 7 degrees of freedom."""
    cells = [[k // 4, k // 2 % 2, k % 2] for k in range(8)]
    exact = np.array([joint(X, y, 2, "linear", GAMMA, **mutant) for y in cells])
    assert exact.sum() == pytest.approx(1, abs=1e-6)
    return float(tasks * np.sum((found - exact) ** 2 / exact))


def test_prior_draws_labels_with_the_frequencies_that_it_says() -> None:
    """Rows of context and of queries together, whatever is visible."""
    prior = GaussianProcess(
        2, kernel="linear", variance=dist.InverseGamma(*GAMMA), design=Rows(), labels=2,
        outputscale=OPTIONS["outputscale"], noise=OPTIONS["noise"],
    )  # fmt: skip
    found = frequencies(prior, 40_000, 0)
    assert deviance(found, 40_000) < 29.9  # one in ten thousand
    assert deviance(found, 40_000, shared=False) > 100
    assert deviance(found, 40_000, link=False) > 1000


@pytest.mark.slow
def test_a_network_learns_labels_of_a_process() -> None:
    prior = GaussianProcess(2, kernel="arccosine", variance=dist.InverseGamma(2.0, 2.0), labels=3)
    network = PFN(context=8, queries=8, batch=16, width=16, layers=2, heads=2)
    fitted = network.fit(prior, key=0, steps=3, progress=False)
    law = fitted.predict(X, [0, 2, 1], X[:2])
    assert law.probabilities.shape == (2, 3)


def test_refusals() -> None:
    with pytest.raises(TrainingError, match="labels must be at least 2"):
        GaussianProcess(labels=1)
    with pytest.raises(ArrayError, match=r"y must lie in 0\.\.1"):
        oracles.gaussian_process_labels([0.0], [2], [0.5])
    with pytest.raises(ArrayError, match="kernel must be one of"):
        oracles.gaussian_process_labels([0.0], [1], [0.5], kernel="cubic")
    with pytest.raises(MethodError, match="chains must be at least 8"):
        oracles.gaussian_process_labels([0.0], [1], [0.5], chains=1)
    x = np.linspace(0, 1, 40)
    with pytest.raises(MethodError, match="increase draws"):
        oracles.gaussian_process_labels(
            x, (x * 20 % 2).astype(int), x, outputscale=1e4, lengthscale=0.1, chains=8, draws=20
        )
