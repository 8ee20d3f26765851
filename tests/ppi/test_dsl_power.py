"""Standard errors and power that a pilot of DSL foresees for other numbers of labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from probinf import ppi
from probinf.errors import LevelError, MethodError

T, N_PILOT = 1000, 100


def known(x, y, new):
    """Predictions that labels do not improve, so that the formula is exact."""
    return new[:, 0]


def weight(f):
    return np.where(np.abs(f) > 2, 3.0, 1.0)


def draw(rng, rows):
    f = 1.9 * rng.normal(size=rows)
    return f, f + 0.7 * weight(f) ** 0.5 * rng.normal(size=rows)


def pilot(seed, *, unequal=False, **more):
    """A mean of predicted rows; extreme predictions are labelled three times as often."""
    rng = np.random.default_rng(seed)
    f, y = draw(rng, T)
    if unequal:
        p = np.minimum(weight(f) * N_PILOT / weight(f).sum(), 1)
        m = rng.uniform(size=T) < p
        more["propensity"] = p[m]
    else:
        m = rng.permutation(T) < N_PILOT
    one = np.ones((T, 1))
    mine, other = {"x": one[m], "y": y[m]}, {"x": one[~m]}
    return ppi.dsl("gaussian", mine, other, f[m], f[~m], learner=known, repeats=1, **more)


def variance(labels, *, unequal):
    """What the theory says: of the outcomes, and of errors by the inverse of their chance."""
    f, y = draw(np.random.default_rng(99), 400_000)
    w = weight(f) if unequal else np.ones(len(f))
    low, high = 0.0, 1e3
    for _ in range(60):
        middle = (low + high) / 2
        few = np.minimum(middle * w, 1).mean() < labels / T
        low, high = (middle, high) if few else (low, middle)
    chance = np.minimum(high * w, 1)
    return (np.var(y) + ((1 / chance - 1) * (y - f) ** 2).mean()) / T


@pytest.mark.parametrize("unequal", [False, True])
def test_standard_errors_foreseen_are_those_of_theory(unequal):
    at = np.array([50, 400, 900])
    found = np.array([pilot(k, unequal=unequal).se_at(at)[:, 0] ** 2 for k in range(30)])
    truth = np.array([variance(n, unequal=unequal) for n in at])
    error = found.std(axis=0) / np.sqrt(30) + 0.005 * truth  # the truth is simulated, too
    assert np.all(np.abs(found.mean(axis=0) - truth) < 4 * error), (found.mean(axis=0), truth)


def test_the_pilot_foresees_itself_and_targets_are_reached_by_the_fewest_labels():
    found = pilot(0, key=3)
    np.testing.assert_allclose(found.se_at(found.n), found.bse, rtol=1e-12)
    assert np.all(np.diff(found.se_at(np.arange(50, T + 1, 50)), axis=0) < 0)
    n = found.labels_for(target_se=0.08)
    assert found.se_at(n)[0] <= 0.08 < found.se_at(n - 1)[0]
    n = found.labels_for(power=0.8, effect=0.2)
    before, after = found.power_at([n - 1, n], effect=0.2)[:, 0]
    assert before < 0.8 <= after
    se = found.se_at(n)
    z = norm.ppf(0.95)
    by_hand = norm.cdf(0.2 / se - z) + norm.cdf(-0.2 / se - z)
    np.testing.assert_allclose(found.power_at(n, 0.2), by_hand, rtol=1e-12)
    np.testing.assert_allclose(found.contrast([[2.0]]).se_at(300), 2 * found.se_at(300))
    one_sided = pilot(0, key=3, alternative="smaller")
    assert one_sided.power_at(n, 0.2)[0] < 0.05 < 0.8 < one_sided.power_at(n, -0.2)[0]


def test_with_all_rows_labelled_nothing_is_left_to_chance():
    found = pilot(0, unequal=True)
    rows, chance, _, factor = found.label_errors
    assert chance.max() > 2.5 * chance.min()
    left = found.bse**2 - factor * (rows**2 * (1 - chance)[:, None]).sum(axis=0)
    np.testing.assert_allclose(found.se_at(T) ** 2, left, rtol=1e-9)


def test_whole_clusters_are_the_units_that_labels_are_bought_in():
    rng = np.random.default_rng(0)
    f, y = draw(rng, T)
    size = 5
    y = y + np.repeat(rng.normal(size=T // size), size)  # errors that units share
    ids, m = np.repeat(np.arange(T // size), size), np.arange(T) < 200
    one = np.ones((T, 1))
    found = ppi.dsl(
        "gaussian", {"x": one[m], "y": y[m]}, {"x": one[~m]}, f[m], f[~m],
        learner=known, repeats=1, groups=(ids[m], ids[~m]),
    )  # fmt: skip
    errors = (y - f)[m].reshape(-1, size).sum(axis=1)
    now, later = (np.var(errors) * 40 / 39 / (size**2 * k) for k in (40, 80))
    gain = found.bse[0] ** 2 - found.se_at(400)[0] ** 2
    np.testing.assert_allclose(gain, now - later, rtol=0.02)


def test_what_is_out_of_reach_is_named():
    found = pilot(0)
    with pytest.raises(MethodError, match="out of reach: with all 1000 rows"):
        found.labels_for(target_se=0.01)
    with pytest.raises(MethodError, match="either target_se or power"):
        found.labels_for()
    with pytest.raises(LevelError, match=r"labels must lie in 2..1000"):
        found.se_at([100, 1001])
    with pytest.raises(MethodError, match="labels_for"):
        ppi.plan_labels(found, target_se=0.05)
    with pytest.raises(LevelError, match="power"):
        found.labels_for(power=80, effect=0.3)
    with pytest.raises(MethodError, match="target_se"):
        found.labels_for(target_se=-1.0)


@pytest.mark.slow
def test_pilots_foresee_the_spread_and_the_power_of_larger_studies():
    def study(key, n):
        x, y, _, w = ppi.dsl_sim(4000, 0.9, key=key)
        mine, other = {"x": x[:n], "y": y[:n]}, {"x": x[n:]}
        return ppi.dsl("binomial", mine, other, w[:n], w[n:], repeats=1, key=key)

    pilots = [study(k, 400) for k in range(15)]
    large = [study(100 + k, 1200) for k in range(60)]
    spread = np.std([r.theta for r in large], axis=0)
    foreseen = np.sqrt(np.mean([p.se_at(1200) ** 2 for p in pilots], axis=0))
    # 60 studies know their spread to 9 %; models trained on more labels are somewhat better
    assert np.all((foreseen / spread > 0.75) & (foreseen / spread < 1.4)), foreseen / spread
    effect = np.mean([r.theta for r in large], axis=0)
    power = np.mean([p.power_at(1200, effect) for p in pilots], axis=0)
    found = np.mean([np.asarray(r.pvalues) < 0.1 for r in large], axis=0)
    assert np.all(np.abs(found - power) < 4 * np.sqrt(0.25 / 60)), (found, power)
