"""Thresholdout: a holdout that can be asked again and again."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.keys import as_key
from probinf.core.program import Key
from probinf.errors import ArrayError, CalibrationError


@dataclasses.dataclass(frozen=True)
class Thresholdout:
    """The state of a reusable holdout.

    Attributes:
        key: random key of the queries to come.
        threshold: difference of training and holdout means that counts as overfitting.
        scale: of the Laplace noise.
        budget: overfits that may still be revealed.
        gamma: noise on the threshold, redrawn after every reveal.
    """

    key: Key
    threshold: float
    scale: float
    budget: int
    gamma: float

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
        key, *parts = jax.random.split(self.key, 4)
        eta, noise, gamma = (float(jax.random.laplace(k)) for k in parts)
        if abs(h - t) <= self.threshold + self.gamma + 4 * self.scale * eta:
            return t, False, dataclasses.replace(self, key=key)
        after = dataclasses.replace(
            self, key=key, budget=self.budget - 1, gamma=2 * self.scale * gamma
        )
        return h + self.scale * noise, True, after


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
    first, rest = jax.random.split(as_key(key))
    gamma = 2 * float(scale) * float(jax.random.laplace(first, dtype=jnp.float32))
    return Thresholdout(rest, float(threshold), float(scale), int(budget), gamma)
