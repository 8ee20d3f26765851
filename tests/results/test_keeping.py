"""keep and summaries_only: what is let go changes nothing of what is kept."""

from __future__ import annotations

import dataclasses
import pathlib
from functools import partial
from typing import Any

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.core.coordinates import Layout, flatten
from probinf.errors import MethodError, StructureError
from probinf.results import sites
from probinf.results.blocks import batch_length
from probinf.results.streaming import Running
from probinf.runtime import pace, session
from probinf.runtime.checkpoint import Checkpoint

METHOD = pi.MCMC(pi.kernels.RandomWalk(), chains=3, warmup=60, draws=101, thin=8)


def line(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0, 2).expand([2]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1))
    numpyro.deterministic("line", slope[0] * x)
    numpyro.sample("y", dist.Normal(slope[0] * x + slope[1], noise), obs=y)


def program() -> pi.Program:
    x = np.linspace(-1, 1, 7)
    return pi.from_numpyro(line, x, y=x + np.cos(9 * x) / 3)


def fit(method: Any = METHOD, **options: Any) -> pi.Posterior:
    return pi.sample(program(), method, key=2, progress=False, **options)


@pytest.fixture(scope="module")
def whole() -> pi.Posterior:
    return fit()


def test_kept_sites_are_those_of_the_whole_run(whole: pi.Posterior) -> None:
    part = fit(keep=("noise", "line"))
    assert list(part.draws) == ["line", "noise"]
    for name, value in part.draws.items():
        np.testing.assert_array_equal(value, whole.draws[name])
    np.testing.assert_array_equal(part.stats["log_density"], whole.stats["log_density"])
    assert part.unconstrained.shape == (3, 101, 0) and list(fit(keep="noise").draws) == ["noise"]
    assert part.summary()["noise"] == whole.summary()["noise"]
    assert "position" not in str(part.to_datatree()) and "noise" in str(part.to_datatree())
    for use in (part.predict, partial(pi.bridge, part)):
        with pytest.raises(StructureError, match="keep= or summaries_only="):
            use(key=0)
    for use in (pi.loo, pi.separate_modes, pi.fit):
        with pytest.raises(StructureError, match="keep= or summaries_only="):
            use(part)
    small = pi.SMC(particles=30, kernel=pi.kernels.RandomWalk(), moves=1)
    assert list(fit(small, keep="noise").draws) == ["noise"]


def test_real_sites_are_not_held_twice(whole: pi.Posterior) -> None:
    assert np.shares_memory(whole.draws["slope"], whole.unconstrained)
    assert not np.shares_memory(whole.draws["noise"], whole.unconstrained)
    log_noise = whole.unconstrained[..., 0]
    np.testing.assert_allclose(np.log(whole.draws["noise"]), log_noise, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        whole.draws["slope"][0, 0] = 0.0


def test_a_site_that_only_looks_unconstrained_is_copied() -> None:
    """Equal in the first batch and different in a later one: both are right."""

    inner = pi.from_log_density(bowl, initial={"x": np.zeros(())})
    flat, layout = flatten(dataclasses.replace(inner, constrain=clipped))
    x = np.concatenate([np.zeros(3000), np.full(3000, 5.0)]).astype(np.float32)
    found = sites.site_draws(flat, layout, x.reshape(2, 3000, 1))["x"]
    np.testing.assert_array_equal(found.ravel(), np.clip(x, -1, 1))


def bowl(v):
    return -(v["x"] ** 2)


def clipped(x, data):
    return {"x": x["x"].clip(-1.0, 1.0)}


def test_a_summary_without_draws(whole: pi.Posterior, tmp_path: pathlib.Path) -> None:
    bare = fit(summaries_only=True)
    assert bare.draws == {} and bare.unconstrained.shape == (3, 101, 0)
    assert "summaries only" in repr(bare)
    full, row = whole.summary(), bare.summary()
    assert row.names == full.names
    for name in ("mean", "sd", "q5", "q50", "q95"):  # so few draws are all in the sketch
        np.testing.assert_allclose(row.columns[name], full.columns[name], rtol=1e-5, atol=1e-6)
    # the other columns are other estimators in the two tables, which differ on chains this short:
    # they are compared with the same estimators, fed with the draws that were kept
    fed, rows = Running(3, 101, batch_length(101)), batch_length(101)
    for first in range(0, 101, rows):
        fed.add({name: value[:, first : first + rows] for name, value in whole.draws.items()})
    for name, column in fed.summary().columns.items():
        np.testing.assert_allclose(row.columns[name], column, rtol=1e-5, atol=1e-6)
    codes = set(bare.diagnose().codes)
    assert ("r_hat" in codes) == (row.columns["r_hat"] > 1.01).any()
    assert ("low_ess" in codes) == (row.columns["ess"] < 100 * 3).any()
    some = fit(summaries_only=True, keep="noise")
    assert (
        some.summary()["noise"] == pytest.approx(row["noise"], nan_ok=True)
        and len(some.summary()) == 1
    )
    bare.save(tmp_path / "fit")
    again = pi.load(tmp_path / "fit")
    assert str(again.summary()) == str(row) and again.draws == {}
    with pytest.raises(StructureError, match="keep= or summaries_only="):
        bare.predict(key=0)


def test_bad_wishes_are_named() -> None:
    with pytest.raises(MethodError, match=r"no site named \['tau'\].*'noise'"):
        fit(keep=("tau", "noise"))
    with pytest.raises(MethodError, match="no site is named"):
        fit(keep=())
    with pytest.raises(MethodError, match=r"summaries_only= is for Markov chains.*Importance"):
        fit(pi.Importance(draws=100), summaries_only=True)


def test_the_folder_gives_back_what_was_let_go(
    whole: pi.Posterior, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "TARGET_SECONDS", 1e-9)  # chunks of one step
    bare = fit(summaries_only=True, checkpoint=tmp_path / "run")
    assert str(bare.summary()) == str(fit(summaries_only=True).summary())
    monkeypatch.setattr(Checkpoint, "append", None)  # nothing is run any more
    found = pi.resume(tmp_path / "run", program(), keep="slope", progress=False)
    np.testing.assert_array_equal(found.draws["slope"], whole.draws["slope"])
    everything = pi.resume(tmp_path / "run", program(), progress=False)
    np.testing.assert_array_equal(everything.unconstrained, whole.unconstrained)


@pytest.mark.parametrize("steps", [30, 90, 130])
def test_a_streamed_run_that_was_stopped_goes_on_bit_for_bit(
    steps: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fit(summaries_only=True).summary()

    class Killed(BaseException):
        pass

    append = Checkpoint.append

    def die(self: Checkpoint, *args: Any) -> None:
        append(self, *args)
        if len(self.chunks) >= steps // 10:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Checkpoint, "append", die)
        row_bytes = METHOD.plan(program(), Layout.of(program())).row_bytes
        patch.setattr(session, "BUFFER", 10 * row_bytes)
        fit(summaries_only=True, checkpoint=tmp_path / "run")
    found = pi.resume(tmp_path / "run", program(), summaries_only=True, progress=False)
    for name, column in found.summary().columns.items():
        np.testing.assert_array_equal(column, expected.columns[name])


@pytest.mark.slow
def test_other_engines_stream_too() -> None:
    for method in (
        pi.ChEES(chains=8, warmup=20, draws=20, superchains=4),
        pi.ParallelTempering(temperatures=3, chains=2, warmup=20, draws=20),
    ):
        full, bare = fit(method), fit(method, summaries_only=True)
        for name in ("mean", "sd"):
            np.testing.assert_allclose(
                bare.summary().columns[name], full.summary().columns[name], rtol=1e-4
            )
        assert bare.evidence == full.evidence
        assert ("nested_r_hat" in bare.summary().columns) == isinstance(method, pi.ChEES)


def test_the_estimate_counts_what_is_kept(whole: pi.Posterior) -> None:
    estimates = [
        p.provenance["memory_estimate_mb"]
        for p in (whole, fit(keep="noise"), fit(summaries_only=True))
    ]
    assert estimates[0] > estimates[1] > estimates[2] > 0
    held = sum(v.nbytes for v in whole.draws.values() if v.base is None)
    assert estimates[0] * 1e6 >= held
