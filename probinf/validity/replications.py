"""replicate: truths, their data and posterior draws: the simulation behind every calibration."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.batches import batches
from probinf.core.coordinates import Layout, flatten, vector_of
from probinf.core.keys import as_key
from probinf.core.program import Key, Program, condition
from probinf.errors import ArrayError, MethodError, StructureError
from probinf.results.summary import scalars
from probinf.runtime.lanes import over_lanes
from probinf.runtime.method import Method
from probinf.samplers import NUTS


@runtime_checkable
class Amortized(Protocol):
    """What has learned posteriors from simulations; a pytree whose method JAX can trace."""

    def posterior(self, observed: Any) -> Program:
        """The posterior given observed values by site name."""


class Replications(NamedTuple):
    """Parameters from the prior, and posterior draws given data simulated from each of them.

    Attributes:
        truth: (n, p) true parameters, unconstrained.
        draws: (n, L, p) posterior draws.
        log_density: (n,) the posterior's log density at the truth, up to a constant that may
            depend on the data.
        log_density_draws: (n, L) the same at the draws.
        observed: (n, d) the data, one row per replication.
        log_weights: (n, L) of the draws; None for equal weights.
        names: of the scalars, in the user's coordinates.
        values: (n, S) true scalars.
        values_draws: (n, L, S) their posterior draws.
    """

    truth: np.ndarray
    draws: np.ndarray
    log_density: np.ndarray | None = None
    log_density_draws: np.ndarray | None = None
    observed: np.ndarray | None = None
    log_weights: np.ndarray | None = None
    names: tuple[str, ...] = ()
    values: np.ndarray | None = None
    values_draws: np.ndarray | None = None


def credibility(
    below: np.ndarray, ties: np.ndarray, found: Replications, rng: np.random.Generator
) -> np.ndarray:
    """(n,) posterior mass below the truth, ties broken at random: uniform when calibrated.

    With equal weights this is exact: ``(rank + uniform) / (L + 1)``.

    Args:
        below: (n, L) whether a draw lies below the truth.
        ties: (n, L) whether it ties with it.
        found: holds the weights.
        rng: of the random tie-breaking.
    """
    n, count = below.shape
    if found.log_weights is None:
        w = np.full((n, count), 1 / count)
    else:
        log_w = found.log_weights - found.log_weights.max(axis=1, keepdims=True)
        w = np.exp(log_w) / np.exp(log_w).sum(axis=1, keepdims=True)
    u = rng.uniform(size=n)
    mass = (w * below).sum(axis=1) + u * (w * ties).sum(axis=1)
    return np.asarray((count * mass + u) / (count + 1))


def check_arrays(found: Replications) -> None:
    """Raise ArrayError unless truth and draws are finite and fit together."""
    truth, draws = np.asarray(found.truth), np.asarray(found.draws)
    if truth.ndim != 2 or draws.ndim != 3 or (draws.shape[0], draws.shape[2]) != truth.shape:
        raise ArrayError(
            f"truth must be (n, p) and draws (n, L, p), got {truth.shape} and {draws.shape}."
        )
    for name, value in (("truth", truth), ("draws", draws)):
        if bad := int((~np.isfinite(value)).sum()):
            raise ArrayError(
                f"{name} holds {bad} values that are NaN or infinite; leave those replications "
                "out and report how many there were."
            )
    if found.log_weights is not None and found.log_weights.shape != draws.shape[:2]:
        raise ArrayError(
            f"log_weights must be (n, L) = {draws.shape[:2]}, got {found.log_weights.shape}."
        )


def _one(
    method: Method[Any] | None, flat: Program, amortized: Amortized | None, count: int, key: Key
) -> dict[str, Any]:
    prior_key, data_key, run_key = jax.random.split(key, 3)
    truth = flat.draw(prior_key, flat.data)
    assert flat.simulate is not None
    simulated = flat.simulate(data_key, truth, flat.data)
    if amortized is None:
        given, at = condition(flat, simulated), truth
    else:
        given, layout = flatten(amortized.posterior(simulated))
        at = truth if layout.has_keys else vector_of(truth)
    if method is None:
        x = jax.vmap(given.draw, (0, None))(jax.random.split(run_key, count), given.data)
    else:
        x = method.positions(run_key, given, count)
    score = jax.vmap(given.score, (0, None))(x, given.data)
    here = given.score(at, given.data)
    return {
        "truth": vector_of(truth),
        "draws": vector_of(x),
        "log_density": here.log_base + here.log_weight,
        "log_density_draws": score.log_base + score.log_weight,
        "log_weight": score.log_weight,
        "observed": jnp.concatenate([jnp.ravel(v).astype(float) for v in simulated.values()]),
        "values": flat.constrain(truth, flat.data),
        "values_draws": jax.vmap(given.constrain, (0, None))(x, given.data),
    }


@eqx.filter_jit
def _batch(
    method: Method[Any] | None, flat: Program, amortized: Amortized | None, count: int, keys: Key
) -> dict[str, Any]:
    one = partial(_one, method, flat, amortized, count)
    # on a CPU one data set after the other: under vmap every chain would wait for the slowest
    return jax.vmap(one)(keys) if method is None else over_lanes(one, keys, keys.shape[0])


def replicate(
    program: Program,
    method: Method[Any] | None = None,
    *,
    key: int | Key,
    amortized: Amortized | None = None,
    replications: int = 1000,
    draws: int = 63,
    batch: int = 250,
) -> Replications:
    """Draw parameters from the prior, simulate data, and draw from the posterior of each.

    The posterior is the program's own, by ``method``; or the one that ``amortized`` has
    learned, whose draws are exact where it is normalised (``method`` is then not needed).

    Args:
        program: a model with proper priors that simulates its observations.
        method: the engine, one chain or island per data set; without ``amortized`` NUTS by
            default, with 200 warm-up and ``5 * draws`` draws, thinned.
        key: random key or seed.
        amortized: what was fitted by :class:`~probinf.amortized.NPE`, for instance.
        replications: data sets.
        draws: posterior draws kept per data set, at most the engine's.
        batch: data sets at once.

    Raises:
        StructureError: the program cannot simulate its observations.
        MethodError: a count is too small, or ``amortized`` has no exact draws.
    """
    if replications < 2 or draws < 1 or batch < 1:
        raise MethodError(
            f"replicate: at least 2 replications, 1 draw and a batch of 1 are needed, got "
            f"{replications}, {draws} and {batch}."
        )
    if program.simulate is None or (amortized is None and program.observations is None):
        raise StructureError("replicate: the program cannot simulate its observations.")
    if method is None and amortized is None:
        method = NUTS(chains=1, warmup=200, draws=5 * draws)
    flat, _ = flatten(program)
    _check_coordinates(Layout.of(program), program, amortized)
    keys = jax.random.split(as_key(key), replications)
    parts = []
    for start, stop, known in batches(replications, min(batch, replications)):
        out = _batch(method, flat, amortized, draws, keys[start:stop])
        parts.append(jax.tree.map(lambda v, k=known: np.asarray(v)[k:], out))
    found = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    if method is None and np.any(found["log_weight"] != 0):
        raise MethodError(
            "replicate: this posterior carries a weight (a learned likelihood, say), so it must be "
            "sampled: pass method=pi.NUTS(chains=1, warmup=200, draws=315)."
        )
    names, values = scalars({k: v[:, None] for k, v in found["values"].items()})
    shared = {k: found["values_draws"][k] for k in found["values"]}
    return Replications(
        truth=found["truth"],
        draws=found["draws"],
        log_density=found["log_density"],
        log_density_draws=found["log_density_draws"],
        observed=found["observed"],
        names=tuple(names),
        values=values[:, 0],
        values_draws=scalars(shared)[1],
    )


def _check_coordinates(layout: Layout, program: Program, amortized: Amortized | None) -> None:
    if amortized is None:
        return

    def posterior(key: Key) -> Program:
        assert program.simulate is not None
        x = program.draw(key, program.data)
        return amortized.posterior(program.simulate(key, x, program.data))

    given = eqx.filter_eval_shape(posterior, jax.random.key(0))
    if Layout.of(given).size != layout.size:
        raise StructureError(
            f"replicate: the amortized posterior has {Layout.of(given).size} coordinates, the "
            f"program {layout.size}. Was it fitted to another program?"
        )
