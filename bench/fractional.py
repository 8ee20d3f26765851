"""The Hurst index of exact fractional Brownian motion: by its likelihood, and by a network.

    python -m bench.fractional --seeds 20

Series of the Riemann-Liouville process, drawn from its exact covariance (a Cholesky root of a
matrix by quadrature), at 200 times with noise of a tenth of a step. Prints, for each index, the
mean error and the root of the mean square of the posterior mean, the share of 90 % intervals that
hold the truth, for NUTS on :class:`probinf.FractionalNoise`, and for neural posterior estimation
trained on its simulations, with the logarithms of structure functions as summaries.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi
from probinf.amortized import NPE
from tests.cases import fractional

TIMES = np.arange(1.0, 201.0)
LAGS = (1, 2, 4, 8, 16, 32, 64)
INDICES = (0.1, 0.3, 0.5, 0.7, 0.9)
ERROR = 0.1
NOISE = pi.FractionalNoise(TIMES)


def model(y: Any) -> None:
    """A series of unknown roughness and scale."""
    hurst = numpyro.sample("hurst", dist.Uniform(0.02, 0.98))
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 0.5))
    numpyro.sample("y", NOISE(hurst, scale=scale, error=ERROR), obs=y)


def summaries(y: Any) -> Any:
    """Logarithms of mean squared differences at several lags."""
    return jnp.stack([jnp.log(jnp.square(y[lag:] - y[:-lag]).mean()) for lag in LAGS])


def unknown() -> None:
    """The prior, for the network."""
    numpyro.sample("hurst", dist.Uniform(0.02, 0.98))
    numpyro.sample("scale", dist.LogNormal(0.0, 0.5))


def table(count: int) -> tuple[dict[str, Any], np.ndarray]:
    """Parameters and the summaries of series simulated from them."""
    one, two, three = jax.random.split(jax.random.key(0), 3)
    hurst = jax.random.uniform(one, (count,), minval=0.02, maxval=0.98)
    scale = jnp.exp(0.5 * jax.random.normal(two, (count,)))

    @jax.jit
    def simulate(key: Any, h: Any, s: Any) -> Any:
        return summaries(NOISE(h, scale=s, error=ERROR).sample(key))

    x = jax.lax.map(lambda row: simulate(*row), (jax.random.split(three, count), hurst, scale))
    return {"hurst": np.asarray(hurst), "scale": np.asarray(scale)}, np.asarray(x)


def told(name: str, hurst: float, means: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    """A row of the table."""
    inside = np.mean((low < hurst) & (hurst < high))
    rms = np.sqrt(np.mean(np.square(means - hurst)))
    return f"{name:11} H {hurst:.1f}: bias {means.mean() - hurst:+.3f}, rms {rms:.3f}, {inside:.0%}"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--simulations", type=int, default=20_000)
    seeds = parser.parse_args()
    begin = time.perf_counter()
    theta, x = table(seeds.simulations)
    learned = NPE(layers=3, hidden=(32, 32)).fit(
        pi.from_numpyro(unknown), theta=theta, x=x, key=0, steps=3000, progress=False
    )
    print(f"network: {time.perf_counter() - begin:.0f} s")
    rows = []
    for hurst in INDICES:
        root = np.linalg.cholesky(fractional.covariance(TIMES, hurst) + 1e-12 * np.eye(len(TIMES)))
        rng = np.random.default_rng(int(100 * hurst))
        exact, network = [], []
        for seed in range(seeds.seeds):
            y = root @ rng.normal(size=len(TIMES)) + ERROR * rng.normal(size=len(TIMES))
            engine = pi.NUTS(chains=2, warmup=300, draws=500)
            fit = pi.sample(pi.from_numpyro(model, y), engine, key=seed, progress=False)
            row = fit.summary()["hurst"]
            exact.append([row["mean"], row["q5"], row["q95"]])
            q = learned.posterior(np.asarray(summaries(jnp.asarray(y))))
            draws = pi.sample(q, pi.Importance(draws=2000), key=seed, progress=False)
            h = np.asarray(draws.draws["hurst"]).ravel()
            network.append([h.mean(), *np.quantile(h, [0.05, 0.95])])
        rows += [told("likelihood", hurst, *np.array(exact).T)]
        rows += [told("network", hurst, *np.array(network).T)]
        print("\n".join(rows[-2:]), flush=True)
        jax.clear_caches()


if __name__ == "__main__":
    main()
