"""DEUP against the spread of a forest, on splits of bundled tables by one of their columns.

Run from the project's root::

    python -m bench.uncertainty --seeds 3

A forest is fitted to four fifths of the rows with small values of a column; the last fifth and all
rows with large values (the upper three tenths) are what it is asked about. Spearman's correlation
of the stated uncertainty with the losses is printed: the variance of the trees', and DEUP's.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from probinf.amortized.estimators import DEUP

OUTSIDE = 0.7


def tables() -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Inputs, outcomes and the column that splits them."""
    import statsmodels.api as sm

    fair = sm.datasets.fair.load_pandas().data.sample(1200, random_state=0)
    star = sm.datasets.star98.load_pandas().data
    passed = (star.iloc[:, 0] / (star.iloc[:, 0] + star.iloc[:, 1])).to_numpy()
    return {
        "diabetes, bmi": (*load_diabetes(return_X_y=True), 2),
        "diabetes, bp": (*load_diabetes(return_X_y=True), 3),
        "fair, age": (fair.drop(columns="affairs").to_numpy(), np.log1p(fair.affairs), 1),
        "star98, income": (star.iloc[:, 2:].to_numpy(), passed, 0),
        "cancer, texture": (*load_breast_cancer(return_X_y=True), 1),
        "wine, magnesium": (*load_wine(return_X_y=True), 4),
    }


def correlations(x: Any, y: Any, column: int, seed: int) -> tuple[float, float]:
    """Of the spread of the trees, and of DEUP."""
    y = np.asarray(y)
    classes = y.dtype.kind == "i"
    outside = x[:, column] > np.quantile(x[:, column], OUTSIDE)
    near = np.random.default_rng(seed).permutation(np.flatnonzero(~outside))
    fit, asked = near[len(near) // 5 :], near[: len(near) // 5]
    asked = np.concatenate([asked, np.flatnonzero(outside)])
    kind = RandomForestClassifier if classes else RandomForestRegressor
    fitted = DEUP(kind(100, min_samples_leaf=3, random_state=seed)).fit(x[fit], y[fit])
    if classes:
        right = fitted.predict_proba(x[asked])[np.arange(len(asked)), y[asked]]
        loss = -np.log(np.maximum(right, 1e-6))
    else:
        loss = np.square(fitted.predict(x[asked]) - y[asked])
    spread = fitted.whole_.inputs(x[asked])[:, 1]
    found = (spread, fitted.predict_uncertainty(x[asked]))
    return tuple(float(spearmanr(v, loss).statistic) for v in found)


def main() -> None:
    """Print a row per split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    print(f"{'split':18} {'trees':>6} {'DEUP':>6}")
    for name, (x, y, column) in tables().items():
        rows = [correlations(x, y, column, seed) for seed in range(seeds)]
        trees, deup = np.mean(rows, axis=0)
        print(f"{name:18} {trees:6.3f} {deup:6.3f}", flush=True)


if __name__ == "__main__":
    main()
