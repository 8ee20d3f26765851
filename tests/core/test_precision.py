"""The comparison of single with double precision, and runs that follow from it."""

from __future__ import annotations

import contextlib
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.core import precision
from probinf.core.coordinates import flatten
from probinf.core.estimate import Estimate
from probinf.core.precision import LIMIT, Loss, lost, scattered
from probinf.errors import EvidenceError, PrecisionWarning
from probinf.results.assembling import assemble
from probinf.results.findings import Finding
from probinf.runtime.method import Run
from tests.cases.eight_schools import eight_schools
from tests.cases.precision import RIGHT, located, programs

NEAR = {
    "censored survival": np.log(0.41) + 0.1,
    "millions of trials": np.log(0.35 / 0.65),
    "counts of billions": 22.3327,
    "far from the origin": 1e6,
}
SPREAD = {
    "censored survival": 0.2,
    "millions of trials": 1e-3,
    "counts of billions": 1e-5,
    "far from the origin": 0.1,
}
SITES = {
    "censored survival": "c",
    "millions of trials": "y",
    "counts of billions": "y",
    "far from the origin": "y",
}


def near_the_answer(name: str) -> np.ndarray:
    """Positions as a posterior would have them."""
    noise = np.random.default_rng(0).normal(size=(precision.POINTS, 1))
    return NEAR[name] + SPREAD[name] * noise


@pytest.mark.parametrize("name", sorted(NEAR))
def test_the_loss_is_seen_with_its_site(name: str) -> None:
    loss = lost(programs()[name], near_the_answer(name), forgiving=False)
    assert loss is not None and max(loss.nats, abs(loss.offset)) > LIMIT
    assert loss.site == SITES[name] and loss.site in str(loss)


def test_a_comparison_of_single_with_single_sees_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant of the check: double precision is never switched on."""
    monkeypatch.setattr(precision, "_in", lambda _, rows: rows)
    monkeypatch.setattr(precision, "precisely", lambda _: contextlib.nullcontext())
    loss = lost(
        programs()["millions of trials"], near_the_answer("millions of trials"), forgiving=False
    )
    assert loss == Loss(0.0, 0.0)


def test_nothing_is_lost_of_an_ordinary_model() -> None:
    loss = lost(eight_schools(), scattered(eight_schools()), forgiving=True)
    assert loss is not None and loss.nats < 1e-3 and not loss.matters


def test_far_from_the_data_rounding_is_forgiven() -> None:
    """All positions are far away: the log density is some -1e10, the same to seven digits."""
    y = 1e4 + np.random.default_rng(0).normal(size=100)
    program = pi.from_numpyro(located, y)
    loss = lost(program, scattered(program), forgiving=True)
    assert loss is not None and not loss.matters
    harsh = lost(program, scattered(program), forgiving=False)
    assert harsh is not None and harsh.matters


def single_only(y: Any) -> None:
    loc = numpyro.sample("loc", dist.Normal(0, 1))
    total, _ = jax.lax.scan(lambda c, v: (c + v * loc, None), jnp.zeros((), jnp.float32), y)
    numpyro.sample("y", dist.Normal(total, 1.0), obs=jnp.float32(0.0))


def test_a_model_that_only_works_in_single_precision_is_no_error() -> None:
    program = pi.from_numpyro(single_only, np.ones(3))
    assert lost(program, scattered(program), forgiving=True) is None


def pinned(y: Any) -> None:
    loc = numpyro.sample("loc", dist.Normal(0.0, 1e7))
    numpyro.sample("y", dist.Normal(loc, 1e-3), obs=y)


def test_a_posterior_narrower_than_the_steps_of_single_precision() -> None:
    program = pi.from_numpyro(pinned, np.full(4, 2.0**20))
    rows = np.full((precision.POINTS, 1), 2.0**20, np.float32)
    loss = lost(program, rows, forgiving=False)
    assert loss is not None and loss.matters and loss.site == "y"


@pytest.mark.parametrize("name", ["censored survival", "millions of trials"])
def test_auto_runs_in_double_where_single_is_wrong(name: str, capsys: Any) -> None:
    mean, log_z = RIGHT[name]
    method = pi.Importance(draws=40_000) if name == "censored survival" else pi.SMC(particles=256)
    posterior = pi.sample(programs()[name], method, key=0)
    assert posterior.provenance["precision"] == "double"
    assert f"'{SITES[name]}'" in posterior.provenance["precision_reason"]
    assert "chose double" in capsys.readouterr().out
    assert abs(posterior.log_evidence.z(log_z)) < 4.5
    rows = posterior.summary().columns
    assert abs(rows["mean"][0] - mean) < 4.5 * rows["mcse"][0]


def test_single_says_that_it_is_wrong_and_double_does_not() -> None:
    program, method = programs()["censored survival"], pi.Importance(draws=4000)
    single = pi.sample(program, method, key=0, precision="single", progress=False)
    assert single.provenance["precision"] == "single"
    assert "precision" in single.diagnose().codes
    double = pi.sample(program, method, key=0, precision="double", progress=False)
    assert "precision" not in double.diagnose().codes


def test_auto_stays_single_where_that_is_enough() -> None:
    posterior = pi.sample(eight_schools(), pi.Importance(draws=500), key=0, progress=False)
    assert posterior.provenance["precision"] == "single"
    assert posterior.provenance["precision_loss"]["nats"] < LIMIT
    assert posterior.unconstrained.dtype == np.float32


def test_other_devices_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    program, method = programs()["censored survival"], pi.Importance(draws=500)
    pi.sample(program, method, key=0, precision="single", progress=False)  # compiled as on a CPU
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.warns(PrecisionWarning, match="'c'"):
        posterior = pi.sample(program, method, key=0, progress=False)
    assert posterior.provenance["precision"] == "single"


def test_a_checkpoint_is_not_run_twice(tmp_path: pathlib.Path) -> None:
    program = programs()["far from the origin"]  # seen at the draws only
    method = pi.NUTS(chains=2, warmup=100, draws=100)
    with pytest.warns(PrecisionWarning, match="precision='double'"):
        posterior = pi.sample(program, method, key=0, progress=False, checkpoint=tmp_path / "run")
    assert "precision" in posterior.diagnose().codes


def test_a_run_in_double_is_used_from_outside(tmp_path: pathlib.Path) -> None:
    program = programs()["far from the origin"]
    method = pi.NUTS(chains=2, warmup=200, draws=200)
    run = tmp_path / "run"
    posterior = pi.sample(
        program, method, key=0, progress=False, checkpoint=run, precision="double"
    )
    assert posterior.draws["theta"].dtype == np.float64
    again = pi.resume(run, program, progress=False)
    assert again.provenance["precision"] == "double"
    np.testing.assert_array_equal(again.draws["theta"], posterior.draws["theta"])
    posterior.save(tmp_path / "fit")
    loaded = pi.load(tmp_path / "fit", program=program)
    np.testing.assert_array_equal(loaded.unconstrained, posterior.unconstrained)
    for found in (posterior, loaded):
        replicated = found.predict(key=1)["y"]
        assert replicated.dtype == np.float64
        assert abs(replicated.std() - 1) < 0.1  # single precision has steps of .06 there
        assert len(np.unique(replicated)) > 0.99 * replicated.size
    assert not jax.config.read("jax_enable_x64")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(Exception, match="'half'"):
        pi.sample(eight_schools(), key=0, precision="half")  # type: ignore[arg-type]


def test_an_evidence_is_a_number_or_an_error() -> None:

    program = eight_schools()
    flat, layout = flatten(program)
    for value in (np.inf, -np.inf, np.nan):
        posterior = assemble(
            Run(program, flat, layout),
            "weighted",
            np.zeros((1, 4, layout.size), np.float32),
            evidence=Estimate(value, np.nan),
            clusters=np.arange(4)[None],
        )
        with pytest.raises(EvidenceError, match=str(value)):
            _ = posterior.log_evidence
        assert posterior.findings == (Finding("evidence", posterior.no_evidence),)
