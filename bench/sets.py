"""Posteriors of sets of a thousand from an encoder that has seen pairs, against the exact ones.

Run from the project's root::

    python -m bench.sets [--seeds 3]

A location and a nuisance shared by all data lie in 2 of 12 rotated coordinates; the posterior is
normal. The nuisance is not asked for: a network that learns it as well would keep it from single
data. Encoders are trained on sets of one and two, on single data, and not at all; each gets a head.
Mean negative log densities of the true location, in nats, are recorded in docs/measured/sets.json,
averaged over the seeds of training, with that of each seed beside.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import probinf as pi
from bench.recording import record
from probinf.amortized import NPE, SetEmbedding, for_sets

ROTATION = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0]
ASKED = 300


def shared(key: Any, parameters: Any, *, n: int) -> dict[str, Any]:
    """Data that know a location only through a nuisance that they share."""
    first, second = jax.random.split(key)
    nuisance = 2 * jax.random.normal(first)
    scale = jnp.asarray([1.0, 3.0, *[2.0] * 10])
    z = scale * jax.random.normal(second, (n, 12))
    z = z.at[:, 0].add(parameters["theta"] + nuisance).at[:, 1].add(nuisance)
    return {"x": z @ ROTATION.T}


def distance(simulated: Any, observed: Any) -> Any:
    """Of mean data; networks do without."""
    return jnp.linalg.norm(simulated["x"].mean(axis=0) - observed["x"].mean(axis=0))


def program(n: int) -> pi.Program:
    """The simulator of n data; the nuisance is none of its parameters."""
    prior = {"theta": dist.Normal(0.0, 1.0)}
    observed = {"x": np.zeros((n, 12))}
    return pi.from_simulator(prior, partial(shared, n=n), distance, observed, tolerance=1.0)


def exact(x: np.ndarray) -> tuple[float, float]:
    """Mean and variance of the location."""
    h = np.array([[1.0, 1.0], [0.0, 1.0]])
    noise = np.diag([1.0, 1 / 9])
    precision = np.diag([1.0, 0.25]) + len(x) * h.T @ noise @ h
    z = (x @ ROTATION)[:, :2].sum(axis=0)
    covariance = np.linalg.inv(precision)
    return float((covariance @ h.T @ noise @ z)[0]), float(covariance[0, 0])


def truths(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Locations and sets."""
    rng = np.random.default_rng(1)
    theta, nuisance = rng.normal(size=ASKED), 2 * rng.normal(size=ASKED)
    z = rng.normal(size=(ASKED, n, 12)) * np.array([1.0, 3.0, *[2.0] * 10])
    z[..., 0] += (theta + nuisance)[:, None]
    z[..., 1] += nuisance[:, None]
    return theta, z @ ROTATION.T


@jax.jit
def _drawn(network: Any, context: Any, key: Any) -> Any:
    keys = jax.random.split(key, 2000)
    z = jax.vmap(lambda k: network.flows.draw(k, context))(keys)
    return jax.vmap(network.targets.inverse)(z)


def learned(fitted: Any, sets: np.ndarray) -> list[tuple[float, float]]:
    """Mean and variance of the location, of every set."""
    network = fitted.head.network
    found = []
    for k, rows in enumerate(sets):
        context = network.context(fitted.encoder(jnp.asarray(rows, float)), fitted.head.sites)
        x = np.asarray(_drawn(network, context, jax.random.key(k)), float)[:, 0]
        found.append((float(x.mean()), float(x.var())))
    return found


def loss(theta: np.ndarray, moments: list[tuple[float, float]]) -> float:
    """Mean negative log density of normal laws."""
    mean, variance = np.array(moments).T
    return float(np.mean(0.5 * np.log(2 * np.pi * variance) + (theta - mean) ** 2 / (2 * variance)))


def told(encoder: str, losses: list[dict[int, float]], seconds: float | None = None) -> None:
    """Print and record a row from the losses of every seed."""
    by_size = {n: [round(found[n], 4) for found in losses] for n in losses[0]}
    figures: dict[str, Any] = {f"N = {n}": round(float(np.mean(v)), 4) for n, v in by_size.items()}
    print(f"{encoder:8}", by_size, "" if seconds is None else f"{seconds:.0f} s", flush=True)
    if seconds is not None:
        figures |= {f"N = {n}, by seed": v for n, v in by_size.items()}
    figures["seconds"] = None if seconds is None else round(seconds)
    record("sets.json", encoder, figures, packages=("jax", "probinf"))


def main() -> None:
    """Print a row per encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 100])
    parser.add_argument("--smallest", type=int, default=100)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--simulations", type=int, default=80_000)
    parser.add_argument("--head-steps", type=int, default=8000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--encoders", nargs="+", default=["pairs", "single", "random"])
    given = parser.parse_args()
    asked = {n: truths(n) for n in given.sizes}
    told("exact", [{n: loss(t, [exact(x) for x in sets]) for n, (t, sets) in asked.items()}])
    large = program(max(given.sizes))
    method = NPE(
        fresh=True,
        layers=3,
        batch=512,
        embedding=SetEmbedding(hidden=(64, 64), means=4, size=16),
    )
    rest: Any = {"learning_rate": 2e-3, "progress": False}
    for name in given.encoders:
        found = []
        began = time.perf_counter()
        n, steps = (1 if name == "single" else 2), (1 if name == "random" else given.steps)
        for seed in range(given.seeds):
            first = method.fit(program(n), key=2 * seed, steps=steps, patience=None, **rest)
            fitted = for_sets(
                first,
                large,
                key=2 * seed + 1,
                smallest=given.smallest,
                simulations=given.simulations,
                steps=given.head_steps,
                **rest,
            )
            found.append({m: loss(t, learned(fitted, x)) for m, (t, x) in asked.items()})
            told(name, found, (time.perf_counter() - began) / len(found))


if __name__ == "__main__":
    main()
