"""Simulations: pairs of parameters and data from a program, and how its data lie in a vector."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.neural.parameters import Parameters
from probinf.core.compiling import jitted
from probinf.core.coordinates import flatten, vector_of
from probinf.core.host.answering import tallied
from probinf.core.inputs.frames import is_pandas
from probinf.core.inputs.tables import by_site
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

    def named(self, observed: Any, *, masked: bool = False) -> dict[str, Any]:
        """By name; one array is taken for the only site there is.

        Args:
            observed: one data set.
            masked: NaN stands for a missing entry.

        Raises:
            ObservationError: names are missing or unknown, or a value is NaN or infinite.
        """
        if is_pandas(observed):
            observed = self._of_frame(observed)
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
            given = np.asarray(value, float)
            if bad := int((np.isinf(given) if masked else ~np.isfinite(given)).sum()):
                raise ObservationError(f"site '{name}' holds {bad} values that are not finite.")
        return {name: jnp.asarray(observed[name], float) for name in self.names}

    def _of_frame(self, observed: Any) -> dict[str, Any]:
        """A data frame of one row, or a Series, like a row of the table that was trained on."""
        frame = observed if hasattr(observed, "columns") else observed.to_frame().T
        if len(frame) != 1:
            raise ObservationError(
                f"pass one row of the table as the observations, got {len(frame)} rows."
            )
        shapes = dict(zip(self.names, self.shapes, strict=True))
        rows = by_site("observations", frame.astype(float), shapes, in_order=True)
        return {name: value[0] for name, value in rows.items()}

    def ravel(self, observed: Any, *, masked: bool = False) -> Float[Array, " d"]:
        """One data set as a vector; with ``masked`` NaN stands for a missing entry.

        Raises:
            ObservationError: a name, shape or value is wrong.
        """
        values = self.named(observed, masked=masked)
        for name, shape in zip(self.names, self.shapes, strict=True):
            if values[name].shape != shape:
                raise ObservationError(
                    f"site '{name}' has shape {values[name].shape}, trained on {shape}. For iid "
                    "data of any length train with a SetEmbedding."
                )
        return jnp.concatenate([jnp.ravel(values[name]) for name in self.names])

    def rows(self, observed: Any, *, masked: bool = False) -> Float[Array, "n f"]:
        """Exchangeable data as one row per datum, the leading axis of every site.

        With ``masked`` a datum with NaN is a missing one.

        Raises:
            ObservationError: a shape is wrong, or lengths differ.
        """
        values = self.named(observed, masked=masked)
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

    def split(self, vector: Any) -> dict[str, Array]:
        """The sites of a data set given as a vector."""
        found, first = {}, 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            part = jnp.asarray(vector[first : first + math.prod(shape)], float)
            found[name] = part.reshape(shape)
            first += math.prod(shape)
        return found

    def as_rows(self, vector: Float[Array, " d"]) -> Float[Array, "n f"]:
        """The rows of a data set given as a vector."""
        parts = self.split(vector)
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
    return _pair_at(second, flat.draw(first, flat.data), flat, sites, parameters)


def _pair_at(
    key: Key, x: Any, flat: Program, sites: Sites, parameters: Parameters | None
) -> Simulated:
    """One draw of data given a flat position."""
    assert flat.simulate is not None
    simulated = flat.simulate(key, x, flat.data)
    data = jnp.concatenate([jnp.ravel(simulated[n]).astype(float) for n in sites.names])
    values = jnp.zeros(0)
    if parameters is not None:
        values = parameters.vector(flat.constrain(x, flat.data))
    theta = vector_of(x)
    worked = jnp.isfinite(data).all() & jnp.isfinite(theta).all() & jnp.isfinite(values).all()
    theta, values, data = (jnp.where(worked | jnp.isfinite(v), v, 0) for v in (theta, values, data))
    return Simulated(theta, values, jnp.where(worked, data, 0.0), worked)


def _each(keys: Key, flat: Program, sites: Sites, parameters: Parameters | None) -> Simulated:
    return jax.vmap(lambda key: pair(key, flat, sites, parameters))(keys)


_pairs = jitted(_each, static=("sites", "parameters"))


def _each_at(keys: Key, flat: Program, rows: Array, sites: Sites) -> Simulated:
    return jax.vmap(lambda key, x: _pair_at(key, x, flat, sites, None))(keys, rows)


_pairs_at = jitted(_each_at, static=("sites",))


def simulate(
    program: Program, key: Key, count: int, sites: Sites, parameters: Parameters | None = None
) -> Simulated:
    """``count`` draws from the joint law, as rows on the host; failed ones stay and are marked.

    Raises:
        TrainingError: more than a tenth of the simulations are not finite.
    """
    flat, _ = flatten(program)

    def some(keys: Key, rows: np.ndarray) -> Simulated:
        found: Simulated = _pairs(keys, flat, sites, parameters)
        return found

    return _in_parts(key, count, some)


def simulate_at(flat: Program, key: Key, theta: np.ndarray, sites: Sites) -> Simulated:
    """One draw of data given each of the flat positions (n, d), as rows on the host.

    Raises:
        TrainingError: more than a tenth of the simulations are not finite.
    """

    def some(keys: Key, rows: np.ndarray) -> Simulated:
        found: Simulated = _pairs_at(keys, flat, jnp.asarray(theta[rows % len(theta)]), sites)
        return found

    return _in_parts(key, len(theta), some)


def _in_parts(key: Key, count: int, some: Callable[[Key, np.ndarray], Simulated]) -> Simulated:
    """Simulations with a key for every row, in parts of one size."""
    size = min(_BATCH, count)
    parts = []
    with tallied() as tally:
        for first in range(0, count, size):
            rows = first + np.arange(size)
            keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.asarray(rows))
            parts.append(jax.tree.map(np.asarray, some(keys, rows)))
    found = Simulated(*(np.concatenate(v)[:count] for v in zip(*parts, strict=True)))
    lost = count - int(found.worked.sum())
    kinds = ", ".join(f"{n} {kind}" for kind, n in tally.failures.items())
    named = f" ({kinds}; the first: {tally.first})" if kinds else ""
    if lost > _MOST_LOST * count:
        raise TrainingError(
            f"{lost} of {count} simulations hold NaN or infinite values{named}. Narrow the prior, "
            "or let the simulator return a finite code for a failed run."
        )
    if named:
        warnings.warn(
            f"{lost} of {count} simulations failed{named}.", TrainingWarning, stacklevel=4
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
