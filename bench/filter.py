"""Bootstrap filter of a stochastic-volatility model against particles and cuthbert, in one run.

    python -m bench.filter --particles 100000 --steps 1000 --peer /path/to/venv/bin/python

``particles`` needs its own environment (NumPy < 2): its Python is given by ``--peer`` or by the
environment variable PARTICLES_PYTHON, and runs this file with ``--only particles``. Cold includes
imports and compilation in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

MU, RHO, SIGMA = -1.0, 0.95, 0.3


def data(steps: int):
    """A series of the model, the same for all."""
    import numpy as np

    rng = np.random.default_rng(1)
    x, y = np.empty(steps), np.empty(steps)
    x[0] = MU + SIGMA / np.sqrt(1 - RHO**2) * rng.standard_normal()
    for t in range(steps):
        if t:
            x[t] = MU + RHO * (x[t - 1] - MU) + SIGMA * rng.standard_normal()
        y[t] = np.exp(x[t] / 2) * rng.standard_normal()
    return y


def times_of(run, repeats: int) -> list[float]:
    """Seconds of each run; the first is the cold one."""
    found = []
    for k in range(repeats):
        start = time.perf_counter()
        run(k)
        found.append(time.perf_counter() - start)
    return found


def by_particles(n: int, steps: int, repeats: int) -> dict:
    """The peer's bootstrap filter."""
    import particles
    from particles import state_space_models as ssm

    y = data(steps)
    model = ssm.StochVol(mu=MU, rho=RHO, sigma=SIGMA)
    values = []

    def run(k: int) -> None:
        filter_ = particles.SMC(
            fk=ssm.Bootstrap(ssm=model, data=y), N=n, resampling="systematic", ESSrmin=0.5
        )
        filter_.run()
        values.append(float(filter_.logLt))

    return {"seconds": times_of(run, repeats), "log_z": values}


def initial():
    import jax.numpy as jnp
    import numpyro.distributions as dist

    return dist.Normal(MU, SIGMA / jnp.sqrt(1 - RHO**2))


def transition(x):
    import numpyro.distributions as dist

    return dist.Normal(MU + RHO * (x - MU), SIGMA)


def emission(x):
    import jax.numpy as jnp
    import numpyro.distributions as dist

    return dist.Normal(0.0, jnp.exp(x / 2))


def program(steps: int):
    """The model, its parameters known."""
    import probinf as pi

    return pi.from_state_space(initial, transition, emission, data(steps))


def by_probinf(n: int, steps: int, repeats: int, how: str) -> dict:
    """The function, or the method with its summaries and error."""
    import dataclasses

    import jax

    import probinf as pi

    model, values = program(steps), []
    if how == "function":
        sequence = model.state_space(model.data).sequence
        sequence = dataclasses.replace(sequence, data=({}, sequence.data))

        @jax.jit
        def filtered(key, sequence):
            return pi.particle_filter(key, sequence, n).log_z

        def run(k: int) -> None:
            values.append(float(filtered(jax.random.key(k), sequence)))

    else:
        method = pi.ParticleFilter(n, lines=how == "method")

        def run(k: int) -> None:
            found = pi.sample(model, method, key=k, progress=False, check=False, precision="single")
            values.append(found.log_evidence.value)

    return {"seconds": times_of(run, repeats), "log_z": values}


def by_cuthbert(n: int, steps: int, repeats: int) -> dict:
    """cuthbert's particle filter, compiled."""
    import jax
    import jax.numpy as jnp
    import jax.scipy.stats as stats
    from cuthbert import filter as run_filter
    from cuthbert.smc import particle_filter
    from cuthbertlib.resampling import adaptive, systematic

    y = jnp.asarray(data(steps))
    scale = SIGMA / jnp.sqrt(1 - RHO**2)

    def start(key):
        return MU + scale * jax.random.normal(key)

    def move(key, x, inputs):
        return MU + RHO * (x - MU) + SIGMA * jax.random.normal(key)

    def potential(before, x, inputs):
        return stats.norm.logpdf(inputs, 0.0, jnp.exp(x / 2))

    built = particle_filter.build_filter(
        start, move, potential, n, adaptive.ess_decorator(systematic.resampling, 0.5)
    )

    @jax.jit
    def filtered(key):
        first, rest = jax.random.split(key)
        begin = built.init_prepare(key=first)
        found = run_filter(built, y, begin, key=rest)
        return found.log_normalizing_constant[-1]

    values = []

    def run(k: int) -> None:
        values.append(float(filtered(jax.random.key(k))))

    return {"seconds": times_of(run, repeats), "log_z": values}


RUNNERS = {
    "particles": by_particles,
    "cuthbert": by_cuthbert,
    "probinf, function": lambda n, t, r: by_probinf(n, t, r, "function"),
    "probinf, method": lambda n, t, r: by_probinf(n, t, r, "method"),
    "probinf, no lines": lambda n, t, r: by_probinf(n, t, r, "no lines"),
}


def shares(n: int) -> dict[str, float]:
    """Milliseconds of each part of a step."""
    import jax
    import jax.numpy as jnp

    from probinf.core.resampling import systematic

    key, x = jax.random.key(0), jnp.linspace(-3.0, 1.0, n)
    w = jnp.exp(x) / jnp.exp(x).sum()

    def repeated(part):
        @jax.jit
        def run(key, x):
            def one(x, k):
                return x + 1e-9 * part(k, x), None

            return jax.lax.scan(one, x, jax.random.split(key, 50))[0]

        jax.block_until_ready(run(key, x))
        found = [times_of(lambda k: jax.block_until_ready(run(key, x)), 1)[0] for _ in range(5)]
        return 1e3 * min(found) / 50

    index = jnp.sort(jax.random.randint(key, (n,), 0, n))
    return {
        "normal draws": repeated(lambda k, x: jax.random.normal(k, (n,))),
        "weights": repeated(lambda k, x: -x / 2 - 0.3 * jnp.exp(-x)),
        "normalisation": repeated(lambda k, x: x - jax.scipy.special.logsumexp(x)),
        "resampling": repeated(lambda k, x: systematic(k, w + 0 * x).astype(x.dtype)),
        "gather": repeated(lambda k, x: x[index]),
    }


def alone(name: str, python: str, arguments: list[str]) -> dict:
    """One of them in a fresh process; its cold time counts from the start of that."""
    where = [os.path.abspath(__file__)] if name == "particles" else ["-m", "bench.filter"]
    command = [python, *where, "--only", name, *arguments]
    env = dict(os.environ)
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    if name == "particles":
        env.pop("PYTHONPATH", None)
    start = time.perf_counter()
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    found = json.loads(out.stdout.splitlines()[-1])
    found["process"] = time.perf_counter() - start
    return found


def main() -> None:
    """Print a table, and the share of each part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--particles", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--peer", default=os.environ.get("PARTICLES_PYTHON"))
    parser.add_argument("--skip", nargs="*", default=[])
    parser.add_argument("--only")
    options = parser.parse_args()
    if options.repeats < 2:
        parser.error("--repeats must be at least 2: the first one is cold.")
    n, steps, repeats = options.particles, options.steps, options.repeats
    if options.only:
        found = RUNNERS[options.only](n, steps, repeats)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux
        print(json.dumps(found | {"mib": peak / 1024}))
        return
    arguments = ["--particles", str(n), "--steps", str(steps), "--repeats", str(repeats)]
    print(f"{n} particles, {steps} steps; seconds")
    print(f"{'':20}{'cold':>8}{'warm':>8}{'log Z':>14}{'peak MiB':>10}")
    for name in RUNNERS:
        python = options.peer if name == "particles" else sys.executable
        if name in options.skip or python is None:
            continue
        found = alone(name, python, arguments)
        warm = min(found["seconds"][1:])
        cold = found["process"] - sum(found["seconds"][1:])
        values = found["log_z"]
        mean = sum(values) / len(values)
        print(f"{name:20}{cold:8.2f}{warm:8.2f}{mean:14.3f}{found['mib']:10.0f}", flush=True)
    for part, milliseconds in shares(n).items():
        print(f"{part:20}{milliseconds:8.3f} ms a step")


if __name__ == "__main__":
    main()
