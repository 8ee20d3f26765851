"""The benchmark tasks against their reference draws, where these are present."""

import numpy as np
import pytest

import probinf as pi
from probinf.amortized import NPE, refinement
from probinf.validity import c2st
from tests.cases import sbibm

pytestmark = pytest.mark.skipif(
    not sbibm.folder().exists(), reason=f"no reference draws at {sbibm.folder()}"
)


def compare(posterior, reference):
    """Largest standardised gap of means and of second moments."""
    draws = sbibm.vector(posterior.draws)
    w = np.exp(posterior.log_weights.ravel() - posterior.log_weights.max())
    w /= w.sum()
    size = min(len(reference), 1 / np.sum(w**2))
    gaps = []
    for power in (1, 2):
        x, y = draws**power, reference.astype(float) ** power
        gaps.append(np.abs(w @ x - y.mean(axis=0)) / (y.std(axis=0) * np.sqrt(2 / size)))
    return np.max(gaps)


@pytest.mark.parametrize("task", ["two_moons", "sir"])
def test_the_model_is_the_one_of_the_reference(task):
    given = sbibm.observation(task, 1)
    draws = 300_000 if task == "two_moons" else 30_000
    exact = pi.sample(
        sbibm.program(task, given.y), pi.Importance(draws=draws), key=0, progress=False
    )
    assert compare(exact, given.reference) < 4.5
    wrong = sbibm.observation(task, 2).reference
    assert compare(exact, wrong) > 10


def compare_islands(posterior, reference):
    """The same in errors that islands tell, by jackknife: modes share particles by chance."""
    log_w = posterior.log_weights
    w = np.exp(log_w - log_w.max())
    draws = sbibm.vector(posterior.draws).reshape(*w.shape, -1)
    gaps, count = [], len(w)
    for power in (1, 2):
        y = reference.astype(float) ** power
        sums, masses = np.einsum("in,ind->id", w, draws**power), w.sum(axis=1)[:, None]
        without = (sums.sum(axis=0) - sums) / (masses.sum() - masses)
        error = (count - 1) * without.var(axis=0) + y.var(axis=0) / len(y)
        found = sums.sum(axis=0) / masses.sum()
        gaps.append(np.abs(found - y.mean(axis=0)) / np.sqrt(error))
    return np.max(gaps)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["slcp", "gaussian_linear"])
def test_the_larger_models_too(task):
    given = sbibm.observation(task, 1)
    exact = pi.sample(
        sbibm.program(task, given.y), pi.SMC(particles=2000, islands=16), key=0, progress=False
    )
    assert compare_islands(exact, given.reference) < 6  # t with 15 degrees of freedom: 2e-5 each
    assert compare_islands(exact, sbibm.observation(task, 2).reference) > 20


@pytest.mark.parametrize("task", ["two_moons", "sir"])
def test_halves_of_the_reference_cannot_be_told_apart(task):
    reference = sbibm.observation(task, 1).reference
    assert abs(c2st(reference[::2], reference[1::2], key=0).accuracy - 0.5) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("task", ["two_moons", "sir"])
def test_refine_reaches_the_reference_from_a_short_training(task):
    given = sbibm.observation(task, 1)
    program = sbibm.program(task, given.y)
    fitted = NPE().fit(program, key=0, steps=2000, progress=False)
    found = pi.refine(program, fitted.posterior(), key=1, draws=40_000, progress=False)
    draws = sbibm.vector(found.resampled(0).draws)
    rows = draws[np.random.default_rng(0).choice(len(draws), 4000, replace=False)]
    assert c2st(given.reference, rows, key=2).accuracy < 0.55, refinement(found)
    inside = (np.abs(draws) <= 1).all() if task == "two_moons" else (draws > 0).all()
    assert inside
