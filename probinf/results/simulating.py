"""simulate: data from a program at parameters of the user's choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.errors import StructureError
from probinf.results.datasets import Predictions
from probinf.results.sites import by_row


def simulate(
    program: Program, values: Mapping[str, Any], *, key: int | Key, draws: int = 1
) -> Predictions:
    """Data drawn anew at given parameters, other sites from their prior given these.

    Args:
        program: whose data can be simulated.
        values: by latent site, in the user's coordinates; none at all is the prior predictive.
        key: random key or seed.
        draws: how many data sets.

    Returns:
        By name, (1, draw, ...), a dict with ``to_dataset()``: observed sites, and latent ones.

    Raises:
        StructureError: no such site, another shape, a value outside its support, or a program
            that cannot simulate; the message says which.
    """
    if not isinstance(program, Program):
        raise StructureError(
            f"simulate: the first argument must be a Program, got {type(program).__name__}. Make "
            "one with pi.from_numpyro(model, data)."
        )
    at_least(1, draws=draws)
    if program.simulate is None:
        raise StructureError("simulate: the program has no simulator of its observations.")
    known = jax.eval_shape(program.constrain, program.template(), program.data)
    given: dict[str, Any] = {}
    if not isinstance(values, Mapping):
        raise StructureError(
            f"simulate: values must be a dict by site, got {type(values).__name__}; {{}} is the "
            "prior predictive."
        )
    for name, value in values.items():
        if name not in known:
            raise StructureError(f"simulate: no site named {name!r}; there are {sorted(known)}.")
        given[name] = np.asarray(value, known[name].dtype)
        if given[name].shape != known[name].shape:
            raise StructureError(
                f"simulate: site '{name}' has shape {known[name].shape}, got {given[name].shape}."
            )
        if given[name].dtype.kind in "iub" and not np.array_equal(given[name], value):
            raise StructureError(
                f"simulate: site '{name}' takes whole numbers ({given[name].dtype}), got {value}."
            )
    if program.predict is None and program.unconstrain is None and given:
        raise StructureError(
            "simulate: this program cannot place values of its sites; pass none, {}, for draws of "
            "the prior."
        )
    _refuse_derived(program, given)
    keys = jax.random.split(as_key(key), draws)
    found = by_row(_Simulated(tuple(given)), program, (keys, _repeated(given, draws)), (1, draws))
    for name in given:
        if found.pop(f"outside:{name}").any():
            raise StructureError(
                f"simulate: site '{name}' is {given[name]}, outside its support. Give a possible "
                "value."
            )
    return Predictions(found, program.axes)


def _refuse_derived(program: Program, given: dict[str, Any]) -> None:
    latents = program.template()
    if not isinstance(latents, dict):
        return
    for name in given:
        if name not in latents:
            raise StructureError(
                f"simulate: site '{name}' follows from others, {sorted(latents)}; give these."
            )


def _repeated(given: dict[str, Any], draws: int) -> dict[str, np.ndarray]:
    return {name: np.broadcast_to(value, (draws, *value.shape)) for name, value in given.items()}


@dataclasses.dataclass(frozen=True)
class _Simulated:
    """One data set, and which of the given values are impossible."""

    names: tuple[str, ...]

    def __call__(self, program: Program, row: Any) -> dict[str, jax.Array]:
        key, values = row
        first, second = jax.random.split(key)
        if program.predict is not None:
            made = program.predict(first, values, program.data)
            found, outside = {**made.latents, **made.observables}, made.outside
        else:
            assert program.simulate is not None
            x, outside = program.draw(first, program.data), {}
            if values:
                assert program.unconstrain is not None
                x, outside = program.unconstrain(values, x, program.data)
            found = {
                **program.constrain(x, program.data),
                **program.simulate(second, x, program.data),
            }
        bad = {f"outside:{n}": jnp.asarray(outside.get(n, False)) for n in self.names}
        return {**found, **bad}
