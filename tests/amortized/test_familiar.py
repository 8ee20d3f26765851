"""Data that no simulator makes are flagged, and data that it makes at a known rate."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.amortized import NPE
from probinf.amortized.neural.familiar import LEVEL, Familiar, p_of_furthest
from probinf.amortized.neural.predictive import predictive_p

SMALL = {"layers": 1, "hidden": (8,), "bins": 4}


def model(y=None):
    """Five measurements with an outlying one now and then."""
    m = numpyro.sample("m", dist.Normal(0.0, 2.0))
    numpyro.sample("y", dist.StudentT(4.0, m, 1.0).expand([5]).to_event(1), obs=y)


def simulated(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    m = 2 * rng.normal(size=n)
    return m, m[:, None] + rng.standard_t(4, size=(n, 5))


@pytest.fixture(scope="module")
def fitted():
    """From a table, so that what calibrates was held out of the training: 1,000 rows."""
    m, y = simulated(10_000, 0)
    program = pi.from_numpyro(model, y=np.zeros(5))
    return NPE(**SMALL).fit(program, theta={"m": m}, x=y, key=0, steps=200, progress=False)


def flagged(fitted, data: np.ndarray) -> np.ndarray:
    """Whether each test calls each data set unusual, (2, n)."""
    sites, network = fitted.sites, fitted.network

    @jax.jit
    @jax.vmap
    def p_values(y):
        scores = network.scores(y)
        found = network.familiar(network.context(y, sites), y, scores, network.inputs, sites)
        one = found.calibrated
        return jnp.stack([(1 + one * s) / (one + 1) for s in (found.share, found.share_outer)])

    return np.asarray(p_values(jnp.asarray(data, float))).T <= LEVEL * (1 + 1e-6)


def test_data_of_the_simulator_are_flagged_at_the_stated_rate(fitted) -> None:
    """The rate of 20,000 data sets, which also varies with the 999 that calibrate."""
    rate = flagged(fitted, simulated(20_000, 1)[1]).mean(axis=1)
    sd = np.sqrt(LEVEL / 20_000 + LEVEL / 999)
    assert (np.abs(rate - LEVEL) < 4 * sd).all(), rate


def test_shifted_data_are_flagged(fitted) -> None:
    _, y = simulated(500, 2)
    one = y.copy()
    one[:, 2] += 25.0
    apart = y + np.array([6.0, -6.0, 0.0, 0.0, 0.0])
    assert flagged(fitted, one).any(axis=0).mean() > 0.95
    assert flagged(fitted, apart)[0].mean() > 0.6  # each entry alone is nothing special


def several(m: int, seed: int, shifted: int = 0) -> float:
    """The p-value of the furthest of m data sets, of which some lie beyond all others."""
    rng = np.random.default_rng(seed)
    ranks = rng.random(999)
    new = rng.random(m)
    new[:shifted] = 2.0
    shares = (ranks[None] >= new[:, None]).mean(axis=1)
    return p_of_furthest(float(shares.min()), int((shares == 0).sum()), m, 999)


@pytest.mark.parametrize("m", [2, 6, 20, 200])
def test_several_data_sets_are_flagged_at_most_at_the_stated_rate(m: int) -> None:
    p = np.array([several(m, seed) for seed in range(4000)])
    for level in (0.005, 0.1, 0.3):
        assert np.mean(p <= level) < level + 4 * np.sqrt(level / 4000)
    assert np.mean(p <= 0.4) > 0.1  # and not never


def test_many_strange_data_sets_are_flagged_whatever_their_number() -> None:
    assert all(several(m, seed, shifted=m) < 1e-4 for m in (2, 6, 20, 200) for seed in range(20))
    assert all(several(20, seed, shifted=2) < LEVEL for seed in range(20))
    alone = [several(20, seed, shifted=1) for seed in range(20)]
    assert np.median(alone) > LEVEL  # 999 that calibrate cannot tell


def test_a_calibration_by_the_data_that_describe_forgets_new_data() -> None:
    """The mutant: distances of the very data that mean and covariance come from."""
    rng = np.random.default_rng(0)
    describe, others, new = (rng.normal(size=(n, 30)) for n in (90, 999, 5000))

    def rate(found: Familiar) -> float:
        d2 = np.square(np.linalg.solve(found.factor, (new - np.asarray(found.mean)).T)).sum(axis=0)
        share = (np.asarray(found.distances)[:, None] >= d2).mean(axis=0)
        m = found.calibrated
        return float(np.mean((1 + m * share) / (m + 1) <= 0.05))

    fine = Familiar.of(describe, others, describe, np.zeros(999))
    assert abs(rate(fine) - 0.05) < 4 * np.sqrt(0.05 / 999 + 0.05 / 5000)
    assert rate(Familiar.of(describe, describe, describe, np.zeros(90))) > 0.2


def test_diagnose_names_the_entry_and_what_the_posterior_cannot_predict(fitted) -> None:
    def codes(y) -> dict[str, str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            q = fitted.posterior(np.asarray(y, float))
        found = pi.sample(q, pi.Importance(draws=500), key=1, progress=False).diagnose()
        return {f.code: f.message for f in found.findings}

    assert not codes([0.3, 1.0, -0.5, 0.2, 0.1])
    far = codes([0.3, 60.0, -0.5, 0.2, 0.1])
    assert {"outside_simulations", "unusual_data"} <= set(far)
    assert "y[1] = 60, simulated" in far["outside_simulations"]
    assert "predictive" in codes([9.0, -9.0, 9.0, -9.0, 0.0])


@pytest.mark.slow
def test_the_predictive_check_is_conservative(fitted) -> None:
    """At most twice its level under the simulator, whatever the network: 40 data sets."""
    found = []
    for y in simulated(40, 3)[1]:
        q = fitted.posterior(y)
        posterior = pi.sample(q, pi.Importance(draws=400), key=1, progress=False, check=False)
        found.append(predictive_p(posterior, q.data[1].familiarity))
    assert np.mean(np.array(found) <= 0.05) <= 0.1 + 3 * np.sqrt(0.09 / 40)
