"""Oracles against brute force, and each other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, multivariate_t

from probinf.amortized import GaussianProcess, oracles
from probinf.amortized.priors.gaussian_process import kernel_matrix
from probinf.errors import ArrayError, MethodError, TrainingError

RNG = np.random.default_rng(0)


def joint_minus_marginal(x, y, x_new, y_new, law, kernel, noise):
    """log p(y, y_new) - log p(y) from the joint covariance."""
    both = np.r_[x, [x_new]]
    cov = kernel(both, both) + noise * np.eye(len(both))
    return law(np.r_[y, y_new], cov) - law(y, cov[:-1, :-1])


@pytest.mark.parametrize("name", ["rbf", "matern52", "linear", "arccosine"])
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


@pytest.mark.parametrize("name", ["rbf", "matern52", "linear", "arccosine"])
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


def wide(x: np.ndarray, layers: int, lengthscale: float, scale: float = 2.0) -> np.ndarray:
    """Covariance of an infinitely wide ReLU network by quadrature: of each layer's outputs, the
    mean product of two units, whose inputs are jointly normal. ``scale`` is the weights' variance.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    weights = weights / weights.sum()
    rows = np.c_[np.ones(len(x)), x / lengthscale]
    covariance = rows @ rows.T
    for _ in range(layers):
        found = np.empty_like(covariance)
        for i, j in np.ndindex(*covariance.shape):
            pair = covariance[np.ix_([i, j], [i, j])] + 1e-12 * np.eye(2)
            factor = np.linalg.cholesky(pair)
            u = factor[0, 0] * nodes[:, None]
            v = factor[1, 0] * nodes[:, None] + factor[1, 1] * nodes
            product = np.maximum(u, 0) * np.maximum(v, 0)
            found[i, j] = scale * weights @ product @ weights
        covariance = found
    return covariance


def test_arccosine_kernel_is_that_of_infinitely_many_units() -> None:
    x = RNG.normal(size=(4, 2))
    for layers in (1, 2):
        ours = oracles._kernel("arccosine", x, x, 0.8, 1.0, layers)
        np.testing.assert_allclose(ours, wide(x, layers, 0.8), rtol=0.01)
        # a mutant: weights of variance one lose half of it in each layer
        assert np.abs(ours / wide(x, layers, 0.8, scale=1.0) - 1).min() > 0.5
        rows, numbers = jnp.asarray(x), (jnp.asarray(0.8), jnp.asarray(1.0))
        theirs = kernel_matrix("arccosine", rows, rows, *numbers, layers)
        np.testing.assert_allclose(theirs, ours, rtol=1e-4)


@pytest.mark.slow
def test_scale_mixtures_of_infinite_networks_foretell_heavy_tails() -> None:
    """Queries outside the context of tasks whose scale varies: the mixture against the process.

    The process has the mean scale of the prior, or the one of largest likelihood of each task.
    """
    z = gains(np.random.default_rng(3))
    assert z.min() > 1.5


def gains(rng: np.random.Generator, n: int = 5, tasks: int = 1500) -> np.ndarray:
    """Mean gain in log score of the mixture over both processes, in standard errors."""
    a, b, found = 1.5, 1.5, []
    options = {"kernel": "arccosine", "lengthscale": 0.5, "noise": 0.1, "layers": 2}
    for _ in range(tasks):
        x = np.r_[rng.uniform(-1, 1, (n, 1)), rng.uniform(2, 3, (4, 1))]
        covariance = oracles._kernel("arccosine", x, x, 0.5, 1.0, 2) + 0.1 * np.eye(n + 4)
        scale = np.sqrt(b / rng.gamma(a))
        y = scale * np.linalg.cholesky(covariance) @ rng.normal(size=n + 4)
        mixture = oracles.gaussian_process(x[:n], y[:n], x[n:], inverse_gamma=(a, b), **options)
        process = oracles.gaussian_process(x[:n], y[:n], x[n:], **options)
        best = np.sqrt(np.mean(np.linalg.solve(covariance[:n, :n], y[:n]) * y[:n]))
        scores = [
            np.mean(process._replace(scale=s * process.scale).log_density(y[n:]))
            for s in (best, np.sqrt(b / (a - 1)))
        ]
        found.append(np.mean(mixture.log_density(y[n:])) - np.array(scores))
    return np.mean(found, 0) / (np.std(found, 0) / np.sqrt(tasks))


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
    with pytest.raises(ArrayError, match="kernel must be one of"):
        oracles.gaussian_process([0.0], [1.0], [0.5], kernel="cubic")
    with pytest.raises(ArrayError, match="layers positive"):
        oracles.gaussian_process([0.0], [1.0], [0.5], kernel="arccosine", layers=0)
    with pytest.raises(TrainingError, match="layers positive"):
        GaussianProcess(kernel="arccosine", layers=0)
    with pytest.raises(ArrayError, match="singular"):
        oracles.gaussian_process([0.0, 0.0], [1.0, 1.0], [0.5], noise=0.0)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"x": [0.0, np.nan]}, ArrayError, r"x holds 1 NaN .* at \[1\]"),
        ({"x_new": [np.inf]}, ArrayError, "x_new holds 1 NaN or infinite"),
        ({"x": [0.0]}, ArrayError, "x must have 2 rows"),
        ({"x_new": [[0.1, 0.2]]}, ArrayError, "x has 1, x_new has 2"),
        ({"lengthscale": 0.0}, MethodError, "lengthscale must be positive"),
        ({"outputscale": np.nan}, MethodError, "outputscale must be positive"),
        ({"noise": -0.1}, MethodError, "noise must be positive"),
        ({"inverse_gamma": (-1.0, 1.0)}, MethodError, "shape must be positive"),
        ({"inverse_gamma": (1.0, 0.0)}, MethodError, "rate must be positive"),
    ],
)
@pytest.mark.parametrize("oracle", [oracles.gaussian_process, oracles.gaussian_process_labels])
def test_oracles_name_what_is_wrong(oracle, change, error, match) -> None:
    """A shape of the inverse gamma below zero once left slices without an end."""
    given = {"x": [0.0, 1.0], "y": [0, 1], "x_new": [0.5]} | change
    with pytest.raises(error, match=match):
        oracle(**given)


def test_other_oracles_name_what_is_wrong() -> None:
    regression = {"prior_mean": [0.0], "prior_covariance": [[1.0]], "a": 1.0, "b": 1.0}
    with pytest.raises(ArrayError, match="y holds 1 NaN"):
        oracles.conjugate_regression([[1.0]], [np.nan], [[1.0]], **regression)
    with pytest.raises(ArrayError, match="x has 1, x_new has 2"):
        oracles.conjugate_regression([[1.0]], [1.0], [[1.0, 2.0]], **regression)
    with pytest.raises(MethodError, match="a must be positive"):
        oracles.conjugate_regression([[1.0]], [1.0], [[1.0]], **(regression | {"a": -1.0}))
    space = {"transition": [[1.0]], "process_noise": [[1.0]], "matrix": [[1.0]]}
    space |= {"noise": [[1.0]], "mean": [0.0], "covariance": [[1.0]]}
    with pytest.raises(ArrayError, match="y has 2 columns, and matrix 1 rows"):
        oracles.kalman_filter([[1.0, 2.0]], **space)
    with pytest.raises(ArrayError, match="y holds 1 NaN"):
        oracles.kalman_filter([np.nan], **space)
