"""Coordinates on a circle: where an interval's two ends are the same point."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.core.coordinates import Layout, layout_of
from probinf.core.inputs.intervals import ends_of
from probinf.core.program import Data, Key, Program, Score
from probinf.errors import MethodError
from probinf.samplers.populations.tuning import divided, united

_CLOSEST = 1e-30  # to the seam, as a share of the circle


def on_circle(program: Program, sites: tuple[str, ...]) -> Program:
    """The same measure with the coordinates of some sites on a circle of circumference one.

    A coordinate y of an interval (the logit of where its value lies) becomes ``w``, which is
    the share ``u`` of the interval below one half and ``u - 1`` above: the seam is at 0, where
    floating point is finest, and every real ``w`` stands for its remainder.

    Args:
        program: on flat positions.
        sites: with values on intervals.
    """
    if not sites:
        return program
    circle = mask_of(layout_of(program), sites)
    return dataclasses.replace(
        program, draw=_Drawn(program.draw, circle), score=_Scored(program.score, circle)
    )


def mask_of(layout: Layout, sites: tuple[str, ...]) -> tuple[bool, ...]:
    """Which coordinates of the vector belong to these sites."""
    mask = np.zeros(layout.size, bool)
    if sites:
        mask[layout.part(sites)[0]] = True
    return tuple(mask.tolist())


def wrapped(w: Float[Array, "*n d"], circle: tuple[bool, ...]) -> Float[Array, "*n d"]:
    """Circular coordinates in [-1/2, 1/2], the others as they are."""
    if not any(circle):
        return w
    return jnp.where(np.array(circle), w - jnp.round(w), w)


def to_line(w: Float[Array, "*n d"], circle: tuple[bool, ...]) -> Float[Array, "*n d"]:
    """Circular coordinates back to those of the program."""
    if not any(circle):
        return w
    return jnp.where(np.array(circle), _logit(w)[0], w)


def unwrapped(
    w: Float[Array, "n d"], log_w: Float[Array, " n"], circle: tuple[bool, ...]
) -> Float[Array, "n d"]:
    """Circular coordinates of each half cut opposite their own mean, to take covariances of."""
    if not any(circle):
        return w

    def cut(w: Array, log_w: Array) -> Array:
        weight = jnp.exp(log_w - jnp.max(log_w, initial=-jnp.inf, where=jnp.isfinite(log_w)))
        weight = jnp.where(jnp.isfinite(weight), weight, 0.0)
        angle = 2 * jnp.pi * w
        mean = jnp.arctan2(weight @ jnp.sin(angle), weight @ jnp.cos(angle)) / (2 * jnp.pi)
        return jnp.where(np.array(circle), mean + wrapped(w - mean, circle), w)

    return united(jax.vmap(cut)(*divided((w, log_w), 2)))


def check_periodic(program: Program, layout: Layout, sites: tuple[str, ...]) -> None:
    """Raise MethodError where a site is unknown or its values do not fill an interval."""
    places = layout.places()
    for site in sites:
        if site not in places or site in layout.integer_sites:
            raise MethodError(
                f"periodic: there is no real latent site {site!r}; there are {sorted(places)}."
            )
        if ends_of(program, site) is None:
            raise MethodError(
                f"periodic: the values of site {site!r} do not fill an interval, whose ends could "
                "be joined. Give it a prior like Uniform(0, 2 * pi) or VonMises, or leave it out."
            )


def told(program: Program, sites: tuple[str, ...]) -> dict[str, Any]:
    """For the provenance: the ends of the interval of every entry of these sites."""
    found = {}
    for site in sites:
        ends = ends_of(program, site)
        assert ends is not None
        found[site] = [end.ravel().tolist() for end in ends]
    return {"periodic": found} if found else {}


def _logit(w: Array) -> tuple[Array, Array]:
    """The coordinate on the line, and the logarithm of its slope."""
    w = w - jnp.round(w)
    size = jnp.clip(jnp.abs(w), _CLOSEST, 0.5)
    near, far = jnp.log(size), jnp.log1p(-size)
    return jnp.where(w < 0, far - near, near - far), -near - far


@dataclasses.dataclass(frozen=True)
class _Drawn:
    inner: Callable[[Key, Data], Any]
    circle: tuple[bool, ...]

    def __call__(self, key: Key, data: Data) -> Any:
        y = self.inner(key, data)
        w = jnp.where(y > 0, -jax.nn.sigmoid(-y), jax.nn.sigmoid(y))
        return jnp.where(np.array(self.circle), w, y)


@dataclasses.dataclass(frozen=True)
class _Scored:
    inner: Callable[[Any, Data], Score]
    circle: tuple[bool, ...]

    def __call__(self, w: Any, data: Data) -> Score:
        circle = np.array(self.circle)
        line, slope = _logit(w)
        score = self.inner(jnp.where(circle, line, w), data)
        return Score(score.log_base + jnp.sum(jnp.where(circle, slope, 0.0)), score.log_weight)
