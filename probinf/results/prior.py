"""prior_predictive: parameters and data drawn from a program before any data are seen."""

from __future__ import annotations

import jax

from probinf.core.compiling import jitted
from probinf.core.coordinates import flatten
from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.errors import StructureError
from probinf.results.datasets import Predictions
from probinf.results.sites import by_row


def prior_predictive(program: Program, *, key: int | Key, draws: int = 1000) -> Predictions:
    """Draws from the base with data simulated from each: what the model holds possible.

    Args:
        program: with a proper prior.
        key: random key or seed.
        draws: how many.

    Returns:
        By name, (1, draw, ...), a dict with ``to_dataset()``: latent and deterministic sites, and
        observed sites where the program can simulate them.

    Raises:
        ImproperPriorError: the prior cannot be drawn from; the message names the site.
        StructureError: not a program.
    """
    if not isinstance(program, Program):
        raise StructureError(
            f"prior_predictive: the first argument must be a Program, got "
            f"{type(program).__name__}. Make one with pi.from_numpyro(model, data)."
        )
    at_least(1, draws=draws)
    flat, _ = flatten(program, integers=True)
    first, second = jax.random.split(as_key(key))
    rows = _drawn(flat, jax.random.split(first, draws))
    found = by_row(_all_of_it, flat, (rows, jax.random.split(second, draws)), (1, draws))
    return Predictions(found, program.axes)


@jitted
def _drawn(flat: Program, keys: Key) -> jax.Array:
    return jax.vmap(flat.draw, (0, None))(keys, flat.data)


def _all_of_it(flat: Program, row: tuple[jax.Array, Key]) -> dict[str, jax.Array]:
    x, key = row
    latents = flat.constrain(x, flat.data)
    if flat.simulate is None:
        return latents
    return {**latents, **flat.simulate(key, x, flat.data)}
