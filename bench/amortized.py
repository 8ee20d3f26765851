"""Figures of the shipped networks against exact answers: ``python -m bench.amortized [NAME ...]``.

Gaps and divergences are in nats, means over fresh draws that no training saw.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import probinf as pi
from bench.fusion import fusion
from probinf.amortized import GaussianMixture, GaussianProcess, LinearMotion, oracles
from probinf.amortized.priors.gaussian_process import kernel_matrix

Figures = dict[str, Any]


@eqx.filter_jit
def _gaps(network: Any, head: Any, prior: Any, n: Any, key: Any) -> Any:
    """Per task and query: excess log score, error of the mean in sd, inside the 95 % interval."""
    context, queries = 20, 20

    def one(key: Any) -> Any:
        d = prior.draw(key, n, context, queries)
        outputs = network(d.x[:context], d.y[:context], jnp.arange(context) < n, d.x[context:])
        law = head.distribution(outputs)
        entropy = 0.5 * jnp.log(2 * jnp.pi * jnp.e) + jnp.log(d.sd)
        u = law.cdf(d.y[context:])
        points = jax.random.fold_in(key, 1)  # random ones: no network can have learned them
        gap = -law.expected_log_density(d.mean, d.sd, points) - entropy
        return gap, jnp.abs(law.mean - d.mean) / d.sd, (u > 0.025) & (u < 0.975)

    return jax.tree.map(jnp.mean, jax.vmap(one)(jax.random.split(key, 500)))


def gp_rbf(fitted: Any) -> Figures:
    """Fixed Gaussian process: 500 tasks of 20 queries per context size."""
    prior = GaussianProcess(1, lengthscale=0.2, noise=0.01)
    key = jax.random.key(99)
    rows = [
        [float(v) for v in _gaps(fitted.network, fitted.head, prior, jnp.asarray(n), key)]
        for n in range(21)
    ]
    return {
        "gap": {str(n): round(rows[n][0], 4) for n in (0, 1, 3, 5, 10, 20)},
        "gap mean over 0..20": round(float(np.mean([r[0] for r in rows])), 4),
        "error of the mean, sd": round(float(np.mean([r[1] for r in rows])), 3),
        "coverage of 95 %": round(float(np.mean([r[2] for r in rows])), 4),
    }


def hyper_tasks(sizes: tuple[int, ...], tasks: int, seed: int = 0) -> Any:
    """Data sets of the hyper-prior: ``(n, x, y, x_new, y_new)``, 20 queries each."""
    rng = np.random.default_rng(seed)
    for n in sizes:
        for _ in range(tasks):
            ls, os = rng.gamma(3.0) / 6.0, rng.gamma(2.0) / 2.0
            noise = np.exp(-3.0 + 0.8 * rng.normal())
            x = rng.uniform(size=(n + 20, 1))
            cov = oracles._kernel("matern52", x, x, ls, os) + noise * np.eye(n + 20)
            y = np.linalg.cholesky(cov + 1e-9 * np.eye(n + 20)) @ rng.normal(size=n + 20)
            yield n, x[:n], y[:n], x[n:], y[n:]


def _log_marginal(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    ls, os, noise = np.exp(theta)
    cov = oracles._kernel("matern52", x, x, ls, os) + (noise + 1e-8) * np.eye(len(y))
    factor = np.linalg.cholesky(cov)
    white = np.linalg.solve(factor, y)
    return float(-0.5 * white @ white - np.log(np.diag(factor)).sum())


def _mle_ii(x: np.ndarray, y: np.ndarray, x_new: np.ndarray) -> Any:
    """Type-II maximum likelihood from three starts."""
    from scipy.optimize import minimize

    starts = ([-1.0, 0.0, -3.0], [-2.5, 0.0, -2.0], [0.0, 0.5, -4.0])
    bounds = [(-4, 2), (-5, 3), (-9, 2)]
    runs = [
        minimize(lambda t: -_log_marginal(t, x, y), s, bounds=bounds, method="L-BFGS-B")
        for s in starts
    ]
    ls, os, noise = np.exp(min(runs, key=lambda r: r.fun).x)
    return oracles.gaussian_process(
        x, y, x_new, kernel="matern52", lengthscale=ls, outputscale=os, noise=noise
    )


def _weighted(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, y_new: np.ndarray) -> np.ndarray:
    """Near-exact predictive log density: 2,000 prior draws of the parameters, weighted."""
    rng = np.random.default_rng(5)
    theta = np.stack(
        [np.log(rng.gamma(3.0, size=2000) / 6), np.log(rng.gamma(2.0, size=2000) / 2),
         -3 + 0.8 * rng.normal(size=2000)], -1)  # fmt: skip
    log_w = np.array([_log_marginal(t, x, y) if len(y) else 0.0 for t in theta])
    log_w -= np.logaddexp.reduce(log_w)
    rows = [
        oracles.gaussian_process(
            x, y, x_new, kernel="matern52", lengthscale=a, outputscale=b, noise=c
        ).log_density(y_new)
        for a, b, c in np.exp(theta[log_w > -14])
    ]
    return np.asarray(np.logaddexp.reduce(np.array(rows) + log_w[log_w > -14][:, None], axis=0))


def gp_model(x: Any, y: Any = None) -> None:
    """The hyper-prior as a NumPyro model."""
    import numpyro

    ls = numpyro.sample("ls", dist.Gamma(3.0, 6.0))
    os = numpyro.sample("os", dist.Gamma(2.0, 2.0))
    noise = numpyro.sample("noise", dist.LogNormal(-3.0, 0.8))
    cov = kernel_matrix("matern52", x, x, ls, os)
    cov = cov + (noise + 1e-5) * jnp.eye(x.shape[0])
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(x.shape[0]), cov), obs=y)


def _nuts(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """256 draws of the parameters after 256 of warm-up, by NumPyro."""
    from numpyro.infer import MCMC, NUTS

    mcmc = MCMC(NUTS(gp_model), num_warmup=256, num_samples=256, progress_bar=False)
    mcmc.run(jax.random.key(0), jnp.asarray(x), y=jnp.asarray(y))
    return {name: np.asarray(v, float) for name, v in mcmc.get_samples().items()}


def _our_nuts(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """The same by our engine, which compiles once for each number of rows."""
    program = pi.from_numpyro(gp_model, jnp.asarray(x), y=jnp.asarray(y))
    engine = pi.NUTS(chains=1, warmup=256, draws=256)
    fit = pi.sample(program, engine, key=0, progress=False, check=False)
    return {name: np.asarray(v, float)[0] for name, v in fit.draws.items()}


def _averaged(
    draws: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray, new: np.ndarray, y_new: np.ndarray
) -> np.ndarray:
    """Predictive log density, averaged over draws of the parameters."""
    rows = [
        oracles.gaussian_process(
            x, y, new, kernel="matern52", lengthscale=a, outputscale=b, noise=c + 1e-5
        ).log_density(y_new)
        for a, b, c in zip(draws["ls"], draws["os"], draws["noise"], strict=True)
    ]
    return np.asarray(np.logaddexp.reduce(np.array(rows), axis=0) - np.log(len(rows)))


def gp_hyper(fitted: Any, tasks: int = 25) -> Figures:
    """Unknown parameters: negative log scores on the same data sets, and seconds of each answer.

    The time of NUTS is that of its draws alone; its second run on a data set of the same size is
    timed, as that of the network.
    """
    names = ("near-exact", "PFN", "MLE-II", "NUTS")
    total: dict[int, list[list[float]]] = {}
    seconds: dict[str, list[float]] = {}

    def timed(name: str, fn: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        out = fn()
        seconds.setdefault(name, []).append(time.perf_counter() - began)
        return out

    for k, (n, x, y, new, y_new) in enumerate(hyper_tasks((3, 5, 10, 20), tasks)):
        predict = partial(fitted.predict, x, y, new, out_of_range="ignore")
        if k % tasks == 0:  # compiles for this size
            predict(), _nuts(x, y), _our_nuts(x, y)
        law = timed("PFN", lambda p=predict: jax.block_until_ready(p()))
        mle = timed("MLE-II", lambda a=(x, y, new): _mle_ii(*a))
        draws = timed("NUTS", lambda a=(x, y): _nuts(*a))
        timed("NUTS here", lambda a=(x, y): _our_nuts(*a))
        scores = [
            _weighted(x, y, new, y_new),
            law.log_density(y_new),
            mle.log_density(y_new),
            _averaged(draws, x, y, new, y_new),
        ]
        total.setdefault(n, []).append([-float(np.mean(s)) for s in scores])
    median = {name: float(np.median(v)) for name, v in seconds.items()}
    every = np.concatenate([np.array(rows) for rows in total.values()])
    excess = {}
    for other in ("near-exact", "MLE-II", "NUTS"):
        gap = every[:, 1] - every[:, names.index(other)]
        excess[other] = [float(gap.mean()), float(gap.std() / np.sqrt(len(gap)))]
    return {
        f"negative log score: {', '.join(names)}": {
            str(n): [round(float(v), 3) for v in np.mean(rows, 0)] for n, rows in total.items()
        },
        "excess of the PFN over, with standard error": {
            name: [round(v, 4) for v in pair] for name, pair in excess.items()
        },
        "milliseconds per data set": {name: round(1e3 * v, 2) for name, v in median.items()},
        "times faster than NUTS": round(median["NUTS"] / median["PFN"], 1),
        "tasks": 4 * tasks,
    }


def _divergences(fitted: Any, meta: Any, exact: Callable[..., Any], tasks: int, key: int) -> Any:
    """KL(exact || network) of unseen situations, from draws of the exact posterior."""

    @eqx.filter_jit
    def all_of_them(network: Any, meta: Any, keys: Any) -> Any:
        def one(key: Any) -> Any:
            first, second = jax.random.split(key)
            s = meta.draw(first, 2)
            sample, log_p = exact(s, meta)
            x = sample(second, 2000)
            q = network(s.prior, s.z, s.mask)
            return jnp.mean(jax.vmap(log_p)(x) - jax.vmap(q.log_density)(x))

        return jax.lax.map(one, keys, batch_size=50)

    keys = jax.random.split(jax.random.key(key), tasks)
    return np.asarray(all_of_them(fitted.network, meta, keys), float)


def _summary(kl: np.ndarray) -> dict[str, float]:
    worst = np.sort(kl)[-max(len(kl) // 10, 1) :]
    found = {"mean": kl.mean(), "median": np.median(kl), "95th percentile": np.quantile(kl, 0.95),
             "worst decile, mean": worst.mean()}  # fmt: skip
    return {name: round(float(v), 5) for name, v in found.items()}


def _inverse_gamma(s: Any, meta: Any) -> Any:
    a = s.prior[0] + 0.5 * jnp.sum(s.mask)
    b = s.prior[1] + 0.5 * jnp.sum(jnp.where(s.mask, s.z[:, 0], 0.0) ** 2)

    def sample(key: Any, count: int) -> Any:
        return (jnp.log(b) - jax.random.loggamma(key, a, (count,)))[:, None]

    def log_p(x: Any) -> Any:
        lgamma = jax.scipy.special.gammaln(a)
        return a * jnp.log(b) - lgamma - a * x[0] - b * jnp.exp(-x[0])

    return sample, log_p


def _beta(s: Any, meta: Any) -> Any:
    ones = jnp.sum(jnp.where(s.mask, s.z[:, 0], 0.0))
    c1, c0 = s.prior[0] + ones, s.prior[1] + jnp.sum(s.mask) - ones

    def sample(key: Any, count: int) -> Any:
        one, two = jax.random.split(key)
        first = jax.random.loggamma(one, c1, (count,))
        return (first - jax.random.loggamma(two, c0, (count,)))[:, None]

    def log_p(x: Any) -> Any:
        up, down = jax.nn.log_sigmoid(x[0]), jax.nn.log_sigmoid(-x[0])
        return c1 * up + c0 * down - jax.scipy.special.betaln(c1, c0)

    return sample, log_p


def _mixture(s: Any, meta: Any) -> Any:
    law = s.prior.conditioned(s.z[0], meta.sensor.matrix, meta.sensor.noise)
    return (lambda key, count: law.sample(key, (count,))), law.log_density


def dt_inverse_gamma(fitted: Any) -> Figures:
    """1000 unseen priors around 2 (narrow), and of the wide family."""
    narrow = dist.InverseGamma(1e4, 2e4)
    metas = {
        "narrow": pi.amortized.InverseGammaNormal(narrow, narrow),
        "wide": pi.amortized.InverseGammaNormal(),
    }
    return {
        f"KL, {name}": _summary(_divergences(fitted, meta, _inverse_gamma, 1000, 7))
        for name, meta in metas.items()
    }


def dt_beta(fitted: Any) -> Figures:
    """1000 unseen priors and one to ten tosses."""
    meta = pi.amortized.BetaBernoulli()
    return {"KL": _summary(_divergences(fitted, meta, _beta, 1000, 7))}


def dt_position(fitted: Any, steps: int = 100, series: int = 20) -> Figures:
    """200 unseen mixtures; and 100-step filters against the Kalman and a particle filter."""
    sensor = pi.amortized.LinearSensor([[1.0, 0.0]], [[0.25]])
    meta = pi.amortized.RandomMixtures(2, sensor, 1)
    kl = _divergences(fitted, meta, _mixture, 1000, 7)
    rng = np.random.default_rng(0)
    F, Q = (
        0.97 * np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]]),
        0.1 * np.eye(2),
    )
    errors, scores = [], []
    for _ in range(series):
        x, states = rng.normal(size=2), []
        for _ in range(steps):
            states.append(x)
            x = F @ x + np.sqrt(0.1) * rng.normal(size=2)
        z = np.array(states)[:, 0] + 0.5 * rng.normal(size=steps)
        start = GaussianMixture.normal(jnp.zeros(2), jnp.eye(2), components=3)
        found = pi.amortized.filter(fitted, LinearMotion(jnp.asarray(F), jnp.asarray(Q)), start, z)
        means, covariances, _ = oracles.kalman_filter(
            z, transition=F, process_noise=Q, matrix=[[1.0, 0.0]], noise=[[0.25]],
            mean=np.zeros(2), covariance=np.eye(2),
        )  # fmt: skip
        errors.append(np.abs(found.means - means) / np.sqrt(np.diagonal(covariances, 0, 1, 2)))
        exact = [
            oracle_log_density(s, m, c) for s, m, c in zip(states, means, covariances, strict=True)
        ]
        ours = jax.vmap(lambda m, s: m.log_density(s))(
            found.mixtures, jnp.asarray(np.array(states))
        )
        scores.append(np.mean(exact) - float(jnp.mean(ours)))
    return {
        "KL": _summary(kl[:200]),
        "KL of 1000": _summary(kl),
        f"filter of {steps} steps: error of the mean, sd": round(float(np.mean(errors)), 4),
        f"filter of {steps} steps: excess negative log score": round(float(np.mean(scores)), 4),
        "filter against 1e5 particles": fusion(fitted, steps=steps, series=series),
    }


def oracle_log_density(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """Normal log density in float64."""
    v = x - mean
    logdet = np.linalg.slogdet(2 * np.pi * covariance)[1]
    return float(-0.5 * (v @ np.linalg.solve(covariance, v) + logdet))


def tables() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Two-class tables that come with scikit-learn and statsmodels; the two largest classes."""
    import statsmodels.api as sm
    from sklearn import datasets

    found = {}
    for name in ("wine", "breast_cancer", "iris", "digits"):
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        pairs = {"iris": (1, 2), "digits": (3, 8), "wine": (0, 1), "breast_cancer": (0, 1)}
        keep = np.isin(y, pairs[name])
        found[name] = (x[keep].astype(float), (y[keep] == pairs[name][1]).astype(int))
    diabetes = datasets.load_diabetes(return_X_y=True)
    found["diabetes above median"] = (
        diabetes[0],
        (diabetes[1] > np.median(diabetes[1])).astype(int),
    )
    fair = sm.datasets.fair.load_pandas().data
    found["fair"] = (
        fair.drop(columns="affairs").to_numpy(float),
        (fair["affairs"] > 0).to_numpy(int),
    )
    spector = sm.datasets.heart.load_pandas().data
    found["heart"] = (
        spector[["age", "survival"]].to_numpy(float),
        spector["censors"].to_numpy(int),
    )
    return found


def tabular(fitted: Any, splits: int = 20) -> Figures:
    """30 balanced training rows of each table, 70 or fewer for testing, against logistic CV."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from probinf.amortized.estimators import PFNClassifier

    rows: dict[str, list[list[float]]] = {}
    calibration: list[np.ndarray] = []
    for name, (x, y) in tables().items():
        for split in range(splits):
            rng = np.random.default_rng(split)
            each = [rng.permutation(np.flatnonzero(y == c)) for c in (0, 1)]
            train = np.concatenate([e[:15] for e in each])
            test = np.concatenate([e[15:50] for e in each])
            test_each = min(len(e) for e in each) - 15
            if test_each < 35:
                test = np.concatenate([e[15 : 15 + max(test_each, 5)] for e in each])
            p = PFNClassifier(fitted).fit(x[train], y[train]).predict_proba(x[test])[:, 1]
            logistic = make_pipeline(
                StandardScaler(), LogisticRegressionCV(Cs=7, cv=5, scoring="neg_log_loss")
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                q = logistic.fit(x[train], y[train]).predict_proba(x[test])[:, 1]
            scores = [roc_auc_score(y[test], v) for v in (p, q)]
            rows.setdefault(name, []).append(scores)
            calibration.append(np.stack([p, q, y[test]]))
    joined = np.concatenate(calibration, 1)
    means = {name: [round(float(v), 3) for v in np.mean(r, 0)] for name, r in rows.items()}
    return {
        "AUC: PFN, logistic CV": means,
        "mean AUC: PFN, logistic CV": [
            round(float(v), 4) for v in np.mean(list(means.values()), 0)
        ],
        "ECE in 10 bins: PFN, logistic CV": [round(_ece(joined[k], joined[2]), 4) for k in (0, 1)],
    }


def class_tables(fitted: Any) -> Figures:
    """Ten tables of several classes, 100 rows each, against logistic CV: means over tables."""
    from bench import pfn_tables

    found: dict[str, Any] = {}
    for name in ("network", "logistic"):
        rows = [
            pfn_tables.measured(name, x, y, network=fitted) for x, y in pfn_tables.tables().values()
        ]
        for figure in ("auc", "nll", "ece"):
            mean = round(float(np.mean([row[figure] for row in rows])), 4)
            found.setdefault(f"mean {figure.upper()}: PFN, logistic CV", []).append(mean)
    return found


def _ece(p: np.ndarray, y: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error of the probability of class 1."""
    k = np.minimum((p * bins).astype(int), bins - 1)
    return float(sum(abs(p[k == b].sum() - y[k == b].sum()) for b in range(bins)) / len(y))


FIGURES: dict[str, Callable[[Any], Figures]] = {
    "gp-rbf": gp_rbf,
    "gp-hyper": gp_hyper,
    "tables": class_tables,
    "tabular": tabular,
    "dt-inverse-gamma": dt_inverse_gamma,
    "dt-beta": dt_beta,
    "dt-position": dt_position,
}


def main() -> None:
    """Measure the shipped networks again."""
    shipped = [row["name"] for row in pi.amortized.shipped()]
    for name in sys.argv[1:] or shipped:
        print(name, FIGURES[name](pi.amortized.load(name)), flush=True)


if __name__ == "__main__":
    main()
