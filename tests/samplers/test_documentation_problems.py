"""Problems that the documentation of dynesty and UltraNest shows, with the evidence they have.

Rewritten from their descriptions; each has a ``prior_transform`` on the unit cube. Evidences are
exact, or from quadrature on a grid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import loggamma, norm

import probinf as pi


class Problem(NamedTuple):
    """A likelihood of rows, the map of the unit cube, dimensions, and the log evidence.

    The evidence is None where a grid gives it.
    """

    log_likelihood: Callable[[np.ndarray], np.ndarray]
    transform: Callable[[np.ndarray], np.ndarray]
    dim: int
    log_evidence: float | None = None


def by_grid(problem: Callable, transform: Callable, dim: int, size: int) -> float:
    """The mean of the likelihood over the midpoints of a grid."""
    axis = (np.arange(size) + 0.5) / size
    total = []
    for first in axis:
        rest = np.stack(np.meshgrid(*[axis] * (dim - 1), indexing="ij"), -1).reshape(-1, dim - 1)
        rows = np.concatenate([np.full((len(rest), 1), first), rest], axis=1)
        total.append(logsumexp(problem(transform(rows))))
    return float(logsumexp(total) - dim * np.log(size))


# dynesty: the correlated normal of "Getting started"
PRECISION = np.linalg.inv(0.05 * np.eye(3) + 0.95)
LOG_NORM = -0.5 * (3 * np.log(2 * np.pi) + np.linalg.slogdet(0.05 * np.eye(3) + 0.95)[1])


def correlated(x: np.ndarray) -> np.ndarray:
    return -0.5 * np.einsum("ni,ij,nj->n", x, PRECISION, x) + LOG_NORM


def wide(u: np.ndarray) -> np.ndarray:
    return 10.0 * (2.0 * u - 1.0)


# dynesty: the box of eggs
def eggs(x: np.ndarray) -> np.ndarray:
    return (2.0 + np.prod(np.cos(x / 2.0), axis=1)) ** 5


def carton(u: np.ndarray) -> np.ndarray:
    return 10.0 * np.pi * u


# dynesty: two shells
def shells(x: np.ndarray) -> np.ndarray:
    def shell(centre: float) -> np.ndarray:
        r = np.sqrt((x[:, 0] - centre) ** 2 + x[:, 1] ** 2)
        return norm.logpdf(r, 2.0, 0.1)

    return np.logaddexp(shell(-3.5), shell(3.5))


def sixes(u: np.ndarray) -> np.ndarray:
    return 12.0 * u - 6.0


# UltraNest: the LogGamma problem, four modes and heavy tails
def four_modes(x: np.ndarray) -> np.ndarray:
    first = np.logaddexp(
        loggamma.logpdf(x[:, 0], 1.0, 1 / 3, 1 / 30), loggamma.logpdf(x[:, 0], 1.0, 2 / 3, 1 / 30)
    )
    second = np.logaddexp(norm.logpdf(x[:, 1], 1 / 3, 1 / 30), norm.logpdf(x[:, 1], 2 / 3, 1 / 30))
    return first + second - 2 * np.log(2)


def unit(u: np.ndarray) -> np.ndarray:
    return u


# UltraNest: a line through points with errors
GRID = np.linspace(-1.0, 1.0, 12)
POINTS = 0.7 * GRID + 0.2 + 0.15 * np.random.default_rng(3).normal(size=GRID.size)


def line(x: np.ndarray) -> np.ndarray:
    off = POINTS - x[:, :1] * GRID - x[:, 1:2]
    return norm.logpdf(off, 0.0, x[:, 2:]).sum(axis=1)


def line_prior(u: np.ndarray) -> np.ndarray:
    return np.stack([4 * u[:, 0] - 2, 4 * u[:, 1] - 2, 10 ** (2 * u[:, 2] - 2)], axis=1)


# UltraNest: a spike upon a slab, with its phase transition
def spike(x: np.ndarray) -> np.ndarray:
    slab = norm.logpdf(x, 0.0, 0.1).sum(axis=1)
    return np.logaddexp(np.log(100) + norm.logpdf(x, 0.0, 0.01).sum(axis=1), slab)


def centred(u: np.ndarray) -> np.ndarray:
    return u - 0.5


PROBLEMS = {
    "normal": Problem(correlated, wide, 3, -3 * np.log(20)),
    "eggs": Problem(eggs, carton, 2),
    "shells": Problem(shells, sixes, 2),
    "four_modes": Problem(four_modes, unit, 2),
    "line": Problem(line, line_prior, 3),
    "spike": Problem(spike, centred, 4, float(np.log(101) + 4 * np.log(1 - 2 * norm.cdf(-5)))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_evidence(name) -> None:
    problem = PROBLEMS[name]
    truth = problem.log_evidence
    if truth is None:
        size = {2: 1000, 3: 100}[problem.dim]
        truth = by_grid(problem.log_likelihood, problem.transform, problem.dim, size)
    program = pi.from_callback(
        problem.log_likelihood,
        prior_transform=problem.transform,
        names=problem.dim,
        vectorized=True,
        batch_size=10_000,
    )
    method = pi.Nested(live=400, batch=200, moves=4 * problem.dim, tolerance=0.01)
    found = pi.sample(program, method, key=1, progress=False).log_evidence
    assert found.error < 0.3
    assert abs(found.value - truth) < 4 * found.error, (found, truth)
