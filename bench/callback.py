"""A SciPy likelihood on one and on two processes: ``python -m bench.callback``.

A damped, driven oscillator is solved so finely that one likelihood takes about 10 ms. Each engine
runs once per number of processes, in rounds, after a run that warms processes and compiled code
up; results must agree bit for bit. Walkers of nested sampling wait for the slowest of their batch:
20 of 100 live points at a time leave two processes idle for 2 % of a run, and 10, for 5 %.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.integrate import solve_ivp

TIMES = np.linspace(0.0, 20.0, 40)
TRUTH = np.array([1.2, 0.15, 0.6])
SIGMA = 0.05


def solved(theta: np.ndarray) -> np.ndarray:
    """Positions of the oscillator with frequency, damping and drive."""
    omega, damping, drive = theta

    def slope(t: float, y: np.ndarray) -> tuple[float, float]:
        return y[1], drive * np.cos(t) - 2 * damping * y[1] - omega**2 * y[0]

    found = solve_ivp(slope, (0.0, 20.0), (1.0, 0.0), t_eval=TIMES, rtol=1e-6, atol=1e-8)
    return found.y[0]


def data() -> np.ndarray:
    """Measurements of the true oscillator."""
    return solved(TRUTH) + SIGMA * np.random.default_rng(0).normal(size=TIMES.size)


DATA = data()


def log_likelihood(theta: np.ndarray) -> float:
    """Normal errors of known size."""
    return float(-0.5 * np.sum((solved(theta) - DATA) ** 2) / SIGMA**2)


def box(u: np.ndarray) -> np.ndarray:
    """Uniform priors from the unit cube."""
    return np.array([0.5, 0.0, 0.0]) + u * np.array([1.5, 0.5, 1.5])


def waits(theta: np.ndarray) -> float:
    """A bump, after ten milliseconds."""
    time.sleep(0.01)
    return float(-0.5 * np.sum((theta - TRUTH) ** 2) / 0.04)


def main() -> None:
    """Print the table."""
    import probinf as pi

    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--engines", nargs="*", default=["Importance", "Ensemble", "Nested"])
    parser.add_argument("--likelihoods", nargs="*", default=["SciPy", "waits"])
    options = parser.parse_args()
    began = time.perf_counter()
    for _ in range(50):
        log_likelihood(TRUTH)
    print(f"one likelihood: {(time.perf_counter() - began) / 50 * 1e3:.1f} ms")
    engines = {
        "Importance": pi.Importance(draws=1000),
        "Ensemble": pi.Ensemble(walkers=32, ensembles=2, warmup=10, draws=30),
        "Nested": pi.Nested(live=100, batch=20, moves=5, tolerance=0.5),
    }
    names = ("omega", "damping", "drive")
    solving = {
        n: pi.from_callback(log_likelihood, prior_transform=box, names=names, executor=n)
        for n in (1, 2)
    }
    print("one likelihood that only waits: 10 ms (an external code; does not need the core)")
    waiting = {
        n: pi.from_callback(waits, prior_transform=box, names=names, executor=n) for n in (1, 2)
    }
    print("likelihood  engine      evaluations  seconds on 1 and 2 processes   ratio")
    table = [(kind, name) for kind in options.likelihoods for name in options.engines]
    for kind, name in table:
        programs, method = {"SciPy": solving, "waits": waiting}[kind], engines[name]
        seconds: dict[int, list[float]] = {1: [], 2: []}
        found = {}
        for n in (1, 2):
            pi.sample(programs[n], method, key=1, progress=False)
        for _ in range(options.rounds):
            for n in (1, 2):
                began = time.perf_counter()
                found[n] = pi.sample(programs[n], method, key=1, progress=False)
                seconds[n].append(time.perf_counter() - began)
        assert all(np.array_equal(found[1].draws[k], found[2].draws[k]) for k in found[1].draws)
        one, two = min(seconds[1]), min(seconds[2])
        spent = found[1].provenance["callback"]["evaluations"]
        print(
            f"{kind:10}  {name:10}  {spent:11d}  {one:13.1f} {two:8.1f}  {one / two:16.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
