"""Broken twins of guarantees, which the laws of their tests must tell."""

from __future__ import annotations

import numpy as np
import pytest

import probinf.conformal as pc
from probinf.conformal import reports
from probinf.conformal.calibration import groups
from probinf.conformal.online import martingale
from tests.conformal import test_estimator_groups, test_watching


def test_one_threshold_for_all_groups_fails(monkeypatch):
    def shared(scores, mine, theirs, alpha):
        return groups.group_thresholds(scores, np.zeros(len(mine)), np.zeros(len(theirs)), alpha)

    monkeypatch.setattr("probinf.conformal.calibration.split.group_thresholds", shared)
    with pytest.raises(AssertionError):
        test_estimator_groups.test_every_group_obeys_the_coverage_law()


def test_a_fold_that_is_compared_with_another_model_fails(monkeypatch):
    def turned(scores, fold_scores, folds, *, alpha):
        return pc.labels.cv_plus_labels(scores, fold_scores[::-1], folds, alpha=alpha)

    monkeypatch.setattr("probinf.conformal.estimators.cross.cv_plus_labels", turned)
    with pytest.raises(AssertionError):
        test_estimator_groups.test_cross_sets_are_cv_plus_by_hand("lac")


def test_a_stream_that_never_forgets_fails(monkeypatch):
    right = pc.online.OnlineStream.update

    def update(self, score):
        self._recent.clear()
        return right(self, score)

    monkeypatch.setattr(pc.online.OnlineStream, "update", update)
    with pytest.raises(AssertionError):
        test_watching.test_a_stream_has_the_thresholds_of_the_whole_series(pc.ACI(0.05))


def test_ties_that_always_count_against_exchangeability_fail(monkeypatch):
    class Zero:
        def uniform(self):
            return 0.0

    monkeypatch.setattr(martingale, "as_generator", lambda key: Zero())
    with pytest.raises(AssertionError):
        test_watching.test_false_alarms_are_as_rare_as_ville_says("jumper")


def test_a_binomial_band_of_an_estimated_threshold_fails(monkeypatch):
    right = reports._band
    monkeypatch.setattr(reports, "_band", lambda m, alpha, share, n: right(m, alpha, share, None))
    with pytest.raises(AssertionError):
        test_watching.test_bands_hold_for_all_rows_together()
