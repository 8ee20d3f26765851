"""Refinement: which rung of the ladder ``refine`` reached, and why."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from probinf.errors import StructureError
from probinf.results.posterior import Posterior

Rung = Literal["importance", "smc", "mcmc", "nested"]


@dataclasses.dataclass(frozen=True)
class Refinement:
    """What ``refine`` saw on the way.

    Attributes:
        rung: whose draws were returned: "importance" (weighted ones), "smc" (a population), "mcmc"
            (Markov chains of any engine) or "nested" (dead points).
        reason: why this rung, in one sentence.
        pareto_k: shape of the weights' upper tail.
        threshold: above which the weights are not trusted.
        ess_share: effective share of the weighted draws.
        familiar_share: share of training data at least as unusual; None where q does not say.
        distance: squared Mahalanobis distance of the data's summary; None likewise.
        tail_share: share of the draws, those from the prior included, that lie more than 5 sd from
            the corrected mean in a coordinate.
        tail_weight: their weight after the correction.
        off: of q where it is a Posterior: the scalar whose mean was furthest off, by how many
            exact sds, its sd as a share of the exact one, and the smallest and largest such share;
            None otherwise.
    """

    rung: Rung
    reason: str
    pareto_k: float
    threshold: float
    ess_share: float
    familiar_share: float | None
    distance: float | None
    tail_share: float
    tail_weight: float
    off: tuple[str, float, float, float, float] | None = None

    def __str__(self) -> str:
        lines = [f"refined by {self.rung}: {self.reason}"]
        lines.append(
            f"Pareto k {self.pareto_k:.2f} (limit {self.threshold:.2f}), effective share "
            f"{self.ess_share:.1%}, draws beyond 5 sd {self.tail_share:.2%} (weight "
            f"{self.tail_weight:.2%})"
        )
        if self.distance is not None and self.familiar_share is not None:
            lines.append(
                f"summary distance {self.distance:.3g}: {self.familiar_share:.1%} of the training "
                "data are at least as far out"
            )
        if self.off is not None:
            name, shift, ratio, narrowest, widest = self.off
            lines.append(
                f"the approximation was off by {abs(shift):.2f} sd in the mean of {name} (its sd "
                f"{ratio:.0%} of the exact one; over all scalars {narrowest:.0%} to {widest:.0%})"
            )
        return "\n".join(lines)

    __repr__ = __str__


Off = tuple[str, float, float, float, float]


def how_far_off(before: Posterior, after: Posterior) -> Off | None:
    """What the correction changed, in exact sds; None where there is nothing to compare."""
    was, now = before.summary(), after.summary()
    names = [name for name in now if name in set(was) and now[name]["sd"] > 0]
    if not names or before.log_weights.size < 2:
        return None
    sds = np.array([now[name]["sd"] for name in names])
    shift = np.array([was[name]["mean"] - now[name]["mean"] for name in names]) / sds
    share = np.array([was[name]["sd"] for name in names]) / sds
    k = int(np.nanargmax(np.abs(shift))) if np.isfinite(shift).any() else 0
    narrowest, widest = float(share.min()), float(share.max())
    return names[k], float(shift[k]), float(share[k]), narrowest, widest


def refinement(posterior: Posterior) -> Refinement:
    """The report of :func:`refine` about one of its results.

    Raises:
        StructureError: the posterior does not come from ``refine``.
    """
    if "refinement" not in posterior.provenance:
        raise StructureError("refinement: this posterior was not made by pi.refine.")
    fields = dict(posterior.provenance["refinement"])
    if fields.get("off") is not None:  # a list, where it comes from a file
        fields["off"] = tuple(fields["off"])
    return Refinement(**fields)
