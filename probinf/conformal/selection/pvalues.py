"""Conformal p-values of "the outcome is at most its threshold", and BH on them."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from probinf.conformal.calibration.randomness import row_uniforms
from probinf.conformal.selection.prune import prune_candidates
from probinf.core.inputs.arrays import ArrayLike, Number, as_float, as_weights
from probinf.core.inputs.frames import same_index
from probinf.core.inputs.levels import fraction
from probinf.core.keys import as_key
from probinf.core.program import Key
from probinf.errors import ArrayError


@dataclasses.dataclass(frozen=True)
class Selection:
    """Selected test points.

    Attributes:
        selected: indices, ascending.
        p_values: (m,).
        e_values: (m,), or None for methods without.
        guarantee: what is promised, and under which assumption.
        model: (m,) the model used for each test point, where models were chosen.
    """

    selected: np.ndarray
    p_values: np.ndarray
    guarantee: str
    e_values: np.ndarray | None = None
    model: np.ndarray | None = None

    def summary(self) -> str:
        """How many were selected, and what is promised."""
        return (
            f"{self.selected.size} of {self.p_values.size} test points selected: {self.guarantee}"
        )

    __str__ = summary


def clipped_scores(
    predictions: ArrayLike, y: ArrayLike | None = None, c: ArrayLike | None = None
) -> np.ndarray:
    """Scores ``M 1{y > c} - mu(x)`` for selection: only points under their threshold matter.

    Args:
        predictions: (..., n) mu(x), one row per model.
        y: (n,) outcomes; None for test points, which are imputed with their threshold.
        c: scalar or (n,) thresholds of the labelled points, the very ones that test points are to
            exceed; needed with y.

    Raises:
        ArrayError: NaN, y without c, shapes that differ.

    Source: Jin & Candès (2023), section 2.3.
    """
    mu = np.asarray(as_float("predictions", predictions), float)
    if y is None:
        return -mu
    if c is None:
        raise ArrayError(
            "c is missing: which outcomes count as large? Pass the threshold that test points are "
            "to exceed, for example c=0.0; with another one here the FDR is not controlled."
        )
    same_index(y=y, c=c)
    outcome = np.asarray(as_float("y", y, ndim=1, size=mu.shape[-1] if mu.ndim else None), float)
    limit = np.asarray(as_float("c", c, ndim=(0, 1)), float)
    if limit.ndim and limit.shape != outcome.shape:
        raise ArrayError(f"c must be one number or {outcome.size}, got shape {limit.shape}.")
    large = outcome > limit
    return np.where(large, np.inf, -mu)


def selection_pvalues(
    v_cal: ArrayLike,
    v_test: ArrayLike,
    *,
    weights_cal: ArrayLike | None = None,
    weights_test: ArrayLike | None = None,
    key: int | Key | None = None,
) -> np.ndarray:
    """p-values: how many calibration scores lie at or below each test point's imputed score.

    Args:
        v_cal: (n,) scores V(x_i, y_i), nondecreasing in y.
        v_test: (m,) scores V(x_j, c_j) at the thresholds.
        weights_cal, weights_test: (n,) and (m,) likelihood ratios under covariate shift.
        key: random key or seed for exact p-values with ties.

    Source: Jin & Candès (2023a), equation 4; Jin & Candès (2023b), equation 6.
    """
    v = np.asarray(as_float("v_cal", v_cal, ndim=1), float)
    t = np.asarray(as_float("v_test", v_test, ndim=1), float)
    if (weights_cal is None) != (weights_test is None):
        raise ArrayError("weights_cal and weights_test go together: give both or neither.")
    w = np.ones(v.size) if weights_cal is None else as_weights("weights_cal", weights_cal)
    own = np.ones(t.size) if weights_test is None else as_weights("weights_test", weights_test)
    if w.shape != v.shape or own.shape != t.shape:
        raise ArrayError("weights must have the shapes of their scores.")
    if w.sum() <= 0 and (own <= 0).any():
        raise ArrayError("weights_cal are all zero, and so is a test point's: no p-value exists.")
    order = np.argsort(v, kind="stable")
    mass = np.concatenate([[0.0], np.cumsum(np.asarray(w, float)[order])])
    below = mass[np.searchsorted(v[order], t, "left")]
    up_to = mass[np.searchsorted(v[order], t, "right")]
    u = 1.0 if key is None else row_uniforms(key, t)
    return np.asarray((below + u * (own + up_to - below)) / (mass[-1] + own))


def benjamini_hochberg(p_values: ArrayLike, *, q: Number) -> np.ndarray:
    """Indices selected by the Benjamini-Hochberg procedure at level q."""
    p = np.asarray(as_float("p_values", p_values, ndim=1), float)
    level = fraction("q", q)
    ordered = np.sort(p)
    passed = np.flatnonzero(ordered <= level * np.arange(1, p.size + 1) / p.size + 1e-12)
    if not passed.size:
        return np.array([], int)
    return np.flatnonzero(p <= ordered[passed[-1]])


def cfbh(
    v_cal: ArrayLike, v_test: ArrayLike, *, q: Number, key: int | Key | None = None
) -> Selection:
    """Select test points with outcomes above their thresholds, false discovery rate at most q.

    Args:
        v_cal: (n,) scores of labelled points, :func:`clipped_scores` for instance.
        v_test: (m,) scores of test points at their thresholds.
        q: false discovery rate.
        key: random key or seed to break ties exactly.

    Raises:
        ArrayError: NaN.
        LevelError: q outside (0, 1).

    Source: Jin & Candès (2023), algorithm 1 and theorem 2.6.
    """
    p = selection_pvalues(v_cal, v_test, key=key)
    promise = f"FDR <= {q:g}, labelled and test points exchangeable, score fixed beforehand"
    return Selection(benjamini_hochberg(p, q=q), p, promise)


def weighted_selection(
    key: int | Key,
    v_cal: ArrayLike,
    v_test: ArrayLike,
    weights_cal: ArrayLike,
    weights_test: ArrayLike,
    *,
    q: Number,
    prune: str = "hete",
) -> Selection:
    """Selection under covariate shift, where plain BH is not valid: auxiliary p-values, pruning.

    The p-values are exact, with ties (clipped scores of a model that says little) broken at random.

    Args:
        key: random key or seed of the pruning and of the ties.
        v_cal, v_test: (n,), (m,) scores as in :func:`cfbh`.
        weights_cal, weights_test: likelihood ratios of test to labelled law.
        q: false discovery rate.
        prune: ``"hete"``, ``"homo"`` or ``"dtm"``.

    Source: Jin & Candès (2023b), algorithm 1.
    """
    level = fraction("q", q)
    v, t = (np.asarray(a, float) for a in (v_cal, v_test))
    ties = jax.random.fold_in(as_key(key), 1)
    p = selection_pvalues(v, t, weights_cal=weights_cal, weights_test=weights_test, key=ties)
    w, own = np.asarray(weights_cal, float), np.asarray(weights_test, float)
    u = np.asarray(row_uniforms(ties, t))  # as in p: auxiliary sizes are then close to BH's own
    order = np.argsort(v, kind="stable")
    mass = np.concatenate([[0.0], np.cumsum(w[order])])
    below, up_to = (mass[np.searchsorted(v[order], t, side)] for side in ("left", "right"))
    known = below + u * (up_to - below)
    sizes = np.empty(t.size, int)
    for j in range(t.size):
        share = np.where(t[j] < t, 1.0, np.where(t[j] == t, u, 0.0))
        auxiliary = (known + own[j] * share) / (mass[-1] + own[j])
        auxiliary[j] = 0.0
        sizes[j] = benjamini_hochberg(auxiliary, q=level).size
    kept, e = prune_candidates(key, p, sizes, q=level, beta=1.0, prune=prune)
    promise = f"FDR <= {q:g} under covariate shift, if the weights are the true likelihood ratios"
    return Selection(kept, p, promise, e)
