"""Fixed: the parts of a network that no training moves."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax


class Fixed(eqx.Module):
    """A part of a network that no training moves, whatever the optimizer does (weight decay)."""


def trainable(model: Any) -> Any:
    """Where a network holds floating-point arrays that are not in a fixed part of it."""
    return jax.tree.map(
        lambda part: not isinstance(part, Fixed) and eqx.is_inexact_array(part),
        model,
        is_leaf=lambda part: isinstance(part, Fixed),
    )
