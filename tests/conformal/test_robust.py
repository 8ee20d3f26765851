"""Robust sets under attack; implication circuits against enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom, norm

import probinf.conformal as pc
from probinf.errors import ArrayError
from tests.cases.coverage import coverage


def brute(circuit, p):
    mass = np.zeros(circuit.variables)
    total = 0.0
    for mu in itertools.product([0, 1], repeat=circuit.variables):
        f = np.prod(np.where(mu, p, 1 - np.asarray(p)))
        f *= np.exp(sum(w for a, b, w in circuit.rules if not mu[a] or mu[b]))
        total += f
        mass += f * np.array(mu)
    return mass / total


def check_boxes(count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        k = int(rng.integers(2, 5))
        pairs = [rng.choice(k, 2, replace=False) for _ in range(int(rng.integers(1, 5)))]
        rules = tuple((int(a), int(b), float(rng.choice([0.5, 1, 10]))) for a, b in pairs)
        circuit = pc.labels.ImplicationCircuit(k, rules)
        low = rng.uniform(size=k)
        high = low + rng.uniform(size=k) * (1 - low)
        found = circuit.bounds(low, high)
        ends = np.array([brute(circuit, np.where(v, high, low)) for v in itertools.product([0, 1], repeat=k)])  # fmt: skip # noqa: E501
        assert np.allclose(found[0], ends.min(axis=0), atol=1e-6)
        assert np.allclose(found[1], ends.max(axis=0), atol=1e-6)
        inside = rng.uniform(low, high)
        assert np.allclose(circuit.corrected(inside), brute(circuit, inside))
        assert (found[0] <= circuit.corrected(inside) + 1e-12).all()
        assert (circuit.corrected(inside) <= found[1] + 1e-12).all()


def test_circuit_bounds_are_the_vertices():
    check_boxes(60, 0)


@pytest.mark.slow
def test_circuit_bounds_on_ten_thousand_boxes():
    check_boxes(10_000, 1)


def test_a_rule_moves_probability_and_batches_work():
    circuit = pc.labels.ImplicationCircuit(2, ((0, 1, 10.0),))  # 0 implies 1
    p = np.array([[0.9, 0.1], [0.5, 0.5]])
    found = circuit.corrected(p)
    assert found.shape == (2, 2) and found[0, 0] < 0.6 and found[1, 1] > 0.6
    mixed = pc.labels.combine(p, [(np.array([0, 1]), found)], weight=0.5)
    assert np.allclose(mixed, (p + found) / 2)
    assert np.allclose(pc.labels.combine(p, []), p)


def attack(distance, defended):
    """Linear scores Phi(w x) smoothed in closed form; the attacker raises them by distance |w|."""
    noise, spread = 0.5, 1 / np.sqrt(1 + 0.25)

    def one(rng):
        clean = norm.cdf(spread * rng.normal(size=(200,)))
        received = norm.cdf(norm.ppf(clean[100:]) + spread * distance)[:, None]
        if defended:
            out = pc.calibration.robust_split(
                clean[:100], received, distance=distance, noise=noise, alpha=0.1
            )
            return out.mask[:, 0]
        return received[:, 0] <= pc.calibrate(clean[:100]).quantile(0.1)

    return coverage(one, 300)


def test_coverage_under_attack_and_without_defence():
    assert pc.check_coverage(attack(0.3, True), alpha=0.1, one_sided=True)
    assert not pc.check_coverage(attack(0.3, False), alpha=0.1, one_sided=True)
    assert pc.check_coverage(attack(0.0, True), alpha=0.1, n=100)


def test_monte_carlo_correction_covers_where_the_plain_set_need_not():
    def one(rng):
        clean = rng.beta(2, 5, size=120)
        means = rng.binomial(50, clean) / 50
        received = rng.binomial(50, clean[60:])[:, None] / 50
        out = pc.calibration.robust_split(
            means[:60], received, distance=0.0, noise=1.0, alpha=0.1, samples=50, error=0.01
        )
        return out.mask[:, 0]

    assert pc.check_coverage(coverage(one, 200), alpha=0.1, one_sided=True)


def test_clopper_pearson_covers():
    k = np.arange(31)
    low, high = pc.calibration.clopper_pearson(k, 30, error=0.05)
    for p in (0.01, 0.3, 0.97):
        assert binom.pmf(k, 30, p)[(low <= p) & (p <= high)].sum() >= 0.95
    assert low[0] == 0 and high[-1] == 1


def test_smoothed_bounds_are_exact_for_a_half_space():
    low, high = pc.calibration.smoothed_bounds(
        norm.cdf(0.4), norm.cdf(0.4), distance=0.5, noise=1.0
    )
    assert np.isclose(low, norm.cdf(-0.1)) and np.isclose(high, norm.cdf(0.9))


def test_bad_input():
    with pytest.raises(ArrayError, match="12 variables"):
        pc.labels.ImplicationCircuit(20, ())
    with pytest.raises(ArrayError, match="rule"):
        pc.labels.ImplicationCircuit(2, ((0, 5, 1.0),))
    with pytest.raises(ArrayError, match="low exceeds"):
        pc.labels.ImplicationCircuit(1, ()).bounds([0.9], [0.1])
    with pytest.raises(ArrayError, match="lie in"):
        pc.calibration.robust_split([0.1, 2.0], [[0.5]], distance=1.0, noise=1.0)
