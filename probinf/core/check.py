"""check: the model doctor; looks at every site of a program before it is fitted."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.compiling import compiled
from probinf.core.doctor import POINTS, refuse
from probinf.core.gradients import hidden_nan, no_gradient
from probinf.core.keys import numbered
from probinf.core.precision import at_the_base
from probinf.core.program import Position, Program, log_density


@dataclasses.dataclass(frozen=True)
class SiteReport:
    """One row of the doctor's table.

    Attributes:
        name: of the site.
        kind: ``"latent"``, ``"observed"`` or ``"factor"``.
        shape: of its value in the user's coordinates; () for a factor.
        finite: share of the trial points at which its log probability is finite.
        gradient: share of the trial points at which the gradient of the whole density with
            respect to this site is finite; NaN for sites that are not latent, and when it was
            not asked for.
        lowest: smallest finite log probability.
        highest: largest finite log probability.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    finite: float
    gradient: float
    lowest: float
    highest: float


@dataclasses.dataclass(frozen=True)
class Report:
    """The doctor's table over all sites; print it.

    Attributes:
        sites: a row for each.
        notes: what the table cannot show: gradients that are NaN or do not exist.
    """

    sites: tuple[SiteReport, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        width = max([4, *(len(s.name) for s in self.sites)])
        lines = [
            f"{'site':{width}}  finite  lowest log prob  highest log prob  gradient  "
            "kind      shape"
        ]
        lines += [
            f"{s.name:{width}}  {s.finite:6.0%}  {s.lowest:15.4g}  {s.highest:16.4g}  "
            f"{'-' if np.isnan(s.gradient) else f'{s.gradient:.0%}':>8}  {s.kind:8}  {s.shape}"
            for s in self.sites
        ]
        return "\n".join([*lines, *self.notes])

    __repr__ = __str__


def check(program: Program, *, gradients: bool = True) -> Report:
    """Evaluate every site at 32 starting points and refuse what can only go wrong.

    Args:
        program: from ``from_numpyro`` (others have no sites to look at).
        gradients: differentiate the density too, at the cost of one more compilation.

    Raises:
        ParameterError: a distribution receives parameters outside their domain at a quarter of
            the points or more; fewer are warned of, since the density is zero there.
        ObservationError: an observation lies outside its distribution's support, or on its
            edge, at every one of 224 trial points near and far.
        ZeroLikelihoodError: the data are so large that the likelihood overflows.
    """
    found = refuse(program)
    if not found:
        return Report(())
    slopes: dict[str, np.ndarray] = {}
    notes = []
    if gradients and _differentiable(program):
        if why := no_gradient(program):
            notes.append(f"The density has no gradient in reverse mode: {why}.")
        else:
            slopes = jax.tree.map(np.asarray, _slopes(program))
            if hidden := hidden_nan(program):
                notes.append(f"Not for NUTS: {hidden}.")
    loss = at_the_base(program)
    if loss is not None and loss.matters:
        notes.append(f"Not in single precision: {loss}; pass precision='double'.")
    observed = {}
    if program.observations is not None:
        observed = jax.eval_shape(program.observations.get, program.data)
    shapes = {name: leaf.shape for name, leaf in observed.items()}
    constrained = jax.eval_shape(program.constrain, program.template(), program.data)
    shapes |= {name: leaf.shape for name, leaf in constrained.items()}
    return Report(
        tuple(
            _row(
                name,
                "observed" if name in observed else "latent" if name in shapes else "factor",
                shapes.get(name, ()),
                site["log_prob"],
                slopes.get(name),
            )
            for name, site in found.items()
        ),
        tuple(notes),
    )


def _differentiable(program: Program) -> bool:
    leaves = jax.tree.leaves(program.template())
    return all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves)


def _row(
    name: str,
    kind: str,
    shape: tuple[int, ...],
    values: np.ndarray,
    slopes: np.ndarray | None,
) -> SiteReport:
    finite = values[np.isfinite(values)]
    share = finite.size / values.size
    gradient = float("nan") if slopes is None else float(slopes.mean())
    low, high = (finite.min(), finite.max()) if finite.size else (np.nan, np.nan)
    return SiteReport(name, kind, tuple(shape), share, gradient, float(low), float(high))


@partial(compiled, once=True)
def _slopes(program: Program) -> dict[str, jax.Array]:
    """Whether the gradient is finite, by latent site and trial point."""

    def at(index: jax.Array) -> Position:
        x = program.start(numbered(index), program.data)
        gradient = jax.grad(lambda y: log_density(program, y))(x)
        return jax.tree.map(lambda leaf: jnp.all(jnp.isfinite(leaf)), gradient)

    found = jax.lax.map(at, jnp.arange(POINTS))
    return found if isinstance(found, dict) else {}
