"""Refinement: which rung of the ladder ``refine`` reached, and why."""

from __future__ import annotations

import dataclasses
from typing import Literal

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
        return "\n".join(lines)

    __repr__ = __str__


def refinement(posterior: Posterior) -> Refinement:
    """The report of :func:`refine` about one of its results.

    Raises:
        StructureError: the posterior does not come from ``refine``.
    """
    if "refinement" not in posterior.provenance:
        raise StructureError("refinement: this posterior was not made by pi.refine.")
    return Refinement(**posterior.provenance["refinement"])
