"""Laws of nested sampling: volumes, unbiased evidence, calibrated errors, uniform insertions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import probinf as pi
from probinf.errors import MethodError, ZeroLikelihoodError
from probinf.samplers.nested import merging
from probinf.samplers.nested import sampling as nested
from probinf.samplers.nested import volumes as nested_volumes
from probinf.samplers.nested.findings import judged
from probinf.samplers.nested.merging import Merged, merge
from probinf.samplers.nested.state import LanePoints
from probinf.samplers.nested.volumes import (
    Points,
    Volumes,
    evidence,
    insertion_p_value,
    uniform_p_value,
    volumes,
)
from tests.cases import targets
from tests.cases.tiers import tiers

LEVEL = 1e-4


# --- volumes, with perfect draws ----------------------------------------------------------------


def likelihood(x: np.ndarray) -> np.ndarray:
    """Of the prior volume: zero on a fifth, a plateau in the middle and one on top."""
    value = np.where(x > 0.8, -np.inf, -3.0 * x)
    return np.where((x > 0.3) & (x < 0.6), -1.0, np.where(x < 0.05, 0.0, value))


def truth() -> float:
    grid = (np.arange(200_000) + 0.5) / 200_000
    return float(np.exp(likelihood(grid)).mean())


def perfect_run(rng: np.random.Generator, n: int, k: int, steps: int) -> Points:
    """Nested sampling of one uniform coordinate, with exact draws above every contour."""
    live, birth = rng.uniform(size=n), np.full(n, np.nan)
    grid = (np.arange(20_000) + 0.5) / 20_000
    dead_l, dead_birth = [], []
    for _ in range(steps):
        log_l = likelihood(live)
        dead = np.lexsort((rng.permutation(n), log_l))[:k]
        level = log_l[dead[-1]]
        inside = grid[likelihood(grid) > level]
        if not inside.size or not (log_l > level).any():
            break
        dead_l.append(log_l[dead])
        dead_birth.append(birth[dead])
        live[dead] = rng.choice(inside, k) + rng.uniform(-0.5, 0.5, k) / 20_000
        birth[dead] = level
    return Points(np.concatenate([*dead_l, likelihood(live)]), np.concatenate([*dead_birth, birth]))


def mean_evidence(find: Any, n: int, k: int, runs: int = 1500) -> tuple[float, float]:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(runs):
        points = perfect_run(rng, n, k, 40)
        each = find(points, rng)
        found.append(np.exp(points.log_likelihood[each.order] + each.log_shell).sum())
    return float(np.mean(found)), float(np.std(found) / np.sqrt(runs))


def is_unbiased(find: Any, n: int, k: int) -> bool:
    mean, error = mean_evidence(find, n, k)
    return bool(2 * stats.norm.sf(abs(mean - truth()) / error) > LEVEL)


@pytest.mark.parametrize(("n", "k"), [(8, 1), (10, 4), (20, 10)])
def test_volumes_give_an_unbiased_evidence(n: int, k: int) -> None:
    assert is_unbiased(volumes, n, k)


def without_births(points: Points, rng: np.random.Generator) -> Volumes:
    """Every plateau shrunk point by point as if each had been replaced."""
    found = volumes(points, rng)
    n = int(np.isnan(points.birth).sum())
    live = np.minimum(n, np.arange(found.live.size, 0, -1))
    log_x = np.concatenate([[0.0], np.cumsum(np.log1p(-1 / np.maximum(live, 1.5)))[:-1]])
    return Volumes(found.order, live, log_x - np.log(live))


def anchored_after(points: Points, rng: np.random.Generator) -> Volumes:
    """Shells that start at the volume after the removal."""
    found = volumes(points, rng)
    return found._replace(log_shell=found.log_shell + np.log1p(-1 / np.maximum(found.live, 2)))


@pytest.mark.parametrize("wrong", [without_births, anchored_after])
def test_wrong_volumes_are_found(wrong: Any) -> None:
    assert not is_unbiased(wrong, 10, 4)


class Known(np.random.Generator):
    """Random numbers, but the shrinkage before all that counts is as expected."""

    def gamma(self, shape: Any, scale: Any = 1.0, size: Any = None) -> Any:
        return np.full(size, shape * scale)


def simulated(
    nothing: float, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> np.ndarray:
    """Logarithms of 8,000 simulated evidences whose likelihood lives in a corner of the prior."""
    live = np.concatenate([np.tile(np.arange(100, 80, -1), 80), np.arange(100, 0, -1)])
    log_x = np.concatenate([[0.0], np.cumsum(np.log1p(-1 / live[:-1]))])
    found = Volumes(np.arange(live.size), live, log_x - np.log(live))
    terms = -1e4 * np.exp(log_x) + found.log_shell
    w = np.exp(terms - np.logaddexp.reduce(terms))
    assert np.searchsorted(np.cumsum(w), 1e-6) > 200  # most points come before
    monkeypatch.setattr(nested_volumes, "_NOTHING", nothing)
    many = [nested_volumes._simulated(w, found, rng) for _ in range(20)]
    return np.asarray(np.log(np.concatenate(many)))


def test_points_without_weight_are_simulated_together(monkeypatch: pytest.MonkeyPatch) -> None:
    together = simulated(1e-6, np.random.default_rng(1), monkeypatch)
    apart = simulated(0.0, np.random.default_rng(2), monkeypatch)
    assert stats.ks_2samp(together, apart).pvalue > LEVEL


def test_mutant_their_shrinkage_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    known = simulated(1e-6, Known(np.random.PCG64(1)), monkeypatch)
    apart = simulated(0.0, np.random.default_rng(2), monkeypatch)
    assert stats.ks_2samp(known, apart).pvalue < 1e-8


def test_runs_merge_by_concatenation() -> None:
    rng = np.random.default_rng(3)
    runs = [perfect_run(rng, 20, 2, 60) for _ in range(5)]
    merged = Points(*(np.concatenate(parts) for parts in zip(*runs, strict=True)))
    found = volumes(merged, rng)
    assert found.live[0] == 100 and found.live[-1] == 1
    estimate, information = evidence(merged.log_likelihood[found.order], found, rng)
    assert abs(estimate.z(np.log(truth()))) < 4
    assert 0 < information < 2


def four_runs(rng: np.random.Generator, live: tuple[int, ...] = (30,) * 4) -> Merged:
    runs = [perfect_run(rng, n, max(1, n // 10), 2 * n) for n in live]
    blank = [np.zeros((p.birth.size, 1)) for p in runs]
    return merge([LanePoints(b, b[:, 0], *p) for b, p in zip(blank, runs, strict=True)], rng)


def test_errors_of_four_runs_are_right() -> None:
    rng, z = np.random.default_rng(8), []
    for _ in range(100):
        merged = four_runs(rng)
        z.append(merged.evidence(merged.single())[0].z(np.log(truth())))
    low, high = np.sqrt(stats.chi2.ppf([5e-5, 1 - 5e-5], 99) / 99)
    assert low < np.std(z, ddof=1) < high


def errors_of_unequal_runs() -> np.ndarray:
    rng, z = np.random.default_rng(12), []
    for _ in range(100):
        merged = four_runs(rng, (600, 20, 20, 20))
        z.append(merged.evidence(merged.single())[0].z(np.log(truth())))
    return np.array(z)


def test_errors_of_runs_of_unequal_size_are_right() -> None:
    low, high = np.sqrt(stats.chi2.ppf([5e-5, 1 - 5e-5], 99) / 99)
    assert low < errors_of_unequal_runs().std(ddof=1) < high


def test_runs_that_all_count_alike_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    spread = merging._spread
    monkeypatch.setattr(merging, "_spread", lambda single, live: spread(single, np.ones(4)))
    with pytest.raises(AssertionError):
        test_errors_of_runs_of_unequal_size_are_right()


def test_runs_that_spread_have_the_error_of_their_spread() -> None:
    merged = four_runs(np.random.default_rng(9))
    alike = [pi.Estimate(v, 0.1) for v in (-1.01, -1.0, -0.99, -1.0)]
    apart = [pi.Estimate(v, 0.1) for v in (-1.0, -1.0, -1.0, -4.0)]
    assert merged.evidence(alike)[0].error < 0.1
    assert merged.evidence(apart)[0].error == pytest.approx(0.75)
    lost = [*alike[:3], pi.Estimate(-np.inf, np.nan)]
    assert 0.2 < merged.evidence(lost)[0].error < 0.4


# --- the sampler --------------------------------------------------------------------------------


def many(make: Any, **options: Any) -> tuple[pi.Posterior, float]:
    target = make()
    method = pi.Nested(**{"live": 50, "batch": 5, "runs": 100, **options})
    return (
        pi.sample(target.program, method, key=4, progress=False, check=False),
        target.log_evidence,
    )


HARD = tiers(targets.ALL, (targets.nan_sprinkled, targets.plateau))


@pytest.mark.parametrize("make", HARD, ids=lambda make: make.__name__)
def test_evidence_is_right_with_its_error(make: Any) -> None:
    posterior, exact = many(make)
    single = posterior.history["log_evidence"][:, 0] - exact
    z = single / posterior.history["log_evidence_error"][:, 0]
    ratio = np.exp(single)
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(ratio))
    # 99.99 % interval of the standard deviation of 100 z-scores, if the errors are right
    low, high = np.sqrt(stats.chi2.ppf([5e-5, 1 - 5e-5], len(z) - 1) / (len(z) - 1))
    assert low < z.std(ddof=1) < high
    assert abs(posterior.log_evidence.z(exact)) < 4
    assert posterior.provenance["insertion_p_value"] > LEVEL
    lost = posterior.provenance["nan_evaluations"]
    assert (lost > 0) == (make is targets.nan_sprinkled)


@pytest.mark.parametrize("make", [targets.bimodal], ids=lambda m: m.__name__)
def test_posterior_weights_are_right(make: Any) -> None:
    posterior, _ = many(make)
    exact = np.asarray(jax.tree.leaves(targets.exact_draws(make(), 20_000, seed=5))[0]).ravel()
    values, log_w = posterior.unconstrained[0, :, 0], posterior.log_weights[0]
    w = np.exp(log_w - log_w.max())
    w /= w.sum()
    size = 1 / np.sum(w**2)
    for quantile in (0.1, 0.5, 0.9):
        below = w @ (values < np.quantile(exact, quantile))
        # volumes are uncertain beside the weights: errors of twice the multinomial ones
        error = 2 * np.sqrt(quantile * (1 - quantile) * (1 / size + 1 / len(exact)))
        assert abs(below - quantile) < 4 * error


@pytest.mark.parametrize("n", [50, 500, 5000])
def test_p_values_of_uniform_numbers_are_scipys(n: int) -> None:
    """Within 2 % down to 1e-4 (the limit law alone, the mutant, is off by more)."""
    rng = np.random.default_rng(n)
    sets = [rng.uniform(size=n) ** rng.uniform(0.9, 1.1) for _ in range(40)]
    exact = np.array([stats.kstest(u, "uniform").pvalue for u in sets])
    seen = exact > 1e-4
    found = np.array([uniform_p_value(u) for u in sets])
    np.testing.assert_allclose(found[seen], exact[seen], rtol=0.02, atol=1e-4)
    limit = np.array([stats.kstest(u, "uniform", method="asymp").pvalue for u in sets])
    assert np.max(np.abs(limit[seen] / exact[seen] - 1)) > 2 * np.max(
        np.abs(found[seen] / exact[seen] - 1)
    )


def test_insertion_p_values_are_uniform_and_have_power() -> None:
    rng = np.random.default_rng(2)
    p = [insertion_p_value(rng.uniform(size=500), 50) for _ in range(400)]
    assert np.mean(np.array(p) < 0.05) < 0.08
    assert insertion_p_value(rng.beta(1, 1.5, size=500), 50) < 1e-6
    drift = np.concatenate([rng.uniform(size=450), rng.uniform(0, 0.4, size=50)])
    assert insertion_p_value(drift, 50) < 1e-3


def constant(x: Any) -> Any:
    return 0.0 * x.sum() + 2.5


def nowhere(x: Any) -> Any:
    return -np.inf + 0.0 * x.sum()


def test_flat_likelihoods_end_at_once() -> None:
    prior = targets.dist.Normal(0, 1).expand([3]).to_event(1)
    posterior = pi.sample(
        pi.from_log_likelihood(constant, prior), pi.Nested(live=50), key=1, progress=False
    )
    np.testing.assert_allclose(posterior.log_evidence.value, 2.5, rtol=1e-6)
    assert posterior.provenance["exhausted"]
    np.testing.assert_allclose(posterior.log_weights, 0.0, atol=1e-12)
    with pytest.raises(ZeroLikelihoodError):
        pi.sample(pi.from_log_likelihood(nowhere, prior), pi.Nested(live=50), key=1, progress=False)


def test_a_large_offset_costs_no_evidence() -> None:
    # in float32 the likelihood then takes whole numbers only: all of them plateaus
    target = targets.correlated(1e7)
    posterior = pi.sample(
        target.program, pi.Nested(live=200, runs=4), key=5, progress=False, check=False
    )
    reference = pi.sample(
        target.program, pi.Importance(draws=200_000), key=6, progress=False, check=False
    )
    found, exact = posterior.log_evidence, reference.log_evidence
    assert abs(found.value - exact.value) < 4 * np.hypot(found.error, exact.error)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"live": 5}, "live must be an even number"),
        ({"runs": 0}, "runs must be at least 1"),
        ({"moves": 0}, "moves must be at least 1"),
        ({"batch": 300}, "batch must lie between 1 and half"),
        ({"tolerance": 1.0}, r"tolerance must lie in \(0, 1\)"),
    ],
)
def test_options_are_checked(options: dict[str, Any], says: str) -> None:
    with pytest.raises(MethodError, match=says):
        pi.Nested(**options)


@pytest.mark.slow
@pytest.mark.parametrize("make", [targets.skewed], ids=lambda m: m.__name__)
def test_runs_that_agree_are_not_reported(make: Any) -> None:
    assert not set(many(make)[0].diagnose().codes) & {"insertion", "runs_disagree"}


def test_runs_that_disagree_are_reported() -> None:
    """Fixed evidences for the report, whose level is 1e-3; runs of any key agree at 1e-6."""
    posterior, _ = many(targets.skewed, runs=4)
    single = posterior.history["log_evidence"][:, 0]
    error = posterior.history["log_evidence_error"][:, 0]
    spread = np.sum(((single - np.average(single, weights=error**-2)) / error) ** 2)
    assert stats.chi2.sf(spread, 3) > 1e-6

    def reported(log_evidence: list[float]) -> bool:
        return "runs_disagree" in [
            f.code for f in judged(0.5, [pi.Estimate(v, 1.0) for v in log_evidence])
        ]

    assert reported([0.0, 0.0, 0.0, 5.0]) and not reported([1.0, -1.0, 1.0, -1.0])


# --- mutants ------------------------------------------------------------------------------------


def from_anywhere(u: Any, above: Any, group: Any) -> Any:
    """Starts that need not lie above the contour."""
    return jnp.floor(u * above.shape[0]).astype(int)


@pytest.mark.slow
def test_starting_below_the_contour_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    jax.clear_caches()
    monkeypatch.setattr(nested, "survivors", from_anywhere)
    posterior, exact = many(targets.correlated, moves=1, runs=400)  # z is about -10, its spread 1
    jax.clear_caches()
    assert abs(posterior.log_evidence.z(exact)) > 5
    assert "insertion" in posterior.diagnose().codes
