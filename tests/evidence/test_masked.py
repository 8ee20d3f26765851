"""Masked entries are no data: for cross-validation, for predictive checks, and for their errors."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import EvidenceError, StructureError
from probinf.evidence.pointwise import Pointwise
from probinf.fronts.frames import as_arrays

Y = np.random.default_rng(3).normal(1.0, 1.0, 12)
SEEN = np.arange(12) % 4 != 2
FILLED = np.where(SEEN, Y, -999.0)


def imputed(y: jnp.ndarray, seen: jnp.ndarray) -> None:
    mu = numpyro.sample("mu", dist.Normal(0, 3))
    with numpyro.handlers.mask(mask=seen):
        numpyro.sample("y", dist.Normal(mu, 1).expand([12]), obs=y)


def plain(y: jnp.ndarray) -> None:
    mu = numpyro.sample("mu", dist.Normal(0, 3))
    numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def counted() -> None:
    k = numpyro.sample("k", dist.Poisson(3.0))
    numpyro.sample("y", dist.Normal(k, 1.0), obs=2.0)


@pytest.fixture(scope="module")
def fits() -> tuple[pi.Posterior, pi.Posterior]:
    engine = pi.Importance(draws=2000)
    masked = pi.sample(pi.from_numpyro(imputed, FILLED, SEEN), engine, key=0, progress=False)
    alone = pi.sample(pi.from_numpyro(plain, Y[SEEN]), engine, key=0, progress=False)
    return masked, alone


def same_answers(fits: tuple[pi.Posterior, pi.Posterior]) -> None:
    masked, alone = fits
    a, b = pi.loo(masked), pi.loo(alone)
    np.testing.assert_allclose(a.pointwise, b.pointwise, atol=1e-4)
    assert a.elpd.error == pytest.approx(b.elpd.error, rel=1e-3)
    labels = [f"y[{i}]" for i in np.flatnonzero(SEEN)]
    assert list(a.labels) == labels
    check = pi.predictive_check(masked, key=1)
    assert list(check.labels) == labels and not check.surprising
    assert check.observed["mean"] == pytest.approx(Y[SEEN].mean(), abs=1e-5)
    assert 0.05 < check.p_values["mean"] < 0.95


def test_masked_entries_are_no_data(fits: tuple[pi.Posterior, pi.Posterior]) -> None:
    same_answers(fits)
    method = pi.Importance(draws=500)
    folds = pi.kfold(fits[0], method, key=2, folds=3, progress=False)
    assert len(folds.labels) == len(folds.folds) == folds.pointwise.size == SEEN.sum()
    ahead = pi.lfo(fits[0], method, key=2, first=4, progress=False)
    assert list(ahead.times) == [t for t in range(4, 12) if SEEN[t]]


def test_masked_entries_that_count_are_found(
    fits: tuple[pi.Posterior, pi.Posterior], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = property(lambda self: np.ones(self.log_l.shape[1], bool))
    monkeypatch.setattr(Pointwise, "real", every)
    with pytest.raises(AssertionError):
        same_answers(fits)


def test_few_draws_call_nothing_surprising() -> None:
    y = np.random.default_rng(0).normal(size=400)
    fit = pi.sample(pi.from_numpyro(plain, y), pi.Importance(draws=2000), key=0, progress=False)
    alarms = [pi.predictive_check(fit, key=k, max_draws=500).surprising for k in range(5)]
    assert not any(alarms)  # 16,000 draws would be needed
    assert "16000 are needed" in str(pi.predictive_check(fit, key=0, max_draws=500))


def test_overlapping_windows_have_a_larger_error() -> None:
    from probinf.evidence.leave_future_out import _error

    walk = np.random.default_rng(1).normal(size=(4000, 63))
    sums = sum(walk[:, k : k + 60] for k in range(4))  # windows of four, independent data
    stated = np.array([_error(row, 4) for row in sums])
    naive = np.array([_error(row, 1) for row in sums])
    true = sums.sum(axis=1).std()
    assert 0.75 < stated.mean() / true < 1.1
    assert naive.mean() / true < 0.6


def test_more_doors() -> None:
    known, unknown = pi.Estimate(0.0, 1.0), pi.Estimate(-1.0, np.nan)
    told = pi.compare_evidence({"a": unknown, "b": known})
    assert told.intervals == {"b": (0.0, 1.0), "a": (0.0, 1.0)}
    with pytest.raises(EvidenceError, match="model 'a' is nan"):
        pi.compare_evidence({"a": pi.Estimate(np.nan, 1.0), "b": known})
    program = pi.from_numpyro(counted, allow_discrete=True)
    with pytest.raises(StructureError, match="whole numbers"):
        pi.simulate(program, {"k": 2.9}, key=0)
    pandas = pytest.importorskip("pandas")
    with pytest.raises(pi.errors.ModelError, match="1 missing values"):
        as_arrays("x", pandas.Series([1, pandas.NA, 3], dtype=object))
    twice = pandas.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(pi.errors.ModelError, match="two columns have the same name"):
        as_arrays("x", twice)
    with pytest.raises(pi.errors.StructureError, match="log_weight"):
        pi.from_numpyro(plain, Y, dims={"mu": ["log_weight"]})
