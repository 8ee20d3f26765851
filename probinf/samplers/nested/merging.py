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
        spread, others = _spread(single), len(single) - 1
        if others * spread**2 > chdtri(max(others, 1), _LEVEL) * total.error**2:
            total = total._replace(error=spread)
        return total, information

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


def _spread(single: list[Estimate]) -> float:
    """Standard error of the mean of four or more runs: it also sees modes that some runs lost."""
    if len(single) < 4:
        return 0.0
    values = np.array([e.value for e in single])
    if np.isfinite(values).all():
        return float(values.std(ddof=1) / np.sqrt(len(single)))
    ratio = np.exp(values - values.max())  # some runs found nothing
    return float(ratio.std(ddof=1) / np.sqrt(len(single)) / ratio.mean())
