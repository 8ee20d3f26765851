"""What a NumPyro model consists of, found from one abstract trace; refuses what cannot work."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array
from numpyro import handlers
from numpyro.infer import init_to_uniform
from numpyro.primitives import Messenger

from probinf.errors import ImproperPriorError, ModelError
from probinf.fronts.distributions.completion import refuse_without_density
from probinf.fronts.latent import Latent, latent_of
from probinf.fronts.observations import check_observed
from probinf.fronts.translation import abstractly


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
    check_observed(trace, data, observed(tuple(latents)), allow_broadcast)
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


def _anywhere(site: dict[str, Any]) -> Any:
    """A value where a site has none yet."""
    return None if site.get("value") is not None else init_to_uniform(site)


def _abstract_trace(
    model: Callable[[Any], None], data: Any, allow_discrete: bool
) -> tuple[dict[str, Any], list[Latent]]:
    """A trace whose latent values are abstract and whose data are the concrete ones.

    Latents are looked at inside, where a support may be computed from an abstract value.
    """
    found: dict[str, Any] = {}
    latents: list[Latent] = []

    def run(key: Array) -> Array:
        placed = handlers.substitute(handlers.seed(model, key), substitute_fn=_anywhere)
        found.update(handlers.trace(_Refuse(placed)).get_trace(data))
        for name, site in found.items():
            if site["type"] == "sample":
                refuse_without_density(name, site)
            if site["type"] == "sample" and not site["is_observed"]:
                latents.append(latent_of(name, site, found, allow_discrete))
        return key

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Out-of-support")
        abstractly(run, jax.random.key(0))
    return found, latents
