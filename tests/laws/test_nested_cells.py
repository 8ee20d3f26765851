"""Slices along a cluster's own directions leave the contour's law as it is; mutants do not."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import chi2_contingency

import probinf as pi
from probinf.core.coordinates import flatten
from probinf.kernels.base import Params
from probinf.samplers.nested import clusters, constrained
from probinf.samplers.nested.constrained import Walkers, slice_above
from probinf.samplers.populations.tuning import cross_fitted

WALKERS = 20_000
# half axes and centres of three ellipses whose union is the contour: the first, a needle, points
# at the second, and is seldom found again from there
CENTRES = np.array([[-2.0, 0.0], [2.0, 0.0], [-2.0, 3.5]])
AXES = np.array([[2.5, 0.15], [1.0, 1.0], [0.5, 0.5]])


def covering(x: Any) -> Any:
    """The lowest ellipse's squared radius at each point: inside where it is below one."""
    return (((x[..., None, :] - CENTRES) / AXES) ** 2).sum(-1).min(-1)


def uniform(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draws from the union of the ellipses."""
    x = rng.uniform(-5, 5, (60 * count, 2))
    return np.asarray(x[covering(x) < 1][:count])


def cells(seed: int = 1) -> clusters.Cells:
    """Found among 400 draws."""
    x = jnp.asarray(uniform(np.random.default_rng(seed), 400))
    plain = Params(jnp.ones(()), jnp.zeros(2), jnp.eye(2))
    both = jax.tree.map(lambda a: jnp.stack([a, a]), plain)
    weights = jnp.zeros(400)
    return clusters.cells_for_halves(cross_fitted(both, x, weights), x, weights)


def table(x: np.ndarray) -> np.ndarray:
    """How many points lie where."""
    nearest = (((x[:, None] - CENTRES) / AXES) ** 2).sum(-1).argmin(-1)
    return np.bincount(4 * nearest + 2 * (np.abs(x[:, 0]) > 2) + (x[:, 1] > 0.02), minlength=12)


def p_value(key: int = 0, moves: int = 6) -> float:
    """Of walkers that began with the law, against fresh draws."""
    rng = np.random.default_rng(1000 + key)
    box = dist.Uniform(-5 * jnp.ones(2), 5 * jnp.ones(2)).to_event(1)
    program = pi.from_log_likelihood(lambda x: -covering(x), box)
    flat, _ = flatten(program)
    x = uniform(rng, WALKERS)
    y = jnp.asarray(np.log((x + 5) / (5 - x)))
    found = cells()
    score = jax.vmap(flat.score, (0, None))(y, flat.data)
    start = Walkers(y, score.log_base, score.log_weight)
    group = jnp.asarray(rng.integers(0, 2, WALKERS))
    moved, _ = slice_above(
        jax.random.key(key), flat, start, jnp.asarray(-1.0), found, group,
        moves=moves, max_shrinkage=100, place=lambda y: 10 * jax.nn.sigmoid(y) - 5,
    )  # fmt: skip
    after = 10 / (1 + np.exp(-np.asarray(moved.x, float))) - 5
    counts = np.stack([table(after), table(uniform(rng, 4 * WALKERS))])
    return float(chi2_contingency(counts[:, counts.sum(0) > 20])[1])


def test_clusters_are_found_and_have_their_own_directions() -> None:
    found = cells()
    assert bool(found.several.all())
    for half in range(2):
        shares = np.exp(np.log(np.diagonal(found.scales[half], axis1=1, axis2=2)).sum(1))
        used = np.isfinite(np.asarray(found.costs[half]))
        assert 2 <= used.sum() <= clusters.MOST + 1
        # an ellipse is far smaller than all together
        assert shares[used].min() < 0.2 * shares[-1]


def test_slices_in_cells_leave_the_law() -> None:
    assert p_value() > 1e-4


def test_mutant_local_slices_leave_their_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constrained, "_allowed", lambda local, own, cell: local | ~local)
    assert p_value() < 1e-8


def test_slices_whose_numbers_are_drawn_in_parts_leave_the_law(monkeypatch: Any) -> None:
    monkeypatch.setattr(constrained, "_NUMBERS", 2 * WALKERS * (2 + 3))
    monkeypatch.setattr(constrained, "_TURNS", 3)
    assert p_value() > 1e-4


def test_one_cluster_is_one_cell() -> None:
    x = jax.random.normal(jax.random.key(0), (400, 3))
    plain = Params(jnp.ones(()), jnp.zeros(3), jnp.eye(3))
    both = jax.tree.map(lambda a: jnp.stack([a, a]), plain)
    found = clusters.cells_for_halves(cross_fitted(both, x, jnp.zeros(400)), x, jnp.zeros(400))
    first = jax.tree.map(lambda leaf: leaf[0], found)
    shares = np.exp(-np.asarray(first.costs)) * np.prod(np.diagonal(first.scales, 0, 1, 2), 1)
    assert shares.max() > 0.9 * shares.sum()
    assert clusters.cell_of(found, x[:5], jnp.zeros(5, int)).shape == (5,)
