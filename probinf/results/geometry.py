"""Where a density curves too fast: divergences by parameter, and funnels by site."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from probinf.core.coordinates import Layout
from probinf.results.summary import scalars

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior

_FEWEST = 5  # divergences from which something can be said about their place
_LEVEL = 0.01
_FUNNEL = 0.3  # correlation of a scale with the logarithm of the deviations it rules
_BOTH_SIGNS = 0.1  # share of draws on either side of 0
_ROWS = 4000
_MAX_DIM = 1000


class Place(NamedTuple):
    """Where most divergences lie.

    Attributes:
        name: of the scalar that tells most about them.
        below: whether they lie at its low end.
        bound: the value within which 90 % of them lie.
        share: of all draws that lie there too.
        inside: how many of the divergences lie there.
    """

    name: str
    below: bool
    bound: float
    share: float
    inside: int


class Funnel(NamedTuple):
    """A site whose spread follows another coordinate.

    Attributes:
        site: whose entries spread.
        scale: the site that rules their spread.
        correlation: of the scale, unconstrained, with the log deviations; mean over entries,
            or over a quarter of them where each has its own scale.
    """

    site: str
    scale: str
    correlation: float


def divergence_place(posterior: Posterior) -> Place | None:
    """The end of one coordinate at which divergences concentrate; None where they do not.

    Ranks of the divergent draws among all draws would be uniform if divergences had nothing to
    do with a coordinate; the coordinate with the largest Kolmogorov-Smirnov distance is named.
    """
    from scipy.stats import kstest, rankdata

    divergent = np.asarray(posterior.stats["divergent"], bool).ravel()
    latent = _latent_draws(posterior)
    if divergent.sum() < _FEWEST or divergent.all() or not latent:
        return None
    names, values = scalars(latent, posterior.axes)
    rows = values.reshape(-1, values.shape[2])
    best: Place | None = None
    largest = 0.0
    for j, name in enumerate(names):
        column = rows[:, j]
        if not np.isfinite(column).all() or np.ptp(column) == 0:
            continue
        level = (rankdata(column) - 0.5) / len(column)
        distance, p = kstest(level[divergent], "uniform")
        if p * len(names) > _LEVEL or distance <= largest:
            continue
        below = bool(np.median(level[divergent]) < 0.5)
        bound = float(np.quantile(column[divergent], 0.9 if below else 0.1))
        there = column <= bound if below else column >= bound
        largest = float(distance)
        best = Place(name, below, bound, float(there.mean()), int((there & divergent).sum()))
    return best if best is not None and best.share < 0.5 else None


def can_show_funnels(posterior: Posterior) -> bool:
    """Whether there is enough to look for funnels: the program, and positions in few dimensions."""
    return posterior.program is not None and 0 < posterior.unconstrained.shape[-1] <= _MAX_DIM


def funnels(posterior: Posterior) -> list[Funnel]:
    """Sites whose spread follows a scale, strongest first; needs the program and all positions.

    A site of independent entries ``theta_j`` with scale ``tau`` shows as a correlation of
    ``log tau`` with ``log |theta_j - centre|``. Scales of the same shape as the site are
    compared entry by entry, and a quarter of the entries is enough.
    """
    program = posterior.program
    if program is None or not can_show_funnels(posterior):
        return []
    places = Layout.of(program, integers=True).places()
    rows = posterior.unconstrained.reshape(-1, posterior.unconstrained.shape[-1])
    rows = rows[:: max(1, len(rows) // _ROWS)].astype(float)
    parts = {
        name: rows[:, first : first + int(np.prod(shape, dtype=int))]
        for name, (first, shape) in places.items()
    }
    real = [n for n in parts if n in posterior.draws and _is_real(posterior, places[n], n)]
    found = []
    for site in real:
        best = max(
            (
                Funnel(site, scale, _following(parts[site], value))
                for scale, value in parts.items()
                if scale != site and value.shape[1] in (1, parts[site].shape[1])
            ),
            key=lambda funnel: funnel.correlation,
            default=None,
        )
        if best is not None and best.correlation > _FUNNEL:
            found.append(best)
    return sorted(found, key=lambda funnel: -funnel.correlation)


def _latent_draws(posterior: Posterior) -> dict[str, np.ndarray]:
    """Draws of latent sites; of all sites where there is no program to tell."""
    if posterior.program is None:
        return posterior.draws
    template = posterior.program.template()
    latent = template if isinstance(template, dict) else posterior.draws
    return {name: value for name, value in posterior.draws.items() if name in latent}


def _is_real(posterior: Posterior, place: tuple[int, tuple[int, ...]], name: str) -> bool:
    """Whether the unconstrained values are the values themselves."""
    first, shape = place
    value = posterior.draws[name][:, -1].reshape(len(posterior.draws[name]), -1)
    if value.shape[1] != int(np.prod(shape, dtype=int)):
        return False
    own = posterior.unconstrained[:, -1, first : first + value.shape[1]]
    return bool(np.array_equal(value, own))


def _following(values: np.ndarray, scale: np.ndarray) -> float:
    """Mean over entries of the correlation of ``scale`` with the log deviations."""
    centres = [np.median(values, axis=0)]
    if values.shape[1] > 2:  # entries may share a location that moves
        centres.append(values.mean(axis=1, keepdims=True))
    means = [float(_correlations(values - c, scale).mean()) for c in centres]
    if scale.shape[1] > 1:
        means.append(_some_following(values, scale))
    return max(means)


def _some_following(values: np.ndarray, scale: np.ndarray) -> float:
    """The same for a scale per entry, as in a horseshoe, around 0, for the entries that show it.

    Data that leave no doubt about an entry hide its funnel, so only entries of both signs
    count, and of these the quarter that follow their scales best; what a scale follows
    linearly, as in a regression, is no funnel.
    """
    below = (values < 0).mean(axis=0)
    free = np.minimum(below, 1 - below) > _BOTH_SIGNS
    if not free.any():
        return 0.0
    values, scale = values[:, free], scale[:, free]
    x = values - values.mean(axis=0)
    slope = (x * (scale - scale.mean(axis=0))).sum(axis=0) / (x**2).sum(axis=0)
    ordered = np.sort(_correlations(values, scale - slope * x))[::-1]
    return float(ordered[: -(-len(ordered) // 4)].mean())


def _correlations(deviation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Of ``scale`` with the logarithm of the absolute deviations, by entry."""
    logs = np.log(np.abs(deviation) + 1e-30)
    a, b = logs - logs.mean(axis=0), scale - scale.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.asarray(np.nan_to_num(found))
