"""NumPyro's handlers around a model: those that leave no density are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpyro import handlers
from numpyro.infer import init_to_uniform
from numpyro.primitives import Messenger

from probinf.errors import ModelError
from probinf.fronts.begun import STEPS


def wrappers(fn: Callable[..., Any]) -> list[Messenger]:
    """The handlers around a model, the outermost first."""
    found = []
    while isinstance(fn, Messenger):
        found.append(fn)
        fn = fn.fn
    return found


def refuse_wrappers(fn: Callable[..., Any]) -> None:
    """Refuse handlers around a model that belong to no posterior.

    Raises:
        ModelError: names the handler and what to use in its place.
    """
    for handler in wrappers(fn):
        if isinstance(handler, handlers.collapse):
            raise ModelError(
                "numpyro.handlers.collapse leaves a lazy expression of funsor in the place of a "
                "density. Give the model without it: finite discrete sites are summed out anyway."
            )
        if isinstance(handler, handlers.uncondition):
            raise ModelError(
                "numpyro.handlers.uncondition forgets the observations, so that there is nothing "
                "to condition on. Give the model without it; to predict, "
                "posterior.predict(key=...), and for the prior, pi.prior_predictive(program)."
            )


def why_random(fn: Callable[..., Any]) -> str:
    """Why a model asks for a random key, and the remedy."""
    if any(isinstance(handler, handlers.block) for handler in wrappers(fn)):
        return (
            "numpyro.handlers.block hides a random site, which would be drawn anew at every "
            "evaluation, so the density is random. Fix the site with numpyro.handlers.do or "
            "condition in place of hiding it, or seed the model inside: block(seed(model, 0), ...)."
        )
    return (
        "the model asks for a random key (numpyro.prng_key), so its density is random. "
        "Draw from numpyro.sample sites instead, or use from_simulator."
    )


class Anywhere:
    """Gives sites a value where they have none yet, and notes which have one.

    Attributes:
        given: names of sites that got theirs from a handler inside.
    """

    def __init__(self) -> None:
        self.given: set[str] = set()

    def __call__(self, site: dict[str, Any]) -> Any:
        if site.get("value") is None:
            return init_to_uniform(site)
        if site["type"] == "sample" and not site["is_observed"]:
            self.given.add(site["name"])
        return None

    def refuse(self, name: str, site: dict[str, Any]) -> None:
        """Refuse a latent site that has a value and a prior.

        Raises:
            ModelError: it has both.
        """
        if name in self.given and not site["infer"].get(STEPS, 0):
            raise ModelError(
                f"site '{name}' has a value from a handler around the model (substitute or "
                "replay), and a prior that would be inferred: the value would be ignored. Fix it "
                f"with numpyro.handlers.condition(model, {{'{name}': value}}), which counts its "
                f"prior density, or with numpyro.handlers.do(model, {{'{name}': value}}), which "
                "leaves the site itself to its prior."
            )
