"""What a NumPyro model consists of, found from one abstract trace; refuses what cannot work."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array
from numpyro import handlers
from numpyro.primitives import Messenger

from probinf.core.axes import Axes
from probinf.errors import DiscreteLatentError, ImproperPriorError, ModelError
from probinf.fronts.begun import STEPS
from probinf.fronts.distributions.completion import described, refuse_without_density
from probinf.fronts.enumeration.tracing import funsor_there
from probinf.fronts.latent import Latent, latent_of
from probinf.fronts.observations import check_observed
from probinf.fronts.plates import axes_of
from probinf.fronts.translation import abstractly
from probinf.fronts.wrappers import Anywhere, refuse_wrappers, why_random


class Discovered(NamedTuple):
    """The latent sites of a model.

    Attributes:
        latents: those that are coordinates.
        summed: discrete ones that are to be summed out.
        axes: how many batch axes the model uses.
        named: the dimensions that plates name.
    """

    latents: tuple[Latent, ...]
    summed: tuple[Latent, ...]
    axes: int
    named: Axes


def discover(
    model: Callable[[Any], None],
    data: Any,
    observed: Callable[[Discovered], Callable[[Any], dict[str, Array]]],
    *,
    allow_broadcast: bool,
    discrete: Literal["keep", "sum"] | None,
) -> Discovered:
    """Latent sites of ``model`` at ``data``; raises on everything that cannot be served.

    ``observed`` makes a reader of the observed values, once the latents are known.
    """
    trace, latents = _abstract_trace(model, data, discrete)
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
    whole = discrete == "keep"
    found = Discovered(
        tuple(latent for latent in latents if whole or not latent.discrete or latent.given),
        tuple(latent for latent in latents if latent.discrete and not (whole or latent.given)),
        max((_axes(site) for site in trace.values() if site["type"] == "sample"), default=0),
        axes_of(trace),
    )
    check_observed(trace, data, observed(found), allow_broadcast)
    return found


def _axes(site: dict[str, Any]) -> int:
    batch = len(np.shape(site["value"])) - site["fn"].event_dim
    rows = (-frame.dim for frame in site["cond_indep_stack"])
    return max(batch, len(site["fn"].batch_shape), *rows, 0)


class _Refuse(Messenger):
    """Stops at statements that leave the density unknown, before they cause other errors."""

    def __init__(self, fn: Callable[..., Any], model: Any) -> None:
        super().__init__(fn)
        self.model = model

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "plate" and msg["args"][1] not in (None, msg["args"][0]):
            raise ModelError(
                f"plate '{msg['name']}' subsamples {msg['args'][1]} of {msg['args'][0]} data; a "
                "posterior needs all of them. Remove subsample_size."
            )
        if msg["type"] == "prng_key":
            raise ModelError(why_random(self.model))


def _default(name: str, site: dict[str, Any]) -> Literal["keep", "sum"]:
    """What is done with a discrete site when nobody has said: it is summed out."""
    if site["fn"].support.is_discrete and not site["infer"].get(STEPS, 0) and not funsor_there():
        raise DiscreteLatentError(
            f"site '{name}' ({described(site['fn'])}) is discrete and not observed. Sum it out: "
            "install funsor (pip install 'probinf[discrete]'), and from_numpyro(..., "
            'discrete="sum") is the default; or keep it with allow_discrete=True, which only '
            "MCMC moves: MCMC(kernels.cycle(kernels.block(...), ...)). A program for "
            "posterior.predict(program=) only may keep it as well."
        )
    return "sum"


def _abstract_trace(
    model: Callable[[Any], None], data: Any, discrete: Literal["keep", "sum"] | None
) -> tuple[dict[str, Any], list[Latent]]:
    """A trace whose latent values are abstract and whose data are the concrete ones.

    Latents are looked at inside, where a support may be computed from an abstract value.
    """
    found: dict[str, Any] = {}
    latents: list[Latent] = []
    anywhere, fn = Anywhere(), getattr(model, "fn", model)
    refuse_wrappers(fn)

    def run(key: Array) -> Array:
        placed = handlers.substitute(handlers.seed(model, key), substitute_fn=anywhere)
        found.update(handlers.trace(_Refuse(placed, fn)).get_trace(data))
        for name, site in found.items():
            if site["type"] == "sample":
                refuse_without_density(name, site)
            if site["type"] == "sample" and not site["is_observed"]:
                anywhere.refuse(name, site)
                latents.append(latent_of(name, site, found, discrete or _default(name, site)))
        return key

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Out-of-support")
        abstractly(run, jax.random.key(0))
    return found, latents
