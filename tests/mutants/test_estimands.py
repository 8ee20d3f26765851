"""Broken twins of series, instruments, panels and learned controls, which their laws must tell."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from probinf import ppi
from probinf.conformal.calibration.ranks import order_stat, upper_rank
from probinf.errors import MethodError
from probinf.ppi.estimators import crossfit, dsl_result, instruments, orthogonal, panel
from probinf.ppi.estimators.debiased import Fitted
from tests.conformal import test_spci, test_trajectories
from tests.ppi import test_double_machine_learning, test_dsl_power, test_estimands

spci = sys.modules["probinf.conformal.online.spci"]  # its name is the function's, too
trajectories = sys.modules["probinf.conformal.regression.trajectories"]


@pytest.mark.filterwarnings("ignore::probinf.errors.InfiniteSetWarning")
def test_a_forest_that_sees_what_it_foresees_fails(monkeypatch):
    right = spci.lagged

    def peeking(series, lags):
        rows = right(series, lags)
        return rows[np.minimum(np.arange(len(rows)) + 1, len(rows) - 1)]

    monkeypatch.setattr(spci, "lagged", peeking)
    with pytest.raises(AssertionError):
        test_spci.test_an_interval_knows_only_what_came_before()


def test_intervals_that_count_no_gap_of_the_unseen_residual_fail(monkeypatch):
    right = spci.shortest

    def narrow(values, weights, level):
        share = ((weights / weights.sum()) ** 2).sum()
        return right(values, weights, 1 - (1 - level) / (1 + share))

    monkeypatch.setattr(spci, "shortest", narrow)
    with pytest.raises(AssertionError):
        test_spci.test_one_leaf_is_enbpi()


def test_a_level_that_runs_from_its_errors_fails(monkeypatch):
    right = spci._follow
    monkeypatch.setattr(spci, "_follow", lambda *a, rate, **more: right(*a, rate=-rate, **more))
    with pytest.raises(AssertionError):
        test_spci.test_a_level_that_follows_bounds_the_errors_on_any_sequence()


def test_a_band_that_is_calibrated_on_the_series_it_learned_from_fails(monkeypatch):
    right, kept = trajectories._widths, []

    def widths(errors, alpha, shape):
        found = right(errors, alpha, shape)
        kept.append((errors / found).max(axis=1))
        return found

    def of_those(scores, rank):
        return order_stat(kept[-1], upper_rank(len(kept[-1]), 0.2))

    monkeypatch.setattr(trajectories, "_widths", widths)
    monkeypatch.setattr(trajectories, "order_stat", of_those)
    with pytest.raises(AssertionError):
        test_trajectories.coverage_law("narrow")


def test_widths_that_know_nothing_of_what_steps_share_fail(monkeypatch):
    monkeypatch.setattr(trajectories, "_narrow", trajectories._equal)
    with pytest.raises(AssertionError):
        test_trajectories.test_the_narrow_shape_uses_what_the_steps_share()


def test_a_second_stage_that_takes_the_first_as_known_fails(monkeypatch):
    right = instruments._two_stage

    def known(where, rows, weights):
        x, z = rows["x"], rows["z"]
        found = right(where, rows, weights)
        fitted = z @ np.linalg.lstsq(z, x, rcond=None)[0]
        scores = fitted * (rows["y"] - x @ found.theta)[:, None]
        J = (fitted.T * weights) @ fitted
        return Fitted(found.theta, np.linalg.solve(J, scores.T).T)

    monkeypatch.setattr(instruments, "_two_stage", known)
    with pytest.raises(AssertionError):
        test_estimands.test_two_stage_influence_is_the_derivative_in_the_weights()


def test_plain_limits_of_survival_that_are_merely_cut_fail(monkeypatch):
    monkeypatch.setattr(ppi.SurvivalResult, "_slope", property(lambda self: 0 * self.theta))
    with pytest.raises(AssertionError):
        test_estimands.test_limits_of_survival_are_probabilities_on_the_complementary_logarithmic_scale()


def test_reduced_forms_without_leverage_fail(monkeypatch):
    class Even:
        maximum = staticmethod(lambda a, b: np.ones_like(a))

        def __getattr__(self, name):
            return getattr(np, name)

    monkeypatch.setattr(instruments, "np", Even())
    with pytest.raises(AssertionError):
        test_estimands.test_errors_of_the_reduced_form_count_leverage()


@pytest.mark.parametrize("twin", ["another slope", "Wald's interval"])
def test_anderson_rubin_sets_that_are_none_fail(monkeypatch, twin):
    right = instruments._nonnegative

    def broken(Q0, Q1, Q2):
        if twin == "another slope":
            return right(Q0, Q1 * 1.1, Q2)
        middle = -np.trace(Q1) / (2 * np.trace(Q2))
        return [(middle - 0.2, middle + 0.2)]

    monkeypatch.setattr(instruments, "_nonnegative", broken)
    with pytest.raises(AssertionError):
        test_estimands.test_the_anderson_rubin_set_ends_where_its_test_begins_to_reject()


def test_effects_that_are_not_swept_out_fail(monkeypatch):
    monkeypatch.setattr(panel, "within", lambda columns, effects, weights: columns)
    with pytest.raises(AssertionError):
        test_estimands.test_within_effects_are_those_of_dummies()


LAWS = test_double_machine_learning


def test_a_treatment_that_keeps_its_controls_fails(monkeypatch):
    right, calls = orthogonal._residuals, []

    def half(learner, x, target, groups, folds, seed):
        calls.append(None)
        freed = right(learner, x, target, groups, folds, seed)
        return target - target.mean() if len(calls) % 2 == 0 else freed

    monkeypatch.setattr(orthogonal, "_residuals", half)
    with pytest.raises(AssertionError):
        LAWS.test_what_controls_explain_of_outcome_and_treatment_changes_nothing()
    with pytest.raises(AssertionError):
        LAWS.test_learners_that_know_the_truth_find_effects_without_error(None)


@pytest.mark.parametrize("twin", ["no folds", "units torn apart"])
def test_models_that_know_those_they_predict_fail(monkeypatch, twin):
    right = orthogonal._residuals

    def broken(learner, x, target, groups, folds, seed):
        if twin == "no folds":
            return target - learner(x, target, np.vstack([x, x[:1]]))[:-1]
        return right(learner, x, target, None, folds, seed)

    monkeypatch.setattr(orthogonal, "_residuals", broken)
    with pytest.raises(AssertionError):
        LAWS.test_nobody_is_predicted_by_a_model_that_knows_the_unit()


def test_classes_taken_for_probabilities_fail(monkeypatch):
    monkeypatch.setattr(crossfit, "expectations", lambda model, x, labels: model.predict(x))
    with pytest.raises(AssertionError):
        LAWS.test_learners_that_know_the_truth_find_effects_without_error(LAWS.Classifier())


def test_probabilities_of_the_second_column_whatever_its_class_fail(monkeypatch):
    monkeypatch.setattr(
        crossfit, "expectations", lambda model, x, labels: model.predict_proba(x)[:, 1]
    )
    with pytest.raises(AssertionError):
        LAWS.test_learners_that_know_the_truth_find_effects_without_error(LAWS.Named())


@pytest.mark.parametrize("twin", ["all variance is bought down", "errors of no prediction"])
def test_labels_that_buy_what_only_rows_can_fail(monkeypatch, twin):
    dsl = sys.modules["probinf.ppi.estimators.dsl"]  # its name is the function's, too
    if twin == "all variance is bought down":
        monkeypatch.setattr(
            ppi.DSLResult,
            "se_at",
            lambda self, n: np.sqrt(np.diag(self.cov) * self.n / np.asarray(n)[:, None]),
        )
    else:
        right = dsl._label_errors

        def labels(root, scheme):
            mine, proxied, other = root.rows()
            return right(root._replace(rows=lambda: (mine, 0 * proxied, other)), scheme)

        monkeypatch.setattr(dsl, "_label_errors", labels)
    with pytest.raises((AssertionError, MethodError)):
        test_dsl_power.test_standard_errors_foreseen_are_those_of_theory(False)


class Uncapped:
    minimum = staticmethod(lambda a, b: a)

    def __getattr__(self, name):
        return getattr(np, name)


def test_chances_beyond_one_fail(monkeypatch):
    monkeypatch.setattr(dsl_result, "_multiple", lambda share, chance, size: share)
    monkeypatch.setattr(dsl_result, "np", Uncapped())
    with pytest.raises(AssertionError):
        test_dsl_power.test_with_all_rows_labelled_nothing_is_left_to_chance()
