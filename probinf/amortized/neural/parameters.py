"""Parameters: the constrained values of a program's latent sites as one vector."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.core.compiling import jitted
from probinf.core.program import Key, Position, Program
from probinf.errors import ImproperPriorError, StructureError

_AUXILIARY = ("_decentered", "_base", "_normal", "_unwrapped")


@dataclasses.dataclass(frozen=True)
class Parameters:
    """The latent sites on the scale on which the user writes them.

    Unconstrained coordinates mean what their prior says: 0 is 5 under ``Uniform(0, 10)`` and 2.5
    under ``Uniform(0, 5)``. What is learned for any prior must live in these values instead.

    Attributes:
        names: of the sites, in the order of the vector.
        shapes: of each site.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, program: Program) -> Parameters:
        """Of a program without random keys: its latent sites, without deterministic ones.

        A site that NumPyro reparametrised counts as itself, not as its auxiliary site.
        """
        template = program.template()
        values = jax.eval_shape(program.constrain, template, program.data)
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(template)]
        latent = {str(part.key) for path in paths for part in path[-1:] if hasattr(part, "key")}
        names = {_written(name, values) for name in latent if name in values} or set(values)
        ordered = tuple(name for name in values if name in names)
        return cls(ordered, tuple(tuple(values[name].shape) for name in ordered))

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def labels(self) -> list[str]:
        """(size,) the site of every entry."""
        sizes = [math.prod(shape) for shape in self.shapes]
        return [name for name, size in zip(self.names, sizes, strict=True) for _ in range(size)]

    def vector(self, values: dict[str, Array]) -> Float[Array, " p"]:
        """Constrained values as one vector."""
        return jnp.concatenate([jnp.ravel(values[name]).astype(float) for name in self.names])

    def check(self, program: Program) -> None:
        """Refuse a program whose parameters are others.

        Raises:
            StructureError: a site is missing, has another shape, or was never seen.
        """
        found = Parameters.of(program)
        ours, theirs = (dict(zip(p.names, p.shapes, strict=True)) for p in (self, found))
        if ours != theirs:
            raise StructureError(
                f"posterior: the network knows the coordinates {ours}, the program has {theirs}. "
                "Only the priors of these sites may change; train anew for another model."
            )

    def draws(self, program: Program, count: int = 4096) -> np.ndarray | None:
        """(count, p) from the base of a program, always with one key; None where it has none."""
        try:
            with jax.ensure_compile_time_eval():
                keys = jax.random.split(jax.random.key(0), count)
                return np.asarray(_drawn(program, keys, self))
        except ImproperPriorError:
            return None


def _written(name: str, values: dict[str, Any]) -> str:
    for ending in _AUXILIARY:
        whole = name.removesuffix(ending)
        if whole != name and whole in values:
            return whole
    return name


@partial(jitted, static=("parameters",))
def _drawn(program: Program, keys: Key, parameters: Parameters) -> Array:
    def one(key: Key) -> Array:
        x: Position = program.draw(key, program.data)
        return parameters.vector(program.constrain(x, program.data))

    return jax.vmap(one)(keys)
