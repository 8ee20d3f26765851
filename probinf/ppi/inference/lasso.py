"""The exact minimum of a quadratic with absolute values, by the signs of its coordinates."""

from __future__ import annotations

import numpy as np

from probinf.errors import ConvergenceError


def kkt_gap(slope: np.ndarray, theta: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """(q,) how far each coordinate is from optimal, given the smooth part's slope (q,)."""
    sign = np.sign(theta)
    return np.where(
        (sign != 0) | (penalty == 0),
        np.abs(slope + penalty * sign),
        np.maximum(np.abs(slope) - penalty, 0.0),
    )


def signed_minimum(
    H: np.ndarray, c: np.ndarray, penalty: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Minimise ``x @ H @ x / 2 + c @ x + penalty @ |x|``.

    Args:
        H: (q, q) positive definite on the coordinates that are not zero.
        penalty: (q,), not negative.
        start: (q,), close to the minimum at best.

    Raises:
        ConvergenceError: no minimum in a thousand changes of sign.

    Source: feature-sign search, Lee, Battle, Raina & Ng (2007), algorithm 1.
    """
    x = start.copy()
    scale = np.sqrt(np.maximum(np.diag(H), 1e-300))
    tolerance = 1e-11 * max(1.0, float(np.abs(c / scale).max(initial=0.0)))
    free, sign = penalty == 0, np.sign(start)

    def objective(at: np.ndarray) -> float:
        return float(at @ (H @ at) / 2 + c @ at + penalty @ np.abs(at))

    for _ in range(1000):
        active = free | (sign != 0)
        if active.any():
            part = np.ix_(active, active)
            aim = np.zeros_like(x)
            aim[active] = np.linalg.solve(H[part], -(c + penalty * sign)[active])
            # the best of the aim and of the points where a coordinate passes zero on the way
            with np.errstate(divide="ignore", invalid="ignore"):
                passes = np.where(active & ~free, x / (x - aim), np.nan)
            points = [aim]
            for t in np.unique(passes[(passes > 0) & (passes < 1)]):
                points.append(np.where(passes == t, 0.0, x + t * (aim - x)))
            values = [objective(point) for point in points]
            best = int(np.argmin(values))
            x = points[best]
            agreed = best == 0 and bool(np.all(free | (x * sign >= 0)))
            sign = np.where(free, 0.0, np.sign(x))
            if not agreed:
                continue
        beyond = np.where(free | (x != 0), 0.0, np.abs(H @ x + c) - penalty) / scale
        worst = int(np.argmax(beyond))
        if beyond[worst] <= tolerance:
            return x
        sign[worst] = -np.sign((H @ x + c)[worst])
    raise ConvergenceError("a penalised quadratic found no minimum; its matrix is singular.")
