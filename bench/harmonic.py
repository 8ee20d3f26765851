"""The learned harmonic mean on evidences in closed form, beside the naive one and the bridge.

Run from the project's root::

    python -m bench.harmonic --problems normal-gamma gaussian regression --seeds 5

Normal-Gamma (prior precisions 1e-4 to 1) and the Gaussian in ten dimensions have independent draws
of the posterior; regressions, on ten subsets of the columns of diabetes, have those of NUTS. A row
is one run: errors of the log evidence, in standard errors too, seconds, and what was found wrong.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy import stats
from scipy.special import gammaln

import probinf as pi
from probinf.evidence import HarmonicMean, harmonic

NOISE, SCALE, CHAINS = 0.7, 0.3, 4


class Run(NamedTuple):
    """One estimate, with the truth and what else knows it."""

    name: str
    found: HarmonicMean
    truth: float
    naive: float
    bridge: float
    seconds: float


def normal_gamma_draws(tau0: float, seed: int, count: int) -> tuple[Any, Any, Any, float]:
    """Mean and precision of a normal sample of a hundred: exact draws, and the log evidence.

    Returns:
        (mean, log precision) of shape (count, 2), their log density, their log likelihood, and
        the log evidence.
    """
    y, rng = np.random.default_rng(0).normal(0.5, 1.0, 100), np.random.default_rng(seed)
    n, a0, b0, within = len(y), 1e-3, 1e-3, float(((y - y.mean()) ** 2).sum())
    tau_n, a_n = tau0 + n, a0 + n / 2
    b_n = b0 + within / 2 + tau0 * n * y.mean() ** 2 / (2 * tau_n)
    truth = gammaln(a_n) - gammaln(a0) + a0 * np.log(b0) - a_n * np.log(b_n)
    truth += 0.5 * np.log(tau0 / tau_n) - n / 2 * np.log(2 * np.pi)
    tau = rng.gamma(a_n, 1 / b_n, count)
    mu = n * y.mean() / tau_n + rng.normal(size=count) / np.sqrt(tau_n * tau)
    log_l = n / 2 * np.log(tau / 2 / np.pi) - tau / 2 * (within + n * (y.mean() - mu) ** 2)
    log_p = stats.norm(0, 1 / np.sqrt(tau0 * tau)).logpdf(mu) + np.log(tau)
    log_p += stats.gamma(a0, scale=1 / b0).logpdf(tau)
    return np.stack([mu, np.log(tau)], axis=1), log_l + log_p, log_l, float(truth)


def normal_gamma(tau0: float, seed: int, count: int = 4000) -> Run:
    """Unknown mean and precision."""
    return measured(f"normal-gamma {tau0:g}", *normal_gamma_draws(tau0, seed, count))


def gaussian(seed: int, d: int = 10, count: int = 4000) -> Run:
    """Correlated by one matrix for all seeds, its mass e^-3."""
    factor = np.tril(np.random.default_rng(0).normal(size=(d, d))) / 2 + np.eye(d)
    u = np.random.default_rng(seed).normal(size=(count, d))
    log_p = stats.norm.logpdf(u).sum(axis=1) - np.log(abs(np.diag(factor))).sum() - 3.0
    return measured("gaussian 10-d", u @ factor.T, log_p, None, -3.0)


def measured(name: str, x: Any, log_p: Any, log_l: Any, truth: float) -> Run:
    """From independent draws, as those of some chains."""
    began = time.perf_counter()
    found = harmonic(x.reshape(CHAINS, -1, x.shape[1]), log_density=np.reshape(log_p, (CHAINS, -1)))
    seconds = time.perf_counter() - began
    naive = np.nan if log_l is None else np.log(len(log_l)) - np.logaddexp.reduce(-log_l)
    return Run(name, found, float(truth), float(naive), np.nan, seconds)


def linear(x: Any, y: Any = None) -> None:
    """A regression with known noise."""
    beta = numpyro.sample("beta", dist.Normal(0, SCALE).expand([x.shape[1]]).to_event(1))
    numpyro.sample("y", dist.Normal(x @ beta, NOISE), obs=y)


def regression(subset: int, seed: int) -> Run:
    """Columns of diabetes, chosen at random."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    rng = np.random.default_rng(subset)
    columns = np.sort(rng.permutation(10)[: 2 + subset % 5 * 2])
    x, y = x[:, columns] / x[:, columns].std(axis=0), (y - y.mean()) / y.std()
    covariance = NOISE**2 * np.eye(len(y)) + SCALE**2 * x @ x.T
    truth = stats.multivariate_normal.logpdf(y, np.zeros(len(y)), covariance)
    method = pi.NUTS(chains=CHAINS, warmup=300, draws=1000)
    posterior = pi.sample(pi.from_numpyro(linear, x, y=y), method, key=seed, progress=False)
    began = time.perf_counter()
    found = harmonic(posterior)
    seconds = time.perf_counter() - began
    bridge = pi.bridge(posterior, key=seed).value
    return Run(f"columns {len(columns)}", found, float(truth), np.nan, bridge, seconds)


def runs(problems: list[str], seeds: int) -> Iterator[Run]:
    """All of them, one after another."""
    for seed in range(seeds):
        if "normal-gamma" in problems:
            yield from (normal_gamma(t, seed) for t in (1e-4, 1e-3, 1e-2, 0.1, 1.0))
        if "gaussian" in problems:
            yield gaussian(seed)
        if "regression" in problems:
            yield from (regression(subset, seed) for subset in range(10))


def main() -> None:
    """Print a row per run, and what they come to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", nargs="+", default=["normal-gamma", "gaussian"])
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    print(f"{'problem':22} {'error':>8} {'z':>6} {'naive':>8} {'bridge':>8} {'seconds':>8}")
    rows: list[Run] = []
    for run in runs(given.problems, given.seeds):
        rows.append(run)
        error, z = run.found.estimate.value - run.truth, run.found.estimate.z(run.truth)
        naive, bridge = run.naive - run.truth, run.bridge - run.truth
        codes = ", ".join(run.found.diagnose().codes)
        print(
            f"{run.name:22} {error:8.4f} {z:6.2f} {naive:8.2f} {bridge:8.4f} {run.seconds:8.1f}"
            f" {codes}",
            flush=True,
        )
    errors = np.array([abs(r.found.estimate.value - r.truth) for r in rows])
    z = np.array([abs(r.found.estimate.z(r.truth)) for r in rows])
    print(
        f"{len(rows)} runs: largest error {errors.max():.4f}, "
        f"within two errors {np.mean(z < 2):.0%}"
    )


if __name__ == "__main__":
    main()
