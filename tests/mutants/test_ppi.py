"""Broken twins of prediction-powered inference, which the laws of its tests must tell."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from probinf import ppi
from probinf.errors import ConvergenceError
from probinf.ppi.estimators import rectified
from probinf.ppi.inference import core, moments
from probinf.ppi.inference.scheme import Scheme
from tests.ppi import test_bad_input, test_columns, test_few_units, test_laws, test_tied_quantiles


def first_arm_kept(first, second, names=None):
    """The difference of two results with all that the first one carries."""
    return dataclasses.replace(first, theta=first.theta - second.theta, cov=first.cov + second.cov)


def test_a_difference_that_keeps_the_first_arm_fails(monkeypatch):
    monkeypatch.setattr(ppi, "difference", first_arm_kept)
    with pytest.raises(AssertionError):
        test_tied_quantiles.test_a_difference_of_medians_is_about_the_difference()


def on_points(self, critical, side, *, extend):
    """Points at which the distribution function is within error of the level, ties or not."""
    return accepted(self, critical, side, extend=False)


accepted = rectified.Rectified.accepted


def test_a_distribution_function_that_may_not_jump_fails(monkeypatch):
    monkeypatch.setattr(rectified.Rectified, "accepted", on_points)
    with pytest.raises(ConvergenceError):
        test_tied_quantiles.test_the_median_of_ratings_is_the_rating_at_which_the_share_passes_one_half()


def test_limits_at_predictions_of_weight_zero_fail(monkeypatch):
    def nearest(self, t):
        later = [s.values[s.values > t] for s in (self.y, self.f, self.other)]
        return min(float(v.min()) for v in later if len(v))

    monkeypatch.setattr(rectified.Rectified, "_next", nearest)
    with pytest.raises(AssertionError):
        test_tied_quantiles.test_limits_of_labels_alone_end_at_labels()


def test_columns_by_position_fail(monkeypatch):
    monkeypatch.setattr("probinf.ppi.estimators.regression.same_columns", lambda *a: a[3])
    with pytest.raises(AssertionError):
        test_columns.test_columns_in_another_order_change_nothing("ols")


def test_clusters_that_pay_in_rows_fail(monkeypatch):
    degrees, factors = Scheme.degrees, Scheme.factors
    monkeypatch.setattr(Scheme, "degrees", lambda self, spent, _: degrees(self, spent, 0))
    monkeypatch.setattr(Scheme, "factors", lambda self, spent, _: factors(self, spent, 0))
    with pytest.raises(AssertionError):
        test_few_units.test_degrees_of_freedom_count_clusters()


def test_rows_without_leverage_fail(monkeypatch):
    monkeypatch.setattr("probinf.ppi.inference.conclude.even", lambda rows, scheme: True)
    with pytest.raises(AssertionError):
        test_few_units.test_least_squares_of_labels_alone_has_hc3()


@pytest.mark.filterwarnings("ignore::probinf.errors.PredictionWarning")
def test_roots_that_run_away_fail(monkeypatch):
    solve = core.solve

    def endless(*args, **kwargs):
        found = solve(*args, **kwargs)
        return found._replace(
            converged=found.converged | found.runaway, runaway=found.runaway & False
        )

    monkeypatch.setattr(core, "solve", endless)
    with pytest.raises(BaseException, match="DID NOT RAISE"):
        test_bad_input.test_fits_without_a_finite_estimate_are_no_numbers(
            lambda: test_bad_input.apart(method="classical")
        )


def test_a_prediction_that_is_not_transformed_with_its_outcome_fails(monkeypatch):
    from probinf.ppi.estimators import formulas
    from tests.ppi import test_formulas

    right = formulas._outcomes

    def untransformed(outcome, columns, labeled, unlabeled):
        y = right(outcome, columns, labeled, unlabeled)[0]
        return y, labeled[columns[0]].to_numpy(), unlabeled[columns[0]].to_numpy()

    monkeypatch.setattr(formulas, "_outcomes", untransformed)
    with pytest.raises(AssertionError):
        test_formulas.test_a_formula_is_its_arrays()


@pytest.mark.parametrize("law", ["by hand", "refits"])
def test_skewness_with_the_wrong_sign_and_leverage_left_out_fail(monkeypatch, law):
    from probinf.ppi.estimators import skewed
    from tests.ppi import test_skew

    if law == "by hand":
        right = skewed.third_cumulant
        monkeypatch.setattr(skewed, "third_cumulant", lambda values: -right(values))
        with pytest.raises(AssertionError):
            test_skew.test_labels_alone_are_halls_interval_by_hand()
    else:
        monkeypatch.setattr(skewed, "MANY", 0)  # influence values, whose tuning is taken as known
        with pytest.raises(AssertionError):
            test_skew.test_leave_one_out_values_are_refits()


def test_a_prior_that_forgets_the_error_of_the_unlabelled_rows_fails(monkeypatch):
    from probinf.ppi.sequential import looks
    from tests.ppi import test_looks

    right = looks._assisted

    def free(result, prior, alpha, t, t_opt, split):
        return right(result, prior, alpha * (1 - split), t, t_opt, 1e-9) * (1 - 1e-9)

    monkeypatch.setattr(looks, "_assisted", free)
    with pytest.raises(AssertionError):
        test_looks.test_a_mean_has_the_limits_of_its_own_sequence(("t", 2.0, 0.1))


def test_looks_that_reach_no_further_than_one_fail(monkeypatch):
    from probinf.ppi.sequential import looks
    from tests.ppi import test_looks

    monkeypatch.setattr(looks, "reach", lambda alpha, t, t_opt: 1.645)
    with pytest.raises(AssertionError):
        test_looks.test_a_mean_has_the_limits_of_its_own_sequence(None)


def test_a_leaderboard_of_plain_means_fails(monkeypatch):
    from probinf.ppi.evaluation import leaderboard
    from tests.ppi import test_leaderboard

    module = sys.modules["probinf.ppi.evaluation.leaderboard"]
    assert leaderboard is not None
    monkeypatch.setattr(module, "_within", lambda values, items: values - values.mean(axis=0))
    with pytest.raises(AssertionError):
        test_leaderboard.test_items_that_are_hard_for_all_favour_nobody()


def test_a_one_pass_variance_about_zero_fails(monkeypatch):
    monkeypatch.setattr(moments.Totals, "centred", lambda self, squares: self.raw)
    with pytest.raises(AssertionError):
        test_laws.test_variances_from_one_pass_are_those_about_the_mean()


def test_a_solver_that_stops_where_its_error_is_small_fails(monkeypatch):
    """The step that is not looked at has to be taken."""
    right = core.solve

    def early(model, data, M, init, *, controls=True, steps=60):
        return right(model, data, M, init, controls=controls, steps=60 if not controls else 2)

    monkeypatch.setattr(core, "solve", early)
    with pytest.raises(AssertionError):
        test_laws.test_the_tuned_equation_is_solved_although_the_last_step_is_not_looked_at(
            "poisson"
        )
