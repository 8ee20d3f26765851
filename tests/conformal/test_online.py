"""Online methods: the window, the bound on any sequence, coverage under change."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf.conformal as pc
from probinf.conformal.online.window import Window, leaving, push, pvalue, quantile
from probinf.errors import ArrayError, InfiniteSetWarning

METHODS = [
    pc.ACI(),
    pc.DtACI(),
    pc.online.AgACI(),
    pc.PID(),
    pc.online.SFOGD(radius=4.0),
    pc.SAOCP(radius=8.0),
]


def test_window_is_the_last_scores_sorted():
    rng = np.random.default_rng(0)
    s = np.round(rng.normal(size=60), 1).astype(np.float32)
    ordered, out = jnp.full(7, jnp.inf), leaving(jnp.asarray(s), 7)
    step = jax.jit(push)
    for t in range(60):
        ordered = step(ordered, out[t], jnp.asarray(s[t]))
        recent = s[max(0, t - 6) : t + 1]
        assert np.array_equal(np.asarray(ordered)[: recent.size], np.sort(recent))
        if t in (3, 30):
            window = Window(ordered, jnp.asarray(t + 1))
            cal = pc.calibrate(recent)
            for a in (0.1, 0.25, 0.5):
                assert float(quantile(window, jnp.asarray(a))) == cal.quantile(a)
            assert np.isclose(
                float(pvalue(window, jnp.asarray(0.3))), cal.pvalue(np.array([0.3]))[0]
            )


def adversarial(steps=1500):
    rng = np.random.default_rng(0)
    jumps = np.exp(rng.normal(size=steps).cumsum() * 0.3)
    alternating = np.where(np.arange(steps) // 100 % 2, 1e3, 1e-3) + rng.uniform(size=steps)
    growing = np.arange(steps) ** 2.0
    return np.stack([jumps, alternating, growing])


@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_aci_bound_on_any_sequence(rate):
    method = pc.ACI(rate=rate)
    result = pc.track(method, adversarial(), alpha=0.1, window=100)
    mean_error = result.errors.mean(axis=1)
    assert (abs(mean_error - 0.1) <= method.bound(0.1, 1500) + 1e-4).all()
    # the broken twin: a fixed level has no such bound
    fixed = pc.track(pc.ACI(rate=0.0), adversarial(), alpha=0.1, window=100)
    assert (abs(fixed.errors.mean(axis=1) - 0.1) > method.bound(0.1, 1500)).any()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_coverage_recovers_after_a_change(method):
    rng = np.random.default_rng(1)
    scale = np.where(np.arange(2000) < 1000, 1.0, 3.0)
    result = pc.track(method, abs(rng.normal(size=(20, 2000))) * scale, alpha=0.1)
    assert 0.86 < result.coverage.mean() < 0.93, result
    assert 0.85 < 1 - result.errors[:, 1500:].mean() < 0.94
    assert result.rolling_coverage(100).shape == (20, 1901) and "coverage" in result.summary()


def test_one_series_equals_many_and_data_do_not_recompile():
    s = abs(np.random.default_rng(2).normal(size=(3, 300)))
    together = pc.track(pc.DtACI(), s)
    alone = pc.track(pc.DtACI(), s[1])
    assert np.array_equal(together.thresholds[1], alone.thresholds)


def test_enbpi_is_the_shortest_window():
    rng = np.random.default_rng(3)
    first, errors = rng.gamma(1, size=40) - 1, rng.gamma(1, size=30) - 1
    mu = rng.normal(size=30)
    out = pc.enbpi(first, mu, mu + errors, alpha=0.2)
    everything = np.concatenate([first, errors])
    for t in range(30):
        recent = np.sort(everything[t : t + 40])
        widths = recent[33:] - recent[:7]  # 33 of 41 gaps
        assert np.isclose(out.size()[t], widths.min(), atol=1e-5)
    with pytest.warns(InfiniteSetWarning):
        assert np.isinf(pc.enbpi(first[:5], mu, mu, alpha=0.1).upper).all()


@pytest.mark.parametrize(
    ("scores", "match"),
    [(np.array([1.0, np.nan]), "NaN"), (np.array([np.inf]), "finite"), (np.empty(0), "T > 0")],
)
def test_bad_scores(scores, match):
    with pytest.raises(ArrayError, match=match):
        pc.track(pc.ACI(), scores)


@pytest.mark.parametrize("method", METHODS[:4], ids=lambda m: type(m).__name__)
def test_negative_scores(method):
    scores = np.random.default_rng(0).normal(-5, 1, size=(20, 2000))  # CQR's of wide quantiles
    assert abs(pc.track(method, scores).coverage.mean() - 0.9) < 0.02
    assert pc.DtACI(rates=[0.01, 0.1]).rates == (0.01, 0.1)


ANY_UNIT = [*METHODS[:4], pc.online.SFOGD(), pc.SAOCP(), pc.PID(integral=0.0)]


@pytest.mark.parametrize("method", ANY_UNIT, ids=str)
def test_thresholds_follow_the_units_of_the_scores(method):
    scores = abs(np.random.default_rng(0).normal(size=(4, 800)))
    plain = pc.track(method, scores)
    assert 0.84 < plain.coverage.mean() < 0.93
    for unit in (1e-9, 1e-3, 1e3, 1e9):
        moved = pc.track(method, scores * unit)
        assert abs(moved.coverage - plain.coverage).max() < 0.02
        last = moved.thresholds[:, -1] / unit / plain.thresholds[:, -1]
        assert np.allclose(last, 1, atol=1e-3)
    assert not np.isnan(pc.track(method, np.zeros(300)).thresholds).any()


def test_a_unit_of_one_before_the_first_score(monkeypatch):
    def magnitude(window, *scores):
        found = jnp.where(jnp.isfinite(window.ordered), jnp.abs(window.ordered), 0.0).max()
        return jnp.where(found > 0, found, 1.0)

    jax.clear_caches()
    monkeypatch.setattr("probinf.conformal.online.gradient.magnitude", magnitude)
    scores = 1e-9 * abs(np.random.default_rng(0).normal(size=800))
    assert pc.track(pc.PID(), scores).thresholds[5] > 1e6 * scores.max()  # the broken twin
    jax.clear_caches()


def test_a_radius_is_in_the_units_of_the_scores_and_said():
    scores = 1000 * abs(np.random.default_rng(0).normal(size=2000))
    out = pc.track(pc.online.SFOGD(radius=1.0), scores)
    assert out.coverage < 0.1 and "if no absolute score exceeds the radius 1" in out.guarantee
    assert "size of the scores settles" in pc.track(pc.online.SFOGD(), scores).guarantee


def test_promises_hold_what_they_say():
    said = {type(m).__name__: m.promise(0.1, 2000) for m in METHODS}
    assert "regret" in said["DtACI"] and "no bound on the coverage" in said["DtACI"]
    assert "regret" in said["SAOCP"] and "no guarantee" in said["AgACI"]


def test_scores_at_a_large_level_keep_their_digits():
    scores = 1.7e9 + np.random.default_rng(0).exponential(size=(3, 600))
    for method in (pc.ACI(), pc.DtACI(), pc.online.AgACI()):
        out = pc.track(method, scores)
        plain = pc.track(method, scores - 1.7e9)
        assert abs(out.coverage - plain.coverage).max() < 0.02 and out.coverage.min() > 0.85
