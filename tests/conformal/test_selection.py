"""Selections: the fast sizes against brute force, false discovery rates, broken twins."""

from __future__ import annotations

import importlib
import itertools
import tracemalloc

import numpy as np
import pytest

import probinf.conformal as pc
from probinf.conformal.selection.chiseling import _normal
from probinf.errors import ArrayError, CalibrationError, LevelError, MethodError


def brute_sizes(v, t, q):
    """BH on the auxiliary p-values of every j, by the definition."""
    n, m = v.size, t.size
    sizes = np.empty(m, int)
    for j in range(m):
        p = ((v <= t[:, None]).sum(axis=1) + (t[j] <= t)) / (n + 1)
        p[j] = 0.0
        sizes[j] = max(1, pc.selection.benjamini_hochberg(p, q=q).size)
    return sizes


def compare_sizes(cases, seed):
    rng = np.random.default_rng(seed)
    for case in range(cases):
        n, m = int(rng.integers(1, 50)), int(rng.integers(1, 50))
        v, t = rng.normal(size=n), rng.normal(size=m)
        if case % 2:
            v, t = np.round(v), np.round(t)
        q = float(rng.choice([0.1, 0.2, 0.3, 0.5]))
        assert np.array_equal(pc.selection.auxiliary_sizes(v, t, q=q), brute_sizes(v, t, q)), (
            case,
            q,
        )


def test_fast_sizes_are_brute_force():
    compare_sizes(60, 0)


@pytest.mark.slow
def test_fast_sizes_are_brute_force_on_3000_cases():
    compare_sizes(3000, 1)


def swapped(v, t, i, j):
    a, b = v.copy(), t.copy()
    a[i], b[j] = t[j], v[i]
    return a, b


def test_sizes_treat_the_test_point_like_a_labelled_one():
    rng = np.random.default_rng(0)

    def broken(v, t, j):  # the twin leaves out the test point's own term
        p = (v <= t[:, None]).sum(axis=1) / (v.size + 1)
        p[j] = 0.0
        return pc.selection.benjamini_hochberg(p, q=0.4).size

    noticed = 0
    for _ in range(8):
        v, t = rng.normal(size=9), rng.normal(size=12)
        for i in range(9):
            for j in range(12):
                after = swapped(v, t, i, j)
                before = pc.selection.auxiliary_sizes(v, t, q=0.4)[j]
                assert pc.selection.auxiliary_sizes(*after, q=0.4)[j] == before
                noticed += broken(*after, j) != broken(v, t, j)
    assert noticed > 0


def fdr(select, replications=600, n=19, m=10):
    """False discovery rate when every test point is null."""
    rng = np.random.default_rng(0)
    return np.mean(
        [select(rng.normal(size=n), rng.normal(size=m)) > 0 for _ in range(replications)]
    )


def test_cfbh_global_null_and_the_twin_without_plus_one():
    # level 0.1 cannot be exceeded by 20 ranks and 10 tests unless the +1 is forgotten
    right = fdr(lambda v, t: pc.cfbh(v, t, q=0.1).selected.size)
    assert right <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 600)

    def forgotten(v, t):
        p = (v <= t[:, None]).sum(axis=1) / (v.size + 1)
        return pc.selection.benjamini_hochberg(p, q=0.1).size

    assert fdr(forgotten) > 0.2


def test_benjamini_hochberg_keeps_the_last_one():
    assert pc.selection.benjamini_hochberg(np.array([0.01, 0.9, 0.04]), q=0.1).tolist() == [0, 2]
    assert pc.selection.benjamini_hochberg(np.array([0.2, 0.9]), q=0.1).size == 0
    assert pc.selection.benjamini_hochberg(np.full(4, 0.05), q=0.05).size == 4


def design(rng, n=100, m=100, models=10):
    """Outcomes with sparse signal, and models that differ by growing noise."""
    x = rng.uniform(-1, 1, (n + m, 20))
    up, down = (x[:, 3] > 0.5) * (0.25 + x[:, 3]), (x[:, 3] < -0.5) * (x[:, 3] - 0.25)
    mu = np.where(x[:, 0] * x[:, 1] > 0, up, down)
    y = mu + 0.5 * rng.normal(size=n + m)
    noise = rng.normal(size=(models, 20)) * (0.15 * np.arange(models))[:, None]
    predictions = mu + noise @ x.T
    cal = pc.selection.clipped_scores(predictions[:, :n], y[:n], 0.0)
    return cal, pc.selection.clipped_scores(predictions[:, n:]), y[n:] > 0, mu[n:]


def simulate(replications, q=0.3):
    rows = {name: [] for name in ("hete", "homo", "dtm", "naive", "random", "true")}
    for r in range(replications):
        rng = np.random.default_rng(r)
        v, t, large, _ = design(rng)
        single = [pc.cfbh(a, b, q=q).selected for a, b in zip(v, t, strict=True)]
        found = {p: pc.optcs(r, v, t, q=q, prune=p).selected for p in ("hete", "homo", "dtm")}
        found["naive"] = max(single, key=len)
        found["random"] = single[rng.integers(len(single))]
        found["true"] = single[0]
        for name, chosen in found.items():
            rate = (~large[chosen]).mean() if chosen.size else 0.0
            rows[name].append((rate, large[chosen].sum() / max(large.sum(), 1)))
    return {name: np.array(values) for name, values in rows.items()}


@pytest.mark.slow
def test_optcs_simulation():
    found = simulate(400)
    for name, values in found.items():
        mean, error = values.mean(axis=0), values.std(axis=0) / np.sqrt(400)
        print(f"{name:7} FDR {mean[0]:.3f} ({error[0]:.3f})  power {mean[1]:.3f} ({error[1]:.3f})")
        if name in ("hete", "homo", "dtm"):
            assert mean[0] <= 0.3 + 3 * error[0]
        if name == "naive":
            assert mean[0] > 0.3 + 3 * error[0]
    assert found["homo"][:, 1].mean() >= 1.3 * found["random"][:, 1].mean()


def test_optcs_controls_where_naive_does_not():
    found = simulate(40)
    error = found["naive"][:, 0].std() / np.sqrt(40)
    assert found["naive"][:, 0].mean() > 0.3 + 3 * error
    for name in ("hete", "homo", "dtm"):
        assert found[name][:, 0].mean() <= 0.3 + 3 * found[name][:, 0].std() / np.sqrt(40)


@pytest.mark.parametrize("prune", ["hete", "homo", "dtm"])
def test_selection_is_e_bh_of_the_pruned_e_values(prune):
    v, t, _, _ = design(np.random.default_rng(5))
    out = pc.optcs(0, v, t, q=0.4, prune=prune)
    assert (out.e_values[out.selected] > 0).all() and out.model.shape == (100,)
    if prune == "dtm":
        assert np.array_equal(out.selected, pc.selection.e_bh(out.e_values, q=0.4))


def test_full_selection_controls_and_one_ridge_is_bh():
    rng = np.random.default_rng(0)
    rates = []
    for r in range(80):
        x = rng.normal(size=(160, 4))
        large = x[:, 0] + rng.normal(size=160) > 1
        out = pc.selection.optcs_full(r, x[:80], large[:80], x[80:], q=0.3, ridges=[0.1, 1.0, 10.0])
        rates.append((~large[80:][out.selected]).mean() if out.selected.size else 0.0)
    assert np.mean(rates) <= 0.3 + 3 * np.std(rates) / np.sqrt(80)
    one = pc.selection.optcs_full(0, x[:80], large[:80], x[80:], q=0.3)
    v, t = pc.selection.joint_leave_one_out(x[:80], large[:80], x[80:])
    assert np.array_equal(one.selected, pc.cfbh(v[0], t[0], q=0.3).selected)


def test_joint_leave_one_out_is_refitting():
    rng = np.random.default_rng(1)
    x, large = rng.normal(size=(20, 3)), np.arange(12) % 2 == 0
    _, t = pc.selection.joint_leave_one_out(x[:12], large, x[12:], ridges=[0.5])
    target = np.append(large, np.zeros(8))
    a = np.column_stack([x, np.ones(20)])
    for j in range(12, 20):
        keep = np.arange(20) != j
        gram = a[keep].T @ a[keep] + np.diag([0.5] * 3 + [1e-9])
        assert np.isclose(-t[0, j - 12], a[j] @ np.linalg.solve(gram, a[keep].T @ target[keep]))


def test_weighted_selection_under_shift():
    rates = []
    for r in range(100):
        rng = np.random.default_rng(r)
        x = np.append(rng.uniform(size=150), rng.beta(1, 3, size=60))
        w = 3 * (1 - x) ** 2
        y = x + 0.3 * rng.normal(size=210) - 0.5
        v, t = pc.selection.clipped_scores(0 * x[:150], y[:150], 0.0), np.zeros(60)
        out = pc.selection.weighted_selection(r, v, t + 1e-9, w[:150], w[150:], q=0.4)
        rates.append((y[150:][out.selected] <= 0).mean() if out.selected.size else 0.0)
    assert np.mean(rates) <= 0.4 + 3 * np.std(rates) / np.sqrt(100)


def rounded_model(r, prune, q=0.2, n=150):
    """False discoveries and power of a model that predicts four values, under shift."""
    rng = np.random.default_rng(r)
    x = rng.normal(size=(2 * n, 2)) + np.repeat([[0.0, 0.0], [0.5, 0.0]], n, axis=0)
    w, y = np.exp(0.5 * x[:, 0]), x.sum(axis=1) + rng.normal(size=2 * n)
    mu = np.clip(np.round(x.sum(axis=1)), -1, 2)
    v, t = pc.selection.clipped_scores(mu[:n], y[:n], 0.0), pc.selection.clipped_scores(mu[n:])
    if prune == "optcs":
        chosen = pc.optcs(r, v[None], t[None], q=q).selected
    else:
        chosen = pc.selection.weighted_selection(r, v, t, w[:n], w[n:], q=q, prune=prune).selected
    large = y[n:] > 0
    return (~large[chosen]).sum() / max(chosen.size, 1), large[chosen].sum() / large.sum()


@pytest.mark.parametrize(("prune", "power"), [("hete", 0.6), ("homo", 0.6), ("dtm", 0.2)])
def test_ties_cost_no_power(prune, power):
    rates = np.array([rounded_model(r, prune) for r in range(30)])
    assert rates[:, 0].mean() <= 0.2 + 3 * rates[:, 0].std() / np.sqrt(30)
    assert rates[:, 1].mean() > power


def test_ties_without_random_numbers_cost_it_all(monkeypatch):
    file = importlib.import_module("probinf.conformal.selection.pvalues")
    turns = itertools.cycle([1.0, 0.0])  # ties count against the p-value, not in the sizes
    monkeypatch.setattr(file, "row_uniforms", lambda key, rows: np.full(len(rows), next(turns)))
    rates = np.array([rounded_model(r, "hete") for r in range(10)])
    assert rates[:, 1].mean() < 0.3  # the broken twin


def test_clipped_scores_need_their_threshold():
    with pytest.raises(ArrayError, match="c is missing"):
        pc.selection.clipped_scores(np.zeros(5), np.arange(5.0))
    with pytest.raises(ArrayError, match="c must be one number or 5"):
        pc.selection.clipped_scores(np.zeros(5), np.arange(5.0), np.zeros(4))
    assert (pc.selection.clipped_scores(np.ones(5)) == -1).all()


def test_full_selection_in_any_units_and_without_a_square():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 2))
    large = x[:80, 0] > 0.5
    for shift, scale in ((2023.0, 1.0), (1.7e9, 3e7), (101325.0, 1e3)):
        v, t = pc.selection.joint_leave_one_out(
            shift + scale * x[:80], large, shift + scale * x[80:], ridges=[0.0, 2.0 * scale**2]
        )
        plain = pc.selection.joint_leave_one_out(x[:80], large, x[80:], ridges=[0.0, 2.0])
        assert np.allclose(v, plain[0], atol=1e-5) and np.allclose(t, plain[1], atol=1e-5)
    tracemalloc.start()
    pc.selection.joint_leave_one_out(rng.normal(size=(4000, 2)), np.arange(4000) % 2, x)
    assert tracemalloc.get_traced_memory()[1] < 4e6  # a 4160 x 4160 matrix takes 138 MB
    tracemalloc.stop()


def test_the_default_learner_takes_any_units():
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(60, 2)), rng.normal(size=60)
    for change in (lambda v: v + 2023, lambda v: 1.7e9 + v * 1e4, lambda v: np.c_[v, v]):
        found = pc.selection.ridge_learner(change(x), z)(change(x))
        assert np.isfinite(found).all() and np.corrcoef(found, z)[0, 1] > 0


def test_weighted_pvalues_are_the_definition():
    rng = np.random.default_rng(0)
    v, t = np.round(rng.normal(size=20), 1), np.round(rng.normal(size=5), 1)
    w, own = rng.gamma(1, size=20), rng.gamma(1, size=5)
    found = pc.selection.selection_pvalues(v, t, weights_cal=w, weights_test=own)
    expected = [(own[j] + w[v <= t[j]].sum()) / (own[j] + w.sum()) for j in range(5)]
    assert np.allclose(found, expected)


def test_e_values_have_mean_at_most_one_and_e_bh_is_its_definition():
    rng = np.random.default_rng(0)
    s = rng.gamma(0.5, size=(20_000, 11))
    e = np.array([pc.selection.conformal_evalues(row[:10], row[10:])[0] for row in s[:4000]])
    assert abs(e.mean() - 1) < 4 * e.std() / np.sqrt(4000)
    assert pc.selection.e_bh(np.array([40.0, 9.0, 19.0, 21.0]), q=0.1).tolist() == [0, 2, 3]
    assert pc.selection.e_bh(np.array([10.0, 1.0]), q=0.1).size == 0
    assert (pc.selection.conformal_evalues(np.zeros(3), np.zeros(1)) == 1).all()


def test_thresholdout_catches_overfitting_where_a_bare_holdout_does_not():
    rng = np.random.default_rng(0)
    train, holdout = (np.sign(rng.normal(size=(2000, 400))) for _ in range(2))
    labels = np.sign(rng.normal(size=(2, 2000)))
    state = pc.selection.thresholdout(0, threshold=0.04, scale=0.01, budget=300)
    bare, kept = [], []
    for f in range(400):
        a, b = train[:, f] * labels[0], holdout[:, f] * labels[1]
        answer, _, state = state.query(a, b)
        if abs(a.mean()) > 1 / 45 and abs(b.mean()) > 1 / 45 and a.mean() * b.mean() > 0:
            bare.append((f, np.sign(b.mean())))
        if abs(answer) > 1 / 45 and a.mean() * answer > 0:
            kept.append((f, np.sign(answer)))
    columns, signs = np.array([f for f, _ in bare]), np.array([s for _, s in bare])
    votes = (holdout[:, columns] @ signs) * labels[1]
    accuracy = (votes > 0).sum() / (votes != 0).sum()
    assert accuracy > 0.55  # the bare holdout believes in pure noise
    answer, overfitted, _ = state.query(np.full(2000, 0.7), rng.uniform(size=2000) < 0.5)
    assert overfitted and abs(answer - 0.5) < 0.1
    spent = pc.selection.thresholdout(0, budget=1)
    for _ in range(20):
        if spent.budget == 0:
            break
        _, _, spent = spent.query(np.ones(5), np.zeros(5))
    with pytest.raises(CalibrationError, match="fresh holdout"):
        spent.query(np.ones(5), np.zeros(5))


def trial(rng, n=500, effect=1.0):
    x = rng.normal(size=(n, 3))
    return x, effect * (x[:, 0] > 0.8) - 0.3 * effect + rng.normal(size=n)


def test_chisel_finds_a_subgroup_that_the_whole_hides():
    rng = np.random.default_rng(0)
    x, z = trial(rng, 1500, effect=1.2)
    out = pc.selection.chisel(x, z, key=0)
    assert out.rejected and out.estimate > 0 and z.mean() < 0
    fresh, truth = trial(np.random.default_rng(1), 20_000, effect=1.2)
    assert truth[out.contains(fresh)].mean() > 0.05
    assert np.array_equal(out.contains(x), out.member)


def test_chisel_keeps_a_skewed_negative_mean():
    rng = np.random.default_rng(0)
    for r in range(4):
        z = rng.exponential(size=400) - 5
        assert not pc.selection.chisel(rng.normal(size=(400, 2)), z, key=r).rejected


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["gaussian", "skewed"])
def test_chisel_error_rate(noise):
    rejected = []
    for r in range(2000):
        rng = np.random.default_rng(r)
        z = rng.normal(size=500) if noise == "gaussian" else 1 - rng.exponential(size=500)
        rejected.append(pc.selection.chisel(rng.normal(size=(500, 3)), z, key=r).rejected)
    print(noise, np.mean(rejected))
    assert np.mean(rejected) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize("skewness", [-3.0, 0.0, 3.0])
def test_chisel_scale_is_increasing(skewness):
    there = np.array([_normal(v, 40, skewness) for v in np.linspace(-6, 3, 50)])
    assert (np.diff(there) > 0).all()
    assert abs(_normal(2.0, 10**6, 0.0) - 2.0) < 1e-3


def no_effect(kind, n, rng):
    """Covariates, and inverse-propensity scores of a treatment that does nothing."""
    x = rng.normal(size=(n, 3))
    e = np.clip(1 / (1 + np.exp(-x[:, 0])), 0.1, 0.9) if kind != "mostly treated" else 0.8
    y = rng.exponential(size=n) * (np.exp(x[:, 1]) if kind == "heteroskedastic" else 1.0)
    y = np.exp(rng.normal(size=n)) if kind == "lognormal" else y
    return x, np.where(rng.uniform(size=n) < e, y / e, -y / (1 - e))


def found_nothing_there(kind, n, replications):
    rejected = []
    for r in range(replications):
        x, z = no_effect(kind, n, np.random.default_rng(r))
        rejected.append(pc.selection.chisel(x, z, key=r).rejected)
    return float(np.mean(rejected)), 0.05 + 3 * np.sqrt(0.05 * 0.95 / replications)


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 200, 500])
@pytest.mark.parametrize("kind", ["exponential", "lognormal", "heteroskedastic", "mostly treated"])
def test_chisel_of_inverse_propensity_scores(kind, n):
    rate, most = found_nothing_there(kind, n, 1000)
    print(kind, n, rate)
    assert rate <= most


def test_chisel_of_few_skewed_scores(monkeypatch):
    assert found_nothing_there("mostly treated", 100, 150)[0] <= 0.06
    file = importlib.import_module("probinf.conformal.selection.chiseling")
    monkeypatch.setattr(file, "_skewness", lambda sample: 0.0)
    rate, most = found_nothing_there("mostly treated", 100, 150)
    assert rate > most  # the broken twin: Student's t alone


def test_bad_input():
    v, t = np.ones((2, 3)), np.ones((2, 4))
    with pytest.raises(MethodError, match="hete"):
        pc.optcs(0, v, t, q=0.1, prune="none")
    with pytest.raises(LevelError, match="q"):
        pc.cfbh(v[0], t[0], q=10)
    with pytest.raises(ArrayError, match="NaN"):
        pc.cfbh(v[0] * np.nan, t[0], q=0.1)
    with pytest.raises(ArrayError, match="nonnegative"):
        pc.selection.conformal_evalues(-v[0], t[0])
    with pytest.raises(ArrayError, match="at least 60"):
        pc.selection.chisel(np.ones((10, 1)), np.ones(10), key=0)
