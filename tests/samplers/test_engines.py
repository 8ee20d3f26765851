"""What every engine owes to who drives it: kinds, findings, draws for calibration, plans."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import norm

import probinf as pi
from probinf import kernels
from probinf.core.coordinates import Layout, flatten
from probinf.errors import MethodError, ProbinfError
from probinf.results.posterior import Posterior
from probinf.runtime import memory, session
from probinf.validity import replicate


def line(x: Any, y: Any = None) -> None:
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(slope * x, 0.5), obs=y)


def program() -> pi.Program:
    x = np.linspace(-1, 1, 5)
    return pi.from_numpyro(line, x, y=0.7 * x)


ENGINES = {
    "chains": [
        pi.NUTS(chains=2, warmup=60, draws=64),
        pi.MCMC(kernels.RandomWalk(), chains=2, warmup=60, draws=64),
        pi.ChEES(chains=8, warmup=60, draws=64, superchains=4),
        pi.ParallelTempering(temperatures=3, chains=2, warmup=60, draws=64),
    ],
    "weighted": [pi.Importance(draws=200), pi.Nested(live=40)],
    "population": [
        pi.SMC(particles=64, islands=2, kernel=kernels.RandomWalk(), moves=2),
        pi.PersistentSMC(particles=64, islands=2, kernel=kernels.RandomWalk(), moves=2),
        pi.SMC(particles=64, islands=2, path="data", kernel=kernels.RandomWalk(), moves=2),
    ],
}
ALL = [(kind, engine) for kind, engines in ENGINES.items() for engine in engines]


@pytest.mark.parametrize(("kind", "engine"), ALL, ids=lambda v: type(v).__name__)
def test_a_posterior_says_what_it_is(kind: str, engine: Any, tmp_path: pathlib.Path) -> None:
    found = pi.sample(program(), engine, key=0, progress=False, check=False)
    assert found.kind == kind and found.engine == type(engine).__name__
    assert repr(found).startswith(f"Posterior({found.engine}, ")
    found.save(tmp_path / "fit")
    again = pi.load(tmp_path / "fit")
    assert again.kind == kind and again.findings == found.findings
    assert str(again.diagnose()) == str(found.diagnose())
    assert "0x" not in found.provenance["method"]
    tree = found.to_datatree()
    for name, value in found.history.items():
        np.testing.assert_array_equal(tree["history"][name], value)


@pytest.mark.parametrize(
    "engine",
    [
        pi.NUTS(chains=1, warmup=50, draws=20),
        pi.Importance(draws=300),
        ENGINES["population"][0],
        dataclasses.replace(ENGINES["population"][1], target_ess=1.0),
    ],
    ids=lambda v: type(v).__name__,
)
def test_every_engine_with_draws_of_one_lane_can_be_calibrated(engine: Any) -> None:
    found = replicate(program(), engine, key=0, replications=4, draws=10)
    assert found.draws.shape == (4, 10, 1) and np.isfinite(found.draws).all()


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        (pi.Importance(draws=5), "Importance makes 5 draws, fewer than draws=10"),
        (pi.NUTS(chains=1, warmup=50, draws=5), "NUTS makes 5 draws"),
        (pi.Nested(live=40), "Nested does not produce a weighted population"),
        (ENGINES["chains"][2], "ChEES moves all its chains together"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_others_say_why_not(engine: Any, says: str) -> None:
    with pytest.raises(MethodError, match=says):
        replicate(program(), engine, key=0, replications=4, draws=10)


def test_persistent_sampling_populates_as_it_samples() -> None:
    """One lane as a pure function gives the island of a run with the same key, weight by weight."""
    engine = ENGINES["population"][1]
    flat, _ = flatten(program())
    run = pi.sample(program(), engine, key=0, progress=False, check=False)
    lane = jax.jit(engine.populate)(jax.random.fold_in(jax.random.key(0), 0), flat)
    used = run.log_weights.shape[1]
    w = np.exp(np.asarray(lane.log_w) - np.logaddexp.reduce(np.asarray(lane.log_w)))
    ours = np.exp(run.log_weights[0] - np.logaddexp.reduce(run.log_weights[0]))
    np.testing.assert_allclose(w[:used], ours, rtol=1e-4, atol=1e-7)
    assert not w[used:].any()
    np.testing.assert_allclose(np.asarray(lane.x)[:used], run.unconstrained[0], rtol=1e-5)


def narrow(x: Any, y: Any = None) -> None:
    slope = numpyro.sample("slope", dist.Normal(0, 30))
    numpyro.sample("y", dist.Normal(slope * x, 0.001), obs=y)


@pytest.mark.parametrize("engine", ENGINES["population"][:2], ids=lambda v: type(v).__name__)
def test_few_ancestors_are_found_in_every_population(engine: Any) -> None:
    x = np.linspace(-1, 1, 5)
    hard = pi.from_numpyro(narrow, x, y=0.7 * x)
    small = dataclasses.replace(engine, particles=16)
    found = pi.sample(hard, small, key=0, progress=False, check=False)
    assert "ancestry" in found.diagnose().codes


def half_nan(x: Any) -> Any:
    return jnp.where(x["x"] > 0.5, jnp.nan, -0.5 * x["x"] ** 2)


def test_parallel_tempering_counts_what_is_nan() -> None:
    bad = pi.from_log_likelihood(half_nan, {"x": dist.Uniform(0, 1)})
    engine = pi.ParallelTempering(temperatures=3, chains=2, warmup=20, draws=40)
    found = pi.sample(bad, engine, key=0, progress=False, check=False)
    assert found.provenance["nan_evaluations"] > 0
    assert "nan" in found.diagnose().codes


def test_resume_guards_the_memory_and_remembers_the_choice(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pi.sample(program(), "auto", key=0, progress=False, checkpoint=tmp_path / "run")
    again = pi.resume(tmp_path / "run", program(), progress=False)
    assert again.provenance["chosen"] == first.provenance["chosen"]
    assert again.provenance["memory_estimate_mb"] == first.provenance["memory_estimate_mb"]

    def all_there_is(program: Any, layout: Any, kept: Any, draws: int) -> int:
        return 10**18

    monkeypatch.setattr(memory, "draws_bytes", all_there_is)
    with pytest.raises(MethodError, match="the run needs at least"):
        pi.resume(tmp_path / "run", program(), progress=False)


def test_a_method_that_is_passed_to_resume_is_compared_by_value(tmp_path: pathlib.Path) -> None:
    """Its text once held the address of a function, which differs between processes."""
    engine = ENGINES["population"][0]
    whole = pi.sample(program(), engine, key=0, progress=False, checkpoint=tmp_path / "run")
    again = pi.resume(tmp_path / "run", program(), method=engine, progress=False)
    np.testing.assert_array_equal(again.draws["slope"], whole.draws["slope"])
    other = dataclasses.replace(engine, moves=3)
    with pytest.raises(ProbinfError, match=r"was run with SMC\(.*moves=2.*not SMC"):
        pi.resume(tmp_path / "run", program(), method=other)


@pytest.mark.parametrize(("kind", "engine"), ALL, ids=lambda v: type(v).__name__)
def test_a_plan_is_made_without_computing_anything(kind: str, engine: Any) -> None:
    layout = Layout.of(program())
    plan = engine.plan(program(), layout)
    assert plan.lanes >= 1 and plan.chunk >= 1
    assert (plan.draws > 0) == (kind == "chains")


def test_discrete_coordinates_are_refused_by_who_cannot_move_them() -> None:
    def model() -> None:
        numpyro.sample("z", dist.Categorical(jnp.ones(3) / 3))
        numpyro.sample("x", dist.Normal(0, 1))

    mixed = pi.from_numpyro(model, allow_discrete=True)
    for engine in (pi.NUTS(), pi.SMC(), pi.Nested(), pi.ChEES()):
        with pytest.raises(ProbinfError, match="Discrete coordinates are moved in blocks"):
            session.start(engine, mixed, jax.random.key(0), progress=False)


def discrete_errors(key: int) -> tuple[float, float]:
    """z-scores of the evidence and of the mean of a discrete site, by importance sampling."""

    def model() -> None:
        z = numpyro.sample("z", dist.Categorical(jnp.array([0.5, 0.3, 0.2])))
        x = numpyro.sample("x", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(x + z, 0.5), obs=1.5)

    program = pi.from_numpyro(model, allow_discrete=True)
    found = pi.sample(program, pi.Importance(draws=4000), key=key, progress=False)
    mass = np.array([0.5, 0.3, 0.2]) * norm.pdf(1.5, np.arange(3), np.sqrt(1.25))
    summary = found.summary()
    row = summary.names.index("z")
    gap = summary.columns["mean"][row] - mass @ np.arange(3) / mass.sum()
    return found.log_evidence.z(np.log(mass.sum())), gap / summary.columns["mcse"][row]


def test_importance_sampling_needs_no_moves_for_discrete_coordinates() -> None:
    assert np.abs(discrete_errors(0)).max() < 4


def test_a_kernel_with_a_diagonal_metric_moves_a_population() -> None:
    """MAMS was handed a dense covariance by SMC."""
    model = pi.from_log_likelihood(
        lambda x: -0.5 * jnp.sum((x["x"] - 1) ** 2) / 0.25,
        {"x": dist.Normal(0, 1).expand([2]).to_event(1)},
    )
    found = pi.sample(model, pi.SMC(particles=500, kernel=kernels.MAMS()), key=0, progress=False)
    exact = 2 * (-0.5 * np.log(5.0) - 0.5 / 1.25)
    assert abs(found.log_evidence.z(exact)) < 5
    assert isinstance(found, Posterior)
