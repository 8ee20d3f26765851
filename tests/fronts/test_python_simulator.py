"""Simulators in ordinary Python: exact for the blurred model, the same whoever runs them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import probinf as pi
from probinf.amortized import NPE
from probinf.amortized.neural.simulations import Sites, simulate
from probinf.core.host import seeded
from probinf.errors import CallbackError, MethodError, ModelError, TrainingError, TrainingWarning
from tests.cases import simulators

OBSERVED = np.array([0.9, 0.4, 1.1])
PRIOR = dist.Normal(0, 1)


def build(simulate=simulators.noisy, **options):
    settings = {"tolerance": 0.3, "python": True, **options}
    return pi.from_simulator(PRIOR, simulate, simulators.means_apart, OBSERVED, **settings)


def pairs(program, count=600):
    return simulate(program, jax.random.key(1), count, Sites.of(program))


def test_the_posterior_is_exact_for_the_blurred_model() -> None:
    """Everything is normal: the mean has sd .5 / sqrt(3), blurred by the kernel."""
    found = pi.sample(build(), pi.Importance(draws=6000), key=1, progress=False)
    variance = 0.25 / 3 + 0.09
    row = found.summary()["x"]
    assert abs(row["mean"] - OBSERVED.mean() / (1 + variance)) < 4.5 * row["mcse"]
    log_z = stats.norm.logpdf(OBSERVED.mean(), 0, np.sqrt(1 + variance))
    log_z += 0.5 * np.log(2 * np.pi) + np.log(0.3)  # the kernel is 1 at distance zero
    assert abs(found.log_evidence.z(log_z)) < 4.5
    assert found.provenance["callback"]["evaluations"] == 6000


def test_rows_do_not_depend_on_who_simulates_them() -> None:
    one = pairs(build())
    with ThreadPoolExecutor(3) as pool:
        other = pairs(build(executor=pool))
    np.testing.assert_array_equal(one.data, other.data)
    np.testing.assert_array_equal(one.theta, other.theta)
    noise = one.data - one.theta
    assert abs(noise.std() - 0.5) < 4.5 * 0.5 / np.sqrt(2 * noise.size)
    again = simulate(build(), jax.random.key(1), 300, Sites.of(build()))
    np.testing.assert_array_equal(one.data[:300], again.data)  # a row has its own seed


def test_one_generator_for_all_rows_depends_on_who_simulates(monkeypatch) -> None:
    """The mutant: a stream in the order in which jobs happen to come."""
    shared = np.random.default_rng(0)
    monkeypatch.setattr(seeded.np.random, "default_rng", lambda seed: shared)
    one, other = pairs(build(), 100), pairs(build(), 100)
    assert (one.data != other.data).any()


@pytest.mark.slow
def test_processes_simulate_the_same() -> None:
    np.testing.assert_array_equal(pairs(build()).data, pairs(build(executor=2)).data)


def fragile(**options):
    observed = {"y": OBSERVED, "n": np.array(4.0)}
    return pi.from_simulator(
        {"m": PRIOR}, simulators.fragile, simulators.dicts_apart, observed,
        tolerance=0.3, python=True, **options,
    )  # fmt: skip


def test_failures_are_counted_and_named() -> None:
    with pytest.warns(TrainingWarning, match=r"simulations failed \(.*ZeroDivisionError") as told:
        found = pairs(fragile())
    text = str(told[0].message)
    assert "NaN" in text and "a step of zero, at m = " in text and "seed = [" in text
    assert 0.02 < (~found.worked).mean() < 0.1
    assert Sites.of(fragile()).names == ("n", "y")
    with pytest.raises(CallbackError, match=r"evaluations of fragile failed .* max_failures=0.01"):
        pairs(fragile(max_failures=0.01))


def test_what_cannot_serve_is_named() -> None:
    with pytest.raises(CallbackError, match=r"hopeless fails at 3 .* no such file, at seed = "):
        build(simulators.hopeless)
    with pytest.raises(CallbackError, match=r"returned shapes \{'y': \(4,\)\}, observed has"):
        build(simulators.wrong)
    with pytest.raises(ModelError, match="say python=True"):
        build(python=False, executor=2)
    with pytest.raises(MethodError, match="executor must be at least 1"):
        build(executor=0)
    with pytest.raises(ModelError, match="cannot be called 'seed'"):
        pi.from_simulator(
            {"seed": PRIOR}, simulators.fragile, simulators.dicts_apart, {"y": OBSERVED},
            tolerance=1.0, python=True,
        )  # fmt: skip
    with pytest.raises(TrainingError, match="a simulator in ordinary Python cannot join"):
        NPE(fresh=True).fit(build(), key=0, steps=1)


@pytest.mark.slow
def test_a_network_learns_from_it_and_is_corrected_by_it() -> None:
    program = build()
    method = NPE(simulations=1500, layers=2, hidden=(16, 16))
    fitted = method.fit(program, key=0, steps=400, progress=False)
    found = pi.refine(program, fitted.posterior(), key=1, draws=2000, progress=False)
    variance = 0.25 / 3 + 0.09
    row = found.summary()["x"]
    assert abs(row["mean"] - OBSERVED.mean() / (1 + variance)) < 4.5 * row["mcse"]
