"""Separate modes of a posterior: their shares, their evidences, and the draws of each."""

from __future__ import annotations

import dataclasses

import numpy as np

from probinf.core.estimate import Estimate
from probinf.errors import MethodError
from probinf.results.posterior import Posterior
from probinf.results.precision import in_its_precision
from probinf.results.statistics.ess import ess_mean
from probinf.results.statistics.weighted import (
    chain_blocks,
    cluster_error,
    counted,
    volume_error,
    weights_of,
)
from probinf.results.summary import MIN_DRAWS

_SAMPLE = 2000
_NEIGHBOURS = 20


@dataclasses.dataclass(frozen=True)
class SeparateMode:
    """One of several parts of a posterior between which there is next to nothing.

    Attributes:
        share: of the posterior mass, with its error.
        log_evidence: of this part alone; None where the posterior has no evidence.
        posterior: the same draws, those of the other modes with weight zero.
    """

    share: Estimate
    log_evidence: Estimate | None
    posterior: Posterior


class SeparateModes(list[SeparateMode]):
    """Modes by falling share; prints as a table."""

    def __str__(self) -> str:
        lines = [f"{'mode':>4} {'share':>16} {'log evidence':>18}"]
        for k, mode in enumerate(self):
            evidence = "" if mode.log_evidence is None else str(mode.log_evidence)
            lines.append(f"{k:4} {mode.share!s:>16} {evidence:>18}")
        return "\n".join(lines)

    __repr__ = __str__


@in_its_precision
def separate_modes(posterior: Posterior, *, smallest: float = 0.02) -> SeparateModes:
    """The modes of a posterior, with the share and the evidence of each.

    Draws that are mutually among each other's 20 nearest, in coordinates of unit scale, belong
    together; what is not connected by such pairs is separate. The shares are only as good as
    the engine's: chains that never cross between modes do not know them, which the error
    says (it is then as large as the share), while ``Nested``, ``SMC`` and ``ParallelTempering``
    do; for ``Nested`` the error counts the drift of live points between modes as well.

    Args:
        posterior: from any engine.
        smallest: a part with a smaller share is joined to its nearest neighbour; at least
            0.01, because parts are sought among 2,000 draws.

    Raises:
        MethodError: ``smallest`` is out of range, or there are too few different draws.

    Source: mutual nearest neighbours: Brito, Chávez, Quiroz & Yukich (1997); drift: the Moran
    model of population genetics.
    """
    if not 0.01 <= smallest < 1:
        raise MethodError(f"smallest must lie in [0.01, 1), got {smallest}.")
    posterior.require_positions("separate_modes")
    w = weights_of(posterior.log_weights.ravel())
    vectors = posterior.unconstrained.reshape(-1, posterior.unconstrained.shape[-1])
    vectors = counted(vectors.astype(float), w)
    scaled, chosen = _sample(vectors, w)
    label = _parts(chosen, smallest)
    member = label[_nearest(chosen, scaled)[:, 0]]
    found = [_mode(posterior, member == k, w) for k in np.unique(label)]
    return SeparateModes(sorted(found, key=lambda mode: -mode.share.value))


def _sample(vectors: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All draws at unit scale, and up to 2,000 different ones in proportion to their weights."""
    # evenly spaced points of the cumulative weights, as in systematic resampling
    points = (np.arange(_SAMPLE) + 0.5) / _SAMPLE
    index = np.searchsorted(np.cumsum(w), points).clip(max=w.size - 1)
    # the scale of one mode, not of their distance: the shortest interval with a fifth of all
    ordered = np.sort(vectors[index], axis=0)
    fifth = _SAMPLE // 5
    scale = (ordered[fifth:] - ordered[:-fifth]).min(axis=0)
    scaled = vectors / np.where(scale > 0, scale, 1.0)
    chosen = np.unique(scaled[index], axis=0)
    if len(chosen) < 5 * _NEIGHBOURS:
        raise MethodError(
            f"separate_modes: {len(chosen)} different draws carry the posterior; at least "
            f"{5 * _NEIGHBOURS} are needed to tell modes apart."
        )
    return scaled, chosen


def _nearest(points: np.ndarray, to: np.ndarray, count: int = 1) -> np.ndarray:
    """Indices of the nearest points, a row for each of ``to``."""
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(points).query(to, np.arange(count) + 1)[1])


def _parts(chosen: np.ndarray, smallest: float) -> np.ndarray:
    """A label for each chosen draw."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(chosen)
    near = _nearest(chosen, chosen, _NEIGHBOURS + 1)
    rows = np.repeat(np.arange(n), _NEIGHBOURS + 1)
    graph = coo_matrix((np.ones(rows.size), (rows, near.ravel())), (n, n)).tocsr()
    mutual = graph.minimum(graph.T)
    _, label = connected_components(mutual, directed=False)
    sizes = np.bincount(label)
    large = sizes >= smallest * n
    if not large.any():  # scattered draws, none of them a mode of its own
        return np.zeros(n, int)
    kept = large[label]
    return label[kept][_nearest(chosen[kept], chosen)[:, 0]]


def _drift(posterior: Posterior, w: np.ndarray) -> float:
    """Variance of a mode's share of the live points of nested sampling, per share (1 - share).

    A removed point is replaced from a random survivor, in whichever mode that is, so that the
    live points of separate modes drift like alleles: by 2 / n**2 with each replacement. How
    many lie between the separation and the posterior is not known; here it is all of them
    from the prior on, the most there can be.
    """
    if "live_points" not in posterior.stats:
        return 0.0
    of = "surrogate_" if "surrogate_birth_log_likelihood" in posterior.stats else ""
    log_l, birth, live = (
        np.asarray(posterior.stats[name], float).ravel()
        for name in (f"{of}log_likelihood", f"{of}birth_log_likelihood", "live_points")
    )
    replaced = log_l <= np.nanmax(birth, initial=-np.inf)
    return float(w @ np.cumsum(np.where(replaced, 2 / live**2, 0.0)))


def _mode(posterior: Posterior, member: np.ndarray, w: np.ndarray) -> SeparateMode:
    shape = posterior.log_weights.shape
    inside = member.astype(float)
    share = float(w @ inside)
    clusters = posterior.clusters
    if clusters is None:
        enough = shape[1] >= MIN_DRAWS
        ess = float(ess_mean(inside.reshape(shape))) if enough else float("nan")
        error = float(np.sqrt(share * (1 - share) / ess)) if share < 1 else 0.0
        clusters = chain_blocks(*shape)
    else:
        labels, live = clusters.ravel(), posterior.stats.get("live_points")
        if live is None:
            error = float(cluster_error(inside[:, None], w, labels)[0])
        else:
            volumes = float(volume_error(inside[:, None], w, labels, live.ravel())[0])
            error = float(np.hypot(volumes, np.sqrt(share * (1 - share) * _drift(posterior, w))))
    evidence = posterior.evidence
    if evidence is not None:
        total = float(np.hypot(evidence.error, error / share))
        evidence = Estimate(evidence.value + float(np.log(share)), total)
    part = dataclasses.replace(
        posterior,
        log_weights=np.where(member.reshape(shape), posterior.log_weights, -np.inf),
        clusters=clusters,
        evidence=evidence,
    )
    return SeparateMode(Estimate(share, error), evidence, part)
