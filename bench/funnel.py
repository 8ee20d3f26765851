"""What SMC loses of a funnel's evidence, and what it says of that.

Run from the project's root::

    python -m bench.funnel --keys 8

Funnels of sd 1, 2 and 3 from a base of N(0, 10), whose evidence is one integral. A row is an
engine over the keys: mean and spread of what its log evidence is off by, the mean error that it
states, the keys with each finding, and density evaluations. ``whole steps`` is SMC without the
shorter ones.
"""

from __future__ import annotations

import argparse
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import probinf as pi
from probinf.samplers.populations import unevenness

WIDE = 10.0
FUNNELS = {"sd 1, 10-d": (1.0, 10), "sd 2, 5-d": (2.0, 5), "sd 3, 10-d": (3.0, 10)}
ENGINES = {
    "SMC": pi.SMC(),
    "SMC, whole steps": pi.SMC(),
    "SMC, whole steps, x 2": pi.SMC(particles=2000),
    "SMC, waste-free": pi.SMC(waste_free=10),
    "PersistentSMC": pi.PersistentSMC(),
    "Nested": pi.Nested(),
}


def funnel(sd: float, dim: int) -> tuple[pi.Program, float]:
    """The program and its log evidence."""

    def log_likelihood(x: jax.Array) -> jax.Array:
        neck = dist.Normal(0.0, sd).log_prob(x[0])
        return neck + dist.Normal(0.0, jnp.exp(x[0] / 2)).log_prob(x[1:]).sum()

    v = np.linspace(-40.0, 40.0, 400_001)
    normal = [-0.5 * (v / s) ** 2 - math.log(s * math.sqrt(2 * math.pi)) for s in (sd, WIDE)]
    others = (dim - 1) * -0.5 * (math.log(2 * math.pi) + np.log(np.exp(v) + WIDE**2))
    exact = np.logaddexp.reduce(sum(normal) + others) + math.log(v[1] - v[0])
    base = dist.Normal(0.0, WIDE).expand([dim]).to_event(1)
    return pi.from_log_likelihood(log_likelihood, base), float(exact)


def row(label: str, engine: str, keys: int) -> str:
    """One engine on one funnel."""
    program, exact = funnel(*FUNNELS[label])
    usual = unevenness._UNEVEN
    unevenness._UNEVEN = 2.0 if "whole steps" in engine else usual  # a share is at most 1
    jax.clear_caches()
    start = time.perf_counter()
    runs = [
        pi.sample(program, ENGINES[engine], key=k, progress=False, check=False) for k in range(keys)
    ]
    seconds = time.perf_counter() - start
    unevenness._UNEVEN = usual
    off = np.array([r.log_evidence.value - exact for r in runs])
    error = np.array([r.log_evidence.error for r in runs])
    codes = [r.diagnose().codes for r in runs]
    found = [sum(name in c for c in codes) for name in ("uneven_moves", "uneven_lines")]
    spent = np.mean(
        [
            r.provenance.get("likelihood_evaluations") or np.nansum(r.history["evaluations"])
            for r in runs
        ]
    )
    return (
        f"{label:12s}{engine:24s}{off.mean():+8.3f}{off.std():8.3f}{error.mean():8.3f}"
        f"{np.abs(off / error).max():9.1f}{found[0]:7d}{found[1]:7d}{spent:11.2g}{seconds:7.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=8)
    parser.add_argument("--only", nargs="*", default=list(FUNNELS), choices=list(FUNNELS))
    parser.add_argument("--engines", nargs="*", default=list(ENGINES), choices=list(ENGINES))
    options = parser.parse_args()
    names = ("off by", "sd", "error", "worst |z|", "moves", "lines", "evals", "s")
    widths = (8, 8, 8, 11, 6, 6, 11, 7)
    print(" " * 36 + "".join(f"{n:>{w}s}" for n, w in zip(names, widths, strict=True)))
    for label in options.only:
        for engine in options.engines:
            print(row(label, engine, options.keys), flush=True)


if __name__ == "__main__":
    main()
