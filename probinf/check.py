"""check: the model doctor; looks at every site of a program before it is fitted."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from probinf.errors import ObservationError, ParameterError
from probinf.program import Program

_POINTS = 32


@dataclasses.dataclass(frozen=True)
class SiteReport:
    """One row of the doctor's table.

    Attributes:
        name: of the site.
        finite: share of the trial points at which its log probability is finite.
        lowest: smallest finite log probability.
        highest: largest finite log probability.
    """

    name: str
    finite: float
    lowest: float
    highest: float


@dataclasses.dataclass(frozen=True)
class Report:
    """The doctor's table over all sites; print it."""

    sites: tuple[SiteReport, ...]

    def __str__(self) -> str:
        width = max([4, *(len(s.name) for s in self.sites)])
        lines = [f"{'site':{width}}  finite  lowest log prob  highest log prob"]
        lines += [
            f"{s.name:{width}}  {s.finite:6.0%}  {s.lowest:15.4g}  {s.highest:16.4g}"
            for s in self.sites
        ]
        return "\n".join(lines)

    __repr__ = __str__


def check(program: Program) -> Report:
    """Evaluate every site at 32 starting points and refuse what can only go wrong.

    Args:
        program: from ``from_numpyro`` (others have no sites to look at).

    Raises:
        ParameterError: a distribution receives parameters outside their domain.
        ObservationError: an observation lies outside its distribution's support at every
            trial point.
    """
    if program.sites is None:
        return Report(())
    found = jax.tree.map(np.asarray, _probe(program, jax.random.split(jax.random.key(0), _POINTS)))
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
    return Report(tuple(_row(name, site["log_prob"]) for name, site in found.items()))


def _row(name: str, values: np.ndarray) -> SiteReport:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return SiteReport(name, 0.0, float("nan"), float("nan"))
    return SiteReport(name, finite.size / values.size, float(finite.min()), float(finite.max()))


@jax.jit
def _probe(program: Program, keys: jax.Array) -> dict[str, Any]:
    def at(key: jax.Array) -> dict[str, Any]:
        assert program.sites is not None
        return program.sites(program.start(key, program.data), program.data)

    return jax.vmap(at)(keys)
