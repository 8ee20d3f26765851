"""Diabetes: one data set, five kinds of promise, each checked on patients held out many times.

A year's progression of diabetes in 442 patients (Efron et al., 2004). Split conformal intervals,
conformalised quantile regression, jackknife+ and full conformal prediction of a ridge regression,
and a selection of fast progressors are repeated over random divisions of the patients; coverage
and false discoveries are compared with what was promised.

    python examples/conformal_diabetes.py [folder for the picture]
"""

import sys

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression, QuantileRegressor

import probinf.conformal as pc

ALPHA = 0.1
DIVISIONS = 60
FAST = 200.0  # progression that calls for action
FDR = 0.3


def require(condition, message):
    """End with an error unless the condition holds."""
    if not condition:
        raise SystemExit(f"check failed: {message}")


def one_division(X, y, seed):
    """Coverage, median width and false discoveries on one division of the patients."""
    order = np.random.default_rng(seed).permutation(len(y))
    fit, cal, test = order[:160], order[160:300], order[300:]
    both = order[:300]
    mean = LinearRegression().fit(X[fit], y[fit])
    low, high = (QuantileRegressor(quantile=q, alpha=0.0).fit(X[fit], y[fit]) for q in (0.05, 0.95))

    def ends(rows):
        return low.predict(X[rows]), high.predict(X[rows])

    mu = mean.predict(X)
    intervals = {
        "split": pc.split(pc.Absolute(), mu[cal], y[cal], mu[test], alpha=ALPHA),
        "CQR": pc.split(pc.CQR(), ends(cal), y[cal], ends(test), alpha=ALPHA),
        "jackknife+": pc.jackknife_plus_ridge(X[both], y[both], X[test], ridge=0.01, alpha=ALPHA),
        "full": pc.full_ridge(X[both], y[both], X[test], ridge=0.01, alpha=ALPHA),
    }
    rows = {
        name: (out.contains(y[test]).mean(), np.median(out.size()))
        for name, out in intervals.items()
    }
    scores = (
        pc.selection.clipped_scores(mu[cal], y[cal], FAST),
        pc.selection.clipped_scores(mu[test]),
    )
    chosen = pc.cfbh(*scores, q=FDR).selected
    wrong = (y[test][chosen] <= FAST).mean() if chosen.size else 0.0
    return rows, wrong, intervals["CQR"], mu[test], y[test]


def main(folder=None):
    """Repeat, print, draw and check."""
    X, y = load_diabetes(return_X_y=True)
    runs = [one_division(X, y, seed) for seed in range(DIVISIONS)]
    names = list(runs[0][0])
    print(f"{DIVISIONS} divisions of {len(y)} patients, promise {1 - ALPHA:.0%}")
    coverage = {}
    for name in names:
        values = np.array([rows[name] for rows, *_ in runs])
        coverage[name] = values[:, 0].mean()
        print(f"{name:11} covers {coverage[name]:.3f}, median width {values[:, 1].mean():6.1f}")
    wrong = np.array([run[1] for run in runs])
    print(f"selection   false discoveries {wrong.mean():.3f}, promise {FDR}")

    if folder:
        _, _, out, at, truth = runs[0]
        axis = pc.plot_intervals(out, at, truth)
        axis.set(xlabel="predicted progression", ylabel="progression")
        axis.figure.savefig(f"{folder}/conformal_diabetes.png")

    # divisions share patients: allow for one division's spread, four times
    spread = np.sqrt(ALPHA * (1 - ALPHA) * (1 / 142 + 1 / 140) / 6)
    for name in names:
        require(abs(coverage[name] - (1 - ALPHA)) < 4 * spread, f"{name} covers {coverage[name]}")
    require(wrong.mean() < FDR + 4 * wrong.std() / np.sqrt(DIVISIONS), "too many false discoveries")
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
