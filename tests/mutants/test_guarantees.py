"""Broken twins of guarantees, which the laws of their tests must tell."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import probinf.conformal as pc
from probinf.conformal import reports
from probinf.conformal.calibration import bisection, groups, learn_then_test
from probinf.conformal.online import martingale
from probinf.conformal.selection import answers
from probinf.errors import CalibrationError
from tests.conformal import (
    test_answers,
    test_any_learner,
    test_certified,
    test_estimator_groups,
    test_ranks,
    test_risk,
    test_survival,
    test_watching,
)


def test_one_threshold_for_all_groups_fails(monkeypatch):
    def shared(scores, mine, theirs, alpha):
        return groups.group_thresholds(scores, np.zeros(len(mine)), np.zeros(len(theirs)), alpha)

    module = sys.modules["probinf.conformal.calibration.split"]  # its name is the function's, too
    monkeypatch.setattr(module, "group_thresholds", shared)
    with pytest.raises(AssertionError):
        test_estimator_groups.test_every_group_obeys_the_coverage_law()


def test_rows_that_get_the_rank_of_the_first_fail(monkeypatch):
    right = bisection._bisect

    def shared(keys, mass, target):
        return right(keys, mass, target.ravel()[0] if target.ndim else target * 0 + 350)

    monkeypatch.setattr(bisection, "_bisect", shared)
    with pytest.raises(AssertionError):  # of a size that nothing was compiled for
        test_ranks.test_many_rows_in_turn_give_what_each_gives(rows=409)


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


def test_a_graph_that_gives_its_whole_error_to_every_neighbour_fails(monkeypatch):
    def spent_twice(p, delta):
        valid = np.zeros(p.shape, bool)
        corner = tuple(d - 1 for d in p.shape)
        for place in sorted(np.ndindex(*p.shape), key=sum, reverse=True):
            later = [(*place[:k], place[k] + 1, *place[k + 1 :]) for k in range(p.ndim)]
            open_to = place == corner or any(
                i[k] < p.shape[k] and valid[i] for k, i in enumerate(later)
            )
            valid[place] = open_to and p[place] <= delta
        return valid

    monkeypatch.setattr(learn_then_test, "_graph", spent_twice)
    with pytest.raises(AssertionError):
        test_risk.test_the_graph_hands_on_its_error()


def test_a_histogram_that_moves_the_wrong_way_fails(monkeypatch):
    class Turned:
        sign = staticmethod(lambda x: -np.sign(x))

        def __getattr__(self, name):
            return getattr(np, name)

    monkeypatch.setattr(answers, "np", Turned())
    with pytest.raises((AssertionError, CalibrationError)):
        test_answers.test_a_histogram_is_wrong_no_more_often_than_its_potential_allows()


def test_answers_without_noise_fail(monkeypatch):
    monkeypatch.setattr(
        answers.NoisyAnswers,
        "query",
        lambda self, values: (np.mean(values, axis=0), self),
    )
    with pytest.raises(AssertionError):
        test_answers.test_noise_keeps_ten_thousand_questions_honest()


def test_limits_that_forget_the_attack_fail(monkeypatch):
    module = sys.modules["probinf.conformal.labels.certified"]
    right = module._limits

    def blind(counts, samples, error, shift, *, again=False):
        return right(counts, samples, error, 0.0, again=again)

    monkeypatch.setattr(module, "_limits", blind)
    with pytest.raises(AssertionError):
        test_certified.test_sets_cover_under_attack_and_certificates_hold()


def test_knowledge_with_one_end_of_each_attribute_fails(monkeypatch):
    right = pc.labels.KnowledgeCircuit._ends
    monkeypatch.setattr(
        pc.labels.KnowledgeCircuit,
        "_ends",
        lambda self, ends, corners: right(self, ends[[0, 0]], corners),
    )
    with pytest.raises(AssertionError):
        test_certified.test_probabilities_and_their_range_are_those_of_enumeration()


def test_test_points_that_are_predicted_from_outside_fail(monkeypatch):
    """A learner that has seen labelled points, and not the test points, tells them apart."""

    def one_sided(key, X, large, X_test, learner, *, folds=10):
        fit = np.asarray(large).astype(int)
        pair = learner(X, fit, X), learner(X, fit, X_test)
        return (1000.0 * fit - pair[0])[None], -pair[1][None]

    module = sys.modules["probinf.conformal.selection.optcs"]
    monkeypatch.setattr(module, "joint_out_of_fold", one_sided)
    law = test_any_learner.test_any_learner_keeps_the_false_discovery_rate
    with pytest.raises(AssertionError):
        law(test_any_learner.neighbours)


def test_weights_that_know_of_no_censoring_fail(monkeypatch):
    law = test_survival.right
    monkeypatch.setattr(test_survival, "curves", lambda x, rate: test_survival.flat(x))
    with pytest.raises(AssertionError):
        law("weights", alpha=0.4, survival=lambda x: right_curves(x))


def right_curves(x):
    return pc.regression.SurvivalCurves(
        test_survival.GRID, np.exp(-test_survival.hazard(x)[:, None] * test_survival.GRID)
    )
