"""Law 1: ``draw`` and ``log_base`` describe the same normalised distribution."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from probinf.core.check_result import CheckResult, z_to_p
from probinf.core.compiling import jitted
from probinf.core.coordinates import flatten, vector_of
from probinf.core.keys import as_key
from probinf.core.program import Key, Program


@partial(jitted, static=("n",))
def _draws(flat: Program, key: Key, n: int) -> tuple[jax.Array, jax.Array]:
    x = jax.vmap(flat.draw, (0, None))(jax.random.split(key, n), flat.data)
    return vector_of(x), jax.vmap(flat.score, (0, None))(x, flat.data).log_base


def check_base(
    program: Program, *, key: int | Key, draws: int = 20_000, level: float = 1e-4
) -> CheckResult:
    """Do the base's draws follow its density, and is that density normalised?

    For every density q inside the base's support, ``E[q(x) / base(x)] = 1`` under draws from
    the base. Several Gaussians restricted to ellipsoids around the bulk play q; a forgotten
    Jacobian or constant moves the average away from 1.

    Args:
        program: any program with a drawable base.
        key: random key or seed.
        draws: sample size.
        level: probability of a false alarm.
    """
    from scipy.stats import chi2

    flat, _ = flatten(program)
    pilot, _ = map(np.asarray, _draws(flat, jax.random.fold_in(as_key(key), 0), 4000))
    x, log_base = map(np.asarray, _draws(flat, jax.random.fold_in(as_key(key), 1), draws))
    failures = () if np.isfinite(log_base).all() else (_lost(log_base),)
    d = x.shape[1]
    # medians and quantile ranges: the bulk, whatever the tails do
    low, centre, high = np.quantile(pilot, [0.16, 0.5, 0.84], axis=0)
    scale = np.maximum((high - low) / 2, 1e-12)
    rng = np.random.default_rng(0)
    radius2 = float(chi2.ppf(0.5, d))
    p_values = {}
    for k in range(4):
        shift = np.zeros(d) if k == 0 else rng.choice([-0.5, 0.5], d) / np.sqrt(d)
        z = (x - centre) / scale - shift
        r2 = np.sum(z**2, axis=1)
        log_q = -0.5 * r2 - d / 2 * np.log(2 * np.pi) - np.log(scale).sum() - np.log(0.5)
        ratio = np.where(r2 < radius2, np.exp(np.where(r2 < radius2, log_q - log_base, 0.0)), 0.0)
        error = ratio.std(ddof=1) / np.sqrt(draws)
        p_values[f"q{k}"] = z_to_p(float((ratio.mean() - 1) / error))
    return CheckResult("base: draws follow log_base", p_values, level, failures)


def _lost(log_base: np.ndarray) -> str:
    count = int((~np.isfinite(log_base)).sum())
    return f"log_base is not finite at {count} of {log_base.size} of its own draws."
