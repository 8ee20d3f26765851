"""Names of dimensions, from the plates of a NumPyro model."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from probinf.core.axes import Axes, Names
from probinf.core.transformations.labelling import RESERVED


def axes_of(trace: dict[str, Any]) -> Axes:
    """A name for each axis of a site that belongs to a plate.

    Deterministic sites do not say where their plates are, beside further axes; one place only
    must fit the sizes. Names that are taken in files (``draw``) get ``_dim`` behind them.
    """
    found = {}
    for name, site in trace.items():
        if site["type"] in ("sample", "deterministic") and site.get("cond_indep_stack"):
            names = _names(site)
            if any(names):
                found[name] = tuple(_safe(n) for n in names)
    return Axes(found)


def _safe(name: str | None) -> str | None:
    if name is None:
        return None
    name = name.replace("/", ".")
    return f"{name}_dim" if name in RESERVED else name


def _names(site: dict[str, Any]) -> Names:
    shape, frames = jnp.shape(site["value"]), site["cond_indep_stack"]
    if site["type"] == "sample":
        places = [site["fn"].event_dim]
    else:
        deepest = max(-frame.dim for frame in frames)
        places = list(range(max(len(shape) - deepest, 0) + 1))
    fitting = [names for e in places if (names := _placed(shape, frames, e)) is not None]
    return fitting[0] if len(fitting) == 1 else (None,) * len(shape)


def _placed(shape: tuple[int, ...], frames: Any, event_dim: int) -> Names | None:
    """Names of the axes, with so many axes to the right of those of plates."""
    names: list[str | None] = [None] * len(shape)
    for frame in frames:
        axis = len(shape) - event_dim + frame.dim
        if axis < 0 or shape[axis] != frame.size:
            return None
        names[axis] = frame.name
    return tuple(names)
