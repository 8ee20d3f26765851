"""Bounds: the most that exponent and potentials can still add to the beginning of a text."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.core.program import Program
from probinf.errors import MethodError
from probinf.fronts.tokens.context import as_function
from probinf.fronts.tokens.data import Sizes, TokenData
from probinf.fronts.tokens.reward import Reward

_NO_BOUND = (
    "most_probable: the potential may make any text likely in the end, so that no beginning of a "
    "text can be ruled out; say how large the log potential of a step can be at most "
    "(largest_potential=), or bound what follows a beginning (ahead=)."
)


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What can follow a beginning at most.

    Attributes:
        exponent: of the target.
        ahead: of the user; None for what is known without.
        largest: log potential of a step.
        cancels: whether potentials cancel, up to the last one, which is no probability above 1.
        steps: of the longest text.
        max_tokens: of the longest text.
    """

    exponent: float
    ahead: Any
    largest: float
    cancels: bool
    steps: int
    max_tokens: int

    @classmethod
    def of(cls, program: Program, sizes: Sizes, ahead: Any, largest: float | None) -> Bounds:
        data: TokenData = program.data
        potential = data.potential
        cancels = isinstance(potential, Reward) and potential.link == "diff"
        if largest is not None:
            if not np.isfinite(largest):
                raise MethodError(f"largest_potential must be finite, got {largest!r}.")
        elif potential is None or (isinstance(potential, Reward) and potential.link == "prob"):
            largest = 0.0
        elif isinstance(potential, Reward) and potential.link == "odds":
            largest = float(np.log1p(-potential.margin) - np.log(potential.margin))
        elif cancels or ahead is not None:
            largest = np.inf
        else:
            raise MethodError(_NO_BOUND)
        steps = int(np.argmax(np.asarray(data.steps.last))) + 1
        exponent = float(data.steps.exponent[-1])
        return cls(exponent, as_function(ahead), largest, cancels, steps, sizes.max_tokens)

    def of_rest(self, log_potential: float, number: int, length: int, ahead: float) -> float:
        """Of what exponent and potentials add to an open beginning, by itself."""
        found = np.inf
        if self.cancels:
            found = -log_potential
        if np.isfinite(self.largest):
            most = min(self.steps - number, self.max_tokens - length)
            found = min(found, self.largest * (max(most, 1) if self.largest > 0 else 1))
        return min(found, ahead) if self.ahead is not None else found
