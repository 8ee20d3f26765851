"""Broken twins of intervals for series around a regressor, which their laws must tell."""

from __future__ import annotations

import numpy as np
import pytest

from probinf.conformal.estimators import series
from probinf.conformal.online import errors_ahead
from tests.conformal import test_series


def test_lags_that_hold_what_is_foreseen_fail(monkeypatch):
    right = series.lagged

    def peeking(values, lags):
        rows = right(values, lags)
        return rows[np.minimum(np.arange(len(rows)) + 1, len(rows) - 1)]

    monkeypatch.setattr(series, "lagged", peeking)
    with pytest.raises(AssertionError):
        test_series.test_intervals_are_those_of_the_parts_by_hand("enbpi")


def test_errors_that_never_come_in_fail(monkeypatch):
    monkeypatch.setattr(errors_ahead.RecentErrors, "update", lambda self, errors: None)
    with pytest.raises(AssertionError):
        test_series.test_intervals_are_those_of_the_parts_by_hand("enbpi")


def test_errors_that_one_series_lends_to_the_others_fail(monkeypatch):
    right = errors_ahead.RecentErrors.__init__

    def shared(self, first, alpha):
        right(self, np.broadcast_to(first.mean(axis=0), first.shape), alpha)

    monkeypatch.setattr(errors_ahead.RecentErrors, "__init__", shared)
    with pytest.raises(AssertionError):
        test_series.test_step_by_step_is_the_stretch_and_series_are_calibrated_alone()


def test_errors_of_what_was_learned_fail(monkeypatch):
    right = series.SeriesRegressor._calibrated

    def learned(self, errors):  # as small as those of a regressor that knows its training set
        return right(self, errors / 2)

    monkeypatch.setattr(series.SeriesRegressor, "_calibrated", learned)
    with pytest.raises(AssertionError):
        test_series.test_every_series_is_covered()
