"""Laws of dynamic nested sampling: merged batches keep the evidence, its error and the weights."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
from scipy import stats

import probinf as pi
from probinf.diagnostics import kish_ess
from probinf.errors import MethodError, ZeroLikelihoodError
from probinf.runtime import pace
from probinf.samplers.nested import merging
from probinf.samplers.nested.allocation import importance, stretch
from probinf.samplers.nested.volumes import Points, Volumes, evidence, volumes
from tests.cases import targets
from tests.laws.test_nested import likelihood, perfect_run, truth

LEVEL = 1e-4


# --- allocation and merging, with perfect draws -------------------------------------------------


def perfect_batch(rng: np.random.Generator, n: int, k: int, floor: float, ceiling: float) -> Points:
    """A batch of exact draws from above a floor, removed up to a ceiling."""
    grid = (np.arange(20_000) + 0.5) / 20_000
    of_grid = likelihood(grid)

    def draws(level: float, size: int) -> np.ndarray:
        inside = grid if np.isnan(level) else grid[of_grid > level]
        return rng.choice(inside, size) + rng.uniform(-0.5, 0.5, size) / 20_000

    live, birth = draws(floor, n), np.full(n, floor)
    dead_l, dead_birth = [], []
    for _ in range(200):
        log_l = likelihood(live)
        dead = np.lexsort((rng.permutation(n), log_l))[:k]
        level = log_l[dead[-1]]
        if log_l.min() > ceiling or not (log_l > level).any():
            break
        dead_l.append(log_l[dead])
        dead_birth.append(birth[dead])
        live[dead], birth[dead] = draws(level, k), level
    return Points(np.concatenate([*dead_l, likelihood(live)]), np.concatenate([*dead_birth, birth]))


def perfect_dynamic(rng: np.random.Generator, goal: float, n: int, k: int, batches: int) -> Points:
    points = perfect_run(rng, n, k, 40)
    for _ in range(batches):
        found = volumes(points, rng)
        where = stretch(points.log_likelihood[found.order], found, goal)
        batch = perfect_batch(rng, n, k, where.floor, where.ceiling)
        points = Points(*(np.concatenate(pair) for pair in zip(points, batch, strict=True)))
    return points


def first_counts(points: Points, rng: np.random.Generator) -> Volumes:
    """The number alive in the first run, whatever the batches added."""
    found = volumes(points, rng)
    n = int(np.isnan(points.birth).sum())
    live = np.minimum(found.live, n)
    log_x = np.concatenate([[0.0], np.cumsum(np.log1p(-1 / np.maximum(live, 1.5)))[:-1]])
    return Volumes(found.order, live, log_x - np.log(live))


def z_of_mean(count: Any, goal: float, n: int = 30, runs: int = 250) -> float:
    """Of the evidence of many dynamic runs, whose batches depend on the points before them."""
    rng, found = np.random.default_rng(5), []
    for _ in range(runs):
        points = perfect_dynamic(rng, goal, n, 3, 3)
        each = count(points, rng)
        found.append(np.exp(points.log_likelihood[each.order] + each.log_shell).sum())
    return float((np.mean(found) - truth()) / (np.std(found) / np.sqrt(runs)))


@pytest.mark.parametrize("goal", [0.0, 1.0])
def test_merged_batches_keep_the_evidence(goal: float) -> None:
    assert abs(z_of_mean(volumes, goal)) < 4


def test_counts_of_the_first_run_are_found() -> None:
    assert abs(z_of_mean(first_counts, 1.0)) > 6


@pytest.mark.slow
def test_errors_of_merged_batches_are_right() -> None:
    rng, z = np.random.default_rng(6), []
    for _ in range(200):
        points = perfect_dynamic(rng, 0.5, 50, 5, 4)
        found = volumes(points, rng)
        z.append(evidence(points.log_likelihood[found.order], found, rng)[0].z(np.log(truth())))
    low, high = np.sqrt(stats.chi2.ppf([5e-5, 1 - 5e-5], 199) / 199)
    assert low < np.std(z, ddof=1) < high
    assert abs(np.mean(z)) < 4 / np.sqrt(200)


def test_importance_follows_its_goal() -> None:
    log_l = -0.5 * np.linspace(6, 0, 400) ** 2
    found = volumes(Points(log_l, np.full(400, np.nan)), np.random.default_rng(0))
    w = np.exp(log_l + found.log_shell)
    ahead = np.cumsum(w[::-1])[::-1] / np.arange(400, 0, -1)
    np.testing.assert_allclose(importance(log_l, found, 1.0), w / w.sum())
    np.testing.assert_allclose(importance(log_l, found, 0.0), ahead / ahead.sum())
    np.testing.assert_allclose(
        importance(log_l, found, 0.3),
        0.7 * importance(log_l, found, 0.0) + 0.3 * importance(log_l, found, 1.0),
    )


def test_a_plateau_is_in_the_stretch_or_out_of_it() -> None:
    log_l = np.repeat([-5.0, -1.0, 0.0], [100, 100, 100])
    birth = np.repeat([np.nan, -5.0, -1.0], [100, 100, 100])
    rng = np.random.default_rng(0)
    birth[:100] = np.nan
    birth[100:150] = np.nan
    found = volumes(Points(log_l, birth), rng)
    where = stretch(log_l[found.order], found, 1.0)
    assert np.isnan(where.floor) or where.floor in (-5.0, -1.0)
    assert where.ceiling in (-1.0, 0.0, np.inf)
    assert where.log_x <= 0
    flat = volumes(Points(np.zeros(50), np.full(50, np.nan)), rng)
    assert np.isnan(stretch(np.zeros(50), flat, 1.0).floor)


# --- the sampler --------------------------------------------------------------------------------


def dynamic(make: Any, key: int, **options: Any) -> tuple[pi.Posterior, float]:
    target = make()
    chosen = {"live": 50, "batch": 5, "goal": "posterior", "min_ess": 600, **options}
    posterior = pi.sample(target.program, pi.Nested(**chosen), key=key, progress=False, check=False)
    return posterior, target.log_evidence


def test_targets_are_reached() -> None:
    posterior, exact = dynamic(targets.half_space, 1, min_ess=800, max_error=0.1)
    assert posterior.provenance["batches"] > 1
    assert kish_ess(posterior.log_weights) >= 800
    assert posterior.log_evidence.error <= 0.1
    assert abs(posterior.log_evidence.z(exact)) < 4
    assert posterior.stats["live_points"].max() > 100
    assert posterior.provenance["insertion_p_value"] > LEVEL


@pytest.mark.slow
def test_a_budget_ends_a_run_that_wants_more() -> None:
    first = dynamic(targets.half_space, 2, min_ess=None, max_evaluations=1)[0]
    assert first.provenance["batches"] == 0
    more = dynamic(targets.half_space, 2, min_ess=10**9, max_evaluations=60_000)[0]
    assert more.provenance["batches"] > 0
    assert 60_000 <= more.provenance["likelihood_evaluations"] < 200_000


def test_a_dynamic_run_resumes_bit_for_bit(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "TARGET_SECONDS", 1e-9)
    target, method = targets.half_space(), pi.Nested(live=40, goal=0.5, min_ess=400)
    whole = pi.sample(target.program, method, key=3, progress=False)
    folder = tmp_path / "run"
    pi.sample(target.program, method, key=3, progress=False, checkpoint=folder, max_seconds=0.0)
    for _ in range(40):
        part = pi.resume(folder, target.program, progress=False, max_seconds=0.02)
        if not part.provenance["interrupted"]:
            break
    part = pi.resume(folder, target.program, progress=False)
    assert part.provenance["batches"] == whole.provenance["batches"] > 1
    np.testing.assert_array_equal(part.unconstrained, whole.unconstrained)
    np.testing.assert_array_equal(part.log_weights, whole.log_weights)
    assert part.log_evidence == whole.log_evidence


@pytest.mark.slow
def test_flat_and_dead_likelihoods_end() -> None:
    def constant(x: Any) -> Any:
        return 0.0 * x.sum() + 2.5

    def nowhere(x: Any) -> Any:
        return -np.inf + 0.0 * x.sum()

    prior = targets.dist.Normal(0, 1).expand([3]).to_event(1)
    method = pi.Nested(live=50, goal="posterior", min_ess=200)
    flat = pi.sample(pi.from_log_likelihood(constant, prior), method, key=1, progress=False)
    assert flat.log_evidence.value == pytest.approx(2.5, rel=1e-6)
    assert kish_ess(flat.log_weights) >= 200
    with pytest.raises(ZeroLikelihoodError):
        pi.sample(pi.from_log_likelihood(nowhere, prior), method, key=1, progress=False)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"min_ess": 100}, "min_ess steer a dynamic run: choose its goal"),
        ({"goal": "posterior"}, "must know when to end"),
        ({"goal": 1.5, "min_ess": 100}, r"goal must lie in \[0, 1\]"),
        ({"goal": 0.5, "max_error": 0.0}, "max_error must be positive"),
        ({"goal": 0.5, "max_error": float("nan")}, "max_error must be positive"),
    ],
)
def test_options_are_checked(options: dict[str, Any], says: str) -> None:
    with pytest.raises(MethodError, match=says):
        pi.Nested(**options)


# --- calibration, and a mutant ------------------------------------------------------------------

SEEDS = 40


def z_scores(make: Any, goal: Any) -> np.ndarray:
    z = []
    for seed in range(SEEDS):
        posterior, exact = dynamic(make, seed, goal=goal, min_ess=None, max_evaluations=12_000)
        assert posterior.provenance["batches"] > 0
        z.append(posterior.log_evidence.z(exact))
    return np.array(z)


@pytest.mark.slow
@pytest.mark.parametrize("goal", ["posterior", "evidence"])
@pytest.mark.parametrize("make", [targets.skewed, targets.half_space, targets.bimodal])
def test_dynamic_runs_are_calibrated(make: Any, goal: str) -> None:
    z = z_scores(make, goal)
    low, high = np.sqrt(stats.chi2.ppf([5e-5, 1 - 5e-5], SEEDS - 1) / (SEEDS - 1))
    assert low < z.std(ddof=1) < high
    assert abs(z.mean()) < 4 * max(1.0, z.std()) / np.sqrt(SEEDS)


@pytest.mark.slow
def test_runs_merged_with_first_counts_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "volumes", first_counts)
    z = z_scores(targets.skewed, "posterior")
    assert abs(z.mean()) > 6 / np.sqrt(SEEDS)
