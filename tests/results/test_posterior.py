"""The one result type: weights respected, predictions calibrated, refusals in words."""

from __future__ import annotations

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import EvidenceError, MethodError
from probinf.results.summary import Summary

Y = np.array([1.2, 0.4, 2.2, 1.0, 0.9])
PRIOR_SD, NOISE = 2.0, 1.0
VARIANCE = 1 / (1 / PRIOR_SD**2 + len(Y) / NOISE**2)
MEAN = VARIANCE * Y.sum() / NOISE**2


def conjugate(y=None):
    mean = numpyro.sample("mean", dist.Normal(0.0, PRIOR_SD))
    with numpyro.plate("data", 5):
        numpyro.sample("y", dist.Normal(mean, NOISE), obs=y)


def log_evidence() -> float:
    covariance = NOISE**2 * np.eye(5) + PRIOR_SD**2
    return float(dist.MultivariateNormal(np.zeros(5), covariance).log_prob(Y))


@pytest.fixture(scope="module")
def program() -> pi.Program:
    return pi.from_numpyro(conjugate, y=Y)


@pytest.fixture(scope="module")
def posteriors(program) -> dict[str, pi.Posterior]:
    methods = {
        "nuts": pi.NUTS(chains=2, warmup=300, draws=1000),
        "smc": pi.SMC(particles=1000, islands=2),
        "importance": pi.Importance(draws=20_000),
    }
    return {name: pi.sample(program, m, key=1, progress=False) for name, m in methods.items()}


@pytest.mark.parametrize("name", ["nuts", "smc", "importance"])
def test_summary_is_right_within_its_own_error(posteriors, name):
    posterior = posteriors[name]
    row = posterior.summary()["mean"]
    assert abs(row["mean"] - MEAN) < 4 * row["mcse"]
    size = row["ess_bulk"] if name == "nuts" else row["ess"]
    assert abs(row["sd"] / np.sqrt(VARIANCE) - 1) < 4 / np.sqrt(2 * size)
    for column, q in (("q5", -1.645), ("q50", 0.0), ("q95", 1.645)):
        expected = MEAN + q * np.sqrt(VARIANCE)
        assert abs(row[column] - expected) < 10 * row["mcse"]
    assert isinstance(posterior.summary(), Summary)
    assert "mean" in str(posterior.summary())
    assert list(posterior.summary().to_dataframe().index) == ["mean"]


@pytest.mark.parametrize("name", ["smc", "importance"])
def test_evidence(posteriors, name):
    found = posteriors[name].log_evidence
    assert abs(found.z(log_evidence())) < 4
    assert 0 < found.error < 0.1


def test_mcmc_has_no_evidence(posteriors):
    with pytest.raises(EvidenceError, match="SMC"):
        _ = posteriors["nuts"].log_evidence


@pytest.mark.parametrize("name", ["nuts", "importance"])
def test_predictions_are_calibrated(posteriors, program, name):
    posterior = posteriors[name]
    predicted = posterior.predict(key=2)["y"]
    assert predicted.shape == (*posterior.log_weights.shape, 5)
    flat = predicted.reshape(-1, 5)
    sd = np.sqrt(VARIANCE + NOISE**2)
    error = 5 * sd / np.sqrt(300)
    assert abs(flat.mean() - MEAN) < error
    assert abs(flat.std() / sd - 1) < 0.1
    again = posterior.predict(key=2)["y"]
    np.testing.assert_array_equal(predicted, again)


def test_weights_matter_and_resampling_removes_them(posteriors):
    posterior = posteriors["importance"]
    assert posterior.weighted and not posteriors["nuts"].weighted
    view = posterior.resampled(3)
    assert (view.log_weights == 0).all()
    assert abs(view.draws["mean"].mean() - MEAN) < 0.05
    assert abs(posterior.draws["mean"].mean() - MEAN) > 0.5  # draws of the prior, unweighted


def test_diagnosis_finds_what_is_wrong(program, posteriors):
    # 1000 draws have an R-hat above 1.01 for one key in some hundreds; its excess falls with draws
    long = pi.sample(program, pi.NUTS(chains=2, warmup=300, draws=6000), key=1, progress=False)
    for posterior in (long, posteriors["smc"], posteriors["importance"]):
        assert posterior.diagnose(), posterior.diagnose()
    short = pi.sample(program, pi.NUTS(chains=2, warmup=20, draws=20), key=1, progress=False)
    assert "low_ess" in short.diagnose().codes
    narrow = pi.rebase(program, pi.from_numpyro(elsewhere))
    bad = pi.sample(narrow, pi.Importance(draws=2000), key=1, progress=False)
    assert {"pareto_k", "low_ess"} <= set(bad.diagnose().codes)


def elsewhere():
    numpyro.sample("mean", dist.Normal(3.0, 0.3))


@pytest.mark.slow
def test_chains_in_two_modes_are_told_apart():
    program = pi.from_log_likelihood(two_far_bumps, dist.Normal(0.0, 10.0))
    posterior = pi.sample(program, pi.NUTS(warmup=200, draws=200), key=3, progress=False)
    smc = pi.sample(program, pi.SMC(particles=1000, islands=2), key=3, progress=False)
    low, _ = np.mean(posterior.draws["x"] < 0), np.mean(smc.draws["x"] < 0)
    assert "r_hat" in posterior.diagnose().codes or low in (0.0, 1.0)
    weights = np.exp(smc.log_weights)
    share = np.sum(weights * (smc.draws["x"] < 0)) / weights.sum()
    assert 0.2 < share < 0.4


def two_far_bumps(x):
    import jax.numpy as jnp

    low = jnp.log(0.3) - 0.5 * ((x + 8) / 0.5) ** 2
    return jnp.logaddexp(low, jnp.log(0.7) - 0.5 * ((x - 8) / 0.5) ** 2)


def test_same_key_same_draws(program):
    method = pi.NUTS(chains=2, warmup=50, draws=50)
    first = pi.sample(program, method, key=5, progress=False)
    second = pi.sample(program, method, key=jax.random.key(5), progress=False)
    np.testing.assert_array_equal(first.draws["mean"], second.draws["mean"])
    other = pi.sample(program, method, key=6, progress=False)
    assert not np.array_equal(first.draws["mean"], other.draws["mean"])


def test_ctrl_c_returns_what_exists(program, monkeypatch):
    from probinf.samplers.mcmc import MCMC

    method = pi.NUTS(chains=2, warmup=30, draws=5000)
    seen = []

    def status(self, states):
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return original(self, states)

    original = MCMC.status
    monkeypatch.setattr(MCMC, "status", status)
    posterior = pi.sample(program, method, key=5, progress=False)
    draws = posterior.draws["mean"].shape[1]
    assert 0 < draws < 5000
    assert posterior.provenance["interrupted"]
    assert "interrupted" in posterior.diagnose().codes


def test_options_are_checked(program):
    for make in (
        lambda: pi.NUTS(chains=0),
        lambda: pi.NUTS(metric="round"),
        lambda: pi.SMC(particles=1),
        lambda: pi.SMC(schedule=(0.0, 0.5)),
        lambda: pi.SMC(target_ess=1.0),
        lambda: pi.Importance(draws=0),
    ):
        with pytest.raises(Exception, match=r"got|chains|metric") as caught:
            make()
        assert isinstance(caught.value, MethodError) or "metric" in str(caught.value)
    with pytest.raises(Exception, match="Program"):
        pi.sample(conjugate, key=0)


@pytest.mark.parametrize("kind", ["trace", "rank", "forest", "pair", "dist"])
def test_pictures(posteriors, kind):
    pytest.importorskip("arviz_plots")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    assert posteriors["smc" if kind == "forest" else "nuts"].plot(kind) is not None
    plt.close("all")


def test_comparison_picture(posteriors):
    import matplotlib

    matplotlib.use("Agg")
    figure = pi.compare_plot(posteriors, ["mean"])
    assert len(figure.axes) == 1
    with pytest.raises(ValueError, match="kind"):
        posteriors["nuts"].plot("pie")
