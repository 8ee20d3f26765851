"""merge: what the law of one long run is, runs put together keep."""

from __future__ import annotations

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import SavedFileError, StructureError
from tests.fronts.test_callback import PRIOR, in_jax

SMC = pi.SMC(particles=100, islands=2, kernel=pi.kernels.RandomWalk(), moves=2)
ENGINES = {
    "nested": pi.Nested(live=40, moves=5),
    "smc": SMC,
    "importance": pi.Importance(draws=500),
    "chains": pi.MCMC(pi.kernels.RandomWalk(), chains=2, warmup=200, draws=200),
    "ensemble": pi.Ensemble(walkers=12, ensembles=1, warmup=200, draws=200),
}


def runs(method, *keys, program=None):
    program = pi.from_log_likelihood(in_jax, PRIOR) if program is None else program
    return [pi.sample(program, method, key=key, progress=False, precision="single") for key in keys]


SLOW = ("chains", "ensemble", "smc")


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(m, id=n, marks=[pytest.mark.slow] if n in SLOW else [])
        for n, m in ENGINES.items()
    ],
)
def test_merged(method) -> None:
    parts = runs(method, 1, 2, 3)
    whole = pi.merge(parts)
    assert whole.log_weights.size == sum(part.log_weights.size for part in parts)
    assert whole.provenance["merged"] == 3
    again = pi.merge([pi.merge(parts[:2]), parts[2]])
    if whole.evidence is not None:
        single = np.array([part.log_evidence.value for part in parts])
        errors = np.array([part.log_evidence.error for part in parts])
        assert single.min() - 0.1 < whole.log_evidence.value < single.max() + 0.1
        assert whole.log_evidence.error < errors.min()
        np.testing.assert_allclose(again.log_evidence.value, whole.log_evidence.value, atol=1e-6)
    means = np.array([part.summary().columns["mean"] for part in parts])
    found = whole.summary().columns["mean"]
    assert (found > means.min(axis=0) - 0.05).all() and (found < means.max(axis=0) + 0.05).all()
    np.testing.assert_allclose(
        np.sort(again.log_weights.ravel()), np.sort(whole.log_weights.ravel())
    )


def test_runs_of_nested_merge_as_runs_of_one_call() -> None:
    """Two runs of one call are the same points; their union has the same weights."""
    parts = runs(pi.Nested(live=40, moves=5), 1, 2)
    whole = pi.merge(parts)
    alive = whole.stats["live_points"][0]
    assert alive[0] == 80
    order = np.argsort(whole.stats["log_likelihood"][0], kind="stable")
    assert (np.diff(order) > 0).all()


def test_unequal_numbers_of_particles() -> None:
    small, large = pi.Importance(draws=300), pi.Importance(draws=900)
    parts = [*runs(small, 1), *runs(large, 2)]
    whole = pi.merge(parts)
    assert whole.log_weights.shape == (1, 1200)
    values = np.array([p.log_evidence.value for p in parts])
    assert (
        abs(whole.log_evidence.value - np.log(0.25 * np.exp(values[0]) + 0.75 * np.exp(values[1])))
        < 1e-9
    )


def test_refusals() -> None:
    one, two = runs(pi.Importance(draws=100), 1, 2)
    other = pi.from_log_likelihood(elsewhere, PRIOR)
    named = pi.from_log_likelihood(of_y, {"y": dist.Normal(0, 1)})
    cases = [
        ("two or more", [one]),
        ("a key of those before", [one, two, one]),
        ("a key of those before", [pi.merge([one, two]), pi.merge([one, two])]),
        ("a key of those before", [pi.merge([one, two]), one]),
        ("a key of those before", [one, *runs(pi.Importance(draws=200), 1)]),
        ("different engines", [one, *runs(SMC, 1)]),
        ("another likelihood", [one, *runs(pi.Importance(draws=100), 3, program=other)]),
        ("has sites", [one, *runs(pi.Importance(draws=100), 3, program=named)]),
        (
            "one length",
            [
                *runs(ENGINES["chains"], 1),
                *runs(pi.MCMC(pi.kernels.RandomWalk(), chains=2, warmup=200, draws=100), 2),
            ],
        ),
    ]
    for words, posteriors in cases:
        with pytest.raises(StructureError, match=words):
            pi.merge(posteriors)


def test_histories_that_one_run_lacks_are_left_out() -> None:
    program = pi.from_numpyro(counts, y=np.array([1, 0, 2, 1]))
    along = pi.SMC(path="data", particles=60, islands=2, kernel=pi.kernels.RandomWalk(), moves=1)
    parts = [*runs(along, 1, program=program), *runs(SMC, 2, program=program)]
    for both in (parts, parts[::-1]):
        names = set(pi.merge(both).history)
        assert names == set(parts[0].history) & set(parts[1].history)


def test_a_job_with_two_posteriors_is_refused(tmp_path) -> None:
    one, two = runs(pi.Importance(draws=50), 1, 2)
    one.save(tmp_path / "job-0" / "fit")
    two.save(tmp_path / "job-1" / "fit")
    assert pi.merge(tmp_path).provenance["merged"] == 2
    one.save(tmp_path / "job-0" / "older")
    with pytest.raises(SavedFileError, match=r"more: \{'job-0': 2\}"):
        pi.merge(tmp_path)


def counts(y):
    rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
    with numpyro.plate("n", 4):
        numpyro.sample("y", dist.Poisson(rate), obs=y)


def elsewhere(x):
    return in_jax(x + 1.0)


def of_y(theta):
    return -(theta["y"] ** 2)
