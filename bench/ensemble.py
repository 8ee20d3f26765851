"""Effective draws per evaluation of ensembles, beside emcee: ``python -m bench.ensemble``.

Both run the stretch move with as many walkers from the same overdispersed start, and both chains
are judged by the same estimate: that of probinf for ensembles (from the mean over walkers), over
all ensembles together. emcee's own estimate of the time, the average over single walkers, is
shown too; it leaves out what walkers have in common.
"""

from __future__ import annotations

import argparse

import emcee
import jax
import jax.numpy as jnp
import numpy as np

import probinf as pi
from probinf.results.statistics.ensembles import ensemble_ess_mean

DIM = 10


def gaussian(x: jax.Array) -> jax.Array:
    """Ten correlated coordinates of scales from 1 to 100."""
    scale = jnp.logspace(0, 2, DIM)
    z = x / scale
    return -0.5 * (jnp.sum(z**2) * 2 - jnp.sum(z) ** 2 / DIM)


def rosenbrock(x: jax.Array) -> jax.Array:
    """Five bent pairs, as Goodman & Weare (2010) have one."""
    a, b = x[::2], x[1::2]
    return -jnp.sum(5.0 * (b - a**2) ** 2 + (1 - a) ** 2) / 20


def of_emcee(log_density, moves, walkers, ensembles, warmup, draws, seed):
    """Chains (walker, draw, d) of emcee, ensemble by ensemble."""
    batched = jax.jit(jax.vmap(log_density))

    def density(rows):
        return np.asarray(batched(rows), float)

    chains = []
    for k in range(ensembles):
        np.random.seed(seed + k)
        sampler = emcee.EnsembleSampler(walkers, DIM, density, vectorize=True, moves=moves)
        start = np.random.default_rng(seed + k).normal(size=(walkers, DIM))
        state = sampler.run_mcmc(start, warmup)
        sampler.reset()
        sampler.run_mcmc(state, draws)
        chains.append(np.moveaxis(sampler.get_chain(), 0, 1))
    return np.concatenate(chains)


def of_probinf(log_density, moves, walkers, ensembles, warmup, draws, seed):
    """The same of probinf."""
    program = pi.from_log_density(log_density, initial=jnp.zeros(DIM))
    method = pi.Ensemble(
        walkers=walkers, ensembles=ensembles, warmup=warmup, draws=draws, moves=moves
    )
    return pi.sample(program, method, key=seed, progress=False, precision="single").draws["x"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--walkers", type=int, default=40)
    parser.add_argument("--ensembles", type=int, default=16)
    parser.add_argument("--warmup", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--targets", nargs="+", default=["gaussian", "rosenbrock"])
    parser.add_argument("--moves", nargs="+", default=["stretch", "DE + snooker"])
    options = parser.parse_args()
    shape = (options.walkers, options.ensembles, options.warmup, options.draws)
    kinds = {
        "stretch": (pi.kernels.Stretch(), emcee.moves.StretchMove()),
        "DE + snooker": (
            (pi.kernels.DifferentialEvolution(), pi.kernels.Snooker()),
            [(emcee.moves.DEMove(), 0.5), (emcee.moves.DESnookerMove(), 0.5)],
        ),
    }
    print("target      moves         engine   ESS per 1000 evaluations (mean, least)  emcee's time")
    targets = {"gaussian": gaussian, "rosenbrock": rosenbrock}
    for target in (targets[name] for name in options.targets):
        for name in options.moves:
            own, theirs = kinds[name]
            rates = {}
            for engine, run, moves in (
                ("probinf", of_probinf, own),
                ("emcee", of_emcee, theirs),
            ):
                x = np.asarray(run(target, moves, *shape, seed=1), float)
                ess = ensemble_ess_mean(x, options.ensembles) / x[:, :, 0].size * 1000
                single = np.moveaxis(x[: options.walkers], 0, 1)
                time = emcee.autocorr.integrated_time(single, quiet=True).mean()
                rates[engine] = ess.mean()
                print(
                    f"{target.__name__:10}  {name:12}  {engine:7}  "
                    f"{ess.mean():8.2f} {ess.min():8.2f}  {time:10.1f}",
                    flush=True,
                )
            print(f"{'':24}  ratio {rates['probinf'] / rates['emcee']:.3f}", flush=True)


if __name__ == "__main__":
    main()
