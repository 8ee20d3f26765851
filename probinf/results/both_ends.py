"""Mass at both ends of an interval: an angle that was cut, or two modes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from probinf.core.compiling import jitted
from probinf.core.coordinates import Layout, flatten
from probinf.core.program import Program
from probinf.results.findings import Finding
from probinf.results.statistics.weighted import weights_of

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior

_STRIPS = 10  # of the interval; the first and the last are its ends
_SHARE = 0.02  # of the mass in each of them
_HOLLOW = 0.2  # mass of the emptiest strip between, per mass of the lesser end
_LOOKS = 32  # draws at which the likelihood is compared
_FAR = 9.0  # coordinates of the ends: 1e-4 of the interval from them
_RISE = 1.0  # nats by which the likelihood at the ends exceeds that in the middle
_SAME = 0.1  # difference of the two ends, per rise ...
_MOST = 0.5  # ... and in nats
_MAX_DIM = 1000


class Cut(NamedTuple):
    """A scalar with mass at both ends of its interval.

    Attributes:
        site: whose entry it is.
        low: share of the mass in the lowest tenth.
        high: share in the highest.
    """

    site: str
    low: float
    high: float


def both_ends(posterior: Posterior) -> list[Finding]:
    """A finding where the likelihood joins both ends of an interval on which mass lies apart.

    Three things must come together, so that a flat posterior, a U-shaped prior or a bound that
    the data push against raise nothing: at least 2 % of the mass in the first and in the last
    tenth of the interval; a tenth between with less than a fifth of the lesser of these; and a
    likelihood that is the same at both ends and higher than in the middle.
    """
    cuts = _cuts(posterior)
    if not cuts:
        return []
    told = "; ".join(
        f"{cut.low:.0%} of the mass of {cut.site!r} lie in the lowest tenth of its interval and "
        f"{cut.high:.0%} in the highest"
        for cut in cuts[:3]
    )
    names = ", ".join(repr(name) for name in dict.fromkeys(cut.site for cut in cuts[:3]))
    return [
        Finding(
            "both_ends",
            f"{told}, and the likelihood is the same at both ends. If the values go round (an "
            f"angle, a phase), mean and sd mean nothing: use Nested(periodic=[{names}]), or for "
            "NUTS the angle of two normals (docs/mcmc/angles.md), and summary(circular=...). If "
            "they do not, these are two modes.",
        )
    ]


def _cuts(posterior: Posterior) -> list[Cut]:
    program, d = posterior.program, posterior.unconstrained.shape[-1]
    if program is None or not 0 < d <= _MAX_DIM or posterior.keys:
        return []
    layout = Layout.of(program, integers=True)
    circles = posterior.provenance.get("periodic", {})
    w = weights_of(posterior.log_weights.ravel())
    rows = posterior.unconstrained.reshape(-1, d)
    some = np.isfinite(rows).all(axis=1) & (w > 0)  # draws of weight zero say nothing
    rows, w = rows[some], w[some]
    found, flat = [], None
    for site, (first, shape) in layout.places().items():
        if site in circles or site in layout.integer_sites or site not in posterior.draws:
            continue
        values = posterior.draws[site].reshape(len(some), -1)[some]
        if values.shape[1] != int(np.prod(shape, dtype=int)):
            continue
        for k in range(values.shape[1]):
            share = expit(rows[:, first + k].astype(float))
            mass = np.bincount(np.minimum(share * _STRIPS, _STRIPS - 1).astype(int), w, _STRIPS)
            ends = min(mass[0], mass[-1])
            if ends < _SHARE or mass[1:-1].min() > _HOLLOW * ends:
                continue
            if not _on_interval(share, values[:, k]):
                continue
            if flat is None:
                flat, _ = flatten(program, integers=True)
            if _joined(flat, _some(rows, w), first + k):
                found.append(Cut(site, float(mass[0]), float(mass[-1])))
    return found


def _on_interval(share: np.ndarray, values: np.ndarray) -> bool:
    """Whether the values are an interval's, ``low + (high - low) * share``."""
    a, b = int(np.argmin(share)), int(np.argmax(share))
    slope = (values[b] - values[a]) / (share[b] - share[a])
    off = values - values[a] - slope * (share - share[a])
    return bool(slope > 0 and np.abs(off).max() <= 1e-4 * slope)


def _some(rows: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Evenly spaced draws by weight."""
    points = (np.arange(_LOOKS) + 0.5) / _LOOKS
    return rows[np.searchsorted(np.cumsum(w), points).clip(max=len(rows) - 1)]


def _joined(flat: Program, rows: np.ndarray, column: int) -> bool:
    """Whether the likelihood is the same at both ends, and higher than in the middle."""
    low, middle, high = np.asarray(_likelihoods(flat, jnp.asarray(rows), column), float)
    with np.errstate(invalid="ignore"):
        rise = np.maximum(low, high) - middle
        apart = np.abs(low - high)
    fine = np.isfinite(low) & np.isfinite(high)
    if fine.mean() < 0.5:
        return False
    rise, apart = float(np.median(rise[fine])), float(np.median(apart[fine]))
    return rise > _RISE and apart < min(_SAME * rise, _MOST)


@jitted
def _likelihoods(flat: Program, rows: jax.Array, column: jax.Array | int) -> jax.Array:
    def at(place: jax.Array) -> jax.Array:
        moved = rows.at[:, column].set(place)
        return jax.vmap(lambda x: flat.score(x, flat.data).log_weight)(moved)

    return jax.lax.map(at, jnp.array([-_FAR, 0.0, _FAR], rows.dtype))
