"""Sunspots: bands around forecasts that keep their promise while the sun changes.

The number of sunspots each year from 1700 to 2008 (bundled with statsmodels). An autoregression,
fitted again every year to the past alone, forecasts the next year. Bands from its own residuals are
too narrow when the sun is active; online conformal methods watch their errors and adapt.

Needs statsmodels, the extra `docs`.

    python examples/sunspots_online.py [folder for the picture]
"""

import sys

import numpy as np

try:
    from statsmodels.datasets import sunspots
except ImportError as missing:
    raise SystemExit(f'{missing}; this script needs: pip install "probinf[docs]"') from None

import probinf.conformal as pc

ORDER, FIRST, ALPHA = 9, 60, 0.1


def forecasts(spots):
    """Each year's forecast from the years before it, and the residual spread of that fit."""
    rows = np.lib.stride_tricks.sliding_window_view(spots, ORDER + 1)
    x, y = np.column_stack([np.ones(len(rows)), rows[:, :-1]]), rows[:, -1]
    found, spread = [], []
    for k in range(FIRST, len(y)):
        weights, *_ = np.linalg.lstsq(x[:k], y[:k], rcond=None)
        found.append(x[k] @ weights)
        spread.append((y[:k] - x[:k] @ weights).std())
    return y[FIRST:], np.array(found), np.array(spread)


def draw(years, truth, guess, runs, folder):
    """The last century with adaptive bands, and the coverage of forty years."""
    import matplotlib.pyplot as plt

    width = runs["ACI"].thresholds
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(7, 4), sharex=True, height_ratios=(2, 1), layout="constrained"
    )
    top.fill_between(years, np.maximum(guess - width, 0), guess + width, alpha=0.3)
    top.plot(years, truth, ".-", color="0.4", lw=0.5, ms=3)
    top.set(ylabel="sunspots")
    for name in ("ACI", "fixed"):
        inside = np.abs(truth - guess) <= (width if name == "ACI" else runs["fixed"])
        share = np.convolve(np.asarray(inside, float), np.ones(40) / 40, "valid")
        bottom.plot(years[39:], share, label=name)
    bottom.axhline(1 - ALPHA, color="k", lw=0.8)
    bottom.set(ylabel="of 40 years")
    bottom.legend(frameon=False, ncols=2)
    figure.savefig(f"{folder}/sunspots_online.png")


def main(folder=None):
    """Forecast, track, draw, check."""
    table = sunspots.load_pandas().data
    spots = table["SUNACTIVITY"].to_numpy()
    truth, guess, spread = forecasts(spots)
    years = table["YEAR"].to_numpy()[-len(truth) :].astype(int)
    scores = np.abs(truth - guess)
    methods = {"ACI": pc.ACI(rate=0.05), "DtACI": pc.DtACI(), "SAOCP": pc.SAOCP()}
    runs = {
        name: pc.track(method, scores, alpha=ALPHA, window=60) for name, method in methods.items()
    }
    for name, run in runs.items():
        finite = run.thresholds[np.isfinite(run.thresholds)]
        print(f"{name:8} covers {run.coverage:.3f}, median width {2 * np.median(finite):.0f} spots")
        print(f"         {run.guarantee}")
    normal = scores <= 1.645 * spread
    fixed = pc.calibrate(scores[:40]).quantile(ALPHA)
    print(
        f"bands of the fit's residuals cover {normal.mean():.3f},",
        f"fixed ones {np.mean(scores <= fixed):.3f}",
    )
    error, persistence = scores.mean(), np.abs(np.diff(spots))[-len(truth) :].mean()
    print(f"mean error {error:.1f}, of last year's number {persistence:.1f}")
    if folder:
        draw(years, truth, guess, {**runs, "fixed": fixed}, folder)

    bound = pc.ACI(rate=0.05).bound(ALPHA, len(scores))
    missed = abs(1 - runs["ACI"].coverage - ALPHA)
    print(f"ACI is {missed:.3f} off; on any sequence at most {bound:.3f}")
    assert missed <= bound
    for name, run in runs.items():
        assert abs(run.coverage - (1 - ALPHA)) < 0.05, name
    assert abs(runs["ACI"].coverage - 0.9) <= abs(normal.mean() - 0.9) + 0.01
    assert error < 0.7 * persistence
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
