"""Influence values: what every row contributes to the error of an estimate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from probinf.ppi.inference.scheme import Scheme


class Influence(NamedTuple):
    """What each row contributes to the estimation error, in units of the estimate.

    Attributes:
        labeled: (n, d); the error is about the sum over all rows.
        unlabeled: (N, d).
    """

    labeled: np.ndarray
    unlabeled: np.ndarray


def result_influence(
    scheme: Scheme, g: np.ndarray, h: np.ndarray, u: np.ndarray, J: np.ndarray, M: np.ndarray
) -> Influence:
    """Influence values of the root with derivative ``J`` and tuning ``M``."""
    mine, theirs = scheme.contributions(g, h, u)
    d = g.shape[1]
    back = -np.linalg.inv(J).T
    return Influence(
        (mine[:, :d] + mine[:, d:] @ M.T) @ back, (theirs[:, :d] + theirs[:, d:] @ M.T) @ back
    )
