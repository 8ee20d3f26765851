"""Embeddings of sequences and images: convolutions."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.nets.embedding import Embedding, are_widths
from probinf.core.program import Key
from probinf.errors import ModelError, StructureError


class Convolutions(eqx.Module):
    """Convolutions that halve the resolution, a coarse grid of means, an affine map.

    Attributes:
        layers: the convolutions.
        pool: means over a grid of at most four cells along each axis.
        last: to the summary.
        axes: along which it convolves.
    """

    layers: list[Any]
    pool: Any
    last: eqx.nn.Linear
    axes: int = eqx.field(static=True)

    def __call__(self, value: Float[Array, "..."]) -> Float[Array, " c"]:
        x = value if value.ndim > self.axes else value[..., None]
        x = jnp.moveaxis(x, -1, 0)
        for layer in self.layers:
            x = jax.nn.silu(layer(x))
        return self.last(jnp.ravel(self.pool(x)))


@dataclasses.dataclass(frozen=True)
class CNN(Embedding):
    """For sequences and images: convolutions along one or two axes, channels along the last.

    Args:
        axes: 1 for sequences, of shape (n,) or (n, channels); 2 for images, (n, m) or
            (n, m, channels).
        channels: of each convolution; each halves the resolution.
        kernel: width of the convolutions, an odd number.
        size: length of the summary.

    Raises:
        ModelError: an option is out of range.
    """

    kind: ClassVar[str] = "cnn"

    axes: int = 1
    channels: tuple[int, ...] = (16, 32)
    kernel: int = 5
    size: int = 32

    def __post_init__(self) -> None:
        counts = are_widths(self.channels) and are_widths((self.kernel, self.size))
        if self.axes not in (1, 2) or not counts or self.kernel % 2 == 0:
            raise ModelError(
                "CNN: axes must be 1 or 2, kernel odd, channels and size positive whole numbers, "
                f"got axes={self.axes}, kernel={self.kernel}, channels={self.channels}, "
                f"size={self.size}."
            )

    def build(self, key: Key, shape: tuple[int, ...]) -> Convolutions:
        """The untrained network.

        Raises:
            StructureError: data of this shape have no such axes.
        """
        if len(shape) not in (self.axes, self.axes + 1):
            raise StructureError(
                f"CNN(axes={self.axes}) takes data with {self.axes} axes, and one of channels if "
                f"there are any; the observed site has shape {shape}."
            )
        sizes = shape[: self.axes]
        inputs = shape[self.axes] if len(shape) > self.axes else 1
        keys = jax.random.split(key, len(self.channels) + 1)
        convolution = eqx.nn.Conv1d if self.axes == 1 else eqx.nn.Conv2d
        layers = []
        for k, outputs in enumerate(self.channels):
            layers.append(
                convolution(inputs, outputs, self.kernel, 2, self.kernel // 2, key=keys[k])
            )
            inputs, sizes = outputs, tuple((n + 1) // 2 for n in sizes)
        cells = tuple(min(4, n) for n in sizes)
        if self.axes == 1:
            pool: Any = eqx.nn.AdaptiveAvgPool1d(cells[0])
        else:
            pool = eqx.nn.AdaptiveAvgPool2d(cells)
        last = eqx.nn.Linear(inputs * int(np.prod(cells)), self.size, key=keys[-1])
        return Convolutions(layers, pool, last, self.axes)
