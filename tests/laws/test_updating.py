"""Laws of update: a posterior that goes on with new data is the posterior of all of them."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.special import gammaln

import probinf as pi
from probinf.core.coordinates import flatten
from probinf.core.transformations.paths import prefix
from probinf.errors import MethodError, SavedFileError, StructureError
from probinf.evidence import updating
from probinf.samplers.populations.path import ByData

COUNTS = np.array([1, 0, 3, 2, 5, 4, 9, 6, 4, 7])
SHAPE, RATE = 2.0, 1.0
METHOD = pi.SMC(path="data", particles=400, islands=4, kernel=pi.kernels.RandomWalk(), moves=6)


def counts(n: int, y: np.ndarray | None = None) -> None:
    rate = numpyro.sample("rate", dist.Gamma(SHAPE, RATE))
    with numpyro.plate("n", n):
        numpyro.sample("y", dist.Poisson(rate), obs=y)


def first(n: int) -> pi.Program:
    return pi.from_numpyro(counts, n, y=COUNTS[:n])


def exact_log_evidence(n: int) -> float:
    y = COUNTS[:n]
    a, b = SHAPE + y.sum(), RATE + n
    return float(
        SHAPE * np.log(RATE) - gammaln(SHAPE) + gammaln(a) - a * np.log(b) - gammaln(y + 1.0).sum()
    )


def wrong(posterior: pi.Posterior, n: int) -> list[str]:
    """What is not as it should be after the first ``n`` counts, at about 4 standard errors."""
    found = []
    a, b = SHAPE + COUNTS[:n].sum(), RATE + n
    w = np.exp(posterior.log_weights - posterior.log_weights.max())
    x, w = posterior.draws["rate"].ravel(), w.ravel() / w.sum()
    error = 2 * np.sqrt(a) / b / np.sqrt(1 / np.sum(w**2))
    if abs(w @ x - a / b) > 4 * error:
        found.append("mean")
    spread = np.sqrt(w @ (x - w @ x) ** 2)
    if abs(np.log(spread * b / np.sqrt(a))) > 0.12:
        found.append("sd")
    return found


@pytest.fixture(scope="module")
def half() -> pi.Posterior:
    return pi.sample(first(5), METHOD, key=1, progress=False, check=False)


@pytest.fixture(scope="module")
def whole(half: pi.Posterior) -> pi.Posterior:
    return pi.update(half, first(10), key=2, progress=False, method=METHOD)


def test_an_updated_posterior_is_that_of_all_data(whole: pi.Posterior) -> None:
    assert not wrong(whole, 10)
    assert abs(whole.log_evidence.z(exact_log_evidence(10))) < 4
    assert whole.log_evidence.error < 0.2
    predictive = pi.Estimate(*whole.provenance["log_predictive"])
    assert abs(predictive.z(exact_log_evidence(10) - exact_log_evidence(5))) < 4
    assert whole.provenance["updated_from"].startswith("SMC")
    assert whole.program is not None and whole.program.pointwise is not None


def test_the_evidence_of_every_prefix_goes_on(whole: pi.Posterior) -> None:
    islands = whole.history["log_evidence_of_first"]
    assert islands.shape == (4, 10)
    top = islands.max(axis=0)
    found = top + np.log(np.exp(islands - top).mean(axis=0))
    exact = np.array([exact_log_evidence(k) for k in range(1, 11)])
    assert np.abs(found - exact).max() < 0.25
    assert whole.history["log_predictive"].shape == (4, 5)


def test_a_killed_update_goes_on_bit_for_bit(
    half: pi.Posterior, whole: pi.Posterior, tmp_path: pathlib.Path
) -> None:
    def again(path: str, key: int = 2, before: pi.Posterior = half, **options: Any) -> Any:
        folder = tmp_path / path
        return pi.update(
            before, first(10), METHOD, key=key, progress=False, checkpoint=folder, **options
        )

    with pytest.raises(MethodError, match="goes on from its checkpoint"):
        again("a", max_seconds=0.0)
    other = dataclasses.replace(half, unconstrained=half.unconstrained[:, ::-1])
    for wrong_call in (lambda: again("a", key=3), lambda: again("a", before=other)):
        with pytest.raises(SavedFileError, match="began otherwise"):
            wrong_call()
    with pytest.raises(SavedFileError, match="holds an update"):
        pi.resume(tmp_path / "a", first(10), progress=False)
    went_on = again("a")
    np.testing.assert_array_equal(went_on.draws["rate"], whole.draws["rate"])
    assert went_on.log_evidence == whole.log_evidence
    assert again("a").log_evidence == whole.log_evidence


@pytest.mark.slow
def test_updates_follow_one_another(half: pi.Posterior, whole: pi.Posterior) -> None:
    with_two = pi.update(half, first(7), key=5, progress=False, method=METHOD)
    again = pi.update(with_two, first(10), key=6, progress=False, method=METHOD)
    assert not wrong(with_two, 7) and not wrong(again, 10)
    assert abs(again.log_evidence.z(exact_log_evidence(10))) < 4


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["NUTS", "Nested", "Importance", "one chain"])
def test_draws_of_any_engine_will_do(engine: str) -> None:
    method = {
        "NUTS": pi.NUTS(chains=4, warmup=300, draws=500),
        "Nested": pi.Nested(live=300),
        "Importance": pi.Importance(draws=5000),
        "one chain": pi.NUTS(chains=1, warmup=300, draws=2000),
    }[engine]
    before = pi.sample(first(5), method, key=3, progress=False)
    after = pi.update(before, first(10), method=METHOD, key=4, progress=False)
    assert not wrong(after, 10)
    predictive = pi.Estimate(*after.provenance["log_predictive"])
    assert abs(predictive.z(exact_log_evidence(10) - exact_log_evidence(5))) < 4
    assert (after.evidence is None) == (before.evidence is None)
    if before.evidence is not None:
        assert abs(after.log_evidence.z(exact_log_evidence(10))) < 4


@pytest.mark.slow
def test_errors_of_updated_evidences_are_right() -> None:
    z = []
    for seed in range(40):
        before = pi.sample(first(5), METHOD, key=seed, progress=False, check=False)
        after = pi.update(before, first(10), method=METHOD, key=100 + seed, progress=False)
        z.append(after.log_evidence.z(exact_log_evidence(10)))
    assert abs(np.mean(z)) < 4 * np.std(z) / np.sqrt(40) + 0.1
    assert 0.6 < np.std(z, ddof=1) < 1.6  # errors from four islands have Student tails


def two_sites(n: int, x: Any, y: Any = None, z: Any = None) -> None:
    mu = numpyro.sample("mu", dist.Normal(0, 2))
    numpyro.sample("y", dist.Normal(mu * x, 1.0), obs=y)
    numpyro.sample("z", dist.Normal(mu, 2.0), obs=z)


@pytest.mark.slow
def test_sites_grow_together() -> None:
    rng = np.random.default_rng(1)
    x, y, z = rng.normal(size=8), rng.normal(size=8), rng.normal(size=6)

    def program(n: int, m: int) -> pi.Program:
        return pi.from_numpyro(two_sites, n, x[:n], y=y[:n], z=z[:m])

    before = pi.sample(program(4, 3), METHOD, key=1, progress=False)
    after = pi.update(before, program(8, 6), method=METHOD, key=2, progress=False)
    precision = 1 / 4 + (x**2).sum() + len(z) / 4
    mean = ((x * y).sum() + z.sum() / 4) / precision
    w = np.exp(after.log_weights).ravel()
    found = w @ after.draws["mu"].ravel() / w.sum()
    assert abs(found - mean) < 4 * 2 / np.sqrt(precision * 1600)


# --- what is not an extension is refused --------------------------------------------------------


def shifted(n: int, y: Any = None) -> None:
    rate = numpyro.sample("rate", dist.Gamma(SHAPE, 2 * RATE))
    with numpyro.plate("n", n):
        numpyro.sample("y", dist.Poisson(rate), obs=y)


def two_rates(n: int, y: Any = None) -> None:
    rate = numpyro.sample("rate", dist.Gamma(SHAPE, RATE).expand([2]).to_event(1))
    with numpyro.plate("n", n):
        numpyro.sample("y", dist.Poisson(rate.sum()), obs=y)


def other_counts() -> pi.Program:
    return pi.from_numpyro(counts, 10, y=np.r_[COUNTS[:2], 8, COUNTS[3:]])


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (other_counts, r"likelihood of 1 of the 5 old data of 'y' has changed, first of number 2"),
        (lambda: first(4), r"has 4 data of 'y', the posterior was made with 5"),
        (lambda: first(5), "nothing is new"),
        (lambda: pi.from_numpyro(shifted, 10, y=COUNTS), "priors of the two programs differ"),
        (lambda: pi.from_numpyro(two_rates, 10, y=COUNTS), "coordinates of the two programs"),
    ],
)
def test_what_is_no_extension_is_refused(half: pi.Posterior, program: Any, says: str) -> None:
    with pytest.raises((StructureError, MethodError), match=says):
        pi.update(half, program(), METHOD, key=1)


def test_methods_and_posteriors_are_checked(half: pi.Posterior) -> None:
    with pytest.raises(MethodError, match=r"give SMC\(path=\"data\"\) without a schedule"):
        pi.update(half, first(10), pi.SMC(), key=1)
    with pytest.raises(StructureError, match=r"Load it with program="):
        pi.update(dataclasses.replace(half, program=None), first(10), METHOD, key=1)
    blind = dataclasses.replace(first(10), pointwise=None)
    with pytest.raises(StructureError, match="the new program has no likelihood by datum"):
        pi.update(half, blind, METHOD, key=1)


# --- mutants ------------------------------------------------------------------------------------


def test_moves_that_forget_the_new_data_are_found(
    half: pi.Posterior, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Old(ByData):
        def at(self, program: pi.Program, t: Any) -> pi.Program:
            return prefix(program, jnp.asarray(5.0))

    monkeypatch.setitem(__import__("probinf.samplers.smc", fromlist=["x"])._PATHS, "data", Old())
    other = dataclasses.replace(METHOD, max_moves=39)  # another record: compiled by itself
    after = pi.update(half, first(10), other, key=2, progress=False)
    assert wrong(after, 10)


def z_before_y(z, y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    numpyro.sample("z", dist.Normal(mu, 2.0), obs=z)
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def y_before_z(z, y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
    numpyro.sample("z", dist.Normal(mu, 2.0), obs=z)


def test_sites_in_any_order() -> None:
    """The likelihood terms leave a trace in its order, and jit by name."""
    z, y = np.array([0.2, -0.4, 1.0]), np.array([0.5, 0.1, -0.3, 0.9, 0.4])
    for before in (z_before_y, y_before_z):
        old = pi.from_numpyro(before, z[:2], y[:3])
        x = np.random.default_rng(0).normal(size=(1, 64, 1)).astype(np.float32)
        start = updating._Start(x, np.zeros((1, 64)), np.arange(64)[None], np.zeros(1))
        for shift in (0.0, 0.1):
            extended, count = updating._extended(old, pi.from_numpyro(z_before_y, z, y + shift))
            assert count == 5
            checked = (flatten(old)[0], flatten(extended)[0], start)
            if shift == 0:
                updating._check_extension(*checked)
            else:
                with pytest.raises(StructureError, match=r"3 of the 3 old data of 'y' has changed"):
                    updating._check_extension(*checked)


@pytest.mark.slow
def test_data_of_two_sites_are_added() -> None:
    z, y = np.array([0.2, -0.4, 1.0]), np.array([0.5, 0.1, -0.3, 0.9, 0.4])
    method = pi.SMC(path="data", particles=200, islands=2, kernel=pi.kernels.RandomWalk(), moves=3)
    old = pi.from_numpyro(y_before_z, z[:2], y[:3])
    half = pi.sample(old, pi.Importance(draws=2000), key=0, progress=False)
    found = pi.update(half, pi.from_numpyro(z_before_y, z, y), method, key=1, progress=False)
    covariance = np.diag([4.0] * 3 + [1.0] * 5) + 4.0
    exact = dist.MultivariateNormal(np.zeros(8), covariance).log_prob(np.concatenate([z, y]))
    assert abs(found.log_evidence.z(float(exact))) < 4
