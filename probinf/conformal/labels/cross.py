"""CV+ sets of labels: no data set aside."""

from __future__ import annotations

import numpy as np

from probinf.conformal.calibration.ranks import upper_rank
from probinf.conformal.regression.cross import as_folds, cv_promise
from probinf.conformal.sets.labels import LabelSet, make_labels
from probinf.core.inputs.arrays import ArrayLike, Level, as_float, as_levels


def cv_plus_labels(
    scores: ArrayLike, fold_scores_test: ArrayLike, folds: ArrayLike, *, alpha: Level = 0.1
) -> LabelSet:
    """CV+ label sets: a label stays unless too many points of the other folds score lower.

    Args:
        scores: (n,) scores of the true labels under the model of their own fold.
        fold_scores_test: (K, m, L) scores of every label under every fold's model.
        folds: (n,) fold of each point.
        alpha: miscoverage, scalar or (A,).

    Source: Romano, Sesia & Candès (2020), section 2.3.
    """
    s = np.asarray(as_float("scores", scores, ndim=1), float)
    test = np.asarray(as_float("fold_scores_test", fold_scores_test, ndim=3), float)
    f = as_folds(folds, test.shape[0], s.size)
    below = sum(np.searchsorted(np.sort(s[f == k]), test[k], "left") for k in range(test.shape[0]))
    mask = np.stack([below < k for k in upper_rank(s.size, as_levels(alpha))], axis=-1)
    return make_labels(mask, alpha, cv_promise(s.size, test.shape[0]))
