"""Where the next error of each series will fall: what every method for series has in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.conformal.calibration.ranks import upper_rank
from probinf.conformal.online.spci import check_lags, residual_forest, shortest
from probinf.conformal.online.track import OnlineMethod
from probinf.conformal.sets.reporting import warn_infinite
from probinf.core.keys import as_generator


class RecentErrors:
    """The shortest interval of the last errors (S, w), as in `enbpi`."""

    def __init__(self, first: np.ndarray, alpha: float) -> None:
        self.recent, self.alpha, self.steps = first, alpha, 0
        w = first.shape[1]
        if upper_rank(w, alpha) >= w:
            warn_infinite(
                np.full(len(first), np.inf),
                f"{w} errors cannot support both ends at alpha = {alpha:g}; a longer training "
                "period would.",
            )

    def ends(self) -> np.ndarray:
        """(S, 2) ends of the next interval, around zero."""
        equal = np.ones(self.recent.shape[1])
        return np.array([shortest(errors, equal, self.alpha) for errors in self.recent])

    def update(self, errors: np.ndarray) -> None:
        """Take in the next error (S,) of every series, and forget the oldest."""
        self.recent = np.column_stack([self.recent[:, 1:], errors])
        self.steps += 1

    def promise(self) -> str:
        """What holds after the steps so far."""
        return "about 1-alpha for long windows and strongly mixing errors (EnbPI)"


class ForeseenErrors(RecentErrors):
    """The shortest interval as a forest foresees it from the last errors, as in `spci`."""

    def __init__(
        self, first: np.ndarray, alpha: float, *, lags: int, refit: int, seed: Any
    ) -> None:
        super().__init__(first, alpha)
        check_lags(first.shape[1], lags)
        self.lags, self.refit, self.seeds = lags, refit, as_generator(seed)
        self._grow()

    def _grow(self) -> None:
        self.forests = [
            residual_forest(errors, self.lags, 30, 10, int(self.seeds.integers(2**31 - 1)))
            for errors in self.recent
        ]

    def ends(self) -> np.ndarray:
        last = self.recent[:, None, -self.lags :]
        return np.array(
            [
                shortest(known, forest.weights(errors)[0], self.alpha)
                for (forest, known), errors in zip(self.forests, last, strict=True)
            ]
        )

    def update(self, errors: np.ndarray) -> None:
        super().update(errors)
        if self.steps % self.refit == 0:
            self._grow()

    def promise(self) -> str:
        return "about 1-alpha where a forest foresees the errors' distribution (SPCI)"


class TrackedErrors:
    """Symmetric intervals, whose reach an online method adapts for each series on its own."""

    def __init__(self, first: np.ndarray, alpha: float, method: OnlineMethod) -> None:
        window = first.shape[1]
        self.streams = [method.stream(alpha=alpha, window=window) for _ in first]
        for errors in first.T:
            self.update(errors)

    def ends(self) -> np.ndarray:
        """(S, 2) ends of the next interval, around zero."""
        reach = np.array([stream.threshold for stream in self.streams])
        return np.stack([-reach, reach], axis=1)

    def update(self, errors: np.ndarray) -> None:
        """Take in the next error (S,) of every series."""
        for stream, error in zip(self.streams, errors, strict=True):
            stream.update(abs(error))

    def promise(self) -> str:
        """What holds after the steps so far, those of calibration included."""
        return self.streams[0].guarantee
