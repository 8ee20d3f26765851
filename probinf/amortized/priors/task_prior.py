"""TaskPrior: a law of data sets, from which a prior-data fitted network learns to predict."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from probinf.core.program import Key


class Draw(NamedTuple):
    """One data set: context rows first, then queries.

    Attributes:
        x: inputs.
        y: outcomes; labels 0, 1, ... where the prior has classes.
        mean: expectation of each query's outcome given the visible context and the latent
            parameters of the task, where that law is normal; it takes noise out of training.
        sd: its standard deviation.
    """

    x: Float[Array, "rows inputs"]
    y: Float[Array, " rows"] | Int[Array, " rows"]
    mean: Float[Array, " queries"] | None = None
    sd: Float[Array, " queries"] | None = None


class TaskPrior(eqx.Module):
    """A law of data sets with exchangeable rows."""

    @property
    @abc.abstractmethod
    def inputs(self) -> int:
        """Number of columns of x."""

    @property
    def classes(self) -> int | None:
        """Number of labels; None for real outcomes."""
        return None

    @property
    def balanced(self) -> bool:
        """Whether all classes are equally frequent in every table, so that a network trained on
        it takes no notice of their shares."""
        return False

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Interval of every input; None where training must show it."""
        design = getattr(self, "design", None)
        return (float(design.low), float(design.high)) if isinstance(design, dist.Uniform) else None

    @abc.abstractmethod
    def draw(self, key: Key, visible: Int[Array, ""], context: int, queries: int) -> Draw:
        """One data set of ``context + queries`` rows.

        Args:
            key: random key.
            visible: how many of the context rows the network will see, from the first on.
            context: context rows (static).
            queries: query rows (static).
        """


def described(value: Any) -> str:
    """A prior with its options in one line, laws by name and parameters."""
    if isinstance(value, dist.Distribution):
        names = value.arg_constraints
        options = {name: float(getattr(value, name)) for name in names}
    elif isinstance(value, eqx.Module):
        options = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    elif isinstance(value, jax.Array):
        return str(np.asarray(value).tolist())
    else:
        return value.__qualname__ if callable(value) else repr(value)
    inside = ", ".join(f"{name}={described(v)}" for name, v in options.items())
    return f"{type(value).__name__}({inside})"
