"""Observed values of a NumPyro model: read, replaced and drawn anew."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro import handlers

from probinf.core.inputs.given import as_given
from probinf.core.program import Data, Key, Position
from probinf.fronts.distributions.completion import reach_inside
from probinf.fronts.model import Model, NumpyroData


class _Uncondition(handlers.uncondition):
    """NumPyro's handler, made to agree with the density in two places where it does not.

    It reaches inside ``scan`` and ``cond`` (an autoregressive scan would else be simulated one
    step ahead of the observed values), and many data observed under one distribution are
    drawn as many.
    """

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "control_flow":
            reach_inside(msg, _Uncondition)
        if msg["type"] != "sample":
            return
        if msg["is_observed"]:
            fn, shape = msg["fn"], jnp.shape(msg["value"])
            if shape != fn.shape():
                batch = shape[: len(shape) - fn.event_dim]
                msg["fn"] = fn.expand(np.broadcast_shapes(batch, fn.batch_shape))
        super().process_message(msg)
        msg["infer"].pop("obs", None)  # a traced value must not leave a loop this way


@dataclasses.dataclass(frozen=True)
class NumpyroSimulate:
    model: Model

    def __call__(self, key: Key, x: Position, data: Data) -> dict[str, Array]:
        # all observed values are drawn anew, the replaced ones too
        given = data._replace(replaced={})
        trace = handlers.trace(_Uncondition(self.model.bound(x, key))).get_trace(given)
        return {
            name: site["value"]
            for name, site in trace.items()
            if site["type"] == "sample"
            and site["infer"].get("was_observed", False)
            and not is_factor(site)
        }


@dataclasses.dataclass(frozen=True)
class GetObserved:
    model: Model

    def __call__(self, data: Data) -> dict[str, Array]:
        # any position will do; drawing one would fail under an improper prior
        anywhere = {latent.name: latent.blank() for latent in self.model.latents}
        trace = self.model.trace(data, anywhere)
        return {
            name: jnp.asarray(site["value"])
            for name, site in trace.items()
            if site["type"] == "sample" and site["is_observed"] and not is_factor(site)
        }


def set_observed(data: NumpyroData, values: dict[str, Any]) -> NumpyroData:
    replaced = {name: as_given(f"site '{name}'", value) for name, value in values.items()}
    return data._replace(replaced={**data.replaced, **replaced})


def is_factor(site: dict[str, Any]) -> bool:
    fn = site["fn"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return type(fn).__name__ == "Unit"
