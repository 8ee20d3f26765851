"""Random numbers of a row's own: the same alone and in a batch, independent between rows."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from scipy.stats import kstest

import probinf.conformal as pc
from probinf.conformal.calibration.randomness import row_uniforms
from tests.cases.coverage import labels


@pytest.mark.parametrize(
    "rows",
    [
        np.random.default_rng(0).normal(size=(2000, 3)),
        np.zeros((2000, 2)),
        np.arange(2000) - 1000,
        np.array([0.0, -np.inf, np.inf, 1.0] * 500),
    ],
    ids=["normal", "equal", "whole", "infinite"],
)
def test_uniform_over_rows_and_independent_between_keys(rows):
    u, v = row_uniforms(0, rows), row_uniforms(1, rows)
    assert kstest(u, "uniform").pvalue > 1e-4 and kstest(v, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(u, v)[0, 1]) < 0.09 and abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 0.09
    assert abs(np.corrcoef(u, row_uniforms(0, rows, salt=1))[0, 1]) < 0.09
    assert np.unique(u).size == 2000


def test_uniform_over_keys_and_alike_in_any_batch():
    rows = np.random.default_rng(0).normal(size=(40, 3))
    assert kstest([row_uniforms(k, rows[:1])[0] for k in range(300)], "uniform").pvalue > 1e-4
    together = row_uniforms(5, rows)
    alone = [row_uniforms(5, rows[i : i + 1])[0] for i in range(40)]
    assert np.array_equal(together, alone)
    assert np.array_equal(together[::-1], row_uniforms(5, rows[::-1]))
    rough = row_uniforms(5, rows * (1 + 1e-14), bits=20)
    assert np.array_equal(rough, row_uniforms(5, rows, bits=20))
    one = [row_uniforms(0, np.array([v]))[0] for v in (1.0, -1.0, 0.5, -0.5, 0.0, np.inf)]
    assert np.unique(one).size == 6


def one_at_a_time(score, key):
    """Coverage of sets that are asked for one by one under one key."""
    p, y = labels(np.random.default_rng(7), 700, 4)
    p_cal, y_cal, p_test, y_test = p[:500], y[:500], p[500:], y[500:]
    sets = [
        pc.split(score, p_cal, y_cal, p_test[i : i + 1], alpha=0.3, key=key).mask[0]
        for i in range(200)
    ]
    return np.stack(sets)[np.arange(200), y_test].mean(), np.stack(sets)


@pytest.mark.parametrize("score", [pc.APS(), pc.TopK()], ids=str)
def test_sets_asked_one_by_one_are_those_of_the_batch(score):
    p, y = labels(np.random.default_rng(7), 700, 4)
    for key in range(1):
        share, alone = one_at_a_time(score, key)
        batch = pc.split(score, p[:500], y[:500], p[500:], alpha=0.3, key=key)
        assert np.array_equal(alone, batch.mask)
        assert abs(share - 0.7) < 4 * np.sqrt(0.21 * (1 / 200 + 1 / 500))


def test_one_number_for_all_rows_covers_by_luck_of_the_key(monkeypatch):
    split_file = importlib.import_module("probinf.conformal.calibration.split")
    shares = []
    for first in (0.02, 0.98):  # by place, every set that is asked alone gets the key's first

        def by_place(key, rows, *, salt=0, bits=53, first=first):
            return row_uniforms(key, rows, salt=1) if salt else np.full(len(rows), first)

        monkeypatch.setattr(split_file, "row_uniforms", by_place)
        shares.append(one_at_a_time(pc.APS(), 0)[0])
    assert shares[0] - shares[1] > 0.1  # the broken twin


def test_other_randomised_answers_are_alike_in_any_batch():
    rng = np.random.default_rng(0)
    s, x = rng.exponential(size=80), rng.normal(size=(100, 2))
    phi = np.column_stack([np.ones(100), x])
    test = rng.exponential(size=20).round(1)

    def alone(call):
        return np.concatenate([np.atleast_1d(call(slice(i, i + 1))) for i in range(20)])

    cal = pc.calibrate(s.round(1))
    system = pc.predictive_system(np.zeros(80), s, x[80:, 0])
    one = [
        pc.regression.PredictiveSystem(system.residuals, x[80:, 0][[i]], np.ones(1))
        for i in range(20)
    ]
    assert np.array_equal(
        system.pit(test, key=1), [o.pit(test[[i]], key=1)[0] for i, o in enumerate(one)]
    )
    first = np.unique(test, return_index=True)[1]  # equal scores share a number only when alone
    for call in (
        lambda b: cal.pvalue(test[b], key=1),
        lambda b: pc.selection.selection_pvalues(s.round(1), test[b], key=1),
    ):
        assert np.array_equal(call(slice(0, 20))[first], alone(call)[first])
    for call in (
        lambda b: pc.calibration.conditional_thresholds(s, phi[:80], phi[80:][b], alpha=0.3, key=1),
        lambda b: pc.calibration.rlcp_thresholds(
            s, x[:80], x[80:][b], bandwidth=3.0, alpha=0.3, key=1
        ),
    ):
        assert np.allclose(call(slice(0, 20)), alone(call))
