"""Estimators beyond the plain one: learners, surrogates, shifts, active labels, plans."""

from __future__ import annotations

import numpy as np
import pytest

from probinf import ppi
from tests.cases.ppi_samples import real, regression


def cover(estimates, truth):
    hits = [(r.conf_int()[:, 0] <= truth) & (truth <= r.conf_int()[:, 1]) for r in estimates]
    return np.mean(hits, axis=0)


def test_cross_fitting_never_shows_a_model_its_own_fold():
    """A learner that memorises gives perfect predictions exactly if it leaks."""

    class Memory:
        def fit(self, x, y):
            self.seen = dict(zip(x[:, 0].tolist(), y.tolist(), strict=True))
            return self

        def predict(self, x):
            return np.array([self.seen.get(v, 0.0) for v in x[:, 0].tolist()])

    x = np.arange(40.0)[:, None]
    y = 1 + np.arange(40.0)
    found = ppi.cross_fit(Memory(), x, y, x[:7] + 100, folds=4, key=0)
    assert np.all(found.f == 0.0) and found.f_unlabeled.shape == (7,)
    assert sorted(np.bincount(found.fold)) == [10, 10, 10, 10]
    groups = np.repeat(np.arange(8), 5)
    grouped = ppi.cross_fit(Memory(), x, y, x[:7] + 100, folds=4, groups=groups, key=0)
    assert all(len(set(grouped.fold[groups == g])) == 1 for g in range(8))


def test_cross_prediction_covers_where_reusing_the_training_labels_does_not():
    rng = np.random.default_rng(0)
    fits, leaked = [], []

    def nearest(x, y, new):
        gap = ((new[:, None] - x[None]) ** 2).sum(axis=2)
        return y[np.argmin(gap, axis=1)]

    for i in range(150):
        x = rng.normal(size=(340, 2))
        y = x[:, 0] ** 2 + rng.normal(size=340)
        crossed = ppi.cross_fit(nearest, x[:40], y[:40], x[40:], key=i)
        fits.append(ppi.mean(y[:40], crossed.f, crossed.f_unlabeled))
        f, fu = nearest(x[:40], y[:40], x[:40]), nearest(x[:40], y[:40], x[40:])
        noise = 1e-9 * rng.normal(size=40)
        leaked.append(ppi.mean(y[:40], f + noise, fu, tune=1.0))
    assert cover(fits, 1.0)[0] > 0.83  # 90 % less three binomial standard errors
    assert cover(leaked, 1.0)[0] < 0.6


def test_known_propensities_undo_selective_labelling():
    rng = np.random.default_rng(1)
    weighted, naive = [], []
    for i in range(150):
        f = rng.exponential(size=2000)
        y = f + rng.normal(size=2000) * f + 0.3 * f
        p = ppi.active_probs(f, 200.0, mix=0.2)
        R = ppi.draw_labels(p, key=i)
        weighted.append(ppi.mean(y[R], f[R], f[~R], propensity=p[R]))
        naive.append(ppi.mean(y[R], f[R], f[~R], method="classical"))
    assert 0.83 < cover(weighted, 1.3)[0] < 0.97
    assert cover(naive, 1.3)[0] < 0.3


def test_active_probabilities_keep_the_budget():
    u = np.random.default_rng(0).pareto(1.0, size=1000)
    p = ppi.active_probs(u, 300.0, mix=0.1)
    assert abs(p.sum() - 300) < 1e-6 and p.max() <= 1 and p.min() >= 0.1 * 300 / 1000 * 0.99
    order = np.argsort(u)
    assert np.all(np.diff(p[order]) >= -1e-12)


def test_strata_beat_a_simple_sample_and_cover():
    rng = np.random.default_rng(2)
    level = np.repeat([0.0, 5.0, 20.0], [600, 300, 100])
    fits, plain = [], []
    for _ in range(150):
        y = level + rng.normal(size=1000)
        f = y + rng.normal(size=1000)
        labeled = np.zeros(1000, bool)
        for value, count in ((0.0, 40), (5.0, 20), (20.0, 20)):
            labeled[rng.choice(np.flatnonzero(level == value), count, replace=False)] = True
        strata = (level[labeled], level[~labeled])
        fits.append(ppi.mean(y[labeled], f[labeled], f[~labeled], strata=strata, tune=0.0))
        plain.append(y[labeled].mean())
    truth = level.mean()
    assert 0.83 < cover(fits, truth)[0] < 0.97
    assert abs(np.mean(plain) - truth) > 0.5


@pytest.mark.slow
def test_ptd_with_a_predicted_regressor():
    rng = np.random.default_rng(3)
    fits = []
    for _ in range(60):
        x = rng.exponential(size=1500)
        y = 1 + 2 * x + rng.normal(size=1500)
        proxy = 0.7 * x + 0.5 * rng.normal(size=1500)

        def columns(values, rows):
            return np.column_stack([np.ones(len(rows)), values[rows]])

        a, b = np.arange(150), np.arange(150, 1500)
        fits.append(
            ppi.ptd(
                "gaussian",
                {"x": columns(x, a), "y": y[a]},
                {"x": columns(proxy, a)},
                {"x": columns(proxy, b), "y": y[b]},
            )
        )
    covered = cover(fits, np.array([1.0, 2.0]))
    assert np.all(covered > 0.78) and covered.mean() < 0.98
    assert fits[0].n_eff.min() > 150
    spread = np.std([r.theta for r in fits], axis=0, ddof=1)
    ratio = np.mean([r.bse for r in fits], axis=0) / spread
    assert np.all((ratio > 0.7) & (ratio < 1.4))


def test_reppi_uses_a_distorted_prediction():
    rng = np.random.default_rng(4)
    n, N = 400, 4000
    z = rng.normal(size=n + N)
    y = np.exp(z) + 0.3 * rng.normal(size=n + N)
    f = -z  # the right order, upside down, on another scale
    x = np.ones((n + N, 1))
    plain = ppi.mean(y[:n], f[:n], f[n:])
    free = ppi.mean(y[:n], f[:n], f[n:], clip=False)
    found = ppi.reppi("gaussian", {"x": x[:n], "y": y[:n]}, f[:n], f[n:], key=0)
    assert found.bse[0] < 0.9 * free.bse[0] < 0.9 * plain.bse[0]
    assert abs(found.theta[0] - np.exp(0.5)) < 4 * found.bse[0]


def test_label_shift_recovers_the_frequencies_of_another_population():
    rng = np.random.default_rng(5)
    confusion = np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.1], [0.1, 0.2, 0.8]])

    def judge(y):
        edges = np.cumsum(confusion, axis=0)[:, y]
        return (rng.uniform(size=len(y)) > edges).sum(axis=0)

    target = np.array([0.1, 0.3, 0.6])
    fits = []
    for _ in range(150):
        y = rng.choice(3, size=300, p=[0.5, 0.3, 0.2])
        other = rng.choice(3, size=2000, p=target)
        fits.append(ppi.label_shift(y, judge(y), judge(other)))
    covered = cover(fits, target)
    assert np.all((covered > 0.82) & (covered < 0.97))
    np.testing.assert_allclose(fits[0].theta.sum(), 1.0, atol=1e-12)
    mine, theirs = fits[0].influence
    np.testing.assert_allclose(mine.T @ mine + theirs.T @ theirs, fits[0].cov)


def test_finite_population_on_forest():
    y, f = real("forest")
    rng = np.random.default_rng(0)
    fits, infinite = [], []
    for _ in range(250):
        order = rng.permutation(len(y))
        a, b = order[:500], order[500:]
        fits.append(ppi.mean(y[a], f[a], f[b], alpha=0.05, finite_population=True))
        if len(infinite) < 100:
            infinite.append(ppi.mean(y[a], f[a], f[b], alpha=0.05))
    assert 0.92 < cover(fits, y.mean())[0] < 0.975
    assert cover(infinite, y.mean())[0] > 0.97


@pytest.mark.filterwarnings("ignore:the predictions average differently")
def test_clusters_need_to_be_declared():
    rng = np.random.default_rng(0)
    groups = (np.repeat(np.arange(40), 10), 100 + np.repeat(np.arange(200), 10))

    def draw(count):
        shared = np.repeat(rng.normal(size=count), 10)
        return np.sqrt(0.2) * shared + np.sqrt(0.8) * rng.normal(size=count * 10)

    with_groups, without = [], []
    for _ in range(300):
        f, fu = draw(40), draw(200)
        y = f + draw(40)
        with_groups.append(ppi.mean(y, f, fu, groups=groups))
        if len(without) < 150:
            without.append(ppi.mean(y, f, fu))
    assert cover(with_groups, 0.0)[0] > 0.85
    assert cover(without, 0.0)[0] < 0.8


def test_covariate_shift_by_weights():
    rng = np.random.default_rng(6)
    fits = []
    for _ in range(150):
        x = rng.normal(size=300)
        y, f = x**2 + rng.normal(size=300), x**2 - 0.5 * x
        other = rng.normal(0.5, 1, size=2000)
        ratio = np.exp(0.5 * x - 0.125)
        fits.append(ppi.mean(y, f, other**2 - 0.5 * other, weights=(ratio, None), tune=1.0))
    assert 0.82 < cover(fits, 1.25)[0] < 0.97


def test_dsl_debiases_surrogates():
    found = {}
    data = ppi.dsl_sim(5500, 0.8, key=1)
    x, y, f, w = data
    n = 500
    groups = (np.arange(n), n + np.arange(5000))
    for name, options in (("plain", {}), ("groups", {"groups": groups})):
        found[name] = ppi.dsl(
            "binomial",
            {"x": x[:n], "y": y[:n]},
            {"x": x[n:]},
            w[:n],
            w[n:],
            repeats=2,
            key=0,
            **options,
        )
    everything = ppi.logistic(x, y, y, x[:2], y[:2], method="classical")
    naive = ppi.logistic(x, f, f, x[:2], f[:2], method="classical")
    gap = np.abs(found["plain"].theta - everything.theta)
    assert np.all(gap < 4 * found["plain"].bse)
    assert np.abs(naive.theta - everything.theta).max() > 5 * naive.bse.max()
    np.testing.assert_allclose(found["groups"].bse, found["plain"].bse, rtol=0.15)


def test_distribution_and_its_band():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 2, 3], size=3000)
    y = (rng.uniform(size=3000)[:, None] > np.cumsum(p, axis=1)).sum(axis=1)
    found = ppi.distribution(y[:300], p[:300], p[300:])
    np.testing.assert_allclose(found.theta.sum(), 1.0, atol=1e-12)
    np.testing.assert_allclose(found.cov.sum(axis=0), 0.0, atol=1e-12)
    band = found.simultaneous(key=0)
    assert np.all((band[:, 0] < [1 / 6, 1 / 3, 1 / 2]) & (band[:, 1] > [1 / 6, 1 / 3, 1 / 2]))
    assert np.all(found.n_eff > 320)


@pytest.mark.parametrize("decimals", [1, 6])
def test_quantiles_cover_with_and_without_ties(decimals):
    rng = np.random.default_rng(0)
    truth = np.round(np.quantile(rng.gamma(2, size=2_000_000), 0.75), decimals)
    hits, consistent = 0, 0
    for _ in range(150):
        y = rng.gamma(2, size=1100)
        f = np.round(np.sqrt(y) + 0.2 * rng.normal(size=1100), decimals)
        y = np.round(y, decimals)
        found = ppi.quantile(y[:100], f[:100], f[100:], 0.75, tune="trace")
        low, high = found.conf_int()[0]
        hits += low <= truth <= high
        inside = (low + high) / 2
        consistent += found.test(inside)[0] >= 0.1 and found.test(high + 0.3)[0] < 0.1
    assert hits / 150 > 0.83
    assert consistent >= 149


def test_quantiles_of_skewed_predictions_match_a_plain_count():
    """At weight 1 the estimate is the first data point where the rectified CDF reaches q."""
    rng = np.random.default_rng(1)
    y, f = np.round(rng.exponential(size=40), 1), np.round(rng.exponential(size=40), 1)
    fu = np.round(rng.exponential(size=200), 1)
    w, v = rng.integers(1, 4, 40), rng.integers(1, 4, 200)
    grid = np.unique(np.concatenate([y, f, fu]))

    def cdf(values, weights, t):
        return (weights * (values <= t)).sum() / weights.sum()

    for q in (0.1, 0.5, 0.9):
        for a, b in ((np.ones(40), np.ones(200)), (w, v)):
            rect = np.array([cdf(fu, b, t) + cdf(y, a, t) - cdf(f, a, t) for t in grid])
            first = grid[np.argmax(rect >= q - 1e-12)]
            found = ppi.quantile(y, f, fu, q, tune=1.0, weights=(a, b))
            assert found.theta[0] == first


def test_plans_meet_their_target():
    rng = np.random.default_rng(0)
    f = rng.normal(size=5200)
    y = f + 0.5 * rng.normal(size=5200)
    pilot = ppi.mean(y[:200], f[:200], f[200:])
    plan = ppi.plan_labels(pilot, target_se=0.03, costs=(0.0, 1.0, 0.02))
    assert abs(plan.se - 0.03) < 3e-4 and plan.cost < plan.cost_classical
    for n, N in ((plan.n - 30, plan.N), (plan.n, int(0.8 * plan.N))):
        assert ppi.standard_error(pilot, n, N) > plan.se
    spent = ppi.plan_labels(pilot, budget=plan.cost, costs=(0.0, 1.0, 0.02))
    assert abs(spent.se / plan.se - 1) < 0.02
    dear = ppi.plan_labels(pilot, target_se=0.03, costs=(0.0, 1.0, 5.0))
    assert dear.N == 0 and dear.n == dear.n_classical
    capped = ppi.plan_labels(pilot, target_se=0.03, max_rows=4000)
    assert capped.n + capped.N <= 4000 and abs(capped.se - 0.03) < 3e-4
    now = ppi.mean(y[: plan.n], f[: plan.n], f[plan.n :])
    assert abs(ppi.standard_error(pilot, 200, 5000) / pilot.bse[0] - 1) < 0.05
    assert now.bse[0] < pilot.bse[0]


def test_plans_stay_within_the_rows_there_are_and_take_names():
    rng = np.random.default_rng(0)
    f = rng.normal(size=2200)
    y = f + 0.5 * rng.normal(size=2200)
    pilot = ppi.mean(y[:200], f[:200], f[200:])
    plan = ppi.plan_labels(pilot, target_se=0.04)
    assert plan.n + plan.N <= 2200 and abs(plan.se - 0.04) < 4e-4 and plan.n < plan.n_classical
    cheap = ppi.plan_labels(pilot, target_se=0.04, costs=(0.0, 1.0, 1e-9))
    assert cheap.n + cheap.N <= 2200 and abs(cheap.se - 0.04) < 4e-4
    more = ppi.plan_labels(pilot, target_se=0.04, max_rows=10**6)
    assert more.n < plan.n and more.n + more.N == 10**6
    bought = ppi.plan_labels(pilot, target_se=0.04, costs=(1e-5, 1.0, 0.0))
    assert bought.N > 2200
    with pytest.warns(match="equal every label"):
        perfect = ppi.plan_labels(ppi.mean(y[:200], y[:200], y[200:]), target_se=0.05)
    assert perfect.n >= 2 and perfect.n + perfect.N <= 2200
    x = np.column_stack([np.ones(2200), rng.normal(size=2200)])
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(x, columns=["one", "age"])
    fit = ppi.ols(frame[:200], y[:200], f[:200], frame[200:], f[200:])
    named = ppi.plan_labels(fit, target_se=0.04, parameter="age")
    assert named == ppi.plan_labels(fit, target_se=0.04, parameter=1)
    assert ppi.standard_error(fit, 100, 500, parameter="age") > 0


def test_one_sided_limits_stand_under_their_level():
    _, y, f, _, fu = regression("gaussian", n=60, N=300)
    heads = {}
    for side in ("two-sided", "larger", "smaller"):
        lines = str(ppi.mean(y, f, fu, alternative=side, alpha=0.005)).splitlines()
        heads[side] = next(line for line in lines if "coef" in line).split()[-3:-1]
    assert heads["two-sided"] == ["[0.0025", "0.9975]"]
    assert heads["larger"] == ["[0.005", "1]"] and heads["smaller"] == ["[0", "0.995]"]
    assert "99.5% region" in str(ppi.fab(y, f, fu, alpha=0.005))


def test_ppboot_agrees_with_the_closed_form():
    _, y, f, _, fu = regression("gaussian", n=200, N=2000)
    boot = ppi.ppboot(lambda rows: rows["y"].mean(), {"y": y}, {"y": f}, {"y": fu}, key=0)
    closed = ppi.mean(y, f, fu, tune=boot.lam).conf_int()
    np.testing.assert_allclose(boot.limits, closed, atol=0.15 * np.ptp(closed))


def test_difference_of_two_arms():
    _, y, f, _, fu = regression("gaussian")
    arms = ppi.mean(y[:250], f[:250], fu[:2500]), ppi.mean(y[250:], f[250:], fu[2500:])
    found = ppi.difference(*arms)
    np.testing.assert_allclose(found.bse**2, arms[0].bse ** 2 + arms[1].bse ** 2)
    assert found.df[0] > 200 and found.n == 500


def test_pictures():
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    result = ppi.ols(*regression("gaussian"))
    assert len(result.plot().get_yticklabels()) == 3
    assert len(ppi.width_plot(result, parameter=1).lines) == 4
    y = np.arange(20.0)
    open_ended = ppi.quantile(y, y[::-1], y, 0.99, method="classical").plot()
    arrows = [line for line in open_ended.lines if line.get_marker() == ">"]
    assert np.all(np.isfinite(arrows[0].get_xdata())) and len(arrows[0].get_xdata()) == 1
    plt.close("all")
