"""Law 3 and 6: a kernel leaves its program invariant; the joint test of Geweke."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.check_result import CheckResult, two_sample
from probinf.core.compiling import jitted
from probinf.core.coordinates import flatten, vector_of
from probinf.core.keys import as_key
from probinf.core.program import Key, Position, Program, condition
from probinf.errors import StructureError
from probinf.kernels.base import Kernel, Params


def fitted_params(kernel: Kernel, vectors: jax.Array, dense: bool = False) -> Params:
    """Tuning for a kernel from draws: their mean and covariance, half the first step size."""
    vectors = jnp.where(jnp.isfinite(vectors), vectors, 0.0)
    d = vectors.shape[1]
    covariance = jnp.cov(vectors, rowvar=False).reshape(d, d) + 1e-12 * jnp.eye(d)
    return Params(
        jnp.asarray(0.5 * kernel.first_step_size(d), vectors.dtype),
        vectors.mean(axis=0),
        (covariance if dense else jnp.diagonal(covariance)).astype(vectors.dtype),
    )


def _chain(
    kernel: Kernel, program: Program, params: Params, steps: int, key: Key, x: Position
) -> Position:
    state = kernel.init(program, x)
    for k in range(steps):
        state, _ = kernel.step(jax.random.fold_in(key, k), program, state, params)
    return state.position


@partial(
    jitted,
    static=(
        "kernel",
        "steps",
    ),
)
def _move_exact(
    kernel: Kernel, flat: Program, params: Params, steps: int, keys: Key, x: Position
) -> Position:
    return jax.vmap(partial(_chain, kernel, flat, params, steps))(keys, x)


@partial(
    jitted,
    static=(
        "kernel",
        "rounds",
        "steps",
    ),
)
def _joint(
    kernel: Kernel, flat: Program, params: Params, rounds: int, steps: int, keys: Key
) -> tuple[Position, Position, dict[str, jax.Array]]:
    """From exact joint draws: alternate kernel moves of x given y and draws of y given x."""

    def one(key: Key) -> Any:
        first, rest = jax.random.split(key)
        x = start = flat.draw(first, flat.data)
        simulated = _simulate(flat, rest, x)
        for k in range(rounds):
            move_key, data_key = jax.random.split(jax.random.fold_in(rest, k + 1))
            given = condition(flat, simulated)
            x = _chain(kernel, given, params, steps, move_key, x)
            simulated = _simulate(flat, data_key, x)
        return start, x, simulated

    return jax.vmap(one)(keys)


def _simulate(flat: Program, key: Key, x: Position) -> dict[str, jax.Array]:
    if flat.simulate is None or flat.observations is None:
        raise StructureError(
            "this check needs a program that simulates its observations (from_numpyro); for "
            "others pass exact draws to check_invariant."
        )
    return flat.simulate(key, x, flat.data)


def _result(
    law: str,
    fresh: np.ndarray,
    moved: np.ndarray,
    start: np.ndarray,
    names: list[str],
    level: float,
) -> CheckResult:
    failures = []
    if not np.isfinite(moved).all():
        failures.append("a position is not finite after the moves.")
    still = float(np.mean(np.all(moved == start, axis=1)))
    if still > 0.95:
        failures.append(f"the kernel does not move: {still:.0%} of the chains stayed in place.")
    return CheckResult(law, two_sample(moved, fresh, names), level, tuple(failures))


def check_invariant(
    kernel: Kernel,
    program: Program,
    *,
    key: int | Key,
    draws: Position | None = None,
    steps: int = 5,
    replications: int = 2000,
    params: Params | None = None,
    level: float = 1e-4,
) -> CheckResult:
    """Does ``kernel`` leave ``program`` invariant, and does it move?

    Exact draws are moved ``steps`` times and compared with other exact draws. Without
    ``draws`` each replication simulates its own data from the model: a draw of the prior is
    then an exact draw of the posterior given the data simulated from it, and after the
    moves the positions must still follow the prior.

    Args:
        kernel: any kernel.
        program: its target.
        key: random key or seed.
        draws: exact independent draws of ``program``, positions with leading axis N; half of
            them are moved, the other half compared with.
        steps: transitions.
        replications: chains, when ``draws`` is not given.
        params: tuning of the kernel; by default fitted to draws of the base (or ``draws``).
        level: probability of a false alarm.

    Raises:
        StructureError: no draws are given and the program cannot simulate.
    """
    flat, layout = flatten(program, integers=kernel.moves_integers)
    key = as_key(key)
    names = [f"x{j}" for j in range(layout.size)]
    law = f"invariance of {type(kernel).__name__}"
    if draws is None:
        keys = jax.random.split(key, 2 * replications)
        fresh = vector_of(jax.vmap(flat.draw, (0, None))(keys[:replications], flat.data))
        params = fitted_params(kernel, fresh) if params is None else params
        start, moved, _ = _joint(kernel, flat, params, 1, steps, keys[replications:])
        before, after = vector_of(start), vector_of(moved)
    else:
        rows = jax.vmap(layout.ravel)(draws)
        half = jax.tree.leaves(rows)[0].shape[0] // 2
        first = jax.tree.map(lambda leaf: leaf[:half], rows)
        fresh = vector_of(jax.tree.map(lambda leaf: leaf[half:], rows))
        params = fitted_params(kernel, fresh) if params is None else params
        moved = _move_exact(kernel, flat, params, steps, jax.random.split(key, half), first)
        before, after = vector_of(first), vector_of(moved)
    return _result(law, np.asarray(fresh), np.asarray(after), np.asarray(before), names, level)


def geweke(
    kernel: Kernel,
    program: Program,
    *,
    key: int | Key,
    rounds: int = 5,
    steps: int = 2,
    replications: int = 2000,
    params: Params | None = None,
    level: float = 1e-4,
) -> CheckResult:
    """Geweke's joint test in its replicated form: is (parameters, data) the same joint law?

    Every replication starts from an exact draw of parameters and data and alternates moves
    of the parameters given the data with fresh data given the parameters. The pair must
    keep its law; the statistics are all coordinates and all observables.

    Args:
        kernel: any kernel.
        program: a model that simulates its observations.
        key: random key or seed.
        rounds: alternations.
        steps: kernel transitions per alternation.
        replications: independent replications.
        params: tuning of the kernel; by default fitted to draws of the base (or ``draws``).
        level: probability of a false alarm.

    Raises:
        StructureError: the program cannot simulate.

    Source: Geweke (2004), with independent replications in place of one long chain.
    """
    flat, layout = flatten(program, integers=kernel.moves_integers)
    keys = jax.random.split(as_key(key), 2 * replications)
    pilot = vector_of(jax.vmap(flat.draw, (0, None))(keys[:replications], flat.data))
    params = fitted_params(kernel, pilot) if params is None else params
    start, moved, simulated = _joint(kernel, flat, params, rounds, steps, keys[:replications])
    fresh, _, fresh_data = _joint(kernel, flat, params, 0, steps, keys[replications:])
    names = [f"x{j}" for j in range(layout.size)]

    def rows(position: Position, data: dict[str, jax.Array]) -> np.ndarray:
        parts = [vector_of(position), *(v.reshape(replications, -1) for v in data.values())]
        return np.concatenate([np.asarray(p, float) for p in parts], axis=1)

    for name, value in simulated.items():
        names += [f"{name}[{j}]" for j in range(value[0].size)]
    d = layout.size
    after, other = rows(moved, simulated), rows(fresh, fresh_data)
    begun = np.concatenate([np.asarray(vector_of(start)), after[:, d:]], axis=1)
    return _result(
        f"Geweke joint test of {type(kernel).__name__}", other, after, begun, names, level
    )
