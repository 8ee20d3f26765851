"""Modes that nested sampling has seen through a few points only, told from who descends from whom.

Where a mode parts from the rest, new points in it are born from those that are there already:
its share of the volume is that of a few live points, and is never corrected. No volume that is
simulated along the run knows of that error, but the ancestry does: it is about 1 / sqrt(n) for n
lines of descent that reach back to the parting.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from probinf.samplers.nested.state import DeathRecord, LanePoints

_SAMPLE = 600  # draws of the posterior that are sorted into modes
_NEIGHBOURS = 20  # mutual; fewer tear a mode of one dimension
_SHARE = 0.05  # of the posterior that a mode must hold
_SPREAD = 0.3  # of the log odds, from which on lines are few: about eleven
_LEVELS = 60  # contours at which descent is looked at


class Parted(NamedTuple):
    """A mode that parts from the rest of the posterior at some contour.

    Attributes:
        share: of the posterior.
        lines: effective number of its lines of descent at the contour.
        spread: standard deviation of the log of its odds, from the lines.
        error: what that adds to the standard error of the log evidence.
    """

    share: float
    lines: float
    spread: float
    error: float

    def doubtful(self, error: float) -> bool:
        """Whether so few lines matter, beside the ``error`` that is known of."""
        return self.error > error and self.spread > _SPREAD


def parents(record: DeathRecord | None, live: int, points: int) -> np.ndarray:
    """For each of a run's points, the place of the one that it was moved from, or -1.

    Args:
        record: of the run, or None for one without steps.
        live: live points.
        points: removed or alive; copies that still wait are the last ones and are left out.

    Returns:
        (n,) in the order of ``LanePoints``: removed ones, then those still alive.
    """
    here = np.arange(live)  # the node in each slot
    above = [np.full(live, -1)]  # the node that each node was moved from
    dead: list[np.ndarray] = []  # the node of each removed point
    count = live
    steps: Any = () if record is None else zip(*_rows(record), strict=True)
    for slot, parent, died in steps:
        real = slot >= 0
        slot, parent = slot[real], parent[real]
        dead.append(here[slot[died[real]]])
        # where a batch has ended, the next one knows nobody
        above.append(np.where(parent < 0, -1, here[parent]))
        here[slot] = np.arange(count, count + slot.size)
        count += slot.size
    line, nodes = np.concatenate(above), np.concatenate([*dead, here])[:points]
    place = np.full(count, -1)
    place[nodes] = np.arange(nodes.size)
    mother = line[nodes]
    return np.where(mother < 0, -1, place[mother])


def _rows(record: DeathRecord) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    alive = ~np.isnan(np.asarray(record.log_likelihood))
    return np.asarray(record.slot), np.asarray(record.parent), alive


def parted(
    lanes: list[LanePoints],
    descents: list[np.ndarray],
    order: np.ndarray,
    log_weights: np.ndarray,
    rng: np.random.Generator,
) -> list[Parted]:
    """The modes of the posterior, and how well lines of descent let their shares be known.

    Modes are what hangs together in the graph of nearest neighbours of draws. The share of one
    is a mean over lines of descent from the points alive at a contour, so its variance is theirs,
    at the contour where that is largest: higher up the lines are many, further down each of them
    leads into all modes. A share that is wrong by a factor changes the evidence in so far as it
    is not the mode's share of the volume too, which is taken for its share of the lines.

    Args:
        lanes: the points of each run.
        descents: ``parents`` of each run.
        order: (n,) of all points, as their volumes have it.
        log_weights: (n,) in that order.
        rng: draws from the posterior.

    Source: the variance of a mean over clusters, Cochran (1977), equation 11.30; for particles
    and their ancestors, Lee & Whiteley (2018).
    """
    weights = np.exp(log_weights - log_weights.max())
    drawn = order[rng.choice(order.size, _SAMPLE, p=weights / weights.sum())]
    x = np.concatenate([lane.position for lane in lanes]).astype(float)
    spread = x[drawn].std(axis=0)
    x = x / np.where(spread > 0, spread, 1.0)
    mode = _modes(x, drawn)
    if (mode == mode[0]).all():
        return []
    line = _lines(lanes, descents, drawn)
    found = []
    for label in np.unique(mode):
        inside = mode == label
        share = float(inside.mean())
        variance = np.array([_variance(row, inside) for row in line])
        at = int(np.flatnonzero(variance >= 0.8 * variance.max())[-1])  # where it parted
        _, counts = np.unique(line[at][inside], return_counts=True)
        odds = float(np.sqrt(max(variance[at], 0.0))) / (share * (1 - share))
        volume = counts.size / np.unique(line[at]).size
        found.append(
            Parted(
                share,
                float(inside.sum() ** 2 / np.sum(counts**2)),
                odds,
                float(abs(share - volume)) * odds,
            )
        )
    return found


def _nearest(points: np.ndarray, to: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    found: np.ndarray = cKDTree(points).query(to)[1]
    return found


def _modes(x: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(sample,) labels: large components of the graph of mutual neighbours, and what is near."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    once, back, counts = np.unique(drawn, return_inverse=True, return_counts=True)
    k = min(_NEIGHBOURS, once.size - 1)
    if k < 1:
        return np.zeros(drawn.size, int)
    _, near = cKDTree(x[once]).query(x[once], k + 1)
    rows = np.repeat(np.arange(once.size), k + 1)
    graph = coo_array((np.ones(rows.size), (rows, near.ravel())), (once.size, once.size)).tocsr()
    mutual = graph.minimum(graph.T)  # or a wide mode's outskirts would join it to a narrow one
    labels = connected_components(mutual, directed=False)[1]
    large = np.bincount(labels, counts) >= _SHARE * drawn.size
    core = large[labels]
    if not core.any():
        return np.zeros(drawn.size, int)
    labels = labels[core][_nearest(x[once][core], x[once])]
    found: np.ndarray = labels[back]
    return found


def _lines(lanes: list[LanePoints], descents: list[np.ndarray], drawn: np.ndarray) -> np.ndarray:
    """Each draw's line of descent (level, draw); one that died before is a line of its own."""
    sizes = np.cumsum([0, *(lane.birth.size for lane in lanes)])
    births = np.concatenate([lane.birth for lane in lanes]).astype(float)
    birth = np.where(np.isnan(births), -np.inf, births)
    log_l = np.concatenate([lane.log_likelihood for lane in lanes]).astype(float)
    mother = np.concatenate(
        [np.where(m < 0, -1, m + start) for m, start in zip(descents, sizes, strict=False)]
    )
    levels = np.sort(log_l)[np.linspace(log_l.size - 1, 0, _LEVELS).astype(int)]
    now, line = drawn.copy(), []
    for level in levels:
        while (young := (birth[now] > level) & (mother[now] >= 0)).any():
            now[young] = mother[now[young]]
        line.append(np.where(log_l[drawn] > level, now, -1 - drawn))
    return np.array(line)


def _variance(line: np.ndarray, inside: np.ndarray) -> float:
    """Of the share of draws that are inside: that of independent lines, over that of draws."""
    _, which = np.unique(line, return_inverse=True)
    rest = inside - inside.mean()
    return float(np.sum(np.bincount(which, rest) ** 2) - np.sum(rest**2)) / inside.size**2
