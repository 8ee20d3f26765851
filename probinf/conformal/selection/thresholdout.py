"""Thresholdout: a holdout that can be asked again and again."""

from __future__ import annotations

import dataclasses

import numpy as np

from probinf.conformal.selection.answers import seed_words
from probinf.conformal.selection.privacy import failure_grid, transferred
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.limits import at_least
from probinf.core.program import Key
from probinf.errors import ArrayError, CalibrationError


@dataclasses.dataclass(frozen=True)
class Thresholdout:
    """The state of a reusable holdout.

    Attributes:
        seed: of the noise to come.
        threshold: difference of training and holdout means that counts as overfitting.
        scale: of the Laplace noise.
        budget: overfits that may still be revealed.
        gamma: noise on the threshold, redrawn after every reveal.
        asked: queries so far.
        spent: overfits revealed so far.
    """

    seed: tuple[int, ...]
    threshold: float
    scale: float
    budget: int
    gamma: float
    asked: int = 0
    spent: int = 0

    def query(self, train: ArrayLike, holdout: ArrayLike) -> tuple[float, bool, Thresholdout]:
        """Answer one query: its mean value over new data.

        Args:
            train: (n_train,) values of the query on the training data, in [0, 1] or [-1, 1].
            holdout: (n_holdout,) values on the holdout.

        Returns:
            The answer, whether the training data were overfitted, and the next state.

        Raises:
            CalibrationError: the budget is spent; get a fresh holdout.
        """
        if self.budget <= 0:
            raise CalibrationError("the holdout's budget is spent: collect a fresh holdout.")
        t = float(np.asarray(as_float("train", train, ndim=1), float).mean())
        h = float(np.asarray(as_float("holdout", holdout, ndim=1), float).mean())
        draw = np.random.default_rng((*self.seed, self.asked))
        eta, noise, gamma = (float(z) for z in draw.laplace(size=3))
        after = dataclasses.replace(self, asked=self.asked + 1)
        if abs(h - t) <= self.threshold + self.gamma + 4 * self.scale * eta:
            return t, False, after
        after = dataclasses.replace(
            after, budget=self.budget - 1, gamma=2 * self.scale * gamma, spent=self.spent + 1
        )
        return h + self.scale * noise, True, after

    def bound(self, n: int, queries: int, *, failure: Number = 0.05) -> float:
        """Error of all answers about new data, with probability ``1 - failure``; at most 1.

        Args:
            n: points in the holdout.
            queries: how many are asked, with values in [0, 1]; double it for [-1, 1].
            failure: probability that any answer is further off.
        """
        at_least(1, n=n, queries=queries)
        most, failures = self.budget + self.spent, failure_grid(float(failure))
        noise = 2 * np.log(3 * (most + 1) / failures) + 4 * np.log(3 * queries / failures)
        rho = (most + 1) * (2 / (n * self.scale)) ** 2 / 2
        return min(
            transferred(self.threshold + self.scale * noise, failures, rho, float(failure)), 1.0
        )


def thresholdout(
    key: int | Key, *, threshold: Number = 0.04, scale: Number = 0.01, budget: int = 100
) -> Thresholdout:
    """A holdout for exponentially many adaptive queries, of which ``budget`` may catch overfits.

    Args:
        key: random key or seed.
        threshold: as large as the error that may pass.
        scale: Laplace noise, a fraction of the threshold.
        budget: overfits that may be revealed.

    Source: Dwork, Feldman, Hardt, Pitassi, Reingold & Roth (2015), figure 1.
    """
    if not (threshold > 0 and scale > 0 and budget > 0):
        raise ArrayError("threshold, scale and budget must be positive.")
    seed = seed_words(key)
    gamma = 2 * float(scale) * float(np.random.default_rng((*seed, 2**32)).laplace())
    return Thresholdout(seed, float(threshold), float(scale), int(budget), gamma)
