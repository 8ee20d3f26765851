"""Likelihoods in ordinary Python: the same answers, whoever evaluates them and whatever fails."""

from __future__ import annotations

import contextlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import CallbackError, MethodError, ModelError
from tests.cases import callbacks

PRIOR = dist.Normal(0, 1).expand([5]).to_event(1)
SMALL = pi.Importance(draws=600)


def in_jax(x):
    return -0.5 * jnp.sum((x - 0.5) ** 2) / 0.25 - 2.5 * jnp.log(2 * jnp.pi * 0.25)


def run(program, method=SMALL, **options):
    return pi.sample(program, method, key=1, progress=False, **options)


def same(one, other) -> None:
    for name in one.draws:
        np.testing.assert_array_equal(one.draws[name], other.draws[name])
    np.testing.assert_array_equal(one.log_weights, other.log_weights)
    assert one.evidence == other.evidence


METHODS = {
    "importance": SMALL,
    "nested": pi.Nested(live=20, moves=3, tolerance=0.1),
    "smc": pi.SMC(particles=40, islands=2, kernel=pi.kernels.RandomWalk(), moves=3),
    "ensemble": pi.Ensemble(walkers=12, ensembles=2, warmup=20, draws=30),
}
MORE = {
    "slices": pi.SMC(particles=40, islands=2, kernel=pi.kernels.Slice(), moves=2),
    "persistent": pi.PersistentSMC(
        particles=40, islands=2, kernel=pi.kernels.RandomWalk(), moves=2, target_ess=10.0
    ),
    "tempering": pi.ParallelTempering(
        temperatures=4, chains=2, warmup=40, draws=40, kernel=pi.kernels.Slice()
    ),
    "chains": pi.MCMC(pi.kernels.RandomWalk(), chains=2, warmup=40, draws=40),
    "dynamic": pi.Nested(live=40, runs=2, moves=4, goal="posterior", min_ess=400),
}


def every() -> list:
    slow = [pytest.param(m, id=n, marks=pytest.mark.slow) for n, m in MORE.items()]
    return [*(pytest.param(m, id=n) for n, m in METHODS.items()), *slow]


@pytest.mark.parametrize("method", every())
def test_the_same_run_as_in_jax(method) -> None:
    """Cut into pieces, an engine takes the very steps that it takes in one piece."""
    asked = run(pi.from_callback(callbacks.normal, PRIOR), method)
    compiled = run(pi.from_log_likelihood(in_jax, PRIOR), method, precision="double")
    # decisions are the same, digits are XLA's: it fuses otherwise
    np.testing.assert_allclose(asked.draws["x"], compiled.draws["x"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(asked.log_weights, compiled.log_weights, rtol=1e-6, atol=1e-6)
    assert asked.provenance["precision"] == "double"
    assert asked.provenance["callback"]["evaluations"] > 0


@pytest.mark.parametrize("method", every())
def test_resumed_by_other_workers(method, tmp_path) -> None:
    """A run that was stopped goes on bit for bit, also with threads."""
    whole = run(pi.from_callback(callbacks.normal, PRIOR), method)
    folder = tmp_path / "run"
    with contextlib.suppress(MethodError):  # there may be nothing to show yet
        run(
            pi.from_callback(callbacks.normal, PRIOR),
            method,
            checkpoint=folder,
            max_seconds=1e-9,
        )
    with ThreadPoolExecutor(3) as pool:
        program = pi.from_callback(callbacks.normal, PRIOR, executor=pool)
        same(whole, pi.resume(folder, program, progress=False))


def test_results_in_order_whoever_evaluates() -> None:
    alone = run(pi.from_callback(callbacks.normal, PRIOR))
    with ThreadPoolExecutor(4) as pool:
        same(alone, run(pi.from_callback(callbacks.normal, PRIOR, executor=pool)))
        many = pi.from_callback(callbacks.normals, PRIOR, executor=pool, vectorized=True)
        np.testing.assert_allclose(run(many).log_weights, alone.log_weights)
    same(alone, run(pi.from_callback(callbacks.normal, PRIOR, executor=2)))
    made = pi.from_callback(callbacks.normal, PRIOR, executor=partial(ThreadPoolExecutor, 2))
    same(alone, run(made))


def test_evidence_of_a_conjugate_model() -> None:
    found = run(pi.from_callback(callbacks.normal, PRIOR), pi.Importance(draws=20_000))
    assert abs(found.log_evidence.value - callbacks.LOG_Z) < 5 * found.log_evidence.error


@pytest.mark.parametrize("names", [2, ("mass", "charge")])
def test_from_the_unit_cube(names) -> None:
    program = pi.from_callback(
        callbacks.eggs, prior_transform=callbacks.wide, names=names, executor=None
    )
    found = run(program, pi.Importance(draws=6000))
    z = found.log_evidence
    assert abs(z.value - np.log(2 * np.pi / 100)) < 5 * z.error
    assert sorted(found.draws) == (["theta"] if names == 2 else ["charge", "mass"])
    spread = found.draws["theta"][..., 1] if names == 2 else found.draws["mass"]
    assert -5 <= spread.min() < -4.9 and 4.9 < spread.max() <= 5
    many = pi.from_callback(
        callbacks.bumps, prior_transform=callbacks.wide, names=names, vectorized=True
    )
    np.testing.assert_allclose(run(many, pi.Importance(draws=6000)).log_weights, found.log_weights)


def model():
    numpyro.sample("a", dist.Normal(0, 1).expand([2]).to_event(1))
    numpyro.sample("b", dist.HalfNormal(3))


def measured(y=None):
    mu = numpyro.sample("x", PRIOR)
    numpyro.sample("y", dist.Normal(mu, 0.5).to_event(1), obs=y)


def test_priors_of_every_kind() -> None:
    sites = {"a": dist.Normal(0, 1).expand([2]).to_event(1), "b": dist.HalfNormal(3)}
    same(
        run(pi.from_callback(callbacks.by_name, sites)),
        run(pi.from_callback(callbacks.by_name, model)),
    )
    base = pi.from_numpyro(measured, y=np.full(5, 0.5))

    twice = run(pi.from_callback(of_site, base))
    np.testing.assert_allclose(
        twice.log_weights, 2 * run(base, precision="double").log_weights, atol=1e-6
    )


def of_site(theta):
    return callbacks.normal(theta["x"])


def test_workers_do_without_jax() -> None:
    found = run(pi.from_callback(callbacks.normal, PRIOR, executor=2))
    program = pi.from_callback(
        callbacks.without_jax,
        PRIOR,
        executor=ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")),
    )
    assert run(program, pi.Importance(draws=30)).log_weights.min() > -1e3
    assert np.isfinite(found.evidence.value)


def test_a_killed_worker_loses_nothing(tmp_path) -> None:
    kills = partial(callbacks.kills_once, str(tmp_path / "killed"))
    (tmp_path / "killed").touch()  # not while the function is tried in this process
    program = pi.from_callback(kills, PRIOR, executor=2)
    (tmp_path / "killed").unlink()
    found = run(program)
    assert (tmp_path / "killed").exists()
    assert "failures" not in found.provenance["callback"]
    np.testing.assert_array_equal(
        found.log_weights, run(pi.from_callback(callbacks.normal, PRIOR)).log_weights
    )


@pytest.mark.slow
def test_what_kills_or_hangs_is_counted_and_the_rest_kept() -> None:
    few = pi.Importance(draws=200)
    sure = run(pi.from_callback(callbacks.normal, PRIOR), few)
    far = sure.draws["x"][..., 0] > 2.2
    assert 1 <= far.sum() <= 10
    for function, kind in (
        (callbacks.kills_always, "killed its worker"),
        (callbacks.hangs, "timed out"),
    ):
        program = pi.from_callback(
            function,
            PRIOR,
            executor=2,
            timeout=3.0 if kind == "timed out" else None,
            max_failures=0.1,
        )
        found = run(program, few)
        assert found.provenance["callback"]["failures"] == {kind: int(far.sum())}
        assert np.isneginf(found.log_weights[far]).all()
        weights = found.stats["log_likelihood"][~far]
        np.testing.assert_array_equal(weights, sure.stats["log_likelihood"][~far])


def test_failures_are_counted_and_named() -> None:
    program = pi.from_callback(partial(callbacks.fails, 0.004), PRIOR)
    found = run(program, pi.Importance(draws=3000))
    told = found.provenance["callback"]
    assert 0 < told["failures"]["ZeroDivisionError"] < 30
    assert "a step of zero" in told["first_failure"] and "[" in told["first_failure"]
    assert any("a step of zero" in finding.message for finding in found.diagnose().findings)
    with pytest.raises(CallbackError, match=r"ZeroDivisionError.*a step of zero, at \["):
        run(pi.from_callback(partial(callbacks.fails, 0.05), PRIOR))
    with pytest.raises(CallbackError, match="fails at 3 points"):
        pi.from_callback(partial(callbacks.fails, 1.0), PRIOR)


def test_nan_counts_as_a_failure() -> None:
    found = run(pi.from_callback(callbacks.not_a_number, PRIOR, max_failures=0.1))
    far = found.draws["x"][..., 0] > 2.2
    assert found.provenance["callback"]["failures"] == {"NaN": int(far.sum())}
    assert np.isneginf(found.log_weights[far]).all()


def test_refusals() -> None:
    def inside(x):
        return 0.0

    cases = [
        (CallbackError, "one real number", lambda: pi.from_callback(callbacks.pair, PRIOR)),
        (CallbackError, "cannot be sent", lambda: pi.from_callback(inside, PRIOR, executor=2)),
        (ModelError, "either prior=", lambda: pi.from_callback(callbacks.normal)),
        (
            ModelError,
            "needs names=",
            lambda: pi.from_callback(callbacks.eggs, prior_transform=callbacks.wide),
        ),
        (
            MethodError,
            "forks",
            lambda: pi.from_callback(
                callbacks.normal,
                PRIOR,
                executor=ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")),
            ),
        ),
        (
            MethodError,
            "needs processes",
            lambda: pi.from_callback(callbacks.normal, PRIOR, timeout=1.0),
        ),
        (MethodError, "submit", lambda: pi.from_callback(callbacks.normal, PRIOR, executor="x")),
        (
            MethodError,
            "ordinary Python.*Nested",
            lambda: run(pi.from_callback(callbacks.normal, PRIOR), pi.NUTS()),
        ),
        (
            ModelError,
            "from_callback",
            lambda: pi.from_log_likelihood(callbacks.normal, PRIOR),
        ),
    ]
    for kind, words, attempt in cases:
        with pytest.raises(kind, match=words):
            attempt()


def test_walkers_begin_where_told_and_go_on() -> None:
    program, start = pi.from_callback(callbacks.normal, PRIOR), {"x": np.full(5, 0.5)}
    method = pi.Ensemble(walkers=12, ensembles=2, warmup=0, draws=10)
    part = run(program, method, start=start)
    assert np.abs(part.draws["x"][:, 0] - 0.5).max() < 0.3
    whole = run(program, pi.Ensemble(walkers=12, ensembles=2, warmup=0, draws=15), start=start)
    same(whole, part.more(draws=5, progress=False))


def test_auto_chooses_an_engine_without_gradients() -> None:
    from probinf.samplers.auto import choose

    program = pi.from_callback(callbacks.normal, PRIOR)
    import jax

    assert isinstance(choose(program, jax.random.key(0)).method, pi.Nested)
