"""Series that a condition handler gives for the first steps of a scan only, to be forecast."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from numpyro.contrib.control_flow.scan import scan_wrapper
from numpyro.primitives import Messenger

STEPS = "probinf_steps_given"
"""In ``site["infer"]``: how many first steps of the site are given."""


class Begun(Messenger):
    """Turns a site that is given for its first steps into a latent one that begins with them.

    NumPyro would call it observed, with an end that is drawn anew at every evaluation.
    """

    def process_message(self, msg: dict[str, Any]) -> None:
        """Take short series out of what a scan is conditioned on."""
        if msg["type"] != "control_flow" or msg["fn"] is not scan_wrapper:
            return
        _, _, xs, length, _ = msg["args"]
        length = jnp.shape(jax.tree.leaves(xs)[0])[0] if length is None else length
        stack = msg["kwargs"]["substitute_stack"]
        given = [value for kind, value in stack if kind == "condition"]
        if given:
            stack[:] = [
                (kind, _Split(value, length).whole if kind == "condition" else value)
                for kind, value in stack
            ]
            stack += [("substitute", _Split(value, length).begun) for value in given]


class _Split:
    """What is given to the sites of a scan, in two parts: whole series, and their beginnings."""

    def __init__(self, given: Any, length: int) -> None:
        self.given, self.length = given, length

    def _value(self, site: dict[str, Any]) -> tuple[Any, bool]:
        """The value and whether it is a series."""
        value = self.given(site) if callable(self.given) else self.given.get(site["name"])
        if value is None:
            return None, False
        fn, axes = site["fn"], jnp.ndim(value)
        plain = len(site["kwargs"]["sample_shape"]) + len(fn.shape())
        if axes < plain:  # its law has further axes, for the values of discrete sites
            plain = fn.event_dim + max((-f.dim for f in site["cond_indep_stack"]), default=0)
            return value, axes > plain
        return value, axes == plain + 1

    def whole(self, site: dict[str, Any]) -> Any:
        value, series = self._value(site)
        if value is None or (series and jnp.shape(value)[0] < self.length):
            return None
        if not series or jnp.shape(value)[0] > self.length:  # too long, which NumPyro refuses
            return jnp.asarray(value)
        now = jnp.asarray(value)[site["infer"]["_scan_current_index"]]
        more = len(site["fn"].shape()) - now.ndim
        return now.reshape(*(1,) * more, *now.shape) if more > 0 else now

    def begun(self, site: dict[str, Any]) -> Any:
        value, series = self._value(site)
        key = site["kwargs"]["rng_key"]
        if not series or jnp.shape(value)[0] >= self.length or key is None:
            return None
        site["infer"][STEPS] = len(value)
        index = site["infer"]["_scan_current_index"]
        fresh = site["fn"](rng_key=key, sample_shape=site["kwargs"]["sample_shape"])
        now = jnp.asarray(value)[jnp.minimum(index, len(value) - 1)]
        return jnp.where(index < len(value), now, fresh)
