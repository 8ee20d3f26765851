"""One score at a time, tests of exchangeability, and reports of coverage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import betabinom, binom

import probinf.conformal as pc
from probinf.conformal.online import martingale
from probinf.errors import ArrayError, LevelError, MethodError

SLOW = [pytest.param(m, marks=pytest.mark.slow) for m in (pc.DtACI(), pc.online.AgACI())]


@pytest.mark.parametrize(
    "method", [pc.ACI(0.05), pc.PID(), pc.SAOCP(), *SLOW], ids=lambda m: type(m).__name__
)
def test_a_stream_has_the_thresholds_of_the_whole_series(method):
    scores = np.random.default_rng(0).exponential(size=90) * np.repeat([1.0, 3.0], 45)
    stream, seen = method.stream(alpha=0.2, window=25), []
    for s in scores:
        seen.append(stream.threshold)
        assert stream.update(s) is stream
    run = pc.track(method, scores, alpha=0.2, window=25)
    np.testing.assert_allclose(seen, run.thresholds, rtol=1e-12, atol=1e-12)
    assert stream.steps == 90 and stream.coverage == pytest.approx(run.coverage)
    assert stream.guarantee == run.guarantee and "90 steps" in repr(stream)


def test_a_stream_refuses_what_is_no_score():
    stream = pc.ACI().stream(alpha=0.1)
    assert stream.threshold == np.inf and np.isnan(stream.coverage)
    for bad in (np.nan, np.inf, [1.0, 2.0]):
        with pytest.raises(ArrayError, match="score"):
            stream.update(bad)
    assert stream.steps == 0
    with pytest.raises(LevelError):
        pc.ACI().stream(alpha=10)
    with pytest.raises(ArrayError, match="window"):
        pc.PID().stream(window=0)


def test_bets_are_fair():
    """Every bet multiplies the capital by one on average over uniform p-values."""
    u = (np.arange(4000) + 0.5) / 4000
    gains = np.array([martingale._shapes(p) for p in u])
    np.testing.assert_allclose(gains.mean(axis=0), 1, atol=1e-6)
    assert gains.min() >= 0
    for bet in ("jumper", "power"):
        start = martingale._start(bet)
        for capital in (start, martingale._grown(bet, start, 0.01)[0]):
            # more nodes near zero, where bets on small p-values have their mass
            after = np.array([martingale._grown(bet, capital, p)[1] for p in u**16])
            mean = (np.exp(after - capital[0]) * 16 * u**15).mean()
            assert mean == pytest.approx(1, abs=0.02)


def false_alarms(bet, runs=100, steps=100, alpha=0.2):
    """Runs in which exchangeable scores, heavily tied, ever raised an alarm."""
    rng = np.random.default_rng(0)
    found = 0
    for k in range(runs):
        scores = rng.geometric(0.3, size=steps + 30)
        found += (
            pc.detect_drift(scores[30:], scores[:30], alpha=alpha, bet=bet, key=k).alarm is not None
        )
    return found


@pytest.mark.parametrize("bet", ["jumper", "power"])
def test_false_alarms_are_as_rare_as_ville_says(bet):
    assert false_alarms(bet) <= binom.ppf(1 - 1e-6, 100, 0.2)


def test_a_shift_is_found_soon_and_p_values_only_fall():
    rng = np.random.default_rng(1)
    delays = []
    for k in range(20):
        before, after = rng.normal(size=300), rng.normal(size=200) * 2
        drift = pc.detect_drift(abs(np.append(before, after)), abs(rng.normal(size=200)), key=k)
        assert (np.diff(drift.p_values) <= 0).all()
        if drift.alarm is not None and drift.alarm >= 300:
            delays.append(drift.alarm - 300)
    assert len(delays) >= 17 and np.median(delays) < 80
    assert "alarm at score" in str(drift) and "Ville" in drift.guarantee
    calm = pc.detect_drift(np.arange(3.0), np.arange(50.0))
    assert calm.alarm is None and "no alarm" in str(calm)
    test = pc.online.ExchangeabilityTest(alpha=0.1)
    assert test.update(1.0) is test and "no alarm" in repr(test) and test.p_value <= 1
    with pytest.raises(MethodError, match="bet"):
        pc.detect_drift([1.0], bet="house")
    with pytest.raises(ArrayError, match="nothing to watch"):
        pc.detect_drift([])
    with pytest.raises(ArrayError, match="NaN"):
        pc.detect_drift([1.0, np.nan])


def report_of(rng, alpha=0.2, n=60, m=80):
    scores, new = rng.normal(size=n), rng.normal(size=m)
    q = pc.calibrate(scores).quantile(alpha)
    return pc.coverage_report(
        new <= q, alpha=alpha, n=n, groups=np.arange(m) % 2, level=0.2,
        covariates={"x": rng.uniform(size=m)},
    )  # fmt: skip


def test_bands_hold_for_all_rows_together():
    rng = np.random.default_rng(0)
    reports = [report_of(rng) for _ in range(150)]
    wrong = sum((r.low | r.high).any() for r in reports)
    assert wrong <= binom.ppf(1 - 1e-6, 150, 0.2)
    first = [r.low[0] | r.high[0] for r in reports]  # one row alone: an exact law
    assert sum(first) <= binom.ppf(1 - 1e-6, 150, 0.2 / 7)
    low, high = reports[0].band[0] * 80
    law = betabinom(80, 49, 12)
    tail = 0.2 / 7 / 2
    assert law.cdf(low - 1) <= tail < law.cdf(low)
    assert law.sf(high) <= tail + 1e-15 and law.sf(high - 1) > tail


def test_a_neglected_group_is_named():
    rng = np.random.default_rng(0)
    group = np.where(rng.uniform(size=2000) < 0.2, "wild", "calm")
    error = abs(rng.normal(size=2000) * np.where(group == "wild", 3, 1))
    q = pc.calibrate(error[:1000]).quantile(0.1)
    frame = pd.DataFrame({"group": group, "x": rng.uniform(size=2000)})[1000:]
    report = pc.coverage_report(error[1000:] <= q, alpha=0.1, n=1000, covariates=frame)
    assert report.parts[0] == "all" and not report.low[0] and not report.high[0]
    verdict = dict(zip(report.parts, report.low, strict=True))
    assert verdict["group = wild"] and not verdict["group = calm"]
    assert "LOW" in str(report) and list(report.frame().index) == list(report.parts)
    assert (report.interval[:, 0] <= report.coverage).all()
    apart = {g: int((group[:1000] == g).sum()) for g in ("wild", "calm")}
    own = {g: pc.calibrate(error[:1000][group[:1000] == g]).quantile(0.1) for g in apart}
    kept = error[1000:] <= np.array([own[g] for g in group[1000:]])
    fair = pc.coverage_report(kept, alpha=0.1, n=apart, groups=group[1000:])
    assert not fair.low.any()
    with pytest.raises(ArrayError, match="no calibration points of the group wild"):
        pc.coverage_report(kept, alpha=0.1, n={"calm": 3}, groups=group[1000:])
    with pytest.raises(ArrayError, match="must be booleans"):
        pc.coverage_report(kept * 1.0, alpha=0.1)
    with pytest.raises(ArrayError, match="a dictionary of columns"):
        pc.coverage_report(kept, alpha=0.1, covariates=error)
    with pytest.raises(ArrayError, match="different indexes"):
        pc.coverage_report(pd.Series(kept), alpha=0.1, covariates=frame)
    assert pc.coverage_report(np.ones(5, bool), alpha=0.1, n=5).band[0].tolist() == [1, 1]
