"""Law 2: proper weighting; the weighted cloud and its mass mean the program, on average."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.check_result import CheckResult, z_to_p
from probinf.core.compiling import jitted
from probinf.core.coordinates import flatten, vector_of
from probinf.core.keys import as_key
from probinf.core.population import Population, importance, normalise
from probinf.core.program import Key, Program
from probinf.runtime.method import Method

_REFERENCE = 4000

Engine = Method[Any] | Callable[[Key, Program], Population]
"""An engine with a population (``SMC``), or ``(key, flat program) -> Population``, static."""


def _population(engine: Engine, key: Key, flat: Program) -> Population:
    populate: Any = getattr(engine, "populate", engine)
    found: Population = populate(key, flat)
    return found


@partial(jitted, static=("engine",))
def _replicate(engine: Engine, flat: Program, keys: Key, centre: Any, scale: Any) -> Any:
    """Per key: log_z, and sum W f for every test function f."""

    def one(key: Key) -> tuple[jax.Array, jax.Array]:
        population = _population(engine, key, flat)
        w = jnp.exp(normalise(population.log_w))
        z = jnp.clip((vector_of(population.x) - centre) / scale, -1e6, 1e6)
        functions = jnp.concatenate(
            [jnp.ones((z.shape[0], 1)), jnp.tanh(z), (z > 0).astype(z.dtype)], axis=1
        )
        # a particle of weight zero may sit where nothing is finite
        return population.log_z, w @ jnp.where(w[:, None] > 0, functions, 0.0)

    return jax.vmap(one)(keys)


def check_proper(
    engine: Engine,
    program: Program,
    *,
    key: int | Key,
    replications: int = 2000,
    log_evidence: float | None = None,
    reference_draws: int = 400_000,
    level: float = 1e-4,
) -> CheckResult:
    """Is ``E[exp(log_z) sum W f] = integral of f`` for the engine's populations?

    Many tiny runs are averaged on the scale of the evidence itself and compared with a large
    importance sample from the base (or, for ``f = 1``, with the known evidence). The test
    functions are 1, a bounded increasing function and an indicator of every coordinate.

    Args:
        engine: ``SMC`` with few particles and a fixed schedule, say, or a static function
            ``(key, flat program) -> Population``.
        program: any program with a drawable base.
        key: random key or seed.
        replications: independent tiny runs.
        log_evidence: the exact log evidence, when it is known.
        reference_draws: size of the reference importance sample.
        level: probability of a false alarm.

    Source: Naesseth, Lindsten & Schön (2015), definition 1.
    """
    flat, layout = flatten(program)
    key = as_key(key)
    pilot = jitted(partial(importance, n=_REFERENCE))(jax.random.fold_in(key, 0), flat)
    vectors, w = np.asarray(vector_of(pilot.x), float), np.exp(np.asarray(pilot.log_w, float))
    vectors = np.where(w[:, None] > 0, vectors, 0.0)
    centre = w @ vectors / w.sum()
    scale = np.sqrt(w @ (vectors - centre) ** 2 / w.sum()) + 1e-12
    batches = max(reference_draws // _REFERENCE, 2)

    reference_keys = jax.random.split(jax.random.fold_in(key, 1), batches)
    truth, truth_error, shift = _average(
        _replicate(_reference, flat, reference_keys, centre, scale)
    )
    keys = jax.random.split(jax.random.fold_in(key, 2), replications)
    log_z, values = map(np.asarray, _replicate(engine, flat, keys, centre, scale))
    mean, error, _ = _average((log_z, values), shift)
    names = ["1"]
    names += [f"tanh(x{j})" for j in range(layout.size)] + [f"x{j}>c" for j in range(layout.size)]
    if log_evidence is not None:
        truth[0], truth_error[0] = np.exp(log_evidence - shift), 0.0
    total = np.sqrt(error**2 + truth_error**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(total > 0, (mean - truth) / total, np.where(mean == truth, 0.0, np.inf))
    p_values = dict(zip(names, map(z_to_p, z.tolist()), strict=True))
    return CheckResult("proper weighting", p_values, level)


def _reference(key: Key, flat: Program) -> Population:
    return importance(key, flat, _REFERENCE)


def _average(found: Any, shift: float | None = None) -> tuple[np.ndarray, np.ndarray, float]:
    log_z, values = (np.asarray(v, float) for v in found)
    shift = float(log_z.max()) if shift is None else shift
    weighted = np.exp(log_z - shift)[:, None] * np.nan_to_num(values)
    return weighted.mean(axis=0), weighted.std(axis=0, ddof=1) / np.sqrt(len(log_z)), shift
