"""Oracles against brute force, and each other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, multivariate_t

from probinf.amortized import GaussianProcess, oracles
from probinf.errors import ArrayError

RNG = np.random.default_rng(0)


def joint_minus_marginal(x, y, x_new, y_new, law, kernel, noise):
    """log p(y, y_new) - log p(y) from the joint covariance."""
    both = np.r_[x, [x_new]]
    cov = kernel(both, both) + noise * np.eye(len(both))
    return law(np.r_[y, y_new], cov) - law(y, cov[:-1, :-1])


@pytest.mark.parametrize("name", ["rbf", "matern52", "linear"])
@pytest.mark.parametrize("scale", [None, (2.0, 1.5)])
def test_process_predictive_is_a_ratio_of_joint_densities(name, scale) -> None:
    from probinf.amortized.oracles import _kernel

    x, x_new = RNG.uniform(size=(5, 2)), RNG.uniform(size=(2,))
    y, y_new = RNG.normal(size=5), 0.7
    exact = oracles.gaussian_process(
        x, y, x_new[None], kernel=name, lengthscale=0.4, outputscale=1.3, noise=0.1,
        inverse_gamma=scale,
    )  # fmt: skip

    def law(values, cov):
        if scale is None:
            return multivariate_normal.logpdf(values, cov=cov)
        a, b = scale
        return multivariate_t.logpdf(values, shape=cov * b / a, df=2 * a)

    direct = joint_minus_marginal(
        x, y, x_new, y_new, law, lambda p, q: _kernel(name, p, q, 0.4, 1.3), 0.1
    )
    assert exact.log_density(y_new)[0] == pytest.approx(direct, abs=1e-9)


def test_regression_is_the_linear_student_process() -> None:
    x, y, x_new = RNG.normal(size=(6, 3)), RNG.normal(size=6), RNG.normal(size=(4, 3))
    one = oracles.conjugate_regression(
        x, y, x_new, prior_mean=np.zeros(3), prior_covariance=0.7 * np.eye(3), a=3.0, b=2.0
    )
    two = oracles.gaussian_process(
        x, y, x_new, kernel="linear", outputscale=0.7, noise=1.0, inverse_gamma=(3.0, 2.0)
    )
    np.testing.assert_allclose(one.mean, two.mean, atol=1e-10)
    np.testing.assert_allclose(one.scale, two.scale, rtol=1e-10)
    assert one.degrees == two.degrees == 12


@pytest.mark.parametrize("name", ["rbf", "matern52", "linear"])
@pytest.mark.parametrize("visible", [0, 3, 8])
def test_task_prior_knows_the_law_of_its_queries(name, visible) -> None:
    """The conditional mean and sd in float32 from one factor, for any prefix of the context."""
    prior = GaussianProcess(2, kernel=name, lengthscale=0.5, outputscale=1.3, noise=0.05)
    draw = prior.draw(jax.random.key(1), jnp.asarray(visible), 8, 4)
    exact = oracles.gaussian_process(
        draw.x[:visible], draw.y[:visible], draw.x[8:], kernel=name, lengthscale=0.5,
        outputscale=1.3, noise=0.05,
    )  # fmt: skip
    np.testing.assert_allclose(draw.mean, exact.mean, atol=2e-3)
    np.testing.assert_allclose(draw.sd, exact.scale, rtol=2e-3)


def test_kalman_log_likelihood_is_the_joint_density() -> None:
    F, Q = np.array([[0.9, 0.2], [-0.1, 0.8]]), np.diag([0.1, 0.2])
    H, R = np.array([[1.0, 0.5]]), np.array([[0.3]])
    P0, y = np.diag([1.0, 2.0]), RNG.normal(size=4)
    big = np.zeros((8, 8))
    big[:2, :2] = P0
    for k in range(1, 4):
        s, e = slice(2 * k, 2 * k + 2), slice(2 * k - 2, 2 * k)
        big[s, : 2 * k] = F @ big[e, : 2 * k]
        big[: 2 * k, s] = big[s, : 2 * k].T
        big[s, s] = F @ big[e, e] @ F.T + Q
    sensors = np.kron(np.eye(4), H)
    cov = sensors @ big @ sensors.T + np.kron(np.eye(4), R)
    means, covariances, found = oracles.kalman_filter(
        y, transition=F, process_noise=Q, matrix=H, noise=R, mean=np.zeros(2), covariance=P0
    )
    assert found == pytest.approx(multivariate_normal.logpdf(y, cov=cov), abs=1e-9)
    gain = big @ sensors.T @ np.linalg.inv(cov)
    np.testing.assert_allclose(means[-1], (gain @ y)[-2:], atol=1e-9)
    np.testing.assert_allclose(covariances[-1], (big - gain @ sensors @ big)[-2:, -2:], atol=1e-9)


def test_refusals() -> None:
    with pytest.raises(ArrayError, match="kernel must be"):
        oracles.gaussian_process([0.0], [1.0], [0.5], kernel="cubic")
    with pytest.raises(ArrayError, match="singular"):
        oracles.gaussian_process([0.0, 0.0], [1.0, 1.0], [0.5], noise=0.0)
