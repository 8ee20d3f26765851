"""Conformal inference against MAPIE, crepes and venn-abers: agreement and time, in one run.

Run from the project's root: ``python -m bench.conformal`` (all rows) or with the names of rows.
The rows are recorded in docs/measured/conformal.json.
Every row runs both sides on the same data in this process and prints the ratio of their best
times after a warm-up; `same` is the largest difference of their answers.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import probinf.conformal as pc
from bench.recording import record

warnings.filterwarnings("ignore")


def best(fn: Callable[[], Any], repeats: int = 5) -> tuple[float, Any]:
    """Best wall time in seconds after one warm-up, and the result."""
    out, times = fn(), []
    for _ in range(repeats):
        began = time.perf_counter()
        out = fn()
        times.append(time.perf_counter() - began)
    return min(times), out


def regression(n: int, m: int, d: int = 10) -> Any:
    """Linear data with skewed noise: X, y, X_test, y_test."""
    rng = np.random.default_rng(0)
    X, T = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    beta = rng.normal(size=d)
    return X, X @ beta + rng.gamma(1, size=n), T, T @ beta + rng.gamma(1, size=m)


def jackknife() -> Any:
    """Jackknife+ of ridge regression, n = 1000, m = 2000."""
    from mapie.regression import CrossConformalRegressor
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import LeaveOneOut

    X, y, T, truth = regression(1000, 2000)

    def peer() -> Any:
        model = CrossConformalRegressor(Ridge(1.0), confidence_level=0.9, cv=LeaveOneOut())
        return model.fit_conformalize(X, y).predict_interval(T)[1][:, :, 0]

    theirs, a = best(peer, 1)
    ours, b = best(lambda: pc.jackknife_plus_ridge(X, y, T, ridge=1.0))
    same = np.abs(np.stack([b.lower, b.upper], 1) - a).max()
    return theirs, ours, same, f"coverage {b.contains(truth).mean():.4f}"


def cv_plus() -> Any:
    """CV+ prediction, n = 20,000, m = 5,000, 10 folds, ridge models fitted beforehand."""
    from mapie.regression import CrossConformalRegressor
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import KFold

    X, y, T, truth = regression(20_000, 5_000)
    model = CrossConformalRegressor(Ridge(1.0), confidence_level=0.9, cv=KFold(10))
    model.fit_conformalize(X, y)
    theirs, found = best(lambda: model.predict_interval(T), 1)
    mine = pc.estimators.CrossRegressor(Ridge(1.0), cv=10).fit(X, y)
    ours, (_, iv) = best(lambda: mine.predict_interval(T))
    same = np.abs(iv[:, :, 0] - found[1][:, :, 0]).max()
    covered = ((iv[:, 0, 0] <= truth) & (truth <= iv[:, 1, 0])).mean()
    return theirs, ours, same, f"coverage {covered:.4f}"


def minmax() -> Any:
    """CV-minmax prediction, n = 5,000, m = 2,000, 5 folds."""
    from mapie.regression import CrossConformalRegressor
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import KFold

    X, y, T, _ = regression(5_000, 2_000)
    model = CrossConformalRegressor(
        Ridge(1.0), confidence_level=0.9, cv=KFold(5), method="minmax"
    ).fit_conformalize(X, y)
    theirs, found = best(lambda: model.predict_interval(T), 2)
    mine = pc.estimators.CrossRegressor(Ridge(1.0), cv=5, method="minmax").fit(X, y)
    ours, (_, iv) = best(lambda: mine.predict_interval(T))
    return theirs, ours, np.abs(iv[:, :, 0] - found[1][:, :, 0]).max(), ""


def split() -> Any:
    """Split conformal, 99 levels, n = 15,000, m = 5,000."""
    from mapie.regression import SplitConformalRegressor
    from sklearn.linear_model import Ridge

    X, y, T, _ = regression(15_000, 5_000)
    fitted = Ridge(1.0).fit(X[:100], y[:100])
    levels = np.arange(1, 100) / 100

    def peer() -> Any:
        model = SplitConformalRegressor(fitted, confidence_level=list(1 - levels), prefit=True)
        return model.conformalize(X, y).predict_interval(T)[1]

    theirs, a = best(peer, 3)
    mu, at = fitted.predict(X), fitted.predict(T)
    ours, b = best(lambda: pc.split(pc.Absolute(), mu, y, at, alpha=levels))
    return theirs, ours, np.abs(b.upper - a[:, 1]).max(), ""


def cqr() -> Any:
    """Conformalised quantile regression, symmetric, n = m = 5,000."""
    from mapie.regression import ConformalizedQuantileRegressor
    from sklearn.dummy import DummyRegressor

    X, y, T, _ = regression(5_000, 5_000)
    fits = [DummyRegressor(strategy="quantile", quantile=q).fit(X, y) for q in (0.05, 0.95, 0.5)]
    model = ConformalizedQuantileRegressor(fits, confidence_level=0.9, prefit=True)
    model.conformalize(X, y)
    theirs, found = best(lambda: model.predict_interval(T, symmetric_correction=True)[1][:, :, 0])
    preds = [(fits[0].predict(v), fits[1].predict(v)) for v in (X, T)]
    ours, b = best(lambda: pc.split(pc.CQR(), preds[0], y, preds[1], alpha=0.1))
    return theirs, ours, np.abs(np.stack([b.lower, b.upper], 1) - found).max(), ""


class Given:
    """A classifier whose probabilities are its input."""

    def __init__(self, classes: int) -> None:
        self.classes_ = np.arange(classes)
        self.n_features_in_ = classes

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any) -> Any:
        return self

    def predict_proba(self, X: Any) -> Any:
        return np.asarray(X)

    def predict(self, X: Any) -> Any:
        return np.asarray(X).argmax(axis=1)


def _labels(name: str, score: Any) -> Any:
    from mapie.classification import SplitConformalClassifier

    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(100, 0.05), 20_000)
    y = (rng.uniform(size=(20_000, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, 99)
    cal, test, truth = p[:10_000], p[10_000:], y[10_000:]

    def peer() -> Any:
        model = SplitConformalClassifier(
            Given(100), confidence_level=0.9, conformity_score=name, prefit=True, random_state=0
        )
        return model.conformalize(cal, y[:10_000]).predict_set(test)[1][:, :, 0]

    theirs, a = best(peer, 2)
    ours, b = best(lambda: pc.split(score, cal, y[:10_000], test, alpha=0.1, key=0), 3)
    text = f"mean size {b.size().mean():.2f} and {a.sum(1).mean():.2f}, "
    rows = np.arange(10_000)
    text += f"coverage {b.contains(truth).mean():.4f} and {a[rows, truth].mean():.4f}"
    return theirs, ours, (np.asarray(b.mask) != a).mean(), text


def lac() -> Any:
    """LAC sets, 10,000 + 10,000 points, 100 labels (same: fraction of labels that differ)."""
    return _labels("lac", pc.LAC())


def aps() -> Any:
    """APS sets, 10,000 + 10,000 points, 100 labels; each side has its own uniforms."""
    return _labels("aps", pc.APS())


def raps() -> Any:
    """RAPS sets; MAPIE tunes its penalty on a split of its own, so only time compares."""
    return _labels("raps", pc.RAPS())


def crps() -> Any:
    """CRPS of a predictive system, n = 20,000, m = 5,000."""
    from crepes import ConformalPredictiveSystem

    rng = np.random.default_rng(0)
    r, mu = rng.gamma(1, size=20_000) - 1, rng.normal(size=5_000)
    y = mu + rng.gamma(1, size=5_000) - 1
    system = ConformalPredictiveSystem().fit(residuals=r)
    theirs, a = best(lambda: system.evaluate(mu, y, metrics=["CRPS"])["CRPS"], 1)
    ours, b = best(lambda: pc.predictive_system(0 * r, r, mu).crps(y).mean())
    return theirs, ours, abs(a - b), f"{b:.6f} and {a:.6f}"


def mondrian() -> Any:
    """Mondrian intervals, n = 20,000, m = 5,000, 20 groups."""
    from crepes import ConformalRegressor

    rng = np.random.default_rng(0)
    r, mu = rng.standard_t(3, size=20_000), rng.normal(size=5_000)
    groups, at = rng.integers(0, 20, 20_000), rng.integers(0, 20, 5_000)

    def peer() -> Any:
        model = ConformalRegressor().fit(residuals=r, bins=groups)
        return model.predict_int(mu, bins=at, confidence=0.9)

    theirs, a = best(peer)
    zero = 0 * r

    def mine() -> Any:
        return pc.split(pc.Absolute(), zero, r, mu, alpha=0.1, groups_cal=groups, groups_test=at)

    ours, b = best(mine)
    return theirs, ours, np.abs(np.stack([b.lower, b.upper], 1) - a).max(), ""


def venn_abers() -> Any:
    """Venn-Abers, n = m = 5,000."""
    from venn_abers import VennAbers

    rng = np.random.default_rng(0)
    s, t = rng.beta(2, 2, size=5_000), rng.beta(2, 2, size=5_000)
    y = (rng.uniform(size=5_000) < s**2).astype(int)

    def peer() -> Any:
        model = VennAbers()
        model.fit(np.column_stack([1 - s, s]), y)
        return model.predict_proba(np.column_stack([1 - t, t]))[1]

    theirs, a = best(peer, 2)
    ours, b = best(lambda: pc.venn_abers(s, y, t))
    return theirs, ours, np.abs(np.column_stack([b.p0, b.p1]) - a).max(), ""


def conditional() -> Any:
    """Conditional thresholds per test point, n = 1,000, d = 5, against one HiGHS program each."""
    from scipy.optimize import linprog

    rng = np.random.default_rng(0)
    phi, at = (np.column_stack([np.ones(k), rng.normal(size=(k, 4))]) for k in (1_000, 500))
    s = rng.exponential(size=1_000) * np.exp(0.3 * phi[:, 1])

    def one(x: Any) -> Any:
        out = linprog(-s, A_eq=phi.T, b_eq=-0.9 * (1 - 1e-6) * x, bounds=(-0.1, 0.9))
        return -x @ out.eqlin.marginals if out.x is not None else np.inf

    theirs, a = best(lambda: np.array([one(x) for x in at[:50]]), 1)
    ours, b = best(lambda: pc.calibration.conditional_thresholds(s, phi, at), 2)
    finite = np.isfinite(a)
    same = np.abs(a[finite] - b[:50][finite]).max()
    return theirs / 50, ours / 500, same, "seconds per test point"


def bayes() -> Any:
    """Conformal Bayes per test point, T = 4,000, n = 1,000, grid 200, against a loop in NumPy."""
    rng = np.random.default_rng(0)
    data, grid = rng.normal(size=(4_000, 1_000)) - 1, np.linspace(-3, 3, 200)
    theta = rng.normal(size=4_000) * 0.05
    candidates = -0.5 * (grid[:, None] - theta) ** 2

    def loop() -> Any:
        p = []
        for row in candidates:
            w = np.exp(row - row.max())
            w /= w.sum()
            others = (w[:, None] * np.exp(data)).sum(axis=0)
            p.append((1 + (others <= (w * np.exp(row)).sum()).sum()) / 1_001)
        return np.array(p)

    theirs, a = best(loop, 1)

    def mine() -> Any:
        return pc.posteriors.bayes_arrays(data, candidates[None], grid=grid, fallback="keep")

    ours, b = best(mine, 3)
    many, _ = best(
        lambda: pc.posteriors.bayes_arrays(
            data, np.stack([candidates] * 8), grid=grid, fallback="keep"
        ),
        1,
    )
    same = np.abs(a - b.p_values[0]).max()
    return theirs, many / 8, same, f"ours: per point, of 8 in a call; {ours:.3f} s alone"


def order_statistic() -> Any:
    """One order statistic per row of 1000 x 1000 inside jit: bit bisection against jnp.sort."""
    import jax
    import jax.numpy as jnp

    x = jax.random.normal(jax.random.key(0), (1_000, 1_000))
    host = np.asarray(x)
    sort = jax.jit(lambda x: jnp.sort(x, axis=1)[:, 899])
    bits = jax.jit(lambda x: pc.calibration.order_stat(x, 900))
    theirs, a = best(lambda: sort(x).block_until_ready(), 5)
    ours, b = best(lambda: bits(x).block_until_ready(), 20)
    plain, _ = best(lambda: np.partition(host, 899, axis=1)[:, 899], 20)
    return theirs, ours, float(jnp.abs(a - b).max()), f"{ours / plain:.1f} x np.partition"


def optcs() -> Any:
    """OptCS, n = m = 10,000, 24 models; against the definition on 60 of the test points."""
    rng = np.random.default_rng(0)
    v, t = rng.normal(size=(24, 10_000)), rng.normal(size=(24, 10_000))
    ours, _ = best(lambda: pc.optcs(0, v, t, q=0.1), 2)

    def definition() -> Any:
        sizes = []
        ordered = np.sort(v[0])
        for j in range(60):
            counts = np.searchsorted(ordered, t[0], "right") + (t[0, j] <= t[0])
            p = counts / 10_001
            p[j] = 0
            sizes.append(max(1, pc.selection.benjamini_hochberg(p, q=0.1).size))
        return np.array(sizes)

    some, a = best(definition, 1)
    same = np.abs(pc.selection.auxiliary_sizes(v[0], t[0], q=0.1)[:60] - a).max()
    return some / 60 * 10_000 * 24, ours, same, "peer: time of the definition, extrapolated"


def online() -> Any:
    """1,000 series of 5,000 steps, window 200, ACI; peer: one NumPy loop over 5 series."""
    rng = np.random.default_rng(0)
    s = np.abs(rng.normal(size=(1_000, 5_000))).astype(np.float32)

    def loop() -> Any:
        out = []
        for row in s[:5]:
            level, errors = 0.1, 0
            for t, score in enumerate(row):
                recent = np.sort(row[max(0, t - 200) : t])
                k = int(np.ceil((1 - level) * (recent.size + 1) - 1e-4))
                q = np.inf if k > recent.size or level <= 0 else recent[max(k, 1) - 1]
                level += 0.01 * (0.1 - (score > q))
                errors += score > q
            out.append(errors / row.size)
        return np.array(out)

    theirs, a = best(loop, 1)
    ours, b = best(lambda: pc.track(pc.ACI(), s), 1)
    texts = []
    for method in (pc.DtACI(), pc.online.AgACI(), pc.PID(), pc.SAOCP(radius=5.0)):
        took, _ = best(lambda m=method: pc.track(m, s), 1)
        texts.append(f"{type(method).__name__} {took:.1f} s")
    same = np.abs(b.errors[:5].mean(axis=1) - a).max()
    return theirs * 200, ours, same, "peer extrapolated; " + ", ".join(texts)


def memory() -> Any:
    """CV+ with n = 200,000 and m = 150,000: peak memory (no peer: it forms the n x m matrix)."""
    import resource

    rng = np.random.default_rng(0)
    mu = rng.normal(size=150_000)[:, None] + 0.05 * rng.normal(size=(150_000, 10))
    r, folds = rng.exponential(size=200_000), np.arange(200_000) % 10
    ours, _ = best(lambda: pc.cv_plus(mu, r, folds), 1)
    X, y, T, _ = regression(20_000, 15_000)
    took, _ = best(lambda: pc.jackknife_plus_ridge(X[:2000], y[:2000], T, ridge=1.0), 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return float("nan"), ours, 0.0, f"peak {peak:.2f} GiB of the whole process; J+ {took:.1f} s"


ROWS = {
    f.__name__: f
    for f in (
        order_statistic, split, cqr, lac, aps, raps, mondrian, jackknife, cv_plus, minmax,
        crps, venn_abers, conditional, bayes, optcs, online, memory,
    )
}  # fmt: skip


def main() -> None:
    """Run the rows and print the table with ratios."""
    names = sys.argv[1:] or list(ROWS)
    print(f"{'row':16} {'peer s':>9} {'ours s':>9} {'ratio':>8} {'same':>9}")
    for name in names:
        try:
            theirs, ours, same, text = ROWS[name]()
        except ImportError as error:
            print(f"{name:16} not run: {error}")
            continue
        print(f"{name:16} {theirs:9.4f} {ours:9.4f} {theirs / ours:8.1f} {same:9.1e}  {text}")
        figures = {"peer s": theirs, "ours s": ours, "same": float(same), "note": text}
        what = (ROWS[name].__doc__ or name).splitlines()[0].rstrip(".")
        record(
            "conformal.json",
            name,
            {"what": what, **figures},
            packages=("numpy", "jax", "mapie", "crepes"),
        )


if __name__ == "__main__":
    main()
