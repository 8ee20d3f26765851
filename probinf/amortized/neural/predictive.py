"""predictive_p: whether a posterior predicts the data that it was learned for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.compiling import jitted
from probinf.core.coordinates import flatten, restored
from probinf.core.program import Key, Program

if TYPE_CHECKING:
    from probinf.amortized.neural.familiar import Familiarity
    from probinf.results.posterior import Posterior

_REPLICATES = 199  # whose distances are compared
_DESCRIBE = 200  # further ones for their mean and covariance
_PER_ENTRY = 5  # of these that a covariance needs; with fewer only variances are taken


def predictive_p(posterior: Posterior, familiarity: Familiarity) -> float | None:
    """Posterior predictive p-value of the Mahalanobis distance of the data.

    Replicates from the posterior predictive law, in normal scores of the simulator's own data,
    describe it by mean and covariance; the p-value is the rank of the data's distance among those
    of others. Under a right simulator it is at most ``a`` with probability at most ``2 a``.

    Returns:
        The p-value; None where the program cannot simulate or hardly a replicate worked.

    Source: Meng (1994), "Posterior predictive p-values"; Gelman, Meng & Stern (1996).
    """
    program = posterior.program
    if program is None or program.simulate is None or not posterior.unconstrained.size:
        return None
    flat, layout = flatten(program)
    view = posterior.resampled(0)
    rows = restored(view.unconstrained.reshape(-1, layout.size))
    count = _REPLICATES + _DESCRIBE
    chosen = np.random.default_rng(0).integers(len(rows), size=count)
    keys = jax.random.split(jax.random.key(0), count)
    replicated = np.asarray(_replicated(flat, keys, rows[chosen], familiarity.sites.names), float)
    fine = np.isfinite(replicated).all(axis=1)
    if fine.sum() < 0.9 * count:
        return None
    observed = np.asarray(familiarity.data, float)
    replicated[~fine] = replicated[fine][0]
    replicated = np.where(np.isnan(observed), np.nan, replicated)
    everything = jnp.asarray(np.concatenate([observed[None], replicated]), float)
    scores = np.nan_to_num(np.asarray(_scores(familiarity.inputs, everything), float))
    first, describe, others = scores[0], scores[1 : _DESCRIBE + 1], scores[_DESCRIBE + 1 :]
    distance = _distances(describe)
    return float((1 + np.sum(distance(others) >= distance(first[None]))) / (len(others) + 1))


def _distances(describe: np.ndarray) -> Any:
    mean, d = describe.mean(axis=0), describe.shape[1]
    centred = describe - mean
    covariance = centred.T @ centred / (len(describe) - 1)
    if len(describe) < _PER_ENTRY * d:
        covariance = np.diag(np.diag(covariance))
    factor = np.linalg.cholesky(covariance + 1e-6 * np.eye(d))
    return lambda v: np.square(np.linalg.solve(factor, (v - mean).T)).sum(axis=0)


@jax.jit
def _scores(inputs: Any, data: Any) -> Any:
    return jax.vmap(lambda v: inputs(v)[0])(data)


def _many(flat: Program, keys: Key, rows: Any, names: tuple[str, ...]) -> Any:
    def one(key: Key, x: Any) -> Any:
        assert flat.simulate is not None
        found = flat.simulate(key, x, flat.data)
        return jnp.concatenate([jnp.ravel(found[name]).astype(float) for name in names])

    return jax.vmap(one)(keys, rows)


_replicated = jitted(_many, static=("names",))
