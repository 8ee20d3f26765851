"""Joint coverage of several outcomes."""

from __future__ import annotations

import numpy as np
import pytest

import probinf.conformal as pc
from probinf.errors import ArrayError, InfiniteSetWarning
from tests.cases.coverage import coverage

COVARIANCE = np.array([[1.0, 1.8], [1.8, 4.0]])
ROOT = np.linalg.cholesky(COVARIANCE)


def method(name, mu, y, t, rng, scale=1.0):
    if name == "box":
        return pc.box(mu, y, t, scale=np.array([1.0, 2.0]))
    if name == "ellipsoid":
        return pc.regression.ellipsoid(mu, y, t, COVARIANCE, COVARIANCE)
    if name == "copula":
        return pc.regression.copula_box(rng.standard_t(3, size=(300, 2)) @ ROOT.T, mu, y, t)
    draws = [m[:, None] + rng.standard_t(3, size=(len(m), 8, 2)) @ ROOT.T for m in (mu, t)]
    return pc.regression.sample_balls(draws[0], y, draws[1])


@pytest.mark.parametrize("name", ["box", "ellipsoid", "copula", "balls"])
def test_joint_coverage_law(name):
    def one(rng):
        mu = rng.normal(size=(200, 2))
        y = mu + rng.standard_t(3, size=(200, 2)) @ ROOT.T
        return method(name, mu[:50], y[:50], mu[50:], rng).contains(y[50:])

    covered = coverage(one, 400)
    if name == "copula":  # levels of a finite sample tie
        assert pc.check_coverage(covered, alpha=0.1, one_sided=True)
    else:
        assert pc.check_coverage(covered, alpha=0.1, n=50)


def test_separate_intervals_are_the_broken_twin():
    def one(rng):
        y = rng.standard_t(3, size=(200, 2)) @ ROOT.T
        inside = [
            pc.split(pc.Absolute(), np.zeros(50), y[:50, j], np.zeros(150)).contains(y[50:, j])
            for j in range(2)
        ]
        return inside[0] & inside[1]

    assert not pc.check_coverage(coverage(one, 200), alpha=0.1, one_sided=True)


def test_shapes_and_volumes():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(400, 2)) @ ROOT.T
    zero = np.zeros((400, 2))
    ball, square = (method(n, zero, y, zero[:3], rng) for n in ("ellipsoid", "box"))
    assert np.allclose(ball.volume(), np.pi * ball.radius**2 * np.sqrt(np.linalg.det(COVARIANCE)))
    assert (ball.volume() < square.volume()).all()
    assert np.allclose(square.volume(), (square.upper - square.lower).prod(axis=1))


def test_bad_input():
    zero = np.zeros((20, 2))
    with pytest.raises(ArrayError, match="positive definite"):
        pc.regression.ellipsoid(zero, zero, zero, -np.eye(2), np.eye(2))
    with pytest.raises(ArrayError, match="scales must be positive"):
        pc.box(zero, zero, zero, scale=np.array([1.0, 0.0]))
    with pytest.warns(InfiniteSetWarning):
        pc.box(zero[:3], zero[:3], zero)
