"""Observed values of a NumPyro model: read, replaced and drawn anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro import handlers

from probinf.core.inputs.given import as_given
from probinf.core.program import Data, Key, Position
from probinf.fronts.distributions.completion import reach_inside
from probinf.fronts.fixing import Conditioned, conditioned
from probinf.fronts.model import Model, NumpyroData


class _Uncondition(handlers.uncondition):
    """NumPyro's handler, made to agree with the density in three places where it does not.

    It reaches inside ``scan`` and ``cond`` (an autoregressive scan would else be simulated one
    step ahead of the observed values), many data observed under one distribution are drawn as
    many, and a parameter that a condition handler fixes stays fixed.
    """

    def __init__(self, fn: Callable[..., Any], known: Conditioned) -> None:
        super().__init__(fn)
        self.known = known

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "control_flow":
            reach_inside(msg, partial(_Uncondition, known=self.known))
            stack = msg["kwargs"]["substitute_stack"]
            stack[:] = [(k, _without(v, self.known.free) if k == _GIVEN else v) for k, v in stack]
        if msg["type"] != "sample" or msg["name"] in self.known.fixed:
            return
        if msg["is_observed"]:
            fn, shape = msg["fn"], jnp.shape(msg["value"])
            if shape != fn.shape():
                batch = shape[: len(shape) - fn.event_dim]
                msg["fn"] = fn.expand(np.broadcast_shapes(batch, fn.batch_shape))
        super().process_message(msg)
        msg["infer"].pop("obs", None)  # a traced value must not leave a loop this way


_GIVEN = "condition"  # as NumPyro calls, inside a scan, what a condition handler gives


def _without(given: Any, free: frozenset[str]) -> Callable[[dict[str, Any]], Any]:
    """What a condition handler gives inside a scan, except for these sites."""

    def value(site: dict[str, Any]) -> Any:
        if site["name"] in free:
            return None
        return given(site) if callable(given) else given.get(site["name"])

    return value


def simulated(
    model: Model, bound: Callable[[NumpyroData], None], data: NumpyroData
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A trace with all data drawn anew, and the names of the sites that are data.

    Args:
        model: whose data they are.
        bound: the model under handlers that give values to its latents.
        data: of the program; what replaces data in it is left out.
    """
    known = conditioned(model, data)
    kept = {name: value for name, value in data.replaced.items() if name in known.fixed}
    given = data._replace(replaced=kept)
    trace = handlers.trace(_Uncondition(bound, known)).get_trace(given)
    drawn = tuple(
        name
        for name, site in trace.items()
        if site["type"] == "sample"
        and (site["infer"].get("was_observed", False) or name in known.free)
        and not is_factor(site)
    )
    return trace, drawn


@dataclasses.dataclass(frozen=True)
class NumpyroSimulate:
    model: Model

    def __call__(self, key: Key, x: Position, data: Data) -> dict[str, Array]:
        trace, drawn = simulated(self.model, self.model.bound(x, key), data)
        return {name: trace[name]["value"] for name in drawn}


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
