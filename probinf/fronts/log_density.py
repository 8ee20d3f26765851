"""from_log_density and from_log_likelihood: a function of the parameters becomes a Program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jaxtyping import Array
from numpyro.distributions import Distribution

from probinf.core.inputs.arrays import is_traced
from probinf.core.inputs.given import as_given
from probinf.core.inputs.shapes import SINGLE, Shape
from probinf.core.program import Data, Key, Placed, Position, Program, Score
from probinf.core.transformations.labelling import Coords, Dims, labelled
from probinf.errors import ImproperPriorError, ModelError
from probinf.fronts.frames import as_arrays, is_table
from probinf.fronts.numpyro import from_numpyro

Parameters = Any
"""What the user's function takes: a tree like that of the priors, or one array for a single one."""

_OR_ASK = (
    "code that cannot be rewritten goes through pi.from_callback(log_likelihood, prior), for "
    "engines without gradients (Nested, Ensemble, SMC with kernels.RandomWalk)."
)


def priors_by_name(prior: Any) -> dict[str, Distribution]:
    """Priors by site; those of a nested dict or list are called ``planet.mass``, ``planet.0``.

    Raises:
        ModelError: there are none, or one is no distribution, or two have the same name.
    """
    if not isinstance(prior, Distribution) and not (isinstance(prior, dict) and prior):
        raise ModelError(
            "the prior must be a NumPyro distribution, or a dict of them by parameter name, got "
            f"{prior!r}."
        )
    named = _named(prior)
    for name, distribution in named.items():
        if not isinstance(distribution, Distribution):
            raise ModelError(
                f"the prior of '{name}' must be a NumPyro distribution, got {distribution!r}."
            )
    return named


def _named(tree: Any, path: str = "") -> dict[str, Any]:
    """Leaves by name, in the order in which they are written."""
    if isinstance(tree, dict) and tree:
        inner = tree
    elif isinstance(tree, list | tuple) and tree:
        inner = {str(k): value for k, value in enumerate(tree)}
        if hasattr(tree, "_fields"):
            inner = dict(zip(tree._fields, tree, strict=True))
    else:
        return {path or SINGLE: tree}
    found: dict[str, Any] = {}
    for key, value in inner.items():
        for name, leaf in _named(value, f"{path}.{key}" if path else str(key)).items():
            if name in found:
                raise ModelError(f"two parameters are named '{name}'; rename one of them.")
            found[name] = leaf
    return found


@dataclasses.dataclass(frozen=True)
class _PriorTimes:
    """The NumPyro model ``prior * exp(fn)``, or ``exp(fn)`` written over the prior as base."""

    fn: Callable[..., Array]
    shape: Shape
    is_density: bool

    def __call__(self, prior: dict[str, Distribution], args: tuple[Any, ...]) -> None:
        values = {name: numpyro.sample(name, d) for name, d in prior.items()}
        log_value = self.fn(self.shape(values), *args)
        if self.is_density:
            log_value = log_value - sum(
                jnp.sum(d.log_prob(values[name])) for name, d in prior.items()
            )
        numpyro.factor("log_density" if self.is_density else "log_likelihood", log_value)


def from_log_likelihood(
    log_likelihood: Callable[..., Array],
    prior: Distribution | dict[str, Any],
    *args: Any,
    pointwise: bool = False,
    dims: Dims | None = None,
    coords: Coords | None = None,
) -> Program:
    """The measure ``prior * exp(log_likelihood)``.

    Args:
        log_likelihood: ``(parameters, *args) -> scalar``, a module-level function;
            ``parameters`` is a dict like ``prior``, or one array when that is one distribution.
        prior: NumPyro distributions by parameter name, in dicts and lists inside each other
            where one likes (sites are then named ``planet.mass``, ``planet.0``), or a single one.
        *args: data for ``log_likelihood``; arrays are dynamic.
        pointwise: whether the function returns one log likelihood per datum, in an array whose
            sum counts; ``loo``, ``compare`` and ArviZ then know them as ``log_likelihood``.
        dims: names of dimensions by site; see :func:`probinf.with_dims`.
        coords: labels by dimension.

    Raises:
        ModelError: the function does not return a scalar (an array, where ``pointwise``), or is
            not written in JAX.
    """
    _check_shape("from_log_likelihood", log_likelihood, prior, args, pointwise)
    model = _PriorTimes(log_likelihood, Shape.of(prior), False)
    program = from_numpyro(model, priors_by_name(prior), args)
    return labelled(program, dims, coords)


@dataclasses.dataclass(frozen=True)
class _FlatScore:
    fn: Callable[..., Array]

    def __call__(self, x: Position, data: Data) -> Score:
        return Score(
            jnp.zeros((), float),
            jnp.asarray(self.fn(x, *jax.tree.map(jnp.asarray, data[1])), float),
        )


@dataclasses.dataclass(frozen=True)
class _NoDraw:
    def __call__(self, key: Key, data: Data) -> Position:
        raise ImproperPriorError(
            "from_log_density was called without base=, so there is nothing to draw from and no "
            "evidence. Pass base= (NumPyro distributions over the same parameters), or use an "
            "MCMC method such as NUTS."
        )


def _initial(key: Key, data: Data) -> Position:
    """The given starting point with unit normal noise."""
    leaves, treedef = jax.tree.flatten(jax.tree.map(jnp.asarray, data[0]))
    keys = jax.random.split(key, max(len(leaves), 1))
    noisy = [v + jax.random.normal(k, v.shape, v.dtype) for v, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(treedef, noisy)


def _floats(value: Any) -> Any:
    return value.astype(float) if isinstance(value, jax.Array) else np.array(value, float)


def _identity(x: Position, data: Data) -> dict[str, Array]:
    found = _named(x)
    return x if isinstance(x, dict) and list(found) == list(x) else found


def _as_they_are(values: dict[str, Array], x: Position, data: Data) -> Placed:
    return Placed(
        Shape.of(x)({**_named(x), **values}),
        {name: ~jnp.isfinite(v).all() for name, v in values.items()},
    )


def _unit(x: Position, data: Data) -> Array:
    return jnp.zeros((), float)


def from_log_density(
    log_density: Callable[..., Array],
    *args: Any,
    base: Distribution | dict[str, Any] | None = None,
    initial: Any = None,
    dims: Dims | None = None,
    coords: Coords | None = None,
) -> Program:
    """The measure with density ``exp(log_density)``, with respect to Lebesgue measure.

    With ``base`` the same measure is written as base times weight, which every engine can
    use; its evidence is the integral of ``exp(log_density)`` over the base's support.
    Without it only MCMC can, on all of R^d.

    Args:
        log_density: ``(parameters, *args) -> scalar``, a module-level function.
        *args: data for ``log_density``; arrays are dynamic.
        base: NumPyro distributions whose support holds the measure's; parameters are then a
            dict by name, or one array for a single distribution.
        initial: without ``base``, a dict of arrays (or one array) near the target; it fixes
            the shapes, and chains start around it.
        dims: names of dimensions by site; see :func:`probinf.with_dims`.
        coords: labels by dimension.

    Raises:
        ModelError: neither ``base`` nor ``initial`` is given, or the function does not
            return a scalar or is not written in JAX.
    """
    if base is not None:
        _check_shape("from_log_density", log_density, base, args, False)
        model = _PriorTimes(log_density, Shape.of(base), True)
        program = from_numpyro(model, priors_by_name(base), args)
        return labelled(program, dims, coords)
    initial = None if initial is None else _numbers(initial)
    if initial is None:
        raise ModelError(
            "from_log_density: pass base= (distributions over the parameters) or initial= (an "
            "array or dict of arrays near the target), so that the shapes are known."
        )
    initial = jax.tree.map(_floats, initial)
    _require_scalar("from_log_density", shape_of("from_log_density", log_density, initial, *args))
    program = Program(
        draw=_NoDraw(),
        start=_initial,
        score=_FlatScore(log_density),
        constrain=_identity,
        unconstrain=_as_they_are,
        log_jacobian=_unit,
        data=(initial, jax.tree.map(partial(as_given, "an argument of the density"), args)),
    )
    return labelled(program, dims, coords)


def _numbers(initial: Any) -> Any:
    """The point that fixes the shapes, which holds finite numbers; a list of some is an array.

    Raises:
        ModelError: it does not.
    """
    values: Any = initial
    if isinstance(initial, dict):
        values = {name: _numbers(value) for name, value in initial.items()}
    elif isinstance(initial, list | tuple) and all(np.ndim(v) == 0 for v in initial):
        values = np.asarray(initial)
    leaves = [v if is_traced(v) else np.asarray(v) for v in jax.tree.leaves(values)]
    numeric = all(leaf.dtype.kind in "biufV" for leaf in leaves)  # V: bfloat16
    fine = numeric and all(is_traced(v) or np.isfinite(v).all() for v in leaves)
    if not fine or not sum(leaf.size for leaf in leaves):
        raise ModelError(
            "from_log_density: initial= must hold finite numbers near the target, an array or a "
            f"dict of arrays, got {initial!r}."
        )
    return values


def _check_shape(
    name: str, fn: Callable[..., Array], prior: Any, args: Any, pointwise: bool
) -> None:
    zeros = {name: jnp.zeros(d.shape()) for name, d in priors_by_name(prior).items()}
    args = tuple(as_arrays("an argument", v) if is_table(v) else v for v in args)
    found = shape_of(name, lambda v: fn(v, *args), Shape.of(prior)(zeros))
    if not pointwise:
        return _require_scalar(name, found)
    if getattr(found, "shape", ()) == ():
        raise ModelError(
            f"{name}: with pointwise=True the function must return an array, one log likelihood "
            f"per datum, got {'a scalar' if hasattr(found, 'shape') else type(found).__name__}. "
            "Leave the sum over the data out."
        )


def shape_of(name: str, fn: Callable[..., Any], *args: Any) -> Any:
    """The shape of ``fn(*args)``, from one abstract trace.

    Raises:
        ModelError: the function does not leave its computations to JAX.
    """
    try:
        return jax.eval_shape(fn, *args)
    except jax.errors.TracerArrayConversionError as error:
        raise ModelError(
            f"{name}: the function hands its parameters to NumPy (or SciPy, or another library "
            "that needs numbers), so that JAX can neither compile nor differentiate it. Write "
            f"jnp.exp in place of np.exp, jax.scipy in place of scipy; {_OR_ASK}"
        ) from error
    except jax.errors.ConcretizationTypeError as error:
        raise ModelError(
            f"{name}: the function needs the value of a parameter in Python (an if, a float(), "
            "a size), which JAX does not know when it compiles. Write jnp.where(condition, a, b) "
            f"in place of if, and take sizes from arguments; {_OR_ASK}"
        ) from error


def _require_scalar(name: str, out: Any) -> None:
    if getattr(out, "shape", None) != ():
        raise ModelError(
            f"{name}: the function must return a scalar log density, got "
            f"{getattr(out, 'shape', type(out).__name__)}. Sum over the data"
            + ("; or say pointwise=True." if name == "from_log_likelihood" else ".")
        )
