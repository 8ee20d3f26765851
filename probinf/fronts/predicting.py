"""Predictions of a NumPyro model from draws of another: sites by name, the rest from the prior."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool
from numpyro import handlers
from numpyro.contrib.control_flow.scan import scan_wrapper
from numpyro.primitives import Messenger

from probinf.core.program import Data, Key, Predicted
from probinf.errors import StructureError
from probinf.fronts.distributions.bounds import ends_of
from probinf.fronts.latent import leaf_of
from probinf.fronts.model import Model
from probinf.fronts.observing import simulated


@dataclasses.dataclass(frozen=True)
class NumpyroPredict:
    """Data given the values of some latent sites; the other sites are drawn given these.

    A site with more entries than its value (new groups of a plate, steps ahead in a scan) keeps
    the value as its first entries and draws the others; one with fewer takes the first.
    """

    model: Model

    def __call__(self, key: Key, values: dict[str, Array], data: Data) -> Predicted:
        imputed = {latent.name for latent in self.model.latents if latent.masked}
        values = {name: value for name, value in values.items() if name not in imputed}
        trace, drawn = simulated(self.model, self.given(key, values, data), data)
        latents = {n.name: trace[n.name] for n in self.model.latents if n.name not in imputed}
        return Predicted(
            observables={name: trace[name]["value"] for name in drawn},
            latents={name: site["value"] for name, site in latents.items()},
            outside={
                name: _outside(site["fn"].support, site["value"])
                for name, site in latents.items()
                if name in values
            },
            summed={name: trace[name]["value"] for name in self.model.summed.names},
        )

    def given(self, key: Key, values: dict[str, Array], data: Data) -> Callable[[Data], None]:
        """The model at these values, with keys for the sites that are to be drawn."""
        return _Given(handlers.seed(self.model, key), values)


class _Given(Messenger):
    """Latent sites at given values, in the user's coordinates.

    It sits around ``seed``, which has given every site a key by then.
    """

    def __init__(self, fn: Callable[..., Any], values: dict[str, Array]) -> None:
        super().__init__(fn)
        self.values = values

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "control_flow":
            backward = msg["fn"] is scan_wrapper and msg["args"][4]
            stack = msg["kwargs"]["substitute_stack"]
            stack.append(("substitute", self._backward if backward else self._inside))
        if msg["type"] == "sample" and not msg.get("_control_flow_done", False):
            value = self._of(msg)
            if value is not None:
                msg["value"] = _placed(msg, value)

    def _of(self, site: dict[str, Any]) -> Array | None:
        return None if site["is_observed"] else self.values.get(site["name"])

    def _inside(self, site: dict[str, Any]) -> Array | None:
        """The value of one step of a scan, or in a branch of cond."""
        value, index = self._of(site), site["infer"].get("_scan_current_index", None)
        if value is None or index is None:
            return None if value is None else _placed(site, value)
        if value.ndim != len(site["fn"].shape()) + 1:
            raise _mismatch(site, value.shape, ("steps", *site["fn"].shape()))
        step = _placed(site, value[jnp.minimum(index, len(value) - 1)])
        return jnp.where(index < len(value), step, _fresh(site))

    def _backward(self, site: dict[str, Any]) -> Array | None:
        if self._of(site) is not None:
            raise StructureError(
                f"predict: site '{site['name']}' is in a scan that runs backwards, whose steps "
                "NumPyro counts from either end. Write the scan forwards."
            )
        return None


def _fresh(site: dict[str, Any]) -> Array:
    kwargs = site["kwargs"]
    return site["fn"](rng_key=kwargs["rng_key"], sample_shape=kwargs["sample_shape"])


def _placed(site: dict[str, Any], value: Array) -> Array:
    """The value as the first entries of the site's; the others are drawn."""
    fn, want = site["fn"], tuple(site["fn"].shape())
    if value.shape == want:
        return value
    whole = len(want) - fn.event_dim  # batch axes: entries are independent, given the rest
    if value.ndim != len(want) or value.shape[whole:] != want[whole:]:
        raise _mismatch(site, value.shape, want)
    first = tuple(slice(min(a, b)) for a, b in zip(value.shape, want, strict=True))
    if all(a >= b for a, b in zip(value.shape, want, strict=True)):
        return value[first]
    fresh = _fresh(site)
    return fresh.at[first].set(value[first].astype(fresh.dtype))


def _mismatch(site: dict[str, Any], have: Any, want: Any) -> StructureError:
    kind = type(leaf_of(site["fn"])).__name__
    return StructureError(
        f"predict: site '{site['name']}' ({kind}) has shape {tuple(have)} in the "
        f"fit and {tuple(want)} in this program. Only entries of a plate and steps of a scan, "
        "not those of one event, can be more or fewer. Build the program with the sizes of the "
        "fit, or name the site otherwise if it is another one, to draw it from its prior."
    )


def _outside(support: Any, value: Array) -> Bool[Array, ""]:
    """Whether any entry lies beyond the ends of a support; ends themselves are inside."""
    if support.is_discrete:
        return jnp.any(~support(value))
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    ends = ends_of(support)
    beyond = jnp.zeros(np.shape(value), bool)
    if ends is not None and ends.low is not None:
        beyond |= value < ends.low
    if ends is not None and ends.high is not None:
        beyond |= value > ends.high
    return jnp.any(beyond)
