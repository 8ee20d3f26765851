"""Gradients of a program's density: whether there are any, and whether they hide NaN."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.abstract import once_per_shape
from probinf.core.compiling import compiled
from probinf.core.hiding import may_hide
from probinf.core.host.asking import asks
from probinf.core.keys import numbered
from probinf.core.program import Data, Position, Program, log_density
from probinf.core.transformations.guiding import by_network
from probinf.errors import ImproperPriorError, MethodError

POINTS = 32
"""Trial points of each kind, starts and draws of the base."""

_FREE = (
    "pi.MCMC(pi.kernels.Slice()), pi.MCMC(pi.kernels.RandomWalk()), pi.Ensemble(), "
    "pi.SMC(kernel=pi.kernels.Slice()) or pi.Nested()"
)
_FREE_OF_ANYTHING = (
    "pi.Nested(), pi.Ensemble(), pi.Importance(), or pi.SMC, pi.PersistentSMC, "
    "pi.ParallelTempering and pi.MCMC with kernel=pi.kernels.Slice() or pi.kernels.RandomWalk()"
)
HIDDEN_SHARE = 0.05
"""Share of points with a hidden NaN from which on gradients are not followed."""


def no_gradient(program: Program) -> str:
    """Why the density cannot be differentiated in reverse mode; empty where it can.

    Loops of unknown length (``while_loop``) and callbacks to Python have no such derivative.
    """
    return _no_gradient(program)


@once_per_shape
def _no_gradient(program: Program) -> str:
    def density(x: Position, data: Data) -> Any:
        return log_density(dataclasses.replace(program, data=data), x)

    x = program.template()
    jax.eval_shape(density, x, program.data)  # other errors are not about gradients
    try:
        jax.eval_shape(jax.grad(density, allow_int=True), x, program.data)
    except Exception as error:
        return str(error).split("\n", maxsplit=1)[0].split(". ")[0].rstrip(".")
    return ""


def require_gradient(program: Program, who: str) -> None:
    """Refuse an engine that follows gradients where there are none.

    Raises:
        MethodError: the density has no reverse-mode derivative.
    """
    if asks(program.data) and not by_network(program):
        raise MethodError(
            f"{who} needs gradients, but the likelihood is ordinary Python (from_callback), which "
            f'has none. Use {_FREE_OF_ANYTHING}; method="auto" chooses.'
        )
    if why := no_gradient(program):
        raise MethodError(
            f"{who} needs gradients, but this density has none in reverse mode: {why}. Use an "
            f"engine without: {_FREE}; or write the loop with lax.scan or lax.fori_loop of fixed "
            "length, give NumPy or SciPy code to pi.from_callback in the place of a "
            "jax.pure_callback (or give the callback a derivative with jax.custom_vjp)."
        )


class Hidden(NamedTuple):
    """Points at which the density is finite and its gradient is NaN.

    Attributes:
        bad: how many.
        finite: points with a finite density.
        where: ``"starting points"`` or ``"draws of the prior"``.
        sites: the coordinates whose derivative is NaN.
    """

    bad: int
    finite: int
    where: str
    sites: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the points with a finite density."""
        return self.bad / max(self.finite, 1)

    def __str__(self) -> str:
        named = f" with respect to {', '.join(map(repr, self.sites))}" if self.sites else ""
        return (
            f"the gradient{named} is NaN at {self.share:.0%} of the {self.finite} {self.where} "
            "with a finite density. A branch that is not taken, as in jnp.where(x > 0, "
            "jnp.sqrt(x), 0.0), is differentiated too. Give it a harmless argument "
            "(jnp.sqrt(jnp.where(x > 0, x, 1.0)) inside the jnp.where), or use an engine without "
            f"gradients: {_FREE}"
        )


def hidden_nan(program: Program) -> Hidden | None:
    """Where NaN hides from the value but not from the gradient; None where nowhere, it seems.

    Chains that follow gradients never enter such a region, and no draw shows that it exists.
    The density is looked at in 32 starting points and 32 draws of the prior, and only where
    its trace has a choice between branches.
    """
    leaves = jax.tree.leaves(program.template())
    if not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        return None
    if not may_hide(program) or no_gradient(program):
        return None
    points = [("starting points", program.start), ("draws of the prior", program.draw)]
    found = []
    for where, place in points:
        try:
            value, broken = _look(program, place)
        except ImproperPriorError:
            continue
        value = np.asarray(value, float)
        # a value so low that its rounding error is a nat is nowhere that a chain would go
        finite = np.isfinite(value) & (np.abs(value) * np.finfo(np.float32).eps < 1)
        bad = {name: np.asarray(b) & finite for name, b in broken.items()}
        count = int(np.any(list(bad.values()), axis=0).sum())
        sites = tuple(name for name, b in bad.items() if b.any() and name)
        found.append(Hidden(count, int(finite.sum()), where, sites))
    worst = max(found, key=lambda h: h.share)
    return worst if worst.bad else None


def refuse_hidden_nan(program: Program, who: str) -> None:
    """Refuse an engine that follows gradients where they are NaN at too many finite points.

    Raises:
        MethodError: at 5 % of the points or more.
    """
    hidden = hidden_nan(program)
    if hidden is not None and hidden.share >= HIDDEN_SHARE:
        raise MethodError(
            f"{who} follows gradients and cannot move in a part of the posterior: {hidden}. "
            "check=False runs it all the same."
        )


@partial(compiled, static=("place",), once=True)
def _look(program: Program, place: Any) -> tuple[jax.Array, Any]:
    def at(index: jax.Array) -> tuple[jax.Array, Any]:
        x = place(numbered(index), program.data)
        value, slopes = jax.value_and_grad(lambda y: log_density(program, y))(x)
        slopes = slopes if isinstance(slopes, dict) else {"": slopes}
        return value, {
            name: jnp.any(jnp.stack([jnp.isnan(leaf).any() for leaf in jax.tree.leaves(part)]))
            for name, part in slopes.items()
            if jax.tree.leaves(part)
        }

    return jax.lax.map(at, jnp.arange(POINTS))
