"""check: the model doctor; looks at every site of a program before it is fitted."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.program import Position, Program, log_density
from probinf.errors import ObservationError, ParameterError, ZeroLikelihoodError

_POINTS = 32
_HUGE = 1e15  # its square overflows single precision


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
    """The doctor's table over all sites; print it."""

    sites: tuple[SiteReport, ...]

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
        return "\n".join(lines)

    __repr__ = __str__


def check(program: Program, *, gradients: bool = True) -> Report:
    """Evaluate every site at 32 starting points and refuse what can only go wrong.

    Args:
        program: from ``from_numpyro`` (others have no sites to look at).
        gradients: differentiate the density too, at the cost of one more compilation.

    Raises:
        ParameterError: a distribution receives parameters outside their domain.
        ObservationError: an observation lies outside its distribution's support at every
            trial point.
        ZeroLikelihoodError: the data are so large that the likelihood overflows.
    """
    found = refuse(program)
    if not found:
        return Report(())
    slopes: dict[str, np.ndarray] = {}
    if gradients and _differentiable(program):
        slopes = jax.tree.map(np.asarray, _slopes(program, _keys()))
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
        )
    )


def refuse(program: Program) -> dict[str, Any]:
    """The errors of ``check`` without its table; what was seen of every site, by name."""
    if program.sites is None:
        return {}
    found: dict[str, Any] = jax.tree.map(np.asarray, _probe(program, _keys()))
    for name, site in found.items():
        for parameter, broken in site["invalid"].items():
            if broken.any():
                raise ParameterError(
                    f"site '{name}': parameter '{parameter}' of its distribution is outside its "
                    f"domain at {int(broken.sum())} of {_POINTS} trial points (a negative scale, "
                    "for instance). Give the quantity it is computed from a prior with the right "
                    "support (dist.HalfNormal, dist.LogNormal) or transform it (jnp.exp)."
                )
        if site["outside"].all():
            raise ObservationError(
                f"site '{name}': an observed value lies outside its distribution's support at all "
                f"{_POINTS} trial points. Widen the support, or correct the data."
            )
    dead = [name for name, site in found.items() if not np.isfinite(site["log_prob"]).any()]
    if dead and program.observations is not None:
        observed = program.observations.get(program.data)
        for name in dead:
            if name in observed:
                _refuse_overflow(name, np.asarray(observed[name]))
    return found


def _keys() -> jax.Array:
    return jax.random.split(jax.random.key(0), _POINTS)


def _refuse_overflow(name: str, value: np.ndarray) -> None:
    if value.dtype != np.float32:
        return
    largest = np.abs(value[np.isfinite(value)]).max(initial=0.0)
    if largest > _HUGE:
        raise ZeroLikelihoodError(
            f"site '{name}': the observed values reach {largest:.3g}, whose square overflows "
            "float32, so the likelihood is zero everywhere. Rescale the data, or enable float64 "
            "with jax.config.update('jax_enable_x64', True)."
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


@jax.jit
def _probe(program: Program, keys: jax.Array) -> dict[str, Any]:
    def at(key: jax.Array) -> dict[str, Any]:
        assert program.sites is not None
        return program.sites(program.start(key, program.data), program.data)

    return jax.lax.map(at, keys)  # random numbers for many keys at once compile slowly


@jax.jit
def _slopes(program: Program, keys: jax.Array) -> dict[str, jax.Array]:
    """Whether the gradient is finite, by latent site and trial point."""

    def at(key: jax.Array) -> Position:
        x = program.start(key, program.data)
        gradient = jax.grad(lambda y: log_density(program, y))(x)
        return jax.tree.map(lambda leaf: jnp.all(jnp.isfinite(leaf)), gradient)

    found = jax.lax.map(at, keys)
    return found if isinstance(found, dict) else {}
