"""Categorical: a head for labels."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from probinf.core.program import Key
from probinf.errors import ArrayError


class CategoricalDistribution(eqx.Module):
    """Probabilities of labels.

    Attributes:
        log_p: log probability of each class, on the last axis; leading axes are a batch.
    """

    log_p: Float[Array, "*batch classes"]

    def log_density(self, y: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Log probability of the labels y, integers from 0."""
        return jnp.take_along_axis(self.log_p, jnp.asarray(y, int)[..., None], -1)[..., 0]

    @property
    def probabilities(self) -> Float[Array, "*batch classes"]:
        """Probability of each class."""
        return jnp.exp(self.log_p)

    def sample(self, key: Key, shape: tuple[int, ...] = ()) -> Int[Array, "*rows"]:
        """Independent labels, ``shape`` in front of the batch."""
        return jax.random.categorical(key, self.log_p, shape=(*shape, *self.log_p.shape[:-1]))


@dataclasses.dataclass(frozen=True)
class Categorical:
    """Head of a network for labels: one logit per class.

    Args:
        classes: number of classes, at least 2.

    Raises:
        ArrayError: there are fewer than 2.
    """

    classes: int = 2
    kind: ClassVar[str] = "categorical"

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ArrayError(f"Categorical: classes must be at least 2, got {self.classes}.")

    @property
    def size(self) -> int:
        """Number of outputs the network must have."""
        return self.classes

    def distribution(self, outputs: Float[Array, "*batch size"]) -> CategoricalDistribution:
        """Network outputs as probabilities."""
        return CategoricalDistribution(jax.nn.log_softmax(outputs))
