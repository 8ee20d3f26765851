"""History: what a training remembers on the host."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from probinf.errors import TrainingError


class History(NamedTuple):
    """Losses by chunk, validations, and the best network so far.

    Attributes:
        losses: one array per chunk.
        validations: pairs (step, loss).
        best: the network of the smallest validation loss; None without one.
    """

    losses: list[np.ndarray]
    validations: list[tuple[int, float]]
    best: Any

    def with_validation(self, step: int, value: float, model: Any) -> History:
        """One more validation; its network is kept when no earlier one was better.

        Raises:
            TrainingError: the validation loss is not finite.
        """
        if not np.isfinite(value):
            raise TrainingError(
                f"train: the validation loss is {value} after {step} steps. Check the validation "
                "data for NaN, or lower learning_rate."
            )
        earlier = min((v for _, v in self.validations), default=np.inf)
        best = model if value < earlier else self.best
        return History(self.losses, [*self.validations, (step, value)], best)

    def out_of_patience(self, patience: int | None) -> bool:
        """Whether so many validations in a row brought nothing."""
        if patience is None or not self.validations:
            return False
        values = [value for _, value in self.validations]
        return len(values) - 1 - int(np.argmin(values)) >= patience
