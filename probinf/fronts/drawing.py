"""Positions of a NumPyro model: drawn from its prior, scattered for chains, and constrained."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array
from numpyro import handlers
from numpyro.distributions import biject_to

from probinf.core.program import Data, Key, Placed, Position
from probinf.errors import ImproperPriorError
from probinf.fronts.distributions.edges import unconstrained
from probinf.fronts.latent import Latent, law_of_coordinates
from probinf.fronts.model import Model


@dataclasses.dataclass(frozen=True)
class NumpyroDraw:
    model: Model

    def __call__(self, key: Key, data: Data) -> Position:
        for latent in self.model.latents:
            if not latent.proper:
                what = "draws from its prior" if latent.normalised else "normalised prior"
                raise ImproperPriorError(
                    f"site '{latent.name}' ({latent.distribution}) has no {what} "
                    f"({latent.improper}), so this program has no draws and no evidence. Give "
                    "the site a proper prior (for instance dist.Normal(0, 10)), or use an MCMC "
                    "method such as NUTS."
                )
        drawn = _Drawn({latent.name: latent for latent in self.model.latents})
        seeded = handlers.substitute(self.model.bound(key=key), substitute_fn=drawn)
        trace = handlers.trace(seeded).get_trace(data)
        return {
            name: drawn.coordinates[name] if name in drawn.coordinates else _free(n, trace[name])
            for name, n in drawn.latents.items()
        }


class _Drawn:
    """Gives latent sites values whose coordinates are drawn first, where their law is known.

    A value may have no digits left for what its coordinates say, a Beta variable next to one for
    instance. Inside ``scan``, which keeps values only, coordinates come from the values.
    """

    def __init__(self, latents: dict[str, Latent]) -> None:
        self.latents = latents
        self.coordinates: dict[str, Array] = {}

    def __call__(self, site: dict[str, Any]) -> Array | None:
        latent = self.latents.get(site["name"])
        if latent is None or site["type"] != "sample" or site["value"] is not None:
            return None
        law = law_of_coordinates(latent, site)
        if law is None:
            return None
        x = law.sample(site["kwargs"]["rng_key"], site["kwargs"]["sample_shape"])
        if "_scan_current_index" not in site["infer"]:
            self.coordinates[latent.name] = x
        value: Array = biject_to(site["fn"].support)(x)
        return value


def _free(latent: Latent, site: dict[str, Any]) -> Array:
    """The site's value on its unconstrained scale; a discrete one as it is."""
    if latent.discrete:
        return jnp.asarray(site["value"], jnp.result_type(int))
    return unconstrained(site["fn"].support, site["value"])


@dataclasses.dataclass(frozen=True)
class NumpyroUnconstrain:
    """The coordinates of some sites at the user's values, those of the others as they are."""

    model: Model

    def __call__(self, values: dict[str, Array], x: Position, data: Data) -> Placed:
        trace = self.model.trace(data, x, values=values)
        position, outside = dict(x), {}
        for latent in self.model.latents:
            if latent.name in values:
                site = trace[latent.name]
                position[latent.name] = _free(latent, site)
                outside[latent.name] = ~jnp.all(site["fn"].support(site["value"]))
        return Placed(position, outside)

    def support(self, name: str, values: dict[str, Array], x: Position, data: Data) -> str:
        """The support of a site, given these values of others."""
        return str(self.model.trace(data, x, values=values)[name]["fn"].support)


@dataclasses.dataclass(frozen=True)
class NumpyroStart:
    """Uniform(-2, 2) on every unconstrained coordinate, as in Stan; discrete ones by the prior."""

    model: Model

    def __call__(self, key: Key, data: Data) -> Position:
        latents = self.model.latents
        keys = jax.random.split(key, len(latents))
        x = {
            latent.name: jax.random.uniform(k, latent.shape, minval=-2.0, maxval=2.0)
            for latent, k in zip(latents, keys, strict=True)
            if not latent.discrete
        }
        if any(latent.discrete for latent in latents):
            trace = self.model.trace(data, x, jax.random.fold_in(key, 1))
            x |= {n.name: _free(n, trace[n.name]) for n in latents if n.discrete}
        return x


@dataclasses.dataclass(frozen=True)
class NumpyroConstrain:
    model: Model

    def __call__(self, x: Position, data: Data) -> dict[str, Array]:
        trace = self.model.trace(data, x)
        latents = {latent.name for latent in self.model.latents}
        varying = self.model.summed.varying
        return {
            name: site["value"]
            for name, site in trace.items()
            if name in latents or (site["type"] == "deterministic" and name not in varying)
        }
