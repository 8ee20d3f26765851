"""Directional statistics: means and spreads of sites whose values go round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from probinf.errors import StructureError

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior

Ends = tuple[np.ndarray, np.ndarray]
"""Where the circle of every entry of a site begins and ends."""

Columns = dict[str, np.ndarray]


class Around(NamedTuple):
    """Scalars seen from their circular means.

    Attributes:
        values: (chain, draw, k), those on a circle cut opposite their mean.
        sines: (chain, draw, k) of the angles from the mean; zero for the others.
        circular: (k,) which are on a circle.
        mean: (k,) circular mean.
        length: (k,) of the mean resultant: 1 where all agree, 0 where no direction leads.
        unit: (k,) of the scalar in a radian.
    """

    values: np.ndarray
    sines: np.ndarray
    circular: np.ndarray
    mean: np.ndarray
    length: np.ndarray
    unit: np.ndarray

    def columns(self, table: Callable[[np.ndarray], Columns]) -> Columns:
        """A table of the values, with the circular mean and sd where they belong.

        ``sd`` is ``sqrt(-2 log R)`` radians with R the mean resultant length, ``mcse`` that of
        the mean direction, to first order. Quantiles are those of the deviations from the mean
        and may lie beyond the ends of the circle.

        Args:
            table: from (chain, draw, k) to columns, ``mcse`` and perhaps ``ess`` among them.

        Source: Mardia & Jupp (2000), sections 2.3 and 4.8.
        """
        found, of_sines = table(self.values), table(self.sines)
        with np.errstate(divide="ignore"):
            sd = self.unit * np.sqrt(-2 * np.log(self.length))
            instead = {"mean": self.mean, "sd": sd}
            instead["mcse"] = self.unit * of_sines["mcse"] / self.length
        if "ess" in found:
            instead["ess"] = of_sines["ess"]
        return found | {n: np.where(self.circular, v, found[n]) for n, v in instead.items()}


def around(
    draws: dict[str, np.ndarray], circles: Mapping[str, Ends], values: np.ndarray, w: np.ndarray
) -> Around:
    """All scalars, those of ``circles`` on theirs.

    Args:
        draws: by site, whose scalars follow one another in ``values``.
        circles: ends by site.
        values: (chain, draw, k).
        w: (chain * draw,) weights that sum to one.
    """
    low, high = np.full((2, values.shape[2]), np.nan)
    first = 0
    for site, value in draws.items():
        size = int(np.prod(value.shape[2:], dtype=int))
        if site in circles:
            low[first : first + size], high[first : first + size] = circles[site]
        first += size
    circular = ~np.isnan(low)
    unit = np.where(circular, (high - low) / (2 * np.pi), 1.0)
    angle = np.where(circular, (values - low) / unit, 0.0)
    resultant = w @ np.exp(1j * angle.reshape(-1, angle.shape[2]))
    direction = np.angle(resultant) % (2 * np.pi)
    off = (angle - direction + np.pi) % (2 * np.pi) - np.pi
    mean = low + unit * direction
    return Around(
        values=np.where(circular, mean + unit * off, values),
        sines=np.where(circular, np.sin(off), 0.0),
        circular=circular,
        mean=mean,
        length=np.minimum(np.abs(resultant), 1.0),
        unit=unit,
    )


def circles_of(
    posterior: Posterior, circular: Mapping[str, float] | Sequence[str]
) -> dict[str, Ends]:
    """The circles of a posterior: what its engine was told, and what the user says.

    Raises:
        StructureError: there is no such site, or a period is not positive.
    """
    told = posterior.provenance.get("periodic", {})
    found: dict[str, Any] = {
        site: tuple(np.asarray(end, float) for end in ends)
        for site, ends in told.items()
        if site in posterior.draws
    }
    named = (circular,) if isinstance(circular, str) else circular
    periods = named if isinstance(named, Mapping) else dict.fromkeys(named, 2 * np.pi)
    for site, period in periods.items():
        if site not in posterior.draws:
            raise StructureError(
                f"summary: circular names site {site!r}, of which there are no draws; there are "
                f"{sorted(posterior.draws)}."
            )
        if not 0 < period < np.inf:
            raise StructureError(
                f"summary: the period of {site!r} must be positive, got {period!r}."
            )
        low = 0.0 if np.min(posterior.draws[site]) >= 0 else -period / 2
        found[site] = np.asarray(low), np.asarray(low + period)
    return found
