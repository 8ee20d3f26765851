"""Knowledge circuits by enumeration, and coverage under the worst attack on linear sensors."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import binom

import probinf.conformal as pc
from probinf.errors import ArrayError, LevelError, MethodError

RULES = np.array([[3.0, -3.0], [-3.0, 3.0], [0.0, 2.0]])


def by_enumeration(p, a, rules):
    """Probabilities of labels given exactly one label, summed over assignments of attributes."""
    mass = np.zeros(len(p))
    for j, mu in product(range(len(p)), product((0, 1), repeat=len(a))):
        chance = np.prod([q if m else 1 - q for q, m in zip(a, mu, strict=True)])
        kept = [abs(w) for w, m in zip(rules[j], mu, strict=True) if (w >= 0) == bool(m)]
        mass[j] += p[j] * chance * np.exp(sum(kept))
    return mass / mass.sum()


def test_probabilities_and_their_range_are_those_of_enumeration():
    rng = np.random.default_rng(0)
    for _ in range(20):
        rules = np.round(rng.normal(scale=2, size=(3, 2)), 1)
        circuit = pc.labels.KnowledgeCircuit(rules)
        low = rng.uniform(size=(4, 5))
        high = low + (1 - low) * rng.uniform(size=low.shape)
        least, most = circuit.bounds(low, high)
        for r in range(4):
            found = circuit.corrected(low[r : r + 1])[0]
            np.testing.assert_allclose(found, by_enumeration(low[r, :3], low[r, 3:], rules))
            ends = list(product(*zip(low[r], high[r], strict=True)))
            at = np.array([by_enumeration(np.array(v[:3]), v[3:], rules) for v in ends])
            np.testing.assert_allclose(least[r], at.min(axis=0), atol=1e-12)
            np.testing.assert_allclose(most[r], at.max(axis=0), atol=1e-12)
            inner = circuit.corrected(rng.uniform(low[r], high[r], size=(50, 5)))
            assert (inner >= least[r] - 1e-12).all() and (inner <= most[r] + 1e-12).all()
    plain = pc.labels.KnowledgeCircuit(np.zeros((3, 1)))
    p = np.array([[0.2, 0.3, 0.5, 0.7]])
    np.testing.assert_allclose(plain.corrected(p), p[:, :3])


NOISE, SAMPLES, DISTANCE = 0.5, 2000, 0.3


def fire(x):
    """Probabilities that linear sensors of three labels and two attributes fire under noise."""
    return ndtr(x / NOISE)


def points(rng, n, margin=0.6):
    y = rng.integers(0, 3, n)
    has = np.array([[1, -1], [-1, 1], [0, 1]])[y]
    x = np.column_stack([np.where(np.arange(3) == y[:, None], 0.6, -0.6), margin * has])
    return x + 0.5 * rng.normal(size=x.shape), y


def attacked(x, y, circuit):
    """The worst of some directions for the true label, all of length DISTANCE."""
    best, found = circuit.corrected(fire(x))[np.arange(len(y)), y], x.copy()
    rules = circuit.rules if circuit.rules.any() else np.zeros((3, 2))
    for away in (0, 1, 2):
        for share in (0.0, 1.0, 2.0):
            move = np.zeros_like(x)
            move[np.arange(len(y)), y] = -1
            move[:, :3] += (np.arange(3) == ((y + away) % 3)[:, None]) * (away > 0)
            move[:, 3:] = -share * np.sign(rules[y])
            moved = x + DISTANCE * move / np.linalg.norm(move, axis=1, keepdims=True)
            now = circuit.corrected(fire(moved))[np.arange(len(y)), y]
            found[now < best] = moved[now < best]
            best = np.minimum(best, now)
    return found


def run(seed, n=300, m=200, margin=0.6):
    rng = np.random.default_rng(seed)
    circuit = pc.labels.KnowledgeCircuit(RULES)
    (x, y), (t, truth) = points(rng, n, margin), points(rng, m, margin)
    moved = attacked(t, truth, circuit)
    counts = [rng.binomial(SAMPLES, fire(z)) for z in (x, moved, t)]
    options = {"samples": SAMPLES, "distance": DISTANCE, "noise": NOISE, "alpha": 0.15}
    return y, truth, counts, options


def attack_laws(seeds):
    """Coverage under attack of certified and of ordinary sets, and the certificates of each."""
    certified, ordinary, certificates = [], [], []
    for seed in seeds:
        y, truth, (clean, moved, still), options = run(seed)
        out = pc.certified(clean, y, moved, rules=RULES, **options)
        certified.append(out.sets.contains(truth).mean())
        ordinary.append(out.ordinary.contains(truth).mean())
        certificates.append(out.coverage)
        # what is dropped or kept for certain at the input received is so at the input as it was
        before = pc.certified(clean, y, still, rules=RULES, **options).ordinary.mask
        assert not (out.dropped & before).any() and not (out.kept & ~before).any()
        assert (out.low <= out.high).all()
    return np.array(certified), np.array(ordinary), np.array(certificates)


def test_sets_cover_under_attack_and_certificates_hold():
    certified, ordinary, certificates = attack_laws(range(40))
    error = np.sqrt(0.85 * 0.15 / 200 / 40) * 2
    assert certified.mean() >= 0.85 - 4 * error
    assert ordinary.mean() < 0.85 - 4 * error  # sets that know of no attack do not
    broken = (ordinary < certificates - 4 * np.sqrt(0.25 / 200)).sum()
    assert broken <= binom.ppf(1 - 1e-4, 40, 0.05) and certificates.max() > 0


def test_knowledge_tightens_what_labels_alone_certify():
    """Attributes that an attack cannot reach pin the label down."""
    y, truth, (clean, moved, _), options = run(0, n=1000, margin=2.0)
    with_rules = pc.certified(clean, y, moved, rules=RULES, **options)
    alone = pc.certified(clean[:, :3], y, moved[:, :3], classes=3, **options)
    assert with_rules.sets.size().mean() < alone.sets.size().mean()
    assert with_rules.coverage > alone.coverage + 0.05
    assert alone.sets.contains(truth).mean() > 0.85 and "attacks up to 0.3" in str(alone)
    none = pc.certified(clean, y, moved, rules=RULES, **(options | {"distance": 0.0}))
    assert none.sets.size().mean() < with_rules.sets.size().mean()
    assert none.coverage > with_rules.coverage


def test_what_is_no_count_is_refused():
    y, _, (clean, moved, _), options = run(1, n=50, m=5)
    for change, error, match in (
        ({"samples": 100}, ArrayError, "from 0 to samples=100"),
        ({"rules": None}, ArrayError, "give rules"),
        ({"rules": RULES[:, :1]}, ArrayError, "must have 4 columns"),
        ({"error": 0.1}, LevelError, "leaves nothing of alpha"),
        ({"noise": 0.0}, MethodError, "noise"),
        ({"distance": -1.0}, MethodError, "distance"),
        ({"rules": np.ones((3, 13))}, ArrayError, "1 to 12 attributes"),
    ):
        with pytest.raises(error, match=match):
            pc.certified(clean, y, moved, **({"rules": RULES} | options | change))
    with pytest.raises(ArrayError, match="low exceeds high"):
        pc.labels.KnowledgeCircuit(RULES).bounds(np.ones((1, 5)), np.zeros((1, 5)))
    with pytest.raises(ArrayError, match="one column per label"):
        pc.labels.KnowledgeCircuit(RULES).corrected(np.ones((1, 4)))
    with pytest.raises(ArrayError, match=r"from 0 to 1; it ranges from 1\.5 to 1\.5"):
        pc.labels.KnowledgeCircuit(RULES).corrected(np.full((1, 5), 1.5))
