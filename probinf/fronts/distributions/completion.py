"""What NumPyro's distributions lack, supplied while a model runs, or refused by site and name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.contrib.control_flow.scan import scan_wrapper
from numpyro.primitives import Messenger

from probinf.core.inputs.given import as_given
from probinf.errors import ModelError
from probinf.fronts.distributions.bounds import ends_of
from probinf.fronts.distributions.combined import (
    folded_of,
    mixture_of,
    rebuilt,
    transformed_of,
    unfolded,
    with_base,
)
from probinf.fronts.distributions.enforcing import enforced
from probinf.fronts.distributions.inverse import Inverted
from probinf.fronts.distributions.truncation import truncated

_WRAPPERS = (dist.Independent, dist.ExpandedDistribution, dist.MaskedDistribution)
LACKING = (NotImplementedError, ImportError)
_OF_DATA = {
    "Delta": "numpyro.deterministic",
    "HurdleGamma": "dist.Gamma",
    "HurdleLogNormal": "dist.LogNormal",
    "HurdleLogits": "its base distribution",
    "HurdleProbs": "its base distribution",
    "IntervalCensoredDistribution": "its base distribution",
    "LeftCensoredDistribution": "its base distribution",
    "RightCensoredDistribution": "its base distribution",
}


class Complete(Messenger):
    """Every sample site of the model below gets a distribution that can do what is asked of it.

    It sits directly around the model, so that it sees what the model's own handlers (plates,
    masks, scopes, reparameterisations) have made of a site, and before values are given to it.
    """

    def process_message(self, msg: dict[str, Any]) -> None:
        """Exchange the distribution of a sample site; reach inside scan and cond."""
        if msg["type"] == "control_flow":
            reach_inside(msg, Complete)
        if msg["type"] != "sample" or not isinstance(msg["fn"], dist.Distribution):
            return
        value = msg["value"]
        if isinstance(value, bool | int | float):  # of which NumPyro makes no array
            value = msg["value"] = np.asarray(value)
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.dtype != np.int32:
            msg["value"] = as_given(f"site '{msg['name']}'", value)
        try:
            msg["fn"] = enforced(completed(msg["fn"], latent=not msg["is_observed"]))
        except ModelError as error:
            raise ModelError(f"site '{msg['name']}' ({described(msg['fn'])}) {error}") from None


def reach_inside(msg: dict[str, Any], handler: Callable[..., Any]) -> None:
    """Put a handler around the functions of a scan or cond statement."""
    branches = (0,) if msg["fn"] is scan_wrapper else (1, 2)
    msg["args"] = tuple(handler(arg) if k in branches else arg for k, arg in enumerate(msg["args"]))


def _leaf(fn: Any) -> Any:
    while isinstance(fn, _WRAPPERS):
        fn = fn.base_dist
    return fn


def described(fn: Any) -> str:
    """Name of a distribution with what it is made of, for messages."""
    fn = _leaf(fn)
    inner = getattr(fn, "base_dist", None)
    made = type(fn).__name__ in ("TransformedDistribution", "FoldedDistribution")
    made = made or type(fn).__name__.endswith("TruncatedDistribution")
    name = type(fn).__name__
    return f"{name} of {described(inner)}" if made and inner is not None else name


def completed(fn: Any, *, latent: bool) -> Any:
    """The same distribution, with draws, a support and gradients where NumPyro's lacks them.

    Raises:
        ModelError: it cannot be a latent site's; the message goes on from the site's name.
    """
    if isinstance(fn, _WRAPPERS):
        return with_base(fn, completed(fn.base_dist, latent=latent))
    if fn.support is None:
        raise ModelError("does not say its support. Define it, for instance constraints.real.")
    if latent and type(fn).__name__ in _OF_DATA and not fn.support.is_discrete:
        raise ModelError(
            f"has no density as a prior: {type(fn).__name__} describes data, and the site is not "
            f"observed. Pass its value with obs=, or use {_OF_DATA[type(fn).__name__]}."
        )
    if type(fn) is dist.FoldedDistribution:
        return folded_of(fn, completed(unfolded(fn), latent=latent))
    if type(fn) is dist.TransformedDistribution:
        new = with_base(fn, completed(fn.base_dist, latent=latent))
        try:
            return transformed_of(new)
        except ModelError:
            if latent:
                raise
            return new  # a density at given values needs no support
    if type(fn) is dist.MixtureGeneral:
        return mixture_of(fn, [completed(d, latent=latent) for d in fn.component_distributions])
    if type(fn) is dist.MixtureSameFamily:
        component = completed(fn.component_distribution, latent=latent)
        return rebuilt(type(fn), fn, _component_distribution=component)
    if isinstance(fn, dist.GaussianCopula):
        return rebuilt(type(fn), fn, marginal_dist=_with_quantiles(fn.marginal_dist))
    if type(fn).sample is dist.Distribution.sample:
        return _with_quantiles(fn)
    return truncated(fn)


def _with_quantiles(fn: Any) -> Any:
    """The distribution, with quantiles from its cdf where it has none of its own."""
    try:
        jax.eval_shape(fn.icdf, jnp.zeros(fn.batch_shape))
        jax.eval_shape(fn.sample, jax.random.key(0))
    except LACKING:
        if fn.event_shape or ends_of(fn.support) is None:
            return fn
        try:
            jax.eval_shape(fn.cdf, jnp.zeros(fn.batch_shape))
        except LACKING:
            return fn
        return Inverted(fn)
    return fn


def flat(fn: Any) -> bool:
    """Whether a flat density stands anywhere in the distribution."""
    parts = getattr(fn, "_component_distributions", ())
    inner = [getattr(fn, "base_dist", None), getattr(fn, "_component_distribution", None), *parts]
    return isinstance(fn, dist.ImproperUniform) or any(
        flat(d) for d in inner if isinstance(d, dist.Distribution)
    )


def refuse_without_density(name: str, site: dict[str, Any]) -> None:
    """Raise ModelError where a distribution has no log density, or only with another package."""
    kind = int if site["fn"].support.is_discrete else float
    value = jax.ShapeDtypeStruct(site["fn"].shape(), jnp.result_type(kind))
    try:
        jax.eval_shape(site["fn"].log_prob, value)
    except LACKING as error:
        why = str(error) or "log_prob is not implemented"
        raise ModelError(
            f"site '{name}' ({described(site['fn'])}) has no log density: {why}. Use another "
            "distribution or parameterisation, or write the density with numpyro.factor."
        ) from None
