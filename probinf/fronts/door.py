"""A model and its arguments at the door: unwrapped, complete, without masked or missing values."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.abstract import once_per_shape
from probinf.core.compiling import jitted
from probinf.core.doctor import used_variables
from probinf.core.inputs.arrays import is_traced
from probinf.core.program import Program
from probinf.errors import ModelError
from probinf.fronts.frames import as_arrays, is_table
from probinf.fronts.recompiling import name_of, note_recompiling

_TRIES = 4


def admitted(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The model under ``functools.partial``, with all of its arguments.

    What a partial holds becomes an argument like any other, so that its arrays are data and a
    partial that is made anew compiles nothing.

    Raises:
        ModelError: arguments are missing, too many, or masked.
    """
    while isinstance(model, functools.partial):
        args, kwargs = (*model.args, *args), {**model.keywords, **kwargs}
        model = model.func
    if not callable(model):
        raise ModelError(
            f"from_numpyro: the first argument must be a model, a function of numpyro.sample "
            f"statements; got {type(model).__name__}."
        )
    try:
        signature = inspect.signature(model)
    except (TypeError, ValueError):  # some callables do not say
        signature = None
    if signature is not None:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ModelError(
                f"the model {name_of(model)}{signature} does not take what from_numpyro was given "
                f"for it: {error}."
            ) from None
    clean = [_clean(name, leaf) for name, leaf in _leaves(args, kwargs)]
    treedef = jax.tree.structure((args, kwargs), is_leaf=_is_whole)
    args, kwargs = jax.tree.unflatten(treedef, clean)
    note_recompiling(model)
    return model, args, kwargs


def own_arguments(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Those of our own keywords with a value that the model takes instead."""
    while isinstance(model, functools.partial):
        model = model.func
    try:
        known = inspect.signature(model).parameters
    except (TypeError, ValueError):
        return {}
    return {name: value for name, value in given.items() if name in known and value is not None}


def _is_masked(value: Any) -> bool:
    return isinstance(value, np.ma.MaskedArray)


def _is_whole(value: Any) -> bool:
    return _is_masked(value) or is_table(value)


def _clean(name: str, leaf: Any) -> Any:
    return as_arrays(name, leaf) if is_table(leaf) else _unmasked(name, leaf)


def _leaves(args: Any, kwargs: Any) -> Iterator[tuple[str, Any]]:
    """Every argument, and every leaf of it, as users count them."""
    paths = jax.tree_util.tree_flatten_with_path((args, kwargs), is_leaf=_is_whole)[0]
    for path, leaf in paths:
        first, inner = path[1], jax.tree_util.keystr(path[2:])
        named = isinstance(first, jax.tree_util.DictKey)
        yield f"the model's argument {repr(first.key) if named else first.idx + 1}{inner}", leaf


def _unmasked(name: str, leaf: Any) -> Any:
    if not _is_masked(leaf):
        return leaf
    if np.ma.is_masked(leaf):
        mask = np.ma.getmaskarray(leaf)
        raise ModelError(
            f"{name} has {int(mask.sum())} masked of {mask.size} values (the first at "
            f"{_place(mask)}), which arrays would forget. Leave them out (a[~a.mask].data), or "
            "pass a.filled(0.0) and ~a.mask and use numpyro.sample(..., obs_mask=mask), which "
            "infers the missing values."
        )
    return np.asarray(leaf)


def _place(mask: np.ndarray) -> str:
    return str([int(i) for i in np.argwhere(mask)[0]])


def refuse_missing(program: Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse NaN and infinite values among the arguments that make the whole density NaN.

    Others are fine: masks, ``obs_mask`` and ``jnp.where`` keep them out.

    Raises:
        ModelError: the density is NaN or zero wherever it was tried; names argument and place.
    """
    found = []
    for name, leaf in _leaves(args, kwargs):
        if isinstance(leaf, np.ndarray | jax.Array) and not is_traced(leaf):
            value = np.asarray(leaf)
            if value.dtype.kind == "f" and value.size > 1 and not np.isfinite(value).all():
                found.append((name, value))
    if not found or any(is_traced(leaf) for leaf in jax.tree.leaves(program.data)):
        return
    density = np.asarray(_density(program))
    repaired = dataclasses.replace(program, data=jax.tree.map(_filled, program.data))
    to_blame = np.isnan(density).all() or np.isfinite(np.asarray(_density(repaired))).any()
    if np.isfinite(density).any() or not to_blame:
        return
    shown = "; ".join(
        f"{name} holds {int((~np.isfinite(value)).sum())} NaN or infinite of {value.size} values "
        f"(the first at {_place(~np.isfinite(value))})"
        for name, value in found
    )
    raise ModelError(
        f"{shown}, and the density is NaN or zero everywhere because of that. Leave "
        "these rows out, or impute the values (give them a prior and fill them in with jnp.where)."
    )


def _filled(leaf: Any) -> Any:
    """The array with its mean in the place of what is not finite."""
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    fine = jnp.isfinite(leaf)
    mean = jnp.where(fine, leaf, 0.0).sum() / jnp.maximum(fine.sum(), 1)
    return jnp.where(fine, leaf, mean)


@jitted
def _density(program: Program) -> jax.Array:
    def at(key: jax.Array) -> jax.Array:
        log_base, log_weight = program.score(program.start(key, program.data), program.data)
        return log_base + log_weight

    return jax.lax.map(at, jax.random.split(jax.random.key(0), _TRIES))


def warn_unobserved(
    program: Program, model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Warn of a model that observes nothing, though it is given data that it does not use.

    A model some of whose arguments are None is meant to be its prior.
    """
    vain = _in_vain(program)
    if vain is None or not (vain.observed or vain.unused) or _expects_none(model, args, kwargs):
        return
    if vain.unused:
        what = f"is given data of shape {', '.join(map(str, vain.unused))} that it does not use"
    else:
        what = f"observes {', '.join(map(repr, vain.observed))} without any value"
    names = ", ".join(map(repr, program.template()))
    warnings.warn(
        f"the model {name_of(model)} {what}. It has the latent sites {names} and nothing that is "
        "observed, neither a site nor a numpyro.factor, so that its draws are those of the prior. "
        "Pass observations with numpyro.sample(..., obs=y).",
        stacklevel=3,
    )


class _Vain(NamedTuple):
    """Observed sites without a value, and shapes of data that the density does not use."""

    observed: tuple[str, ...]
    unused: tuple[tuple[int, ...], ...]


@once_per_shape
def _in_vain(program: Program) -> _Vain | None:
    """What a model without a likelihood is given in vain; None where it has a likelihood."""
    assert program.observations is not None and program.sites is not None
    x = program.template()
    sites = jax.eval_shape(program.sites, x, program.data)
    observed = jax.eval_shape(program.observations.get, program.data)
    latents = jax.eval_shape(program.constrain, x, program.data)
    if any(leaf.size for leaf in observed.values()) or set(sites) - set(latents) - set(observed):
        return None
    jaxpr = jax.make_jaxpr(program.score)(x, program.data).jaxpr
    used, given = used_variables(jaxpr), jaxpr.invars[len(jax.tree.leaves(x)) :]
    unused = tuple(v.aval.shape for v in given if v not in used and v.aval.size)
    return _Vain(tuple(observed), unused)


def _expects_none(model: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    """Whether an argument is None, as observations are in a model that is run as its prior."""
    try:
        bound = inspect.signature(model).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return False
    bound.apply_defaults()
    return any(value is None for value in bound.arguments.values())
