"""Every engine on whatever device is at hand, beside NumPyro and BlackJAX.

Run from the project's root: ``python -m bench.device [ROW ...] [--small]``; by default all rows.
The first line names the device; on a CPU it says so, and ``--small`` divides sizes by a hundred.
Seconds are those of a second run, compiled already, with the seconds of the first in brackets.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi

_RANDOM = np.random.default_rng(0)
_TOLD: dict[str, Any] = {"progress": False, "check": False, "precision": "single"}


def logistic(x: Any, y: Any = None) -> None:
    beta = numpyro.sample("beta", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=x @ beta), obs=y)


def data(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Of a logistic regression."""
    x = _RANDOM.normal(size=(rows, columns)).astype(np.float32)
    chance = 1 / (1 + np.exp(-x @ np.linspace(-1, 1, columns)))
    return x, (_RANDOM.random(rows) < chance).astype(np.int32)


def line(x: Any, y: Any = None) -> None:
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(slope * x[:, 0], 0.1), obs=y)


def initial() -> Any:
    return dist.Normal(0, 1)


def transition(state: Any) -> Any:
    return dist.Normal(0.9 * state, 1.0)


def emission(state: Any) -> Any:
    return dist.Normal(state, 0.5)


def twice(run: Callable[[int], Any]) -> tuple[float, float]:
    """Seconds of a first and of a second run."""
    found = []
    for key in (0, 1):
        began = time.perf_counter()
        run(key)
        found.append(time.perf_counter() - began)
    return found[0], found[1]


def ours(program: pi.Program, method: Any) -> Callable[[int], Any]:
    return lambda key: pi.sample(program, method, key=key, **_TOLD)


def numpyro_nuts(rows: int, columns: int, chains: int) -> Callable[[int], Any]:
    x, y = data(rows, columns)
    from numpyro.infer import MCMC, NUTS

    mcmc = MCMC(
        NUTS(logistic),
        num_warmup=500,
        num_samples=500,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )

    def run(key: int) -> None:
        mcmc.run(jax.random.key(key), x, y=y)
        jax.block_until_ready(mcmc.get_samples())

    return run


def blackjax_smc(particles: int, rows: int, columns: int) -> Callable[[int], Any]:
    """Adaptive tempered SMC with HMC of a fixed step."""
    import blackjax
    from blackjax.smc import resampling

    x, y = data(rows, columns)

    def log_likelihood(beta: jax.Array) -> jax.Array:
        eta = x @ beta
        return jnp.sum(y * eta - jnp.logaddexp(0.0, eta))

    smc = blackjax.adaptive_tempered_smc(
        lambda beta: -0.5 * jnp.sum(beta**2),
        log_likelihood,
        blackjax.hmc.build_kernel(),
        blackjax.hmc.init,
        {
            "step_size": jnp.full((1,), 0.02),
            "inverse_mass_matrix": jnp.ones((1, columns)),
            "num_integration_steps": jnp.full((1,), 20),
        },
        resampling.systematic,
        target_ess=0.9,
        num_mcmc_steps=5,
    )
    step = jax.jit(smc.step)

    def run(key: int) -> None:
        begun = jax.random.normal(jax.random.key(key), (particles, columns))
        state, count = smc.init(begun), 0
        while float(jnp.max(state.tempering_param)) < 1:
            state, _ = step(jax.random.fold_in(jax.random.key(key), count), state)
            count += 1

    return run


def pfn(steps: int) -> Callable[[int], Any]:
    """A network's training, for a straight line with noise."""
    from probinf.amortized import PFN, ModelPrior

    prior = ModelPrior(line, inputs=1, design=dist.Uniform(0, 1))

    def run(key: int) -> None:
        PFN(context=30).fit(prior, key=key, steps=steps)

    return run


def table(small: bool) -> dict[str, Callable[[], Callable[[int], Any]]]:
    """The rows by name, each made when it is run."""
    scale, rows = (100, 100) if small else (1, 1000)

    def regression(columns: int = 20) -> pi.Program:
        x, y = data(rows, columns)
        return pi.from_numpyro(logistic, x, y=y)

    def series() -> pi.Program:
        return pi.from_state_space(initial, transition, emission, np.sin(np.arange(100.0)))

    big, bigger = 100_000 // scale, 1_000_000 // scale
    live = max(10_000 // scale, 100)
    chains = max(256 // scale, 4)
    chees = max(1024 // scale, 32)
    return {
        f"NUTS, {chains} chains": lambda: ours(
            regression(), pi.NUTS(chains=chains, warmup=500, draws=500)
        ),
        f"NumPyro NUTS, {chains} chains": lambda: numpyro_nuts(rows, 20, chains),
        f"ChEES, {chees} chains": lambda: ours(
            regression(), pi.ChEES(chains=chees, warmup=500, draws=500 // scale + 20)
        ),
        f"SMC, {big} particles": lambda: ours(regression(), pi.SMC(particles=big, islands=1)),
        f"SMC, {bigger} particles": lambda: ours(
            regression(5), pi.SMC(particles=bigger, islands=1)
        ),
        f"BlackJAX SMC, {big} particles": lambda: blackjax_smc(big, rows, 20),
        f"Nested, {live} live, batches": lambda: ours(
            regression(5), pi.Nested(live=live, batch=live // 4)
        ),
        f"ParticleFilter, {bigger} particles": lambda: ours(
            series(), pi.ParticleFilter(particles=bigger)
        ),
        "PFN, training": lambda: pfn(1000 // scale + 10),
    }


def main(arguments: list[str]) -> None:
    """Print the table."""
    small = "--small" in arguments
    wanted = [a for a in arguments if not a.startswith("--")]
    device = jax.devices()[0]
    note = " (no accelerator here)" if device.platform == "cpu" else ""
    print(f"{len(jax.devices())} x {device.device_kind}{note}, jax {jax.__version__}", flush=True)
    for name, make in table(small).items():
        if wanted and not any(w.lower() in name.lower() for w in wanted):
            continue
        try:
            first, second = twice(make())
        except Exception as error:  # a row that fails must not hide the others
            print(f"{name:36}failed: {type(error).__name__}: {str(error)[:200]}", flush=True)
            continue
        print(f"{name:36}{second:9.2f} s   ({first:.2f} s)", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
