"""Evidences by other packages, each as its documentation drives it; one run is one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.evidence_problems import Problem

Outcome = tuple[float, float, float]
"""Log evidence, its stated error, likelihood evaluations (NaN where they are not counted)."""


def dynesty(problem: Problem) -> Callable[[int], Outcome]:
    """dynesty's static sampler, 500 live points, bounds and sampling left to it."""
    import dynesty as package

    width = problem.high - problem.low

    def run(seed: int) -> Outcome:
        sampler = package.NestedSampler(
            lambda x: float(problem.log_likelihood(x, np)),
            lambda u: problem.low + width * u,
            problem.size,
            nlive=500,
            rstate=np.random.default_rng(seed),
        )
        sampler.run_nested(print_progress=False)
        found = sampler.results
        return found["logz"][-1], found["logzerr"][-1], float(np.sum(found["ncall"]))

    return run


def ultranest(problem: Problem) -> Callable[[int], Outcome]:
    """UltraNest's reactive sampler, vectorised, with slices from ten dimensions on."""
    import logging

    import ultranest as package
    import ultranest.stepsampler as steps

    logging.getLogger("ultranest").setLevel(logging.ERROR)
    width = problem.high - problem.low

    def run(seed: int) -> Outcome:
        np.random.seed(seed)
        sampler = package.ReactiveNestedSampler(
            [f"x{k}" for k in range(problem.size)],
            lambda x: problem.log_likelihood(x, np),
            lambda u: problem.low + width * u,
            vectorized=True,
        )
        if problem.size >= 10:
            sampler.stepsampler = steps.SliceSampler(
                nsteps=2 * problem.size,
                generate_direction=steps.generate_mixture_random_direction,
            )
        found = sampler.run(min_num_live_points=500, show_status=False, viz_callback=False)
        return found["logz"], found["logzerr"], float(found["ncall"])

    return run


def _log_prior(problem: Problem, x: Any) -> Any:
    inside = jnp.all((x > problem.low) & (x < problem.high))
    return jnp.where(inside, -problem.size * jnp.log(problem.high - problem.low), -jnp.inf)


def _draws(problem: Problem, key: Any, n: int) -> Any:
    return jax.random.uniform(key, (n, problem.size), minval=problem.low, maxval=problem.high)


def blackjax_nss(problem: Problem) -> Callable[[int], Outcome]:
    """BlackJAX's nested slice sampling, 500 live points, 50 removed at once."""
    import blackjax

    sampler = blackjax.nss(
        logprior_fn=lambda x: _log_prior(problem, x),
        loglikelihood_fn=problem.log_likelihood,
        num_inner_steps=max(5, 2 * problem.size),
        num_delete=50,
    )
    step = jax.jit(sampler.step)

    def run(seed: int) -> Outcome:
        key, first = jax.random.split(jax.random.key(seed))
        live, dead = sampler.init(_draws(problem, first, 500)), []
        while float(live.integrator.logZ_live - live.integrator.logZ) > np.log(1e-2):
            key, use = jax.random.split(key)
            live, info = step(use, live)
            dead.append(info)
        every = blackjax.ns.utils.finalise(live, dead)
        log_w = np.asarray(blackjax.ns.utils.log_weights(key, every, shape=400), float)
        log_z = np.logaddexp.reduce(log_w, axis=0)
        return float(log_z.mean()), float(log_z.std()), float("nan")

    return run


def blackjax_smc(problem: Problem) -> Callable[[int], Outcome]:
    """BlackJAX's adaptive tempered SMC: 2,000 particles, random walks tuned on the particles.

    It states no error; that of four islands of 500 stands in.
    """
    import blackjax
    from blackjax.smc import extend_params, resampling
    from blackjax.smc.inner_kernel_tuning import as_top_level_api

    islands, n, d = 4, 500, problem.size
    kernel = blackjax.additive_step_random_walk.build_kernel()

    def walk(key: Any, state: Any, log_density: Any, factor: Any) -> Any:
        def move(key: Any, position: Any) -> Any:
            return factor @ jax.random.normal(key, position.shape)

        return kernel(key, state, log_density, move)

    def factor_of(key: Any, state: Any, info: Any) -> Any:
        covariance = jnp.cov(state.particles, rowvar=False).reshape(d, d)
        factor = jnp.linalg.cholesky(covariance + 1e-9 * jnp.eye(d)) * 2.38 / np.sqrt(d)
        return extend_params({"factor": factor})

    sampler = as_top_level_api(
        blackjax.adaptive_tempered_smc,
        lambda x: _log_prior(problem, x),
        problem.log_likelihood,
        walk,
        blackjax.additive_step_random_walk.init,
        resampling.systematic,
        mcmc_parameter_update_fn=factor_of,
        initial_parameter_value=extend_params(
            {"factor": jnp.eye(d) * (problem.high - problem.low) / 4}
        ),
        num_mcmc_steps=20,
        target_ess=0.9,
    )
    step = jax.jit(sampler.step)

    def island(key: Any) -> float:
        key, first = jax.random.split(key)
        state, log_z = sampler.init(_draws(problem, first, n)), 0.0
        while float(state.sampler_state.tempering_param) < 1:
            key, use = jax.random.split(key)
            state, info = step(use, state)
            log_z += float(info.log_likelihood_increment)
        return log_z

    def run(seed: int) -> Outcome:
        found = np.array([island(key) for key in jax.random.split(jax.random.key(seed), islands)])
        value = np.logaddexp.reduce(found) - np.log(islands)
        ratios = np.exp(found - value)
        return float(value), float(ratios.std(ddof=1) / np.sqrt(islands)), float("nan")

    return run


PEERS = {
    "dynesty": dynesty,
    "UltraNest": ultranest,
    "BlackJAX NSS": blackjax_nss,
    "BlackJAX SMC": blackjax_smc,
}
