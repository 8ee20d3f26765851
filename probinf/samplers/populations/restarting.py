"""Restarting SMC along data from particles that stand for the first of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from probinf.core.compiling import jitted
from probinf.core.coordinates import vector_of
from probinf.core.program import Program
from probinf.errors import MethodError
from probinf.samplers.populations.islands import IslandState, Particle
from probinf.samplers.populations.moving import first_params

if TYPE_CHECKING:
    from probinf.samplers.smc import SMC


def restarted(
    method: SMC, program: Program, position: Any, log_w: Any, eve: Any, t: int
) -> IslandState:
    """States of all islands at ``t``, from particles that stand for that point of the path.

    Args:
        method: goes on from there.
        program: on flat positions.
        position: axes (island, particle).
        log_w: (island, particle), each island normalised.
        eve: (island, particle), labels below the number of particles.
        t: data that have been taken in.

    Raises:
        MethodError: the path is not along data that are taken as they come.
    """
    if method.path != "data" or method.schedule is not None:
        raise MethodError(
            f"update goes along the data by the effective sample size: give "
            f'SMC(path="data") without a schedule, got {method!r}.'
        )
    keys = jax.vmap(jax.random.key)(jnp.arange(method.islands))
    blank = jax.eval_shape(jax.vmap(lambda k: method.init(k, program)), keys)
    terms, lost = _island_terms(method, program, position)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), blank)
    mover = method.mover(jax.tree.map(lambda leaf: leaf[0, 0], position))
    unit = first_params(mover.kernel, vector_of(position)[0], mover.groups)
    repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], method.islands, 0), unit)
    label = jnp.asarray(eve, blank.particles.eve.dtype)
    return zeros._replace(
        particles=Particle(position, terms, label, label),
        log_w=jnp.asarray(log_w, blank.log_w.dtype),
        t=zeros.t + t,
        end=zeros.end + method.way.end(program),
        origin=zeros.t + t,
        params=jax.tree.map(lambda a, b: a.astype(b.dtype), repeated, blank.params),
        nan_count=lost.astype(blank.nan_count.dtype),
    )


@partial(jitted, static=("method",))
def _island_terms(method: SMC, program: Program, position: Any) -> tuple[Any, Any]:
    """Terms of the log likelihood, and evaluations lost to NaN, of every island."""
    _, terms, lost = jax.vmap(partial(method.terms, program))(position)
    return terms, lost
