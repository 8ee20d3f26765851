"""Survival, instruments and panels: fits are the classical ones, influence is a derivative."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.regression.linear_model import OLS

from probinf import ppi
from probinf.errors import ArrayError, ConvergenceError, PredictionWarning, TooFewLabelsError
from probinf.ppi.estimators import cox, instruments, survival


def events(n, seed=0):
    rng = np.random.default_rng(seed)
    x, entry = rng.normal(size=(n, 2)), rng.integers(0, 3, n).astype(float)
    t = np.ceil(5 * rng.exponential(size=n) * np.exp(-x @ [0.5, -0.3]))
    c = np.ceil(10 * rng.exponential(size=n))
    return {"x": x, "time": np.minimum(t, c) + entry, "event": (t <= c) * 1.0, "entry": entry + 0.5}


def assert_derivative(fit, rows, influence, tolerance=1e-6):
    n = len(influence)
    for i in (0, 1, 5, 7):
        ends = []
        for h in (1e-6, -1e-6):
            w = np.full(n, 1 / n)
            w[i] += h
            ends.append(fit(rows, w).theta)
        np.testing.assert_allclose((ends[0] - ends[1]) / 2e-6, influence[i], atol=tolerance)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_is_the_classical_fit_and_its_influence_the_derivative_in_the_weights(ties):
    rows = events(120)
    w = np.full(120, 1 / 120)
    found = cox.cox_fit("rows", rows, w, ties)
    peer = PHReg(rows["time"], rows["x"], rows["event"], entry=rows["entry"], ties=ties).fit()
    np.testing.assert_allclose(found.theta, peer.params, atol=1e-7)
    assert_derivative(
        lambda r, v: cox.cox_fit("rows", r, v, ties), rows, found.influence, tolerance=1e-5
    )


def test_the_survival_curve_is_kaplan_meiers_with_greenwoods_error():
    rows, at = events(120), np.array([3.0, 6.0, 9.0])
    w = np.full(120, 1 / 120)
    found = survival.kaplan_meier(rows["time"], rows["event"], w, at, area=False)
    peer = SurvfuncRight(rows["time"], rows["event"])
    place = np.searchsorted(peer.surv_times, at, side="right") - 1
    np.testing.assert_allclose(found.theta, peer.surv_prob[place], atol=1e-12)
    error = np.sqrt((found.influence**2).sum(axis=0)) / 120
    np.testing.assert_allclose(error, peer.surv_prob_se[place], rtol=1e-9)
    area = survival.kaplan_meier(rows["time"], rows["event"], w, at, area=True)
    assert_derivative(
        lambda r, v: survival.kaplan_meier(r["time"], r["event"], v, at, area=True),
        rows,
        area.influence,
    )


def curve(alternative="two-sided"):
    rows, other = events(40), events(400, seed=1)
    at = np.array([3.0, 8.0, 11.0, 14.0])
    guess, unseen = (r["time"][:, None] > at for r in (rows, other))
    return ppi.survival(
        rows["time"], rows["event"], guess, unseen, times=at, alternative=alternative, tune=None
    )


def test_limits_of_survival_are_probabilities_on_the_complementary_logarithmic_scale():
    found = curve()
    reach = stats.t.ppf(0.95, found.df)[1:]
    p, se = found.theta[1:], found.bse[1:]
    scale = np.log(-np.log(p))
    ends = [scale + s * reach * se / (p * np.log(p)) for s in (-1, 1)]
    by_hand = np.exp(-np.exp(np.stack(ends, axis=1)))
    np.testing.assert_allclose(found.conf_int()[1:], by_hand, rtol=1e-9)
    assert found.conf_int(alpha=1e-6).min() >= 0 and found.conf_int(alpha=1e-6).max() <= 1
    fall = found.contrast([1, 0, 0, -1]), found.plain.contrast([1, 0, 0, -1])
    np.testing.assert_array_equal(fall[0].conf_int(), fall[1].conf_int())
    rise = found.contrast([-1, 0, 0, 1]).conf_int()
    np.testing.assert_allclose(rise, -fall[0].conf_int()[:, ::-1], rtol=1e-12)
    for side, end in (("two-sided", 0), ("two-sided", 1), ("larger", 0), ("smaller", 1)):
        one = curve(side)
        limits = one.conf_int()
        np.testing.assert_allclose(one.test(limits[:, end])[1:], 0.1, rtol=1e-6)
    assert curve("larger").conf_int()[1, 1] == 1 and curve("smaller").conf_int()[1, 0] == 0


def test_estimates_beyond_the_range_of_probabilities_keep_their_plain_limits_cut():
    found = dataclasses.replace(curve(), theta=np.array([0.5, -0.02, 1.03, 0.9]))
    limits = found.conf_int()
    assert np.all((limits >= 0) & (limits <= 1)) and np.all(limits[:, 0] <= limits[:, 1])
    assert limits[1, 0] == 0 and limits[2, 1] == 1


def instrumented(n, N, seed=0, strength=0.5):
    rng = np.random.default_rng(seed)
    z, u = rng.normal(size=(n + N, 2)), rng.normal(size=n + N)
    a = z @ [strength, strength] + u + rng.normal(size=n + N)
    y = 1 + 0.5 * a + u + rng.normal(size=n + N)
    f = y + 0.5 * rng.normal(size=n + N)
    one = np.ones(n + N)
    rows = {"x": np.column_stack([one, a]), "z": np.column_stack([one, z]), "y": y}
    mine = {k: v[:n] for k, v in rows.items()}
    return mine, {"y": f[:n]}, {**{k: v[n:] for k, v in rows.items()}, "y": f[n:]}


def test_two_stage_influence_is_the_derivative_in_the_weights():
    rows = instrumented(100, 10)[0]
    found = instruments._two_stage("rows", rows, np.full(100, 0.01))
    fitted = rows["z"] @ np.linalg.lstsq(rows["z"], rows["x"], rcond=None)[0]
    by_hand = np.linalg.lstsq(fitted, rows["y"], rcond=None)[0]
    np.testing.assert_allclose(found.theta, by_hand, atol=1e-9)
    assert_derivative(lambda r, v: instruments._two_stage("r", r, v), rows, found.influence)


def test_errors_of_the_reduced_form_count_leverage():
    rows = instrumented(40, 10)[0]
    alone = {**rows, "x": rows["x"][:, 1:]}
    found = instruments._reduced("rows", alone, np.full(40, 1 / 40), np.array([False, True, True]))
    np.testing.assert_allclose(found.influence.mean(axis=0), 0, atol=1e-12)
    for j, target in enumerate((rows["y"], rows["x"][:, 1])):
        peer = OLS(target, rows["z"]).fit(cov_type="HC3")
        np.testing.assert_allclose(found.theta[2 * j : 2 * j + 2], peer.params[1:], atol=1e-9)
        error = np.sqrt((found.influence**2).sum(axis=0))[2 * j : 2 * j + 2] / 40
        np.testing.assert_allclose(error, peer.bse[1:], rtol=2e-3)


def test_the_anderson_rubin_set_ends_where_its_test_begins_to_reject():
    found = ppi.iv(*instrumented(150, 1000, strength=0.8))
    (low, high), *more = found.anderson_rubin()
    assert not more and low < found.theta[1] < high and found.first_stage > 10
    assert found.reduced is not None
    r, V, free = found.reduced.theta, found.reduced.cov, found.reduced.df.min()
    for b in (low, high):
        both = np.hstack([np.eye(2), -b * np.eye(2)])
        left = both @ r
        statistic = left @ np.linalg.solve(both @ V @ both.T, left) / 2
        np.testing.assert_allclose(stats.f.sf(statistic, 2, free), 0.1, rtol=1e-6)
    with pytest.warns(PredictionWarning, match="weak instruments"):
        weak = ppi.iv(*instrumented(150, 1000, strength=0.0))
    assert any(np.isinf(part).any() for part in weak.anderson_rubin())


def test_without_weight_the_labelled_rows_decide_and_predictions_narrow():
    mine = events(150)
    other = events(1000, seed=1)
    guess = {"time": mine["time"] + 0.5}
    other["time"] = other["time"] + 0.5
    alone, found = (ppi.cox(mine, guess, other, tune=t) for t in (None, "matrix"))
    w = np.full(150, 1 / 150)
    np.testing.assert_allclose(alone.theta, cox.cox_fit("", mine, w, "efron").theta, atol=1e-9)
    assert np.all(found.bse < 0.7 * alone.bse)


def units(seed=0, count=80, labelled=30, T=4):
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(count), T)
    a = rng.normal(size=count)[unit]
    x = rng.normal(size=(count * T, 2)) + a[:, None]
    d = x[:, 0] + rng.normal(size=count * T)
    y = 0.7 * d + x[:, 0] + 3 * a + rng.normal(size=count * T)
    f = y + 0.5 * rng.normal(size=count * T)
    rows = {"x": x, "d": d, "y": y, "unit": unit, "time": np.tile(np.arange(T), count)}
    m = unit < labelled
    mine = {k: v[m] for k, v in rows.items()}
    return mine, {"y": f[m]}, {**{k: v[~m] for k, v in rows.items()}, "y": f[~m]}


def test_within_effects_are_those_of_dummies():
    mine, guess, other = units()
    found = ppi.panel(mine, guess, other, tune=None)
    dummies = [np.eye(30)[mine["unit"]], np.eye(4)[mine["time"]][:, 1:]]
    by_hand = np.linalg.lstsq(np.hstack([mine["x"], *dummies]), mine["y"], rcond=None)[0][:2]
    np.testing.assert_allclose(found.theta, by_hand, atol=1e-8)


def test_effects_that_do_not_differ_are_those_of_double_machine_learning():
    mine, guess, other = units()
    plain = ppi.dml(mine, guess, other)
    for rows in (mine, other):
        rows["v"] = np.ones((len(rows["y"]), 1))
    np.testing.assert_allclose(ppi.rlearner(mine, guess, other).theta, plain.theta, atol=1e-12)
    assert abs(plain.theta[0] - 0.7) < 5 * plain.bse[0]


def test_neighbours_are_averaged_in_both_directions():
    found = ppi.neighbour_mean(np.array([[0, 1], [0, 2]]), np.array([1.0, 2.0, 4.0, 8.0]))
    np.testing.assert_array_equal(found, [3.0, 1.0, 1.0, 0.0])


def test_bad_input_is_named():
    rows = events(40)
    with pytest.raises(ArrayError, match="event must be 1"):
        ppi.cox({**rows, "event": rows["event"] + 1}, {"time": rows["time"]}, rows)
    with pytest.raises(TooFewLabelsError, match="no event"):
        ppi.cox({**rows, "event": 0 * rows["event"]}, {"time": rows["time"]}, rows)
    with pytest.raises(ConvergenceError, match="no finite estimate"):
        told = {**rows, "x": -rows["time"][:, None]}
        ppi.cox(told, {"time": rows["time"]}, told, tune=None)
    mine, guess, other = units()
    still = {**mine, "x": np.ones(len(mine["y"]))}
    with pytest.raises(ConvergenceError, match="does not vary within"):
        ppi.panel(still, guess, {**other, "x": np.ones(len(other["y"]))})
    with pytest.raises(ArrayError, match="not identified"):
        bad = instrumented(50, 50)
        ppi.iv({**bad[0], "z": bad[0]["z"][:, :1]}, bad[1], bad[2])


def test_design_based_fixed_effects_with_true_outcomes_are_those_of_all_rows():
    rng = np.random.default_rng(3)
    unit = np.repeat(np.arange(40), 6)
    a = rng.normal(size=40)[unit]
    x = (rng.normal(size=240) + a)[:, None]
    y = 0.7 * x[:, 0] + 3 * a + rng.normal(size=240)
    m = rng.permutation(240) < 90
    mine, other = ({"x": x[k], "y": y[k], "unit": unit[k]} for k in (m, ~m))
    p = np.full(90, 90 / 240)

    def known(x_train, y_train, new):
        return new[:, 0]

    found = ppi.dsl(
        "gaussian",
        mine,
        {k: other[k] for k in ("x", "unit")},
        y[m],
        y[~m],
        fixed_effects=("unit",),
        learner=known,
        repeats=1,
        propensity=p,
    )
    dummies = np.hstack([x, np.eye(40)[unit]])
    by_hand = np.linalg.lstsq(dummies, y, rcond=None)[0][0]
    np.testing.assert_allclose(found.theta[0], by_hand, atol=1e-8)
    assert found.cov_type == "cluster" and abs(found.theta[0] - 0.7) < 5 * found.bse[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::probinf.errors.PredictionWarning")
@pytest.mark.parametrize("n", [60, 150])
def test_anderson_rubin_sets_cover_whatever_the_instruments(n, first=0):
    hits = [
        any(low <= 0.5 <= high for low, high in ppi.iv(*rows).anderson_rubin())
        for rows in (instrumented(n, 1000, first + k, strength=0.02) for k in range(1000))
    ]
    print(f"coverage of 90 % sets, {n} labelled rows:", np.mean(hits))
    assert np.mean(hits) > 0.9 - 3 * np.sqrt(0.09 / 1000)


@pytest.mark.slow
def test_hazard_ratios_cover_and_predictions_taken_for_truth_do_not():
    rng, truth = np.random.default_rng(0), np.array([0.5, -0.3])
    hits, mutant = np.zeros(2), np.zeros(2)
    for _ in range(200):
        x = rng.normal(size=(1650, 2))
        t = rng.exponential(size=1650) * np.exp(-x @ truth)
        c = 2 * rng.exponential(size=1650)
        guess = t * np.exp(0.3 * x[:, 0] + 0.3 * rng.normal(size=1650))
        rows = {"x": x, "time": np.minimum(t, c), "event": (t <= c) * 1.0}
        other = {"x": x[150:], "time": guess[150:], "event": np.ones(1500)}
        mine = {k: v[:150] for k, v in rows.items()}
        proxies = {"time": guess[:150], "event": np.ones(150)}
        for count, found in (
            (hits, ppi.cox(mine, proxies, other)),
            (
                mutant,
                ppi.cox(
                    {k: v[:400] for k, v in other.items()},
                    proxies={"time": guess[150:550]},
                    unlabeled=other,
                    tune=None,
                ),
            ),
        ):
            limits = found.conf_int()
            count += (limits[:, 0] <= truth) & (truth <= limits[:, 1])
    assert np.all(hits / 200 > 0.83)  # three standard errors below 0.9
    assert mutant[0] / 200 < 0.3
