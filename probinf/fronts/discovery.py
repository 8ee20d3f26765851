"""What a NumPyro model consists of, found from one abstract trace; refuses what cannot work."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro import handlers
from numpyro.distributions import biject_to, constraints
from numpyro.infer import init_to_uniform
from numpyro.primitives import Messenger

from probinf.errors import (
    DiscreteLatentError,
    ImproperPriorError,
    ModelError,
    ObservationError,
)
from probinf.fronts.completion import LACKING, described, flat, refuse_without_density
from probinf.fronts.translation import translated


@dataclasses.dataclass(frozen=True)
class Latent:
    """A latent site; static and compared by value.

    Attributes:
        name: of the site.
        distribution: class name, for messages.
        shape: of the unconstrained value.
        improper: why the prior cannot be normalised or drawn from; empty when it can.
        scaled: whether a scale handler multiplies its log probability.
        masked: whether it is the unobserved half of an ``obs_mask`` site.
        discrete: whether its values are whole numbers, which have no unconstrained scale.
        levels: lowest and highest value of a discrete site where they are known.
        normalised: False where the prior is no probability distribution at all.
    """

    name: str
    distribution: str
    shape: tuple[int, ...]
    improper: str
    scaled: bool
    masked: bool
    discrete: bool = False
    levels: tuple[int, int] | None = None
    normalised: bool = True

    def blank(self) -> Array:
        """A value of the right kind, for tracing: the lowest one, or zeros."""
        if not self.discrete:
            return jnp.zeros(self.shape)
        low = 0 if self.levels is None else self.levels[0]
        return jnp.full(self.shape, low, jnp.result_type(int))

    @property
    def proper(self) -> bool:
        """Whether the prior is normalised and can be drawn from."""
        return not self.improper


def discover(
    model: Callable[[Any], None],
    data: Any,
    observed: Callable[[tuple[Latent, ...]], Callable[[Any], dict[str, Array]]],
    *,
    allow_broadcast: bool,
    allow_discrete: bool,
) -> tuple[Latent, ...]:
    """Latent sites of ``model`` at ``data``; raises on everything that cannot be served.

    ``observed`` makes a reader of the observed values, once the latents are known.
    """
    trace, latents = _abstract_trace(model, data, allow_discrete)
    likelihood = []
    for name, site in trace.items():
        if site["type"] == "sample" and site["is_observed"]:
            likelihood.append(name)
        elif site["type"] == "param":
            warnings.warn(
                f"numpyro.param '{name}' is not inferred: it stays at its initial value. Use "
                "numpyro.sample with a prior to infer it.",
                stacklevel=4,
            )
    if not latents:
        raise ModelError(
            "the model has no latent site: there is nothing to infer. Check that observations "
            f"are passed to the right sites (observed: {likelihood})."
        )
    improper = [latent for latent in latents if not latent.normalised]
    if improper and not likelihood:
        raise ImproperPriorError(
            f"site '{improper[0].name}' ({improper[0].distribution}) has an improper prior and "
            "the model has no observed site, so the measure is infinite. Give the site a proper "
            "prior, or pass the observations."
        )
    _check_observed(trace, data, observed(tuple(latents)), allow_broadcast)
    return tuple(latents)


class _Refuse(Messenger):
    """Stops at statements that leave the density unknown, before they cause other errors."""

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "plate" and msg["args"][1] not in (None, msg["args"][0]):
            raise ModelError(
                f"plate '{msg['name']}' subsamples {msg['args'][1]} of {msg['args'][0]} data; a "
                "posterior needs all of them. Remove subsample_size."
            )
        if msg["type"] == "prng_key":
            raise ModelError(
                "the model asks for a random key (numpyro.prng_key), so its density is random. "
                "Draw from numpyro.sample sites instead, or use from_simulator."
            )


def _abstract_trace(
    model: Callable[[Any], None], data: Any, allow_discrete: bool
) -> tuple[dict[str, Any], list[Latent]]:
    """A trace whose latent values are abstract and whose data are the concrete ones.

    Latents are looked at inside, where a support may be computed from an abstract value.
    """
    found: dict[str, Any] = {}
    latents: list[Latent] = []

    def run(key: Array) -> Array:
        placed = handlers.substitute(handlers.seed(model, key), substitute_fn=init_to_uniform)
        found.update(handlers.trace(_Refuse(placed)).get_trace(data))
        for name, site in found.items():
            if site["type"] == "sample":
                refuse_without_density(name, site)
            if site["type"] == "sample" and not site["is_observed"]:
                latents.append(_latent(name, site, found, allow_discrete))
        return key

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Out-of-support")
        abstractly(run, jax.random.key(0))
    return found, latents


def abstractly(fn: Callable[..., Any], *args: Any) -> Any:
    """``jax.eval_shape``, with the errors of the model told so that they can be understood."""
    try:
        return jax.eval_shape(fn, *args)
    except Exception as error:
        clear = translated(error)
        if clear is error:
            raise
        raise clear from error


def _latent(name: str, site: dict[str, Any], trace: dict[str, Any], allow_discrete: bool) -> Latent:
    fn = site["fn"]
    kind = described(fn)
    if fn.support.is_discrete:
        if not allow_discrete:
            raise DiscreteLatentError(
                f"site '{name}' ({kind}) is discrete and not observed. Sum it out (for mixtures "
                "dist.MixtureSameFamily, for chains the forward algorithm with numpyro.factor), "
                "pass its observed value, or keep it with allow_discrete=True, which only "
                "MCMC moves: MCMC(kernels.cycle(kernels.block(...), ...))."
            )
        return _discrete(name, kind, site)
    masked = type(fn).__name__ == "MaskedDistribution"
    half = name.removesuffix("_unobserved")
    imputed = masked and half != name and f"{half}_observed" in trace
    improper, normalised = "", True
    if masked and not imputed:
        improper, normalised = "a mask handler switches its prior off", False
    else:
        try:
            jax.eval_shape(fn.sample, jax.random.key(0))
        except LACKING as error:
            normalised = not flat(fn)
            improper = f"it cannot be drawn from{f': {error}' if str(error) else ''}"
    try:
        transform = biject_to(fn.support)
    except NotImplementedError:
        raise ModelError(
            f"site '{name}' ({kind}) has support {fn.support}, which has no bijection to "
            "unconstrained coordinates."
        ) from None
    shape = tuple(transform.inverse_shape(jnp.shape(site["value"])))
    scale = site["scale"]
    scaled = scale is not None and not (isinstance(scale, int | float) and scale == 1)
    return Latent(name, kind, shape, improper, scaled, imputed, normalised=normalised)


def _discrete(name: str, kind: str, site: dict[str, Any]) -> Latent:
    """A latent site of whole numbers, with its levels where they are finite and known."""
    fn, leaf = site["fn"], _leaf(site["fn"])
    wrapped = type(fn).__name__ == "MaskedDistribution"
    if leaf.event_dim or wrapped:
        why = "a mask handler covers it" if wrapped else "its values are vectors"
        raise DiscreteLatentError(
            f"site '{name}' ({kind}) is discrete and not observed, and {why}, which no kernel "
            "here moves. Sum it out, or write it with scalar sites."
        )
    levels = None
    with contextlib.suppress(NotImplementedError, jax.errors.JAXTypeError, TypeError):
        count = leaf.enumerate_support(expand=False).shape[0]
        low = int(getattr(leaf.support, "lower_bound", 0))
        levels = (low, low + count - 1)
    scale = site["scale"]
    scaled = scale is not None and not (isinstance(scale, int | float) and scale == 1)
    shape = tuple(jnp.shape(site["value"]))
    return Latent(name, kind, shape, "", scaled, False, True, levels)


_WRAPPERS = ("Independent", "ExpandedDistribution", "MaskedDistribution")


def _leaf(fn: Any) -> Any:
    """The distribution under Independent, Expanded and Masked wrappers."""
    while type(fn).__name__ in _WRAPPERS:
        fn = fn.base_dist
    return fn


def _check_observed(
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
        and type(_leaf(site["fn"])).__name__ != "Unit"
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
    if isinstance(site["value"], list | tuple):
        raise ObservationError(
            f"site '{name}': the observed value is a Python {type(site['value']).__name__}, which "
            "is part of the structure; pass an array (np.asarray(y))."
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
    if value.dtype.kind in "fc":
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
    support = fn.support
    if support.is_discrete and value.dtype.kind == "f":
        _refuse(
            name,
            value,
            (value % 1 != 0) & mask,
            "not an integer",
            (
                f"{type(_leaf(fn)).__name__} is a distribution of counts; round the data or use a "
                "continuous distribution."
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
                f"{type(_leaf(fn)).__name__}, or correct the data."
            ),
        )


def _seen(fn: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Where no mask switches the value off; None where a mask is not known before sampling."""
    seen = np.ones(shape, bool)
    while type(fn).__name__ in _WRAPPERS:
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
    except (NotImplementedError, TypeError, jax.errors.TracerArrayConversionError):
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


def parameter_violations(fn: Any) -> dict[str, Array]:
    """Per distribution parameter with a simple bound: whether any entry breaks it."""
    while "base_dist" in vars(fn):
        fn = fn.base_dist
    report = {}
    for name, constraint in type(fn).arg_constraints.items():
        if isinstance(constraint, _CHEAP) and vars(fn).get(name) is not None:
            value = vars(fn)[name]
            report[name] = jnp.any(~jnp.asarray(constraint(value)))
    return report
