"""Leverage: few labelled rows pull the fit towards themselves, which hides their errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from probinf.ppi.inference.moments import Parts, Tune
from probinf.ppi.inference.scheme import Scheme
from probinf.ppi.inference.sums import sum_by

_LARGEST = 0.9  # leverage beyond which a row would be multiplied without bound
_TUNING = 0.75  # the same in the tuning
MANY = 4_000_000  # numbers in the rows' derivatives, beyond which no row has leverage to speak of


class Labeled(NamedTuple):
    """Scores of labelled rows (n, d) and (n, q), and the weighted derivative (n, d, d) of each."""

    g: np.ndarray
    h: np.ndarray
    pull: np.ndarray


def even(rows: Labeled, scheme: Scheme) -> bool:
    """Whether no row has more leverage than another (means): the plain divisor is right, then."""
    each = rows.pull / scheme.alpha[:, None, None]
    return bool(np.all(np.ptp(each, axis=0) <= 1e-12 * np.abs(each).max()))


class Gain(NamedTuple):
    """What covariances (d, d) gain by leverage.

    Attributes:
        whole: that of the estimate.
        alone: that of the labelled rows alone.
        decisive: a single unit determines a parameter, so that its error cannot be seen.
    """

    whole: np.ndarray
    alone: np.ndarray
    decisive: bool


def added_variance(
    rows: Labeled, scheme: Scheme, p: Parts, M: np.ndarray, J: np.ndarray, tune: Tune
) -> Gain:
    """What the covariance (d, d) gains when every unit counts as if it had been left out.

    Units are rows, or clusters. Leaving out unit u moves the estimate by its influence times
    ``inverse(I - K_u) / (1 - t_u)``: K_u is its share of the labelled derivative and t_u its
    share of the variance of the controls, by which the weight of the predictions was tuned. With
    least squares and weight 0 that is HC3.

    Source: MacKinnon & White (1985) for HC3, Bell & McCaffrey (2002) for clusters.
    """
    d = rows.g.shape[1]
    parts, K = scheme.labeled(rows.g, rows.h, p), np.linalg.solve(p.jac_g, rows.pull)
    if scheme.clusters is not None:
        ids = scheme.clusters[0]
        parts = sum_by(parts, ids)
        K = sum_by(K.reshape(len(K), -1), ids).reshape(-1, d, d)
    alone = -np.linalg.solve(p.jac_g, parts[:, :d].T).T
    whole = -np.linalg.solve(J, (parts[:, :d] + parts[:, d:] @ M.T).T).T
    K, largest = _capped(K)
    left = np.eye(d) - K
    blocks = parts[:, d:].reshape(len(parts), -1, d)  # a predictor each, left out like the scores
    scaled = np.linalg.solve(left[:, None], np.linalg.solve(p.jac_g, blocks[..., None]))
    controls = (p.jac_g @ scaled)[..., 0].reshape(len(parts), -1)
    spread = p.cc + p.cu + controls.T @ controls - parts[:, d:].T @ parts[:, d:]
    lever = np.minimum(_tuning(controls, spread, J, tune), _TUNING)
    used = parts[:, d:] @ M.T
    if (used**2).sum() <= 1e-20 * (parts[:, :d] ** 2).sum():
        lever = np.zeros_like(lever)  # the controls are rounding errors

    def gain(influence: np.ndarray, divisor: np.ndarray | float) -> np.ndarray:
        moved = np.linalg.solve(left, influence[..., None])[..., 0] / divisor
        return moved.T @ moved - influence.T @ influence

    return Gain(gain(whole, 1 - lever), gain(alone, 1.0), largest > 1 - 1e-9)


def _capped(K: np.ndarray) -> tuple[np.ndarray, float]:
    """Shares (units, d, d) with eigenvalues of at most `_LARGEST`, and the largest there was."""
    largest = 0.0
    high = np.flatnonzero(np.trace(K, axis1=1, axis2=2) > _LARGEST)
    if len(high):
        radius = np.abs(np.linalg.eigvals(K[high])).max(axis=1)
        K, largest = K.copy(), float(radius.max())
        K[high] *= np.minimum(1.0, _LARGEST / np.maximum(radius, 1e-300))[:, None, None]
    return K, largest


def _tuning(controls: np.ndarray, spread: np.ndarray, J: np.ndarray, tune: Tune) -> np.ndarray:
    """Share (units, d) or (units, 1) of every unit in the variance that the tuning divides by."""
    if tune is None or isinstance(tune, float):
        return np.zeros((len(controls), 1))
    if tune == "matrix":
        sd = np.sqrt(np.diag(spread))
        scaled = np.divide(controls, sd, out=np.zeros_like(controls), where=sd > 0)
        safe = np.where(sd > 0, sd, 1.0)
        inverse = np.linalg.pinv(spread / np.outer(safe, safe), rcond=1e-9, hermitian=True)
        return np.einsum("ui,ij,uj->u", scaled, inverse, scaled)[:, None]
    back = np.linalg.inv(J)
    squares, total = (controls @ back.T) ** 2, np.diag(back @ spread @ back.T)
    if tune == "trace":
        squares, total = squares.sum(axis=1, keepdims=True), total.sum(keepdims=True)
    elif not isinstance(tune, str):
        squares, total = squares[:, [int(tune)]], total[[int(tune)]]
    return np.divide(squares, total, out=np.zeros_like(squares), where=total > 0)


LabeledRows = Callable[[], Labeled]
