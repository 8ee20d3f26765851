"""Coverage of prediction-powered intervals by simulation, one table per claim.

Run from the project's root: ``python -m bench.ppi_coverage [name ...]``; without names, all.
``--data FOLDER`` names the folder of galaxies.npz and forest.npz for the tables on real data.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from bench.recording import record
from probinf import ppi
from probinf.errors import PredictionWarning
from probinf.ppi.inference import core, losses
from probinf.ppi.inference.moments import welch
from probinf.ppi.inference.student import critical

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "ppi"


def real(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions of a data set."""
    with np.load(DATA / f"{name}.npz") as data:
        return data["Y"], data["Yhat"]


NOISE: dict[str, Callable[[Any, Any], Any]] = {
    "normal": jax.random.normal,
    "exponential": lambda key, shape: jax.random.exponential(key, shape) - 1,
    "t5": lambda key, shape: jax.random.t(key, 5.0, shape),
}


def mean_sample(key: Any, n: int, N: int, noise: str) -> core.Data:
    """Labels are predictions plus noise; mean 0."""
    one, two = jax.random.split(key)
    f = NOISE[noise](one, (n + N,))
    y = f[:n] + 0.6 * NOISE[noise](two, (n,))
    return core.mean_data(y, f[:n], f[n:])


def logistic_sample(key: Any, n: int, N: int, noise: str) -> core.Data:
    """Binary labels whose log odds have a part that only the prediction sees."""
    a, b, c = jax.random.split(key, 3)
    x = jnp.stack([jnp.ones(n + N), NOISE[noise](a, (n + N,))], axis=1)
    p = jax.nn.sigmoid(x @ jnp.array([0.2, 0.5]) + 2 * jax.random.normal(b, (n + N,)))
    y = (jax.random.uniform(c, (n,)) < p[:n]).astype(p.dtype)
    alpha = jnp.full(n, 1 / n)
    labeled, unlabeled = {"x": x[:n], "y": y}, {"x": x[n:], "y": p[n:]}
    return core.Data(
        labeled, ({"x": x[:n], "y": p[:n]},), (unlabeled,), alpha, alpha, jnp.full(N, 1 / N)
    )


def ols_sample(key: Any, n: int, N: int, noise: str) -> core.Data:
    """Skewed or heavy-tailed regressors, variance that depends on them."""
    a, b, c = jax.random.split(key, 3)
    x = jnp.stack([jnp.ones(n + N), jax.random.uniform(a, (n + N,), minval=-1.0)], axis=1)
    f = x @ jnp.array([0.5, 1.0]) + NOISE[noise](b, (n + N,)) * (1 + 0.5 * x[:, 1])
    y = f[:n] + 0.5 * NOISE[noise](c, (n,))
    alpha = jnp.full(n, 1 / n)
    labeled, unlabeled = {"x": x[:n], "y": y}, {"x": x[n:], "y": f[n:]}
    return core.Data(
        labeled, ({"x": x[:n], "y": f[:n]},), (unlabeled,), alpha, alpha, jnp.full(N, 1 / N)
    )


@partial(jax.jit, static_argnames=("sample", "model", "n", "N", "noise", "d", "tune"))
def _fits(keys: Any, sample: Any, model: Any, n: int, N: int, noise: str, d: int, tune: Any) -> Any:
    def one(key: Any) -> Any:
        fit = core.fit(model, sample(key, n, N, noise), jnp.zeros(d), tune=tune)
        return fit.theta, jnp.diag(fit.mine), jnp.diag(fit.theirs), fit.converged

    return jax.vmap(one)(keys)


def coverage(
    sample: Any,
    model: Any,
    truth: np.ndarray,
    n: int,
    N: int,
    noise: str,
    *,
    tune: Any = "trace",
    reps: int = 5000,
    alpha: float = 0.1,
    seed: int = 0,
) -> np.ndarray:
    """Share (d,) of vmapped replications whose Welch interval covers ``truth``."""
    d = len(truth)
    keys = jax.random.split(jax.random.key(seed), reps)
    theta, mine, theirs, converged = (
        np.concatenate(parts)
        for parts in zip(
            *(
                [np.asarray(a) for a in _fits(k, sample, model, n, N, noise, d, tune)]
                for k in np.array_split(keys, max(1, reps * N // 5_000_000))
            ),
            strict=True,
        )
    )
    df = welch(mine, theirs, n - d - 1, N - 1)
    half = critical(alpha, df) * np.sqrt(mine + theirs)
    assert converged.mean() > 0.999
    return (np.abs(theta - truth) <= half)[converged].mean(axis=0)


def table_mean() -> None:
    """Means at n = 10 ... 200: 89 to 91 at n = 200, at least 89 below (normal errors)."""
    gaussian = losses.Linear(losses.Gaussian())
    for noise in NOISE:
        row = [
            coverage(mean_sample, gaussian, np.zeros(1), n, 2000, noise)[0]
            for n in (10, 20, 50, 200)
        ]
        print(f"mean, {noise:12} n=10/20/50/200  " + " ".join(f"{c:.2%}" for c in row))


def table_looks(reps: int = 1000, steps: int = 2000, N: int = 2000, looks: int = 60) -> None:
    """Looks from 40 to 2,000 labels, 7 % apart: at most 10 % of runs ever miss; widths."""
    rng = np.random.default_rng(0)
    times = np.unique(np.append(np.geomspace(40, steps, looks).astype(int), 400)).tolist()
    truth = logistic_truth("normal")
    missed = {k: np.zeros(2) for k in ("mean", "median", "ols", "logit")}
    width: dict[str, list[float]] = {k: [] for k in missed}
    began = time.process_time()
    for run in range(reps):
        x = np.column_stack([np.ones(steps + N), rng.normal(size=steps + N)])
        f = x @ np.array([0.5, 1.0]) + rng.normal(size=steps + N)
        y = f[:steps] + 0.6 * rng.standard_t(5, size=steps)
        data = logistic_sample(jax.random.key(run), steps, N, "normal")
        z, b, p = (np.asarray(a) for a in (*data.labeled.values(), data.proxied[0]["y"]))
        zu, pu = (np.asarray(a) for a in data.unlabeled[0].values())
        ever = {k: np.zeros(2, bool) for k in missed}
        for t in times:
            found = {
                "mean": (ppi.mean(y[:t], f[:t], f[steps:]), 0.5),
                "median": (ppi.quantile(y[:t], f[:t], f[steps:], 0.5), 0.5),
                "ols": (ppi.ols(x[:t], y[:t], f[:t], x[steps:], f[steps:]), (0.5, 1.0)),
                "logit": (ppi.logistic(z[:t], b[:t], p[:t], zu, pu), truth),
            }
            for name, (result, value) in found.items():
                target = np.atleast_1d(value)[-1]
                pair = ppi.anytime(result)[-1], result.conf_int()[-1]
                for j, (low, high) in enumerate(pair):
                    ever[name][j] |= not low <= target <= high
                if t == 400:
                    width[name].append((pair[0][1] - pair[0][0]) / (pair[1][1] - pair[1][0]))
        for name, seen in ever.items():
            missed[name] += seen
        if (run + 1) % 100 == 0:
            row = [
                f"{k} {m[0] / (run + 1):.1%} (single looks {m[1] / (run + 1):.1%}), "
                f"width {np.median(width[k]):.2f} x that of one look"
                for k, m in missed.items()
            ]
            spent = time.process_time() - began
            print(f"anytime, {run + 1} runs, {spent:.0f} s: " + "; ".join(row), flush=True)
            for k, m in missed.items():
                figures = {
                    "ever missed": m[0] / (run + 1),
                    "single looks": m[1] / (run + 1),
                    "width": float(np.median(width[k])),
                    "of the mean's": float(np.median(width[k]) / np.median(width["mean"])),
                    "looks": len(times),
                    "runs": run + 1,
                }
                record("ppi_looks.json", k, figures, packages=("numpy", "jax"))


def table_skewed(reps: int = 2000) -> None:
    """Means of 10 and 20 skewed labels: at least 88.5 with small_sample="skew", and its width."""
    rng = np.random.default_rng(0)
    draw: dict[str, Callable[[int], np.ndarray]] = {
        "exponential": lambda n: rng.exponential(size=n) - 1,
        "normal": lambda n: rng.normal(size=n),
        "t5": lambda n: rng.standard_t(5, size=n),
        "lognormal": lambda n: np.exp(rng.normal(size=n)) - np.exp(0.5),
    }
    for noise, n in [(noise, n) for noise in draw for n in (10, 20)]:
        limits = np.zeros((reps, 2, 2))
        for k in range(reps):
            f = draw[noise](n + 2000)
            y = f[:n] + 0.6 * draw[noise](n)
            for j, rule in enumerate((True, "skew")):
                limits[k, j] = ppi.mean(y, f[:n], f[n:], small_sample=rule).conf_int()[0]
        hit = ((limits[:, :, 0] <= 0) & (limits[:, :, 1] >= 0)).mean(axis=0)
        width = np.median(limits[:, :, 1] - limits[:, :, 0], axis=0)
        ratio = width[1] / width[0]
        print(f"mean, {noise:12} n={n}: t {hit[0]:.2%}, skew {hit[1]:.2%}, width {ratio:.2f} x")
        figures = {"t": hit[0], "skew": hit[1], "width": ratio, "repetitions": reps}
        record("ppi_skewed.json", f"{noise}, n={n}", figures, packages=("numpy", "jax"))


def table_regression() -> None:
    """Regressions at n = 200: 89 to 91 for every coefficient."""
    gaussian, binomial = losses.Linear(losses.Gaussian()), losses.Linear(losses.Binomial())
    for noise in NOISE:
        found = coverage(ols_sample, gaussian, np.array([0.5, 1.0]), 200, 2000, noise)
        print(f"ols, {noise:12}      n=200  " + " ".join(f"{c:.2%}" for c in found))
    truth = logistic_truth("normal")
    for tune in ("trace", "element", "matrix"):
        found = coverage(logistic_sample, binomial, truth, 200, 2000, "normal", tune=tune)
        print(f"logistic, {tune:8}     n=200  " + " ".join(f"{c:.2%}" for c in found))


def logistic_truth(noise: str) -> np.ndarray:
    """Coefficients of the population regression, by a huge sample."""
    n = 4_000_000
    data = logistic_sample(jax.random.key(99), 2, n, noise)
    rows = {"x": data.unlabeled[0]["x"], "y": data.unlabeled[0]["y"]}
    weights = jnp.full(n, 1 / n)
    whole = core.Data(rows, (), (), weights, weights, jnp.zeros(0))
    M = jnp.zeros((2, 0))
    model = losses.Linear(losses.Binomial())
    return np.asarray(core.solve(model, whole, M, jnp.zeros(2), controls=False).theta)


def table_clusters(reps: int = 2000) -> None:
    """40 clusters of 10, intra-class correlation 0.2: clustered at least 88.5, naive below 80."""
    rng = np.random.default_rng(0)
    G, size, Gu = 40, 10, 400
    n, N = G * size, Gu * size
    groups = (np.repeat(np.arange(G), size), 10_000 + np.repeat(np.arange(Gu), size))
    hits = np.zeros(2)
    for _ in range(reps):

        def draw(clusters: int) -> np.ndarray:
            shared = np.repeat(rng.normal(size=clusters), size)
            return np.sqrt(0.2) * shared + np.sqrt(0.8) * rng.normal(size=clusters * size)

        f, fu = draw(G), draw(Gu)
        y = f + draw(G)
        for j, options in enumerate(({"groups": groups}, {})):
            low, high = ppi.mean(y, f, fu, **options).conf_int()[0]
            hits[j] += low <= 0 <= high
    print(f"clusters: with groups {hits[0] / reps:.2%}, without {hits[1] / reps:.2%} ({n=}, {N=})")


def table_few_clusters(reps: int = 2000) -> None:
    """Means of 4 ... 10 clusters, 90 %: at least 89 with a tuned weight, too."""
    rng = np.random.default_rng(0)
    for G, size in ((4, 5), (5, 5), (6, 5), (8, 5), (10, 10)):
        groups = (np.repeat(np.arange(G), size), 10_000 + np.repeat(np.arange(100), size))
        for icc in (0.2, 0.8):

            def draw(clusters: int, size: int = size, icc: float = icc) -> np.ndarray:
                shared = np.repeat(rng.normal(size=clusters), size)
                return np.sqrt(icc) * shared + np.sqrt(1 - icc) * rng.normal(size=clusters * size)

            hits = np.zeros(2)
            for _ in range(reps):
                f, fu = draw(G), draw(100)
                y = f + draw(G)
                for j, method in enumerate(("classical", "ppi++")):
                    low, high = ppi.mean(y, f, fu, groups=groups, method=method).conf_int()[0]
                    hits[j] += low <= 0 <= high
            print(
                f"{G:2} clusters of {size:2}, correlation {icc}: labels alone "
                f"{hits[0] / reps:.2%}, tuned {hits[1] / reps:.2%}"
            )


Rows = tuple[np.ndarray, np.ndarray, np.ndarray, int]


def _split(rows: Rows) -> tuple[np.ndarray, ...]:
    x, y, f, n = rows
    return x[:n], y[:n], f[:n], x[n:], f[n:]


def _tables(rows: Rows) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    x, y, f, n = rows
    seen = np.column_stack([x[:, 1:], f])
    return {"x": x[:n], "y": y[:n]}, seen[:n], seen[n:]


def _ptd(rows: Rows) -> ppi.Result:
    x, y, f, xu, fu = _split(rows)
    return ppi.ptd("gaussian", {"x": x, "y": y}, {"y": f}, {"x": xu, "y": fu})


def _dsl(rows: Rows) -> ppi.Result:
    mine, seen, other = _tables(rows)
    x, n = rows[0], rows[3]
    return ppi.dsl("gaussian", mine, {"x": x[n:]}, seen, other, repeats=1)


SLOPES: dict[str, Callable[[Rows], ppi.Result]] = {
    "labels alone": lambda rows: ppi.ols(*_split(rows), method="classical"),
    "ppi": lambda rows: ppi.ols(*_split(rows), method="ppi"),
    "ppi++": lambda rows: ppi.ols(*_split(rows)),
    "ppi++ element": lambda rows: ppi.ols(*_split(rows), tune="element"),
    "ppi++ matrix": lambda rows: ppi.ols(*_split(rows), tune="matrix"),
    "ptd": _ptd,
    "reppi": lambda rows: ppi.reppi("gaussian", *_tables(rows)),
    "dsl": _dsl,
}


def table_slopes(reps: int = 1000, N: int = 400) -> None:
    """Slopes of 20 and 40 labels, 90 %: even, unequal errors, a skewed regressor."""
    for kind in ("even", "unequal", "skewed"):
        for n in (20, 40):
            for name, fit in SLOPES.items():
                rng = np.random.default_rng(1)
                hits = 0
                for _ in range(reps):
                    z = (
                        rng.exponential(size=n + N) - 1
                        if kind == "skewed"
                        else rng.normal(size=n + N)
                    )
                    spread = 1 + 0.5 * np.abs(z) if kind == "unequal" else np.ones(n + N)
                    hidden = spread * rng.normal(size=n + N)
                    x, f = np.column_stack([np.ones(n + N), z]), 0.7 * (1 + z) + hidden
                    y = 0.5 + z + hidden + 0.7 * spread * rng.normal(size=n + N)
                    low, high = fit((x, y, f, n)).conf_int()[1]
                    hits += low <= 1 <= high
                print(f"slope, {kind:8} n={n}  {name:14} {hits / reps:.1%}", flush=True)


def table_finite(reps: int = 2000) -> None:
    """Forest, n = 500 of 1,596 plots, 95 %: 94 to 96 with the finite-population correction."""
    y, f = real("forest")
    rng = np.random.default_rng(0)
    hits = np.zeros(2)
    for _ in range(reps):
        order = rng.permutation(len(y))
        a, b = order[:500], order[500:]
        for j, finite in enumerate((True, False)):
            found = ppi.mean(y[a], f[a], f[b], alpha=0.05, finite_population=finite)
            low, high = found.conf_int()[0]
            hits[j] += low <= y.mean() <= high
    print(f"forest, 95 %: finite population {hits[0] / reps:.2%}, without {hits[1] / reps:.2%}")


def table_anytime(reps: int = 500, T: int = 2000) -> None:
    """Cumulative miscoverage on [40, 2000] at most .10; width at 100 against no prior."""
    priors: tuple[Any, ...] = (None, ("normal", 0.1), ("t", 2.0, 0.1), ("laplace", 0.1))
    rng = np.random.default_rng(0)
    peeking = 0
    for bias in (0.0, 0.3, 1.2):
        missed = np.zeros(len(priors))
        width = np.zeros((len(priors), 2))
        for _ in range(reps):
            f = rng.normal(size=T)
            y = f + rng.normal(size=T)
            for j, prior in enumerate(priors):
                limits = ppi.AnytimeMean(prior=prior, lam=1.0).run(y, f + bias, fu_mean=bias)
                missed[j] += np.any((limits[39:, 0] > 0) | (limits[39:, 1] < 0))
                width[j] += limits[[99, 999], 1] - limits[[99, 999], 0]
            if bias == 0:
                t = np.arange(1, T + 1)
                e = np.cumsum(y - f) / t
                sd = np.sqrt(np.maximum(np.cumsum((y - f) ** 2) / t - e**2, 0))
                peeking += np.any((np.abs(e) > 1.645 * sd / np.sqrt(t))[39:])
        for j, prior in enumerate(priors):
            at = width[j] / reps
            ratio = width[j, 0] / width[0, 0]
            print(
                f"anytime, bias {bias}: {prior!s:20} missed {missed[j] / reps:.3f}, width at 100 "
                f"{at[0]:.3f} (ratio {ratio:.2f}), at 1000 {at[1]:.3f}"
            )
    print(f"fixed-n interval under peeking: missed {peeking / reps:.3f}")


def table_fab(reps: int = 1000) -> None:
    """FAB-PPI: width at zero rectifier, conditional coverage, galaxies at n = 300."""
    from probinf.ppi.estimators.pratt import region

    at_zero = region(0.0, "horseshoe", 0.1)
    print(f"horseshoe, y = 0: width ratio {np.ptp(at_zero) / (2 * 1.6448536):.4f}")
    rng = np.random.default_rng(0)
    from probinf.ppi.estimators.pratt import acceptance, horseshoe_log_density

    for b in (0.0, 1.0, 3.0, 6.0):
        low, high = acceptance(np.array([b]), horseshoe_log_density, 0.1)
        y = b + rng.normal(size=4_000_000)
        print(f"  conditional coverage at {b}: {np.mean((low[0] <= y) & (y <= high[0])):.4f}")
    kinds = ("ignore", "minkowski", "quadrature")
    for name in ("galaxies", "forest"):
        y, f = real(name)
        width, hits, plain = np.zeros(3), np.zeros(3), 0.0
        for _ in range(reps):
            order = rng.permutation(len(y))
            a, b = order[:300], order[300:]
            for j, kind in enumerate(kinds):
                found = ppi.fab(y[a], f[a], f[b], m_error=kind)
                width[j] += found.width
                hits[j] += np.any(
                    (found.pieces[:, 0] <= y.mean()) & (y.mean() <= found.pieces[:, 1])
                )
            low, high = found.ppi.conf_int()[0]
            plain += high - low
        text = ", ".join(
            f"{k} {w / reps:.4f} ({h / reps:.3f})"
            for k, w, h in zip(kinds, width, hits, strict=True)
        )
        print(f"{name}, n=300: width (coverage) {text}; ppi++ {plain / reps:.4f}")
    ratio = 0.0
    for _ in range(200):
        f = rng.normal(size=50 + 5000)
        y = f[:50] + rng.normal(size=50)
        found = ppi.fab(y, f[:50], f[50:])
        low, high = found.ppi.conf_int()[0]
        ratio += found.width / (high - low) / 200
    print(f"N = 100 n, unbiased predictions: minkowski / ppi++ width {ratio:.3f}")


def table_bayes(reps: int = 2000) -> None:
    """Binary chain rule at n = 20: 88 to 93 at 90 %."""
    rng = np.random.default_rng(0)
    hits = 0
    for i in range(reps):
        truth = rng.uniform(size=520) < 0.4
        judge = np.where(rng.uniform(size=520) < 0.85, truth, ~truth)
        y, f = truth.astype(float), judge.astype(float)
        low, high = ppi.bayes(y[:20], f[:20], f[20:], kind="chain", draws=4000, key=i).conf_int()[0]
        hits += low <= 0.4 <= high
    print(f"Bayesian chain rule, n=20: {hits / reps:.2%}")


def _power(y: np.ndarray, f: np.ndarray, null: float, method: str, n: int, reps: int) -> float:
    """Share of permutations whose lower 95 % limit with n labels lies above ``null``."""
    rng = np.random.default_rng(n)
    hits = 0
    for _ in range(reps):
        order = rng.permutation(len(y))
        a, b = order[:n], order[n:]
        found = ppi.mean(y[a], f[a], f[b], method=method, alpha=0.05, compat="ppi_py")
        hits += found.conf_int()[0, 0] > null
    return hits / reps


def _exact_labels(y: np.ndarray, null: float) -> tuple[int, int]:
    """Labels with which binary labels alone first reject in 80 %, and from which they always do.

    The power is a sum over the hypergeometric law of the positives among n; it is not monotone
    in n, because a count is a whole number.
    """
    n = np.arange(50, 1000)
    power = np.empty(len(n))
    for i, size in enumerate(n):
        k = np.arange(size + 1)
        share = k / size
        se = np.sqrt(share * (1 - share) / size)
        law = scipy.stats.hypergeom(len(y), int(y.sum()), size)
        power[i] = law.pmf(k)[share - scipy.stats.norm.ppf(0.975) * se > null].sum()
    return int(n[power >= 0.8][0]), int(n[power < 0.8][-1]) + 1


def table_reject(reps: int = 1000) -> None:
    """Labels needed to reject in 80 % of permutations, PPI++ and labels alone."""
    for name, null in (("galaxies", 0.2), ("forest", 0.0)):
        y, f = real(name)
        needed = []
        for method in ("ppi++", "classical"):
            low, high = 10, 1500
            while high - low > 1:
                middle = (low + high) // 2
                enough = _power(y, f, null, method, middle, reps) >= 0.8
                low, high = (low, middle) if enough else (middle, high)
            needed.append(high)
        print(f"labels to reject, {name} (null {null}): ppi++ {needed[0]}, classical {needed[1]}")
        if set(np.unique(y)) == {0.0, 1.0}:
            first, always = _exact_labels(y, null)
            print(f"   classical by enumeration: first at {first}, for good from {always}")


TABLES = {k.removeprefix("table_"): v for k, v in list(globals().items()) if k.startswith("table_")}


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", default=list(TABLES), help=", ".join(TABLES))
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    if options.data is not None:
        globals()["DATA"] = options.data
    warnings.simplefilter("ignore", PredictionWarning)
    with jax.enable_x64(True):
        for name in options.tables:
            began = time.perf_counter()
            print(f"-- {name}: {TABLES[name].__doc__}")
            TABLES[name]()
            print(f"   {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
