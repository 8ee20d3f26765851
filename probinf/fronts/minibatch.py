"""Densities of a NumPyro model from a random part of the entries of its plates."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.primitives import Messenger

from probinf.core.program import Data, Key, Position, Score
from probinf.errors import ModelError
from probinf.fronts.density import NumpyroScore
from probinf.fronts.model import Model
from probinf.fronts.observing import is_factor

_REMEDY = (
    'Index the data by the plate, `with numpyro.plate("data", N) as i: numpyro.sample("y", ..., '
    "obs=y[i])`, or take them through numpyro.subsample(y, event_dim=0) inside it."
)


@dataclasses.dataclass(frozen=True)
class NumpyroSubsampled:
    """Both log densities, those of entries in the named plates estimated from a part of them.

    NumPyro scales what it sees of a plate up to the whole, so that the estimates are unbiased.
    The prior stays whole, since latents inside such a plate are refused.
    """

    model: Model

    def __call__(
        self, sizes: tuple[tuple[str, int], ...], key: Key, x: Position, data: Data
    ) -> Score:
        part = _Part(self.model.fn, dict(sizes), key)
        partial_model = dataclasses.replace(self.model, fn=part)
        try:
            score = NumpyroScore(partial_model)(x, data)
        except (ValueError, TypeError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"subsample={dict(sizes)}: the model does not run on a part of its plates: "
                f"{str(error).splitlines()[0]}. {_REMEDY}"
            ) from error
        missing = sorted(set(part.sizes) - part.seen)
        if missing:
            raise ModelError(
                f"subsample: the model has no plate named {missing}; it has {sorted(part.plates)}."
            )
        return score


class _Part(Messenger):
    """Gives the named plates a random part of their entries."""

    def __init__(self, fn: Any, sizes: dict[str, int], key: Key) -> None:
        super().__init__(fn)
        self.sizes, self.key = sizes, key
        self.seen: set[str] = set()
        self.plates: set[str] = set()

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "plate":
            self._shorten(msg)
        inside = {frame.name for frame in msg.get("cond_indep_stack", ())} & set(self.sizes)
        if msg["type"] == "sample" and inside and not msg["is_observed"]:
            raise ModelError(
                f"subsample: latent site '{msg['name']}' is in plate '{min(inside)}', so that its "
                "entries belong to single data. Sum them out, or fit all data at once."
            )

    def postprocess_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] != "sample" or not msg["is_observed"] or is_factor(msg):
            return
        short = [f.name for f in msg.get("cond_indep_stack", ()) if f.name in self.sizes]
        shape, value = tuple(msg["fn"].shape()), jnp.shape(msg["value"])
        if short and shape != value:  # which would broadcast against a part of size one
            raise ModelError(
                f"subsample: observed site '{msg['name']}' has shape {value}, the part of plate "
                f"'{short[0]}' {shape}. {_REMEDY}"
            )

    def _shorten(self, msg: dict[str, Any]) -> None:
        name, size = msg["name"], msg["args"][0]
        self.plates.add(name)
        if name not in self.sizes:
            return
        count = self.sizes[name]
        if count > size:
            raise ModelError(f"subsample: plate '{name}' has {size} entries, fewer than {count}.")
        self.seen.add(name)
        key = jax.random.fold_in(self.key, len(self.seen))
        # with replacement: a permutation of all entries would cost more than it saves
        msg["value"] = jax.random.randint(key, (count,), 0, size)
        msg["args"] = (size, count)
