"""Cumulative logits of an ordered outcome, known on few rows and predicted on many."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from probinf.errors import ArrayError, ConvergenceError, TooFewLabelsError
from probinf.ppi.estimators.debiased import Fitted, Rows, Shared, column_of, debias, names_of
from probinf.ppi.inference.checks import untraced
from probinf.ppi.inference.conclude import check_identified
from probinf.ppi.inference.cumulative import Cumulative, runs_away
from probinf.ppi.inference.result import Result


def numbered(name: str, y: Any, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes (K,) in order, and the number (n,) of each row's among them.

    Numbers are ordered as such, and pandas' ordered categories as they say.

    Raises:
        ArrayError: missing values, another length, or classes without an order.
    """
    untraced(name, y)
    told = getattr(getattr(y, "dtype", None), "ordered", None)
    if told:
        codes = np.asarray(y.cat.codes if hasattr(y, "cat") else y.codes)
        if (codes < 0).any():
            raise ArrayError(f"{name} has {int((codes < 0).sum())} missing value(s); drop them.")
        seen, number = np.unique(codes, return_inverse=True)
        classes = np.asarray(y.dtype.categories)[seen]
    else:
        values = np.asarray(y)
        if values.dtype.kind not in "biuf":
            raise ArrayError(
                f"{name} holds classes of type {values.dtype}, which have no order; give numbers, "
                "or a pandas column pd.Categorical(..., categories=[...], ordered=True)."
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ArrayError(f"{name} has {int((~np.isfinite(values)).sum())} missing value(s).")
        classes, number = np.unique(values, return_inverse=True)
    if number.shape != (rows,):
        raise ArrayError(f"{name} has shape {number.shape}; {rows} rows need ({rows},).")
    return classes, number


def _newton(model: Cumulative, what: str) -> np.ndarray:
    """The maximum of the likelihood (q,)."""
    theta = model.start()
    at = model.at(theta)
    first = at.H
    check_identified(first, what)
    for _ in range(100):
        if not np.isfinite(at.H).all() or runs_away(first, at.H):
            break
        step = -np.linalg.lstsq(at.H, at.slope, rcond=None)[0]
        fall = float(at.slope @ step)
        if -fall <= 1e-22:
            return theta
        scale = 1.0
        while scale > 1e-10 and not (
            model.value(theta + scale * step) <= at.value + 1e-4 * scale * fall + 1e-14
        ):
            scale /= 2
        theta = theta + scale * step
        at = model.at(theta)
        if np.abs(at.slope).max() <= 1e-13:
            return theta
    raise ConvergenceError(
        f"{what}: no finite estimate. The likelihood rises without end: a regressor separates the "
        "classes perfectly. Remedies: more labels of the rarest class, or fewer regressors."
    )


def _classes(where: str, rows: Rows, weights: np.ndarray, classes: np.ndarray) -> np.ndarray:
    y = column_of(rows, "y", where)
    number = np.searchsorted(classes, y)
    found = classes[np.minimum(number, len(classes) - 1)] == y
    if not found.all():
        raise ArrayError(
            f"{where}: y holds {y[~found][0]:g}, which is none of the classes of the labelled rows "
            f"({', '.join(f'{c:g}' for c in classes)}). Predictions must be classes."
        )
    present = np.bincount(number, weights, minlength=len(classes)) > 0
    if not present.all():
        raise TooFewLabelsError(
            f"{where}: no row of class {classes[~present][0]:g}, so that its threshold is not "
            "known; label rows of it, or merge it with its neighbour."
        )
    return number


def _proportional(where: str, rows: Rows, weights: np.ndarray, classes: np.ndarray) -> Fitted:
    x, number = column_of(rows, "x", where, ndim=2), _classes(where, rows, weights, classes)
    model = Cumulative(x, number, weights, np.ones((len(classes) - 1, 1)))
    theta = _newton(model, f"proportional odds ({where})")
    at = model.at(theta)
    return Fitted(theta, -np.linalg.solve(at.H, at.scores.T).T)


def _per_threshold(where: str, rows: Rows, weights: np.ndarray, classes: np.ndarray) -> Fitted:
    x, number = column_of(rows, "x", where, ndim=2), _classes(where, rows, weights, classes)
    fits = []
    for k in range(len(classes) - 1):
        above = (number > k).astype(int)
        model = Cumulative(x, above, weights, np.ones((1, 1)))
        theta = _newton(model, f"the logit of y <= {classes[k]:g} ({where})")
        at = model.at(theta)
        fits.append((theta, -np.linalg.solve(at.H, at.scores.T).T))
    a = [theta[:1] for theta, _ in fits] + [theta[1:] for theta, _ in fits]
    b = [rows[:, :1] for _, rows in fits] + [rows[:, 1:] for _, rows in fits]
    return Fitted(np.concatenate(a), np.hstack(b))


def ordinal(
    labeled: dict[str, Any],
    proxies: dict[str, Any],
    unlabeled: dict[str, Any],
    *,
    proportional: bool = True,
    **options: Unpack[Shared],
) -> Result:
    """Cumulative logits ``logit P(y <= k) = a_k + x @ b_k``, few classes true and many predicted.

    Three fits, of true labelled rows and of both samples as predicted, combined by their influence
    functions as in `ptd`: bad predictions cost width and not validity. Slopes may differ by
    threshold, without a penalty: `Presto` shrinks them, for better probabilities and without
    intervals.

    Args:
        labeled: ``x`` (n, p) regressors without a column of ones, ``y`` (n,) classes as numbers,
            ordered as these.
        proxies: the predicted columns on labelled rows, classes or regressors.
        unlabeled: all columns (N, ...), predictions put in.
        proportional: one slope b at all thresholds (the likelihood of proportional odds); otherwise
            a logistic regression of ``y <= k`` for every k, jointly, so that `Result.contrast` and
            `Result.simultaneous` compare slopes.
        tune: the weight, as in `ptd`; None takes the labelled rows alone.

    The estimand is what all rows together would give. Standard errors are robust: they hold where
    odds are not proportional, too. All other arguments and errors are those of `ptd`.

    Returns:
        Parameters in the order a (K - 1,), then b (p,), or b (K - 1, p) row by row.

    Raises:
        ArrayError: predicted classes that are none of the labelled ones.
        TooFewLabelsError: a class that does not occur.
        ConvergenceError: classes that a regressor separates.

    Source: McCullagh (1980); combined as predict-then-debias (arXiv 2501.18577).
    """
    for name in ("x", "y"):
        if name not in labeled:
            raise ArrayError(f"labeled lacks the column {name!r} of an ordinal regression.")
    shape = np.shape(labeled["x"])
    classes, _ = numbered("labeled['y']", labeled["y"], shape[0])
    if len(classes) < 2:
        raise ArrayError(f"labeled['y'] holds {len(classes)} class; two or more are needed.")
    classes = classes.astype(float)
    p, m = (1 if len(shape) == 1 else shape[1]), len(classes) - 1
    own = names_of(labeled, "x", p)
    sides = [f"y<={c:g}" for c in classes[:-1]]
    slopes = own if proportional else [f"{name} | {side}" for side in sides for name in own]
    options = {**options, "names": options.get("names") or (*sides, *slopes)}
    fit = _proportional if proportional else _per_threshold

    def one(where: str, rows: Rows, weights: np.ndarray) -> Fitted:
        return fit(where, rows, weights, classes)

    return debias(
        one,
        labeled,
        proxies,
        unlabeled,
        options,
        estimand="proportional odds" if proportional else "cumulative logits",
        need=m + p + 2,
    )
