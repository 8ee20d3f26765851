"""Simulations: pairs of parameters and data from a program, and how its data lie in a vector."""

from __future__ import annotations

import dataclasses
import math
import warnings
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.neural.parameters import Parameters
from probinf.core.coordinates import flatten, vector_of
from probinf.core.program import Key, Program
from probinf.errors import ObservationError, StructureError, TrainingError, TrainingWarning

_BATCH = 1000
_MOST_LOST = 0.1


@dataclasses.dataclass(frozen=True)
class Sites:
    """The observed sites of a program, and which of them are counts.

    Attributes:
        names: of the sites, in the order of the vector.
        shapes: of each site.
        integer: whether each site holds integers.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    integer: tuple[bool, ...]

    @classmethod
    def of(cls, program: Program) -> Sites:
        """Of what the program simulates.

        Raises:
            StructureError: it cannot simulate, or nothing is observed.
        """
        if program.simulate is None:
            raise StructureError(
                "this program cannot simulate its observations, so nothing can learn from it. "
                "Build it with from_numpyro or from_simulator."
            )

        def simulated(key: Key) -> dict[str, Array]:
            assert program.simulate is not None
            return program.simulate(key, program.draw(key, program.data), program.data)

        found = jax.eval_shape(simulated, jax.random.key(0))
        if not found:
            raise StructureError("the program has no observed site; pass data to the model.")
        return cls(
            tuple(found),
            tuple(tuple(v.shape) for v in found.values()),
            tuple(not jnp.issubdtype(v.dtype, jnp.floating) for v in found.values()),
        )

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def counts(self) -> np.ndarray:
        """(size,) one where the vector's entry is an integer."""
        sizes = [math.prod(shape) for shape in self.shapes]
        return np.repeat(np.asarray(self.integer, float), sizes)

    def named(self, observed: Any) -> dict[str, Any]:
        """By name; one array is taken for the only site there is.

        Raises:
            ObservationError: names are missing or unknown, or a value is NaN or infinite.
        """
        if not isinstance(observed, dict):
            if len(self.names) != 1:
                raise ObservationError(
                    f"pass the observations as a dict by site; the sites are {list(self.names)}."
                )
            observed = {self.names[0]: observed}
        if set(observed) != set(self.names):
            raise ObservationError(
                f"the observed sites are {sorted(self.names)}, got {sorted(observed)}."
            )
        for name, value in observed.items():
            if isinstance(value, jax.core.Tracer):
                continue
            if bad := int((~np.isfinite(np.asarray(value, float))).sum()):
                raise ObservationError(f"site '{name}' holds {bad} values that are not finite.")
        return {name: jnp.asarray(observed[name], float) for name in self.names}

    def ravel(self, observed: Any) -> Float[Array, " d"]:
        """One data set as a vector.

        Raises:
            ObservationError: a name, shape or value is wrong.
        """
        values = self.named(observed)
        for name, shape in zip(self.names, self.shapes, strict=True):
            if values[name].shape != shape:
                raise ObservationError(
                    f"site '{name}' has shape {values[name].shape}, trained on {shape}. For iid "
                    "data of any length train with a SetEmbedding."
                )
        return jnp.concatenate([jnp.ravel(values[name]) for name in self.names])

    def rows(self, observed: Any) -> Float[Array, "n f"]:
        """Exchangeable data as one row per datum, the leading axis of every site.

        Raises:
            ObservationError: a shape is wrong, or lengths differ.
        """
        values = self.named(observed)
        lengths = set()
        for name, shape in zip(self.names, self.shapes, strict=True):
            if values[name].ndim != len(shape) or values[name].shape[1:] != shape[1:]:
                raise ObservationError(
                    f"site '{name}' has shape {values[name].shape}; it must be (n, *{shape[1:]}) "
                    "for n exchangeable data."
                )
            lengths.add(values[name].shape[0])
        if len(lengths) != 1:
            raise ObservationError(f"sites hold different numbers of data: {sorted(lengths)}.")
        n = lengths.pop()
        return jnp.concatenate([values[name].reshape(n, -1) for name in self.names], axis=1)

    def as_rows(self, vector: Float[Array, " d"]) -> Float[Array, "n f"]:
        """The rows of a data set given as a vector."""
        parts, first = {}, 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            parts[name] = vector[first : first + math.prod(shape)].reshape(shape)
            first += math.prod(shape)
        n = self.shapes[0][0]
        return jnp.concatenate([parts[name].reshape(n, -1) for name in self.names], axis=1)


class Simulated(NamedTuple):
    """Draws of parameters and data from the joint law of a program.

    Attributes:
        theta: unconstrained parameters.
        values: the same on the user's scale; empty where nobody asked.
        data: simulated from them; zeros where the simulation failed.
        worked: whether all of the data are finite.
    """

    theta: Any
    values: Any
    data: Any
    worked: Any


def pair(key: Key, flat: Program, sites: Sites, parameters: Parameters | None) -> Simulated:
    """One draw of parameters and data, as vectors."""
    first, second = jax.random.split(key)
    x = flat.draw(first, flat.data)
    assert flat.simulate is not None
    simulated = flat.simulate(second, x, flat.data)
    data = jnp.concatenate([jnp.ravel(simulated[n]).astype(float) for n in sites.names])
    values = jnp.zeros(0)
    if parameters is not None:
        values = parameters.vector(flat.constrain(x, flat.data))
    theta = vector_of(x)
    worked = jnp.isfinite(data).all() & jnp.isfinite(theta).all() & jnp.isfinite(values).all()
    theta, values, data = (jnp.where(worked | jnp.isfinite(v), v, 0) for v in (theta, values, data))
    return Simulated(theta, values, jnp.where(worked, data, 0.0), worked)


@partial(jax.jit, static_argnames=("sites", "parameters"))
def _pairs(keys: Key, flat: Program, sites: Sites, parameters: Parameters | None) -> Simulated:
    return jax.vmap(lambda key: pair(key, flat, sites, parameters))(keys)


def simulate(
    program: Program, key: Key, count: int, sites: Sites, parameters: Parameters | None = None
) -> Simulated:
    """``count`` draws from the joint law, as rows on the host; failed ones stay and are marked.

    Raises:
        TrainingError: more than a tenth of the simulations are not finite.
    """
    flat, _ = flatten(program)
    size = min(_BATCH, count)
    parts = []
    for first in range(0, count, size):
        keys = jax.vmap(partial(jax.random.fold_in, key))(first + jnp.arange(size))
        parts.append(jax.tree.map(np.asarray, _pairs(keys, flat, sites, parameters)))
    found = Simulated(*(np.concatenate(v)[:count] for v in zip(*parts, strict=True)))
    lost = count - int(found.worked.sum())
    if lost > _MOST_LOST * count:
        raise TrainingError(
            f"{lost} of {count} simulations hold NaN or infinite values. Narrow the prior, or let "
            "the simulator return a finite code for a failed run."
        )
    return found


def warn_failed(found: Simulated, remedy: str) -> None:
    """Say what failed simulations mean for the answer."""
    lost, count = int((~found.worked).sum()), len(found.worked)
    if lost:
        warnings.warn(
            f"{lost} of {count} simulations hold NaN or infinite values. That data were observed "
            "shows that the run did not fail, which speaks against parameters at which many do: "
            f"{remedy} If they fail for numerical reasons alone, the answer is biased away from "
            "such parameters: mend the simulator, or let it return a finite code.",
            TrainingWarning,
            stacklevel=4,
        )
