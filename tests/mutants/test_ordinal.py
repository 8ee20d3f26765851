"""Broken twins of ordinal regression, which its laws must tell."""

from __future__ import annotations

import numpy as np
import pytest

from probinf.errors import ConvergenceError
from probinf.ppi.estimators import ordinal, presto
from probinf.ppi.estimators.debiased import Fitted
from probinf.ppi.inference.cumulative import Cumulative
from tests.ppi import test_ordinal


def test_slopes_that_are_shrunk_to_zero_and_not_to_each_other_fail(monkeypatch):
    def apart(self, x, number, w):
        return Cumulative(x, number, w / w.sum(), np.eye(number.max()))

    monkeypatch.setattr(presto.Presto, "_model", apart)
    with pytest.raises(AssertionError):
        test_ordinal.test_where_differences_cost_all_the_fit_is_proportional_odds()
    with pytest.raises(AssertionError):
        test_ordinal.test_the_penalised_fit_meets_the_conditions_of_an_optimum(0.01, 1.0)


def test_newton_steps_that_are_cut_off_instead_of_solved_fail(monkeypatch):
    def cut(H, c, penalty, start):
        free = -np.linalg.solve(H, c)
        return np.sign(free) * np.maximum(np.abs(free) - penalty / np.diag(H), 0.0)

    monkeypatch.setattr(presto, "signed_minimum", cut)
    with pytest.raises((AssertionError, ConvergenceError)):
        test_ordinal.test_the_penalised_fit_meets_the_conditions_of_an_optimum(0.01, 0.0)
    monkeypatch.setattr(test_ordinal.lasso, "signed_minimum", cut)
    with pytest.raises(AssertionError):
        test_ordinal.test_quadratics_with_absolute_values_end_at_their_minimum()


def test_thresholds_taken_as_known_fail(monkeypatch):
    right = ordinal._proportional

    def known(where, rows, weights, classes):
        found = right(where, rows, weights, classes)
        m = len(classes) - 1
        model = Cumulative(rows["x"], rows["y"].astype(int), weights, np.ones((m, 1)))
        at = model.at(found.theta)
        influence = found.influence.copy()
        influence[:, m:] = -np.linalg.solve(at.H[m:, m:], at.scores[:, m:].T).T
        return Fitted(found.theta, influence)

    monkeypatch.setattr(ordinal, "_proportional", known)
    with pytest.raises(AssertionError):
        test_ordinal.test_proportional_odds_are_the_classical_fit_and_influence_the_derivative()


def test_classes_bounded_on_one_side_only_fail(monkeypatch):
    right = Cumulative._ends

    def above(self, theta):
        upper, lower = right(self, theta)
        return upper, np.where(self.number == self.thresholds, lower, -np.inf)

    monkeypatch.setattr(Cumulative, "_ends", above)
    with pytest.raises((AssertionError, ConvergenceError)):
        test_ordinal.test_where_differences_cost_all_the_fit_is_proportional_odds()
