"""Dynamic nested sampling: which contours deserve another batch of live points."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from probinf.errors import MethodError
from probinf.results.statistics.weighted import kish_ess
from probinf.samplers.nested.merging import Merged
from probinf.samplers.nested.volumes import Volumes

_IMPORTANT = 0.9  # share of the largest importance above which a point is worth more company
_GOALS = {"evidence": 0.0, "posterior": 1.0}


class Allocation(NamedTuple):
    """What a dynamic run is for, and when it ends; see ``Nested``."""

    goal: str | float | None
    min_ess: int | None
    max_error: float | None
    max_evaluations: int | None

    def next_goal(self, merged: Merged, evaluations: int) -> float | None:
        """The goal of the next batch, 0 evidence to 1 posterior; None when all is done.

        When one of two targets is reached, batches go to the other.
        """
        if np.isneginf(merged.log_likelihood).all():
            return None
        if self.max_evaluations is not None and evaluations >= self.max_evaluations:
            return None
        wanted = _GOALS[self.goal] if isinstance(self.goal, str) else float(self.goal or 0.0)
        if self.min_ess is None and self.max_error is None:
            return wanted
        few = self.min_ess is not None and kish_ess(merged.log_weights) < self.min_ess
        vague = self.max_error is not None and not merged.evidences()[0].error <= self.max_error
        if few and vague:
            return wanted
        return 1.0 if few else 0.0 if vague else None


def check_allocation(allocation: Allocation) -> None:
    """Raise MethodError where the options of a dynamic run are out of range or incomplete."""
    goal, *targets = allocation
    names = Allocation._fields[1:]
    given = {n: v for n, v in zip(names, targets, strict=True) if v is not None}
    if goal is None:
        if given:
            raise MethodError(
                f"{', '.join(given)} steer a dynamic run: choose its goal, goal='posterior', "
                "goal='evidence' or a number between 0 (evidence) and 1 (posterior)."
            )
        return
    if isinstance(goal, str):
        if goal not in _GOALS:
            raise MethodError(f"goal must be one of {sorted(_GOALS)} or a number, got {goal!r}.")
    elif not 0 <= goal <= 1:
        raise MethodError(f"goal must lie in [0, 1], got {goal}.")
    if not given:
        raise MethodError(f"a dynamic run must know when to end: give one of {', '.join(names)}.")
    for name, value in given.items():
        if not value > 0:
            raise MethodError(f"{name} must be positive, got {value}.")


class Stretch(NamedTuple):
    """Contours between which a batch of live points lives.

    Attributes:
        floor: log likelihood above which it is born; NaN for the whole base.
        ceiling: it ends when all its points lie above; +inf to go on to the end.
        log_x: expected log volume above the floor.
    """

    floor: float
    ceiling: float
    log_x: float


def importance(log_likelihood: np.ndarray, found: Volumes, goal: float) -> np.ndarray:
    """How much one more live point at each removal would help; sums to one.

    For the posterior the mass that a point stands for, for the evidence the evidence still
    ahead divided by the number alive; ``goal`` mixes the two.

    Args:
        log_likelihood: (n,), in the order of ``found``.
        found: volumes of all points so far.
        goal: 0 for the evidence, 1 for the posterior.

    Source: Higson, Handley, Hobson & Lasenby (2019), section 4.1.
    """
    terms = log_likelihood + found.log_shell
    mass = np.exp(terms - np.max(terms))
    mass /= mass.sum()
    ahead = np.cumsum(mass[::-1])[::-1] / found.live
    return (1 - goal) * ahead / ahead.sum() + goal * mass


def stretch(log_likelihood: np.ndarray, found: Volumes, goal: float) -> Stretch:
    """From just below the first point of nine tenths of the largest importance to the last.

    A floor lies strictly below the first such point, so a plateau is either wholly in the
    stretch or wholly outside.

    Args:
        log_likelihood: (n,), in the order of ``found``.
        found: volumes of all points so far.
        goal: 0 for the evidence, 1 for the posterior.
    """
    share = importance(log_likelihood, found, goal)
    needed = np.flatnonzero(share >= _IMPORTANT * share.max())
    first = int(np.searchsorted(log_likelihood, log_likelihood[needed[0]], side="left"))
    beyond = int(np.searchsorted(log_likelihood, log_likelihood[needed[-1]], side="right"))
    ceiling = float("inf") if beyond == log_likelihood.size else float(log_likelihood[beyond])
    if first == 0:
        return Stretch(float("nan"), ceiling, 0.0)
    before = found.log_shell + np.log(found.live)
    return Stretch(float(log_likelihood[first - 1]), ceiling, float(before[first]))
