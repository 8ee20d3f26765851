"""again: the model of a program with other arguments, observations left out."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import jax
from numpyro.primitives import Messenger

from probinf.core.axes import Axes
from probinf.core.program import Program
from probinf.core.transformations.nesting import OnInner
from probinf.errors import ModelError, StructureError
from probinf.fronts.arguments import ArraySlot
from probinf.fronts.dependence import dependence
from probinf.fronts.formulas.formula import FormulaProgram
from probinf.fronts.model import Model, NumpyroData
from probinf.fronts.numpyro import from_numpyro
from probinf.fronts.observing import GetObserved
from probinf.fronts.predicting import NumpyroPredict

_WHO = "predict"


def again(program: Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
    """The same model with new arguments, for predictions.

    Arguments that are not given stay as they were, except those that only hold observations,
    which are None. Labels of dimensions of latent sites stay where their number does.

    Args:
        program: made by ``from_numpyro`` or ``formula``.
        args: positional arguments of the model; of a formula, a DataFrame.
        kwargs: keyword arguments of the model.

    Raises:
        StructureError: the program has no such model, it does not take these arguments, or it
            cannot run without its observations.
    """
    if isinstance(program, FormulaProgram):
        if len(args) != 1 or kwargs:
            raise StructureError(f"{_WHO}: a formula takes one table of new rows.")
        return program.with_data(args[0])
    fn, data = program.predict, program.data
    while isinstance(fn, OnInner):
        fn, data = fn.fn, data[0]
    if not isinstance(fn, NumpyroPredict):
        raise StructureError(
            f"{_WHO}: new arguments are for models of from_numpyro. Build the program with the "
            "new data by its own front, and pass program=."
        )
    model = fn.model
    given, left_out = _arguments(model, data, args, kwargs)
    discrete = any(latent.discrete for latent in model.latents)
    try:
        made = from_numpyro(
            model.fn, *given.args, allow_broadcast=True, allow_discrete=discrete, **given.kwargs
        )
    except (ModelError, TypeError, AttributeError) as error:
        if not left_out:
            raise
        raise StructureError(
            f"{_WHO}: the model does not run with {' and '.join(left_out)} left out (None): "
            f"{str(error).splitlines()[0]} Take sizes from other arguments in the model; or give "
            f"{left_out[0]}= an array of the right shape, whose values do not matter."
        ) from error
    return dataclasses.replace(made, axes=_kept(program, made))


def _arguments(
    model: Model, data: NumpyroData, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[inspect.BoundArguments, list[str]]:
    """All arguments, and the names of those that are left out."""
    fn = model.fn
    while isinstance(fn, Messenger):
        fn = fn.fn
    signature = inspect.signature(fn)
    slots = signature.bind(*_tree(model)[0], **_tree(model)[1]).arguments
    old = signature.bind(*_tree(model, data)[0], **_tree(model, data)[1]).arguments
    try:
        new = signature.bind_partial(*args, **kwargs).arguments
    except TypeError as error:
        raise StructureError(
            f"{_WHO}: the model{signature} does not take these arguments: {error}."
        ) from None
    seen = _observed_leaves(model, data)
    left_out = []
    for name, tree in slots.items():
        names = [v.name for v in jax.tree.leaves(tree) if isinstance(v, ArraySlot)]
        if names and name not in new and set(names) <= seen:
            left_out.append(name)
    merged = {**old, **dict.fromkeys(left_out), **new}
    ordered = {name: merged[name] for name in signature.parameters if name in merged}
    return inspect.BoundArguments(signature, ordered), left_out


def _tree(model: Model, data: NumpyroData | None = None) -> Any:
    """Arguments of the model, with its arrays or with their slots."""
    leaves = model.static
    if data is not None:
        known = data.arguments
        leaves = tuple(known[v.name] if isinstance(v, ArraySlot) else v for v in leaves)
    return jax.tree.unflatten(model.treedef, leaves)


@dataclasses.dataclass(frozen=True)
class _Read:
    get: GetObserved

    def __call__(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return self.get(NumpyroData(arguments, {}))


def _observed_leaves(model: Model, data: NumpyroData) -> set[str]:
    """Names of the arrays of which observed values are made."""
    found = dependence(_Read(GetObserved(model)), data.arguments)
    sets = jax.tree.leaves(found, is_leaf=lambda v: isinstance(v, frozenset))
    return set().union(*sets)


def _kept(before: Program, after: Program) -> Axes:
    """Names of the new program, with the user's names and labels of latent sites."""
    old, latents = before.axes, set(before.template())
    made = jax.eval_shape(after.constrain, after.template(), after.data)
    dims = dict(after.axes.dims)
    for site, value in made.items():
        if any(names := old.names(site, len(value.shape))):
            dims[site] = names
    of_latents = {d for site in latents for d in dims.get(site, ()) if d is not None}
    sizes = {d: n for s, v in made.items() for d, n in zip(dims.get(s, ()), v.shape, strict=False)}
    labels = {d: v for d, v in old.coords.items() if d in of_latents and sizes.get(d) == len(v)}
    return Axes(dims, labels)
