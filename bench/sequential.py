"""Posteriors as priors of the next batch: divergence from the joint posterior of a regression.

Run from the project's root::

    python -m bench.sequential --families flow student normal --batches 5 --seeds 3
"""

from __future__ import annotations

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy import stats

import probinf as pi
from probinf.core.coordinates import flatten

NOISE, SIZE, ROWS, CHECKED = 0.7, 3, 20, 20_000


def linear(x: Any, y: Any = None) -> None:
    """A regression with known noise."""
    beta = numpyro.sample("beta", dist.Normal(0, 1).expand([SIZE]).to_event(1))
    numpyro.sample("y", dist.Normal(x @ beta, NOISE), obs=y)


@jax.jit
def _log_density(program: pi.Program, rows: jax.Array) -> jax.Array:
    def one(row: jax.Array) -> jax.Array:
        return program.score(row, program.data).log_base

    return jax.lax.map(one, rows, batch_size=2000)


def divergence(fitted: pi.Program, x: np.ndarray, y: np.ndarray) -> float:
    """KL of the exact posterior of these data from a fit, by draws of the former."""
    precision = np.eye(SIZE) + x.T @ x / NOISE**2
    exact = stats.multivariate_normal(
        np.linalg.solve(precision, x.T @ y / NOISE**2), np.linalg.inv(precision)
    )
    rows = exact.rvs(CHECKED, random_state=1)
    found = np.asarray(_log_density(flatten(fitted)[0], jnp.asarray(rows, float)), float)
    return float(np.mean(exact.logpdf(rows) - found))


def chain(family: Any, batches: int, seed: int) -> list[float]:
    """Divergences after each batch."""
    rng, gaps, base = np.random.default_rng(seed), [], None
    x = rng.normal(size=(batches * ROWS, SIZE))
    y = x @ rng.normal(size=SIZE) + NOISE * rng.normal(size=len(x))
    method = pi.SMC(particles=1000, islands=4, moves=2)
    for k in range(batches):
        rows = slice(k * ROWS, (k + 1) * ROWS)
        program = pi.from_numpyro(linear, x[rows], y=y[rows])
        if base is not None:
            program = pi.with_base(program, base)
        posterior = pi.sample(program, method, key=seed * batches + k, progress=False)
        base = pi.fit(posterior, family)
        gaps.append(divergence(base, x[: rows.stop], y[: rows.stop]))
    return gaps


def main() -> None:
    """Print a row per family and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", default=["flow", "student", "normal"])
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    for family in given.families:
        for seed in range(given.seeds):
            gaps = chain(family, given.batches, seed)
            print(f"{family:8} {seed}  " + "  ".join(f"{gap:.4f}" for gap in gaps), flush=True)


if __name__ == "__main__":
    main()
