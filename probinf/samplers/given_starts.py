"""start=: where chains begin, as the user says it, on the unconstrained scale."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.compiling import jitted
from probinf.core.coordinates import Layout, flatten
from probinf.core.program import Key, Program
from probinf.core.zero_likelihood import zero_likelihood
from probinf.errors import MethodError, StructureError
from probinf.results.posterior import Posterior
from probinf.runtime.method import Method
from probinf.samplers.chains import ChainMethod, ChainState


class _Asked(NamedTuple):
    """Values by site, (chain, ...) each."""

    values: dict[str, np.ndarray]


def given_starts(method: Method[Any], program: Program, key: Key, start: Any) -> ChainState:
    """States of all lanes, begun where the user says.

    Args:
        method: of chains.
        program: the user's.
        key: of the run.
        start: values by site in the user's coordinates, of all sites or some: of the site's shape
            (for all chains), with a leading axis chain, or with axes (chain, draw) as draws have
            them, of which one is picked for each chain; or a Posterior, whose draws are taken so.

    Raises:
        MethodError: the engine does not begin at given values.
        StructureError: a site is unknown or misshapen, or a value lies outside its support.
        ZeroLikelihoodError: the density is zero or NaN at the start of a chain.
    """
    if not isinstance(method, ChainMethod):
        raise MethodError(
            f"start: {type(method).__name__} has no chains that begin somewhere. start= serves "
            "NUTS, MCMC, ChEES and Ensemble; other engines start from another base, "
            "pi.rebase(program, q)."
        )
    option = getattr(method, "start", "wide")
    if option != "wide":
        raise MethodError(
            f"start: the chains cannot begin both at given values and at start={option!r} "
            "of the method. Leave one of them out."
        )
    flat, layout = flatten(program, integers=True)
    if flat.unconstrain is None or not layout.places():
        raise StructureError(
            "start: this program does not say how values of its sites become coordinates. Give "
            "start= with the program that from_numpyro, from_log_likelihood or from_log_density "
            "made, before temper, rebase, push or the like."
        )
    chains = method.chains
    asked = _asked(program, layout, start, chains, key)
    mine = jax.random.fold_in(key, 0x57A7)
    wide = jax.vmap(flat.start, (0, None))(jax.random.split(mine, chains), flat.data)
    values = {name: jnp.asarray(v, float) for name, v in asked.values.items()}
    placed = _place(flat, values, wide)
    _refuse_outside(flat, asked, placed.outside, wide)
    given = np.zeros(layout.size, bool)
    for name in asked.values:
        first, shape = layout.places()[name]
        given[first : first + int(np.prod(shape, dtype=int))] = True
    states = _begun(method, flat, jax.random.split(mine, chains), placed.position, given)
    fine = np.asarray(states.started)
    if not fine.all():
        who = f"chain {int(np.argmin(fine))}" if len(fine) > 1 else "a chain"
        raise zero_likelihood(
            flat, layout, f"the density or its gradient is not finite at the start= of {who}"
        )
    return states


@jitted
def _place(flat: Program, values: dict[str, jax.Array], wide: Any) -> Any:
    assert flat.unconstrain is not None
    return jax.vmap(flat.unconstrain, (0, 0, None))(values, wide, flat.data)


def _begun(method: ChainMethod, flat: Program, keys: Key, x: Any, given: np.ndarray) -> ChainState:
    own, started = _begin(method, flat, keys, x, jnp.asarray(given))
    count = jax.tree.leaves(own)[0].shape[0]
    return ChainState(own, jnp.zeros((count,), int), jnp.broadcast_to(started, (count,)))


@partial(jitted, static=("method",))
def _begin(method: ChainMethod, flat: Program, keys: Key, x: Any, given: jax.Array) -> Any:
    if method.lockstep:
        each = jax.tree.map(lambda v: v.reshape(method.lanes, -1, *v.shape[1:]), x)
        found = [
            method.begin_at(keys[k], flat, jax.tree.map(lambda v, k=k: v[k], each), given)
            for k in range(method.lanes)
        ]
        return jax.tree.map(lambda *lanes: jnp.stack([jnp.asarray(v) for v in lanes]), *found)
    return jax.lax.map(lambda item: method.begin_at(item[0], flat, item[1], given), (keys, x))


def _asked(program: Program, layout: Layout, start: Any, chains: int, key: Key) -> _Asked:
    if isinstance(start, Posterior):
        start = start.resampled(key).draws
    if not isinstance(start, Mapping) or not start:
        raise StructureError(
            "start must be a dict of values by site, such as {'mu': 0.0}, or a Posterior, got "
            f"{start!r}."
        )
    shapes = {
        name: v.shape
        for name, v in jax.eval_shape(program.constrain, program.template(), program.data).items()
    }
    latent = set(layout.places())
    found = {}
    for name, value in start.items():
        value = np.asarray(value)
        if name not in shapes:
            raise StructureError(f"start: no site named {name!r}; there are {sorted(latent)}.")
        extra = value.ndim - len(shapes[name])
        if name not in latent:
            if extra == 2:  # draws of another run hold deterministic sites too
                continue
            raise StructureError(
                f"start: site {name!r} follows from others and has no start of its own. Give "
                f"values of {sorted(latent)}."
            )
        found[name] = _per_chain(name, value, shapes[name], chains, key)
    if not found:
        raise StructureError(f"start: no site that moves is named; there are {sorted(latent)}.")
    return _Asked(found)


def _per_chain(
    name: str, value: np.ndarray, shape: tuple[int, ...], chains: int, key: Key
) -> np.ndarray:
    """(chain, ...) values."""
    if value.shape == shape:
        return np.broadcast_to(value, (chains, *shape))
    if value.shape == (chains, *shape):
        return value
    if value.ndim == len(shape) + 2 and value.shape[2:] == shape and value.size:
        rows = value.reshape(-1, *shape)
        seed = np.asarray(jax.random.key_data(key)).astype(np.uint64).ravel().tolist()
        return rows[np.random.default_rng(seed).choice(len(rows), chains, len(rows) < chains)]
    raise StructureError(
        f"start: site {name!r} has shape {shape}, got {value.shape}. Give one value for all "
        f"chains, {chains} of them, shape {(chains, *shape)}, or draws (chain, draw, ...)."
    )


def _refuse_outside(flat: Program, asked: _Asked, outside: dict[str, Any], wide: Any) -> None:
    for name, flags in outside.items():
        bad = np.asarray(flags)
        if not bad.any():
            continue
        k = int(np.argmax(bad))
        value = np.asarray(asked.values[name][k])
        raise StructureError(
            f"start: site {name!r} of chain {k} begins at {value.tolist()}, outside its support"
            f"{_support(flat, name, asked, k, wide)}."
        )


def _support(flat: Program, name: str, asked: _Asked, k: int, wide: Any) -> str:
    """What the support is, where the front can say."""
    said = getattr(getattr(flat.unconstrain, "fn", None), "support", None)
    if said is None:
        return ""
    others = {n: v for n, v in asked.values.items() if n != name}  # on which it may depend
    values = {n: jnp.asarray(v[k], float) for n, v in others.items()}
    fn: Any = flat.unconstrain
    row = jax.tree.map(lambda v: v[k], wide)
    try:
        return f" {said(name, values, fn.layout.unravel(row), flat.data)}"
    except ValueError:  # another value is outside as well
        return ""
