"""Label shift: class frequencies of a new population from a confusion matrix of the old one."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import same_index, same_rows
from probinf.core.inputs.levels import as_level
from probinf.errors import ConvergenceError, TooFewLabelsError
from probinf.ppi.inference.checks import class_numbers, numeric
from probinf.ppi.inference.influence import Influence
from probinf.ppi.inference.result import Result


def label_shift(
    y: Any,
    f: Any,
    f_unlabeled: Any,
    *,
    classes: int | None = None,
    alpha: Number = 0.1,
    alternative: str = "two-sided",
) -> Result:
    """Class probabilities (classes,) of the unlabelled population under label shift.

    The unlabelled rows come from a population with other class frequencies but the same
    P(prediction | class). With A the confusion matrix, ``A[j, l] = P(F = j | Y = l)``, the
    frequencies are ``inverse(A) @ P(F_unlabelled)``; errors of both follow by the delta method.

    Args:
        y: (n,) class numbers of labelled rows.
        f: (n,) predicted classes.
        f_unlabeled: (N,) predicted classes of unlabelled rows.
        classes: how many there are; one more than the largest number by default.
        alpha: error rate of intervals.
        alternative: side of intervals.

    Raises:
        TooFewLabelsError: a class with fewer than 2 labelled rows.
        ConvergenceError: predictions that do not tell the classes apart.

    Source: PPI (arXiv 2301.09633), section on label shift; the delta method replaces its bounds,
    which are much wider.
    """
    same_index(y=y, f=f)
    arrays = {
        "y": numeric("y", y),
        "f": numeric("f", f),
        "f_unlabeled": numeric("f_unlabeled", f_unlabeled),
    }
    n = same_rows(y=arrays["y"], f=arrays["f"])
    K = int(max(a.max() for a in arrays.values())) + 1 if classes is None else classes
    Y, F, Fu = (np.eye(K)[class_numbers(name, a, K)] for name, a in arrays.items())
    count = Y.sum(axis=0)
    if count.min() < 2:
        raise TooFewLabelsError(
            f"class {int(count.argmin())} has {int(count.min())} labelled row(s); label shift "
            "needs at least 2 of every class."
        )
    A = F.T @ Y / count
    if np.linalg.cond(A) > 1e8:
        raise ConvergenceError(
            "the predictions do not tell the classes apart: the confusion matrix is singular. "
            "Merge classes."
        )
    inverse = np.linalg.inv(A)
    share = Fu.mean(axis=0)
    theta = inverse @ share
    # Row i of class l shifts column l of A by (F_i - A[:, l]) / n_l, and theta by minus
    # inverse(A) times that times theta_l.
    column = arrays["y"].astype(int)
    factor = np.sqrt(count / (count - 1))[column] * theta[column] / count[column]
    mine = -(F - A.T[column]) * factor[:, None] @ inverse.T
    N = len(Fu)
    theirs = (Fu - share) @ inverse.T / np.sqrt(N * (N - 1))
    cov = mine.T @ mine + theirs.T @ theirs
    labels = Y.mean(axis=0)
    return Result(
        estimand="class probabilities under label shift",
        method="confusion matrix",
        names=tuple(f"class {k}" for k in range(K)),
        theta=theta,
        cov=cov,
        df=np.full(K, float(count.min() - 1)),
        lam=1.0,
        n=n,
        N=N,
        cov_labeled=np.full((K, K), np.nan),
        rho=np.full(K, np.nan),
        alpha=as_level(alpha),
        alternative=alternative,
        notes=(f"class frequencies among the labelled rows: {np.round(labels, 3).tolist()}",),
        contributions=lambda: Influence(mine, theirs),
    )
