"""Runs of nested sampling put together: one set of points, its evidence and its weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import chdtri

from probinf.core.estimate import Estimate
from probinf.samplers.nested.state import LanePoints
from probinf.samplers.nested.volumes import Points, Volumes, evidence, volumes

_LEVEL = 0.1


class Merged(NamedTuple):
    """All points of all runs and batches, and what follows from them.

    Attributes:
        lanes: the points of each run.
        volumes: of all of them, by counting births.
        log_likelihood: (n,), in the order of ``volumes``.
        rng: breaks ties and simulates volumes.
    """

    lanes: list[LanePoints]
    volumes: Volumes
    log_likelihood: np.ndarray
    rng: np.random.Generator

    @property
    def log_weights(self) -> np.ndarray:
        """(n,), largest zero."""
        log_w = self.log_likelihood + self.volumes.log_shell
        return log_w - log_w.max()

    @property
    def log_z(self) -> float:
        """The log evidence, without its error."""
        return float(np.logaddexp.reduce(self.log_likelihood + self.volumes.log_shell))

    def evidence(self, single: list[Estimate]) -> tuple[Estimate, float]:
        """The log evidence, and the information; ``single`` are the evidences of the runs.

        Where the runs spread more than volumes explain, at a level of a tenth, their spread is
        the error. The larger of the two would be too large on average: four runs hardly know
        their spread.
        """
        total, information = evidence(self.log_likelihood, self.volumes, self.rng)
        born = np.array([np.isnan(lane.birth).sum() for lane in self.lanes], float)
        spread, others = _spread(single, born), len(single) - 1
        if others * spread**2 > chdtri(max(others, 1), _LEVEL) * total.error**2:
            total = total._replace(error=spread)
        return total, information

    def evidences(self) -> tuple[Estimate, float, list[Estimate]]:
        """The log evidence, the information, and the evidence of each run: of one, the same."""
        single = self.single() if len(self.lanes) > 1 else []
        total, information = self.evidence(single)
        return total, information, single or [total]

    def single(self) -> list[Estimate]:
        """The evidence of each run alone."""
        found = []
        for lane in self.lanes:
            own = volumes(lane.points, self.rng)
            found.append(evidence(lane.points.log_likelihood[own.order], own, self.rng)[0])
        return found

    def ordered(self, name: str) -> np.ndarray:
        """A field of ``LanePoints``, in the order of ``volumes``."""
        return np.concatenate([getattr(lane, name) for lane in self.lanes])[self.volumes.order]


def merge(lanes: list[LanePoints], rng: np.random.Generator) -> Merged:
    """Runs merge by concatenation: how many were alive is counted from births."""
    each = [lane.points for lane in lanes]
    every = Points(*(np.concatenate(parts) for parts in zip(*each, strict=True)))
    found = volumes(every, rng)
    return Merged(lanes, found, every.log_likelihood[found.order], rng)


def _spread(single: list[Estimate], live: np.ndarray) -> float:
    """Standard error of the mean of four or more runs: it also sees modes that some runs lost.

    Runs count by their live points, to which the variance of each is inverse, as they do in what
    is merged from them.
    """
    if len(single) < 4:
        return 0.0
    weight = live if live.size == len(single) and (live > 0).all() else np.ones(len(single))
    weight = weight / weight.sum()
    values = np.array([e.value for e in single])

    def error(found: np.ndarray) -> tuple[float, float]:
        mean = float(weight @ found)
        return mean, float(np.sqrt(weight @ (found - mean) ** 2 / (len(single) - 1)))

    if np.isfinite(values).all():
        return error(values)[1]
    mean, spread = error(np.exp(values - values.max()))  # some runs found nothing
    return spread / mean
