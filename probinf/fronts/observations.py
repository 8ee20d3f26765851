"""Checks of observed values and parameters against the domains of their distributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro.distributions import constraints

from probinf.errors import ObservationError
from probinf.fronts.latent import WRAPPERS, leaf_of


def check_observed(
    trace: dict[str, Any],
    data: Any,
    observed: Callable[[Any], dict[str, Array]],
    allow_broadcast: bool,
) -> None:
    sites = {
        name: site
        for name, site in trace.items()
        if site["type"] == "sample"
        and site["is_observed"]
        and type(leaf_of(site["fn"])).__name__ != "Unit"
    }
    for name, site in sites.items():
        _check_shape(name, site, allow_broadcast)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(data)):
        return  # inside someone's jit there are no values to look at
    values = {name: site["value"] for name, site in sites.items()}
    if any(isinstance(value, jax.core.Tracer) for value in values.values()):
        values |= jax.jit(observed)(data)
    for name, site in sites.items():
        _check_values(name, site["fn"], np.asarray(values[name]))


def _check_shape(name: str, site: dict[str, Any], allow_broadcast: bool) -> None:
    if isinstance(site["value"], list | tuple | str) or not hasattr(site["value"], "shape"):
        raise ObservationError(
            f"site '{name}': the observed value is a Python {type(site['value']).__name__}, which "
            "is no array; pass one (np.asarray(y))."
        )
    shape, expected = jnp.shape(site["value"]), tuple(site["fn"].shape())
    if shape == expected:
        return
    plates = ", ".join(f"'{f.name}' of size {f.size}" for f in site["cond_indep_stack"])
    where = f" (inside plate {plates})" if plates else ""
    try:
        joint = np.broadcast_shapes(shape, expected)
    except ValueError:
        raise ObservationError(
            f"site '{name}'{where}: the observed value has shape {shape}, its distribution "
            f"{expected}. Make the data and the plate or the parameters the same length."
        ) from None
    if joint != shape and not allow_broadcast:
        raise ObservationError(
            f"site '{name}'{where}: an observed value of shape {shape} against a distribution of "
            f"shape {expected} would broadcast to {joint} and count data more than once. Reshape "
            "one of them, or pass allow_broadcast=True if that is meant."
        )


def _check_values(name: str, fn: Any, value: np.ndarray) -> None:
    value = np.broadcast_to(value, np.broadcast_shapes(value.shape, fn.shape()))
    mask = _seen(fn, value.shape)
    if mask is None:
        return
    if value.dtype.kind == "c":
        raise ObservationError(
            f"site '{name}': the observed values are complex; pass their real part or modulus."
        )
    if value.dtype.kind == "f":
        _refuse(
            name,
            value,
            np.isnan(value) & mask,
            "NaN",
            (
                "Leave them out, or keep them with numpyro.sample(..., obs_mask=~isnan(y)), which "
                "infers the missing values."
            ),
        )
    try:
        support = fn.support
    except jax.errors.UnexpectedTracerError:  # computed from a latent site: the doctor looks
        return
    if support.is_discrete and value.dtype.kind == "f":
        _refuse(
            name,
            value,
            (value % 1 != 0) & mask,
            "not an integer",
            (
                f"{type(leaf_of(fn)).__name__} is a distribution of counts; round the data or use "
                "a continuous distribution."
            ),
        )
    inside = _inside(support, value, mask)
    if inside is not None:
        outside = ~np.broadcast_to(
            inside.reshape(inside.shape + (1,) * (value.ndim - inside.ndim)), value.shape
        )
        _refuse(
            name,
            value,
            outside & mask,
            f"outside the support ({support})",
            (
                f"Choose a distribution whose support holds the data instead of "
                f"{type(leaf_of(fn)).__name__}, or correct the data."
            ),
        )


def _seen(fn: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Where no mask switches the value off; None where a mask is not known before sampling."""
    seen = np.ones(shape, bool)
    while type(fn).__name__ in WRAPPERS:
        if type(fn).__name__ == "MaskedDistribution":
            if isinstance(fn._mask, jax.core.Tracer):
                return None
            own = np.asarray(fn._mask)
            seen = seen & own.reshape(own.shape + (1,) * len(fn.event_shape))
        fn = fn.base_dist
    return seen


def _refuse(name: str, value: np.ndarray, bad: np.ndarray | np.bool_, what: str, rest: str) -> None:
    if bad.any():
        where = [tuple(int(i) for i in index) for index in np.argwhere(bad)[:3]]
        shown = ", ".join(f"{value[i]} at {list(i)}" if i else f"{value}" for i in where)
        raise ObservationError(
            f"site '{name}': {int(bad.sum())} of {bad.size} observed values are {what} "
            f"(first: {shown}). {rest}"
        )


def _inside(support: Any, value: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Support check on the host; None where the bounds are not known before sampling."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(support)):
        return None
    try:
        if not mask.all():  # a value that is masked must not spoil the event it belongs to
            value = np.where(mask, value, support.feasible_like(value))
        inside = np.asarray(support(value))
    except (
        NotImplementedError,
        TypeError,
        jax.errors.TracerArrayConversionError,
        jax.errors.UnexpectedTracerError,
    ):
        return None
    return inside


_CHEAP = tuple(
    type(c)
    for c in (
        constraints.positive,
        constraints.nonnegative,
        constraints.unit_interval,
        constraints.softplus_positive,
        constraints.nonnegative_integer,
        constraints.positive_integer,
    )
) + (
    constraints.greater_than,
    constraints.greater_than_eq,
    constraints.less_than,
    constraints.less_than_eq,
    constraints.interval,
    constraints.open_interval,
)


_MATRICES = ("covariance_matrix", "precision_matrix")
_CLOSED = (type(constraints.unit_interval), type(constraints.simplex))


def on_edge(support: Any, value: Any) -> Array:
    """Which data are at 0 or 1, where a density on an interval or simplex has no finite value."""
    events = support.event_dim
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    value = jnp.asarray(value)
    batch = value.shape[: max(value.ndim - events, 0)]
    if not isinstance(support, _CLOSED):
        return jnp.zeros(batch, bool)
    return ((value == 0) | (value == 1)).reshape(*batch, -1).any(axis=-1)


def parameter_violations(fn: Any) -> dict[str, dict[str, Array]]:
    """Per distribution parameter with a simple bound: whether and how some entry breaks it.

    Returns:
        By parameter ``outside``, whether a finite entry lies beyond the bound; ``lost``, whether
        one is NaN, infinite, or was rounded onto the bound; and ``worst``, the first such entry.
    """
    while "base_dist" in vars(fn):
        fn = fn.base_dist
    report = {}
    if "scale_tril" in vars(fn):  # NaN where a Cholesky decomposition has failed
        given = next((n for n in _MATRICES if n in vars(fn)), "scale_tril")
        failed = jnp.isnan(vars(fn)["scale_tril"]).any()
        worst = jnp.where(failed, jnp.nan, 0.0)
        report[given] = {"outside": jnp.asarray(False), "lost": failed, "worst": worst}
    for name, constraint in type(fn).arg_constraints.items():
        if isinstance(constraint, _CHEAP) and vars(fn).get(name) is not None:
            value = jnp.asarray(vars(fn)[name])
            if not value.size:
                continue
            broken = jnp.broadcast_to(~jnp.asarray(constraint(value)), value.shape)
            lost = broken & (~jnp.isfinite(value) | _on_bound(constraint, value))
            outside = broken & ~lost
            first = jnp.argmax(jnp.ravel(jnp.where(outside.any(), outside, broken)))
            report[name] = {
                "outside": outside.any(),
                "lost": lost.any(),
                "worst": jnp.ravel(value)[first],
            }
    return report


def _on_bound(constraint: Any, value: Array) -> Array:
    """Where a value is an end of an interval, up to rounding: exp(-200) is zero."""
    near = jnp.zeros(value.shape, bool)
    for end in (getattr(constraint, "lower_bound", None), getattr(constraint, "upper_bound", None)):
        if end is not None:
            near |= jnp.abs(value - end) <= 1e-5 * jnp.abs(end)
    return near
