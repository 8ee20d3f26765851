"""Conditional calibration: coverage over every function of a class (Gibbs, Cherian, Candès)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from probinf.conformal.calibration.columns import columns_of
from probinf.conformal.calibration.randomness import row_uniforms, uniforms
from probinf.conformal.sets.reporting import warn_infinite
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.frames import same_index
from probinf.core.inputs.levels import fraction
from probinf.core.keys import as_key
from probinf.core.program import Key
from probinf.core.rounding import outward
from probinf.errors import ArrayError, ConvergenceError

_PIVOTS = 2000
_COLLINEAR = 1e-11  # smallest singular value, beside the largest, of columns in their own units
_WAYS = (("highs", True), ("highs-ds", False), ("highs-ipm", True))  # with and without presolve
_SOLVED, _INFEASIBLE = 0, 2  # status of SciPy's linprog
_SKEWED = 1e3  # condition above which the columns are made orthogonal
_ROUNDED = 16  # rounding of a threshold that goes through a score, in units of the last place


def conditional_thresholds(
    scores: ArrayLike,
    features: ArrayLike,
    features_test: ArrayLike,
    *,
    alpha: Number = 0.1,
    key: int | Key | None = None,
) -> np.ndarray:
    """Thresholds whose coverage holds conditionally, over every function in the features' span.

    With groups' indicators as features this is coverage within every group, overlapping ones
    too; with polynomials, coverage under every such reweighting of the covariates. The threshold
    of a test point is the largest score that a quantile regression on n + 1 points would not
    place above its fit. One regression is solved; each test point then follows the path of
    that solution as its own row is added with growing weight, a few O(n d) pivots.

    Args:
        scores: (n,) calibration scores; any score's ``interval`` turns thresholds into intervals.
        features: (n, d) phi(x_i); include a constant.
        features_test: (m, d).
        alpha: miscoverage.
        key: random key or seed for the randomised version, whose coverage is exact, with tied
            scores too: E[f(X)(1{cover} - (1 - alpha))] = 0 for every f in the span. Without, it
            is >= for nonnegative f. The random number of a test point is made of the key and its
            features.

    Returns:
        (m,) thresholds; +inf where calibration cannot exclude any score, and where all features
        are zero, since nothing is promised there.

    Raises:
        ArrayError: NaN, shapes that differ, features that are collinear.
        ConvergenceError: the quantile regression was not solved.

    Source: Gibbs, Cherian & Candès (2023), sections 2.2 and 2.3.
    """
    same_index(scores=scores, features=features)
    s = np.asarray(as_float("scores", scores, ndim=1), float)
    phi = np.asarray(as_float("features", features, ndim=2, size=s.size), float)
    test = np.asarray(as_float("features_test", features_test, ndim=2), float)
    level = fraction("alpha", alpha)
    if test.shape[1] != phi.shape[1]:
        raise ArrayError(f"features_test must have {phi.shape[1]} columns, got {test.shape[1]}.")
    if not np.isfinite(s).all():
        raise ArrayError("scores must be finite for conditional calibration.")
    nowhere = np.asarray(
        ~test.any(axis=1)
    )  # every function of the class is zero there: nothing is promised
    phi, test = _same_span(phi, test)
    target: Any = np.full(len(test), 1 - level)
    apart, own = np.zeros(s.size), np.zeros(len(test))
    if key is not None:
        target = np.asarray(row_uniforms(key, test)) - level
        step = _tie_step(s)
        apart = step * np.asarray(uniforms(jax.random.fold_in(as_key(key), 1), s.size))
        own = step * np.asarray(row_uniforms(key, test, salt=2))
    # a quantile regression moves with its outcomes: only what least squares leaves is searched
    level_fit = np.linalg.lstsq(phi, s, rcond=None)[0]
    rest = s - phi @ level_fit + apart
    unit = float(np.median(abs(rest))) or float(abs(rest).max()) or 1.0
    path = _Path(rest / unit, phi, level)
    found = np.array([path.threshold(x, float(t)) for x, t in zip(test, target, strict=True)])
    terms = abs(test) @ abs(level_fit) + unit
    found = outward(test @ level_fit + unit * found - own, _ROUNDED * terms, 1)
    found[nowhere] = np.inf
    warn_infinite(found, _why(nowhere))
    return found


def _why(nowhere: np.ndarray) -> str:
    if nowhere.any():
        return f"{int(nowhere.sum())} rows of features_test are zero, where nothing is promised."
    return "the features' span reaches beyond the calibration points there."


def _same_span(phi: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features of the same span in which years and incomes are as far apart as shares.

    Raises:
        ArrayError: the columns are collinear.
    """
    constant = (np.ptp(phi, axis=0) == 0) & (phi[0] != 0) if len(phi) else np.zeros(0, bool)
    units = columns_of(phi, centred=bool(constant.any()))
    centre = np.where(constant, 0.0, units.centre)
    scale = np.where(constant, abs(phi[:1]).max(axis=0, initial=0.0), units.scale)
    phi, test = ((a - centre) / scale for a in (phi, test))
    sizes = np.linalg.svd(phi, compute_uv=False)
    rank = int((sizes > _COLLINEAR * sizes.max(initial=0.0)).sum())
    if rank < phi.shape[1]:
        raise ArrayError(
            f"features must have full column rank; got rank {rank} of {phi.shape[1]} columns. "
            "Drop redundant ones (a constant beside all indicators, say)."
        )
    if sizes[0] > _SKEWED * sizes[-1]:
        root = np.linalg.qr(phi, mode="r") / np.sqrt(len(phi))
        phi, test = (np.linalg.solve(root.T, a.T).T for a in (phi, test))
    return phi, test


def _tie_step(s: np.ndarray) -> float:
    """Noise that breaks ties between scores and leaves other scores in order; 0 without ties."""
    ordered = np.sort(s)
    scale = float(ordered[-1] - ordered[0]) or float(abs(ordered).max(initial=0.0)) or 1.0
    gaps = np.diff(ordered)
    wide = gaps[gaps > 1e-9 * scale]
    if wide.size == gaps.size:
        return 0.0
    return float(np.clip(wide.min(initial=np.inf) / 4, 1e-8 * scale, 1e-6 * scale))


class _Path:
    """Quantile regression on n points, and how its vertex moves when one more row pulls on it.

    Minimise ``sum_i pinball(S_i - phi_i b) - t x b`` as t goes from 0 to its target. The dual
    variables lie in [-alpha, 1 - alpha]; d points are fitted exactly and carry the free ones.
    """

    def __init__(self, s: np.ndarray, phi: np.ndarray, alpha: float) -> None:
        self.s, self.phi, self.alpha = s, phi, alpha
        self.basis, self.eta = self._start()
        self.beta = np.linalg.solve(phi[self.basis], s[self.basis])

    def _solve(self, x: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Dual variables and coefficients by linear programming; None when there are none.

        Releases of HiGHS give up on some of these problems, whose scores differ by less than its
        tolerances, in their first way and solve them in another.
        """
        from scipy.optimize import linprog

        bounds = (-self.alpha, 1 - self.alpha)
        for way, presolve in _WAYS:
            out = linprog(
                -self.s,
                A_eq=self.phi.T,
                b_eq=-t * x,
                bounds=bounds,
                method=way,
                options={"presolve": presolve},
            )
            if out.status == _SOLVED:
                return out.x, -out.eqlin.marginals
            if out.status == _INFEASIBLE:
                return None
        raise ConvergenceError(
            "conditional calibration: SciPy's linear programming found no quantile regression of "
            f"the {len(self.s)} scores on {len(x)} features. Use fewer features, or standardise "
            "the scores."
        )

    def _start(self) -> tuple[np.ndarray, np.ndarray]:
        d = self.phi.shape[1]
        solved = self._solve(np.zeros(d), 0.0)
        assert solved is not None  # zero is feasible
        eta, beta = solved
        residual = abs(self.s - self.phi @ beta)
        inner = np.minimum(eta + self.alpha, 1 - self.alpha - eta)
        # free duals first, then points on the fit: a full set of independent rows
        order = np.lexsort((residual, -np.round(inner, 9)))
        basis = _independent(self.phi, order, d)
        return basis, eta

    def threshold(self, x: np.ndarray, t: float) -> float:
        """x b at the end of the path."""
        basis, beta = self.basis.copy(), self.beta
        sign = np.where(self.s - self.phi @ beta > 0, 1 - self.alpha, -self.alpha)
        # points on the fit outside the basis keep the bound that the solver gave them
        on_fit = np.isclose(self.s, self.phi @ beta, rtol=0, atol=1e-10)
        eta = np.where(on_fit, self.eta, sign)
        direction = float(np.sign(t))
        now = 0.0
        for _ in range(_PIVOTS):
            # free duals move at this rate per unit of t
            rate = np.linalg.solve(self.phi[basis].T, -x) * direction
            room = np.where(rate > 0, 1 - self.alpha - eta[basis], -self.alpha - eta[basis])
            with np.errstate(divide="ignore", invalid="ignore"):
                steps = np.where(abs(rate) > 1e-13, np.maximum(room / rate, 0.0), np.inf)
            b = int(np.argmin(steps))
            if now + float(steps[b]) >= abs(t) - 1e-12:
                return float(x @ beta)
            now += float(steps[b])
            eta[basis] += rate * steps[b]
            up = rate[b] > 0
            eta[basis[b]] = 1 - self.alpha if up else -self.alpha
            # point b leaves the fit, above it when its dual hit the upper bound
            e = np.zeros(len(basis))
            e[b] = -1.0 if up else 1.0
            delta = np.linalg.solve(self.phi[basis], e)
            entering = self._next(beta, delta, basis, eta)
            if entering is None:
                return np.inf if direction > 0 else -np.inf
            j, length = entering
            beta = beta + length * delta
            basis[b] = j
        solved = self._solve(x, t)  # a cycle of degenerate pivots: start afresh
        if solved is None:
            return np.inf if direction > 0 else -np.inf
        return float(x @ solved[1])

    def _next(
        self, beta: np.ndarray, delta: np.ndarray, basis: np.ndarray, eta: np.ndarray
    ) -> tuple[int, float] | None:
        """The first point that the moving fit meets from the side on which it lies."""
        residual = self.s - self.phi @ beta
        speed = self.phi @ delta
        above = eta > 0.5 - self.alpha  # by its dual, so that points on the fit have a side
        towards = np.where(above, speed > 1e-12, speed < -1e-12)
        towards[basis] = False
        candidates = np.flatnonzero(towards)
        if not candidates.size:
            return None
        length = np.maximum(residual[candidates] / speed[candidates], 0.0)
        j = int(np.argmin(length))
        return int(candidates[j]), float(length[j])


def _independent(rows: np.ndarray, order: Iterable[Any], d: int) -> np.ndarray:
    """The first d rows in this order that are linearly independent."""
    chosen: list[int] = []
    span: Any = np.zeros((0, rows.shape[1]))
    for i in order:
        row = rows[i] - span.T @ (span @ rows[i])
        row = row - span.T @ (span @ row)
        length = np.linalg.norm(row)
        if length > 1e-9 * max(float(np.linalg.norm(rows[i])), 1e-300):
            chosen.append(int(i))
            span = np.vstack([span, row / length])
        if len(chosen) == d:
            break
    return np.array(chosen)
