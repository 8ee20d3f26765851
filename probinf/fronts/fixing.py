"""Observed sites that a condition handler fixes: parameters with a value, or data after all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from numpyro import handlers
from numpyro.ops.provenance import eval_provenance
from numpyro.primitives import _PYRO_STACK, Messenger

from probinf.core.program import Data
from probinf.fronts.distributions.completion import reach_inside
from probinf.fronts.model import Model


class Conditioned(NamedTuple):
    """Sites that ``numpyro.handlers.condition`` observes.

    Attributes:
        fixed: on which other sites depend, so that they stay as they are in every simulation.
        free: the others, which are data.
    """

    fixed: frozenset[str]
    free: frozenset[str]


def conditioned(model: Model, data: Data) -> Conditioned:
    """What condition handlers around or inside a model observe."""
    anywhere = {latent.name: latent.blank() for latent in model.latents}
    watch = _Watch(model.bound(anywhere))
    trace = handlers.trace(watch).get_trace(data)
    found = {name: trace[name]["value"] for name in watch.found if name in trace}
    if not found:
        return Conditioned(frozenset(), frozenset())

    def parameters(**values: Any) -> dict[str, Any]:
        placed = handlers.trace(_Place(model.bound(anywhere), values)).get_trace(data)
        return {
            name: [leaf for leaf in jax.tree.leaves(site["fn"]) if isinstance(leaf, jax.Array)]
            for name, site in placed.items()
            if site["type"] == "sample"
        }

    needs = eval_provenance(parameters, **found)
    used = {name: frozenset().union(*leaves) - {name} for name, leaves in needs.items()}
    fixed = frozenset(found) & frozenset().union(*used.values())
    return Conditioned(fixed, frozenset(found) - fixed)


class _Watch(Messenger):
    """Notes every observed site that has its value from a handler and not from ``obs=``."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        super().__init__(fn)
        self.found: list[str] = []
        self.by_obs: set[str] = set()

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "control_flow":
            reach_inside(msg, lambda fn: _ByObs(fn, self.by_obs))
        if msg["type"] != "sample" or not msg["is_observed"]:
            return
        if msg.get("_control_flow_done", False):
            handled = msg["name"] not in self.by_obs
        else:
            handled = any(_gives(handler, msg) for handler in _PYRO_STACK)
        if handled:
            self.found.append(msg["name"])


class _ByObs(Messenger):
    """Notes what is observed by ``obs=`` in the body of a scan, where no handler has been yet."""

    def __init__(self, fn: Callable[..., Any], seen: set[str]) -> None:
        super().__init__(fn)
        self.seen = seen

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "sample" and msg["is_observed"]:
            self.seen.add(msg["name"])


def _gives(handler: Any, msg: dict[str, Any]) -> bool:
    """Whether a handler has given this site its value; scopes may have changed the name since."""
    if not isinstance(handler, handlers.condition):
        return False
    if handler.condition_fn is not None:
        return handler.condition_fn(msg) is not None
    return any(value is msg["value"] for value in handler.data.values())


class _Place(Messenger):
    """Puts values in the place of those that condition handlers give."""

    def __init__(self, fn: Callable[..., Any], values: dict[str, Any]) -> None:
        super().__init__(fn)
        self.values = values

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "control_flow":
            msg["kwargs"]["substitute_stack"].append(("condition", self._value))
        if msg["type"] == "sample" and not msg.get("_control_flow_done", False):
            msg["value"] = self.values.get(msg["name"], msg["value"])

    def _value(self, site: dict[str, Any]) -> Any:
        return self.values.get(site["name"])
