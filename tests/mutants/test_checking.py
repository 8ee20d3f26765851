"""Broken twins of the checks of a posterior, each of which a closed form must catch."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import probinf as pi
from probinf.core.transformations import weighing
from probinf.evidence import leave_future_out, predictive_checks, refitting, sensitivity
from tests.evidence import test_checking as law


def test_folds_that_stay_in(monkeypatch) -> None:
    def nothing_left_out(self, left_out, number, what):
        return right(self, np.zeros_like(left_out), number, what)

    right = refitting.Refits.without
    monkeypatch.setattr(refitting.Refits, "without", nothing_left_out)
    assert law.folds_off() > 0.15


def test_weights_that_are_ignored(monkeypatch) -> None:
    jax.clear_caches()
    monkeypatch.setattr(weighing, "power", lambda terms, weights: terms)
    with pytest.raises(AssertionError):
        law.test_a_datum_counts_as_often_as_its_weight()
    jax.clear_caches()


def test_a_past_that_is_forgotten(monkeypatch) -> None:
    def even(log_weights):
        return np.zeros(len(log_weights)), 0.0

    monkeypatch.setattr(leave_future_out, "psis", even)
    assert law.future_off(first=5)[0] > 0.3


@dataclasses.dataclass(frozen=True)
class _Unconstrained:
    priors: tuple[str, ...]

    def __call__(self, flat, row):
        score = flat.score(row[0], flat.data)
        return {"likelihood": score.log_weight, "prior:lam": score.log_base}


def test_a_jacobian_in_the_prior(monkeypatch) -> None:
    """The power of the density in unconstrained coordinates is another family."""

    monkeypatch.setattr(sensitivity, "_Parts", _Unconstrained)
    posterior = law.rates()
    found = pi.sensitivity(posterior)
    assert found.prior[0] != pytest.approx(law.distances(posterior)[0], rel=0.1)


def test_a_datum_that_judges_itself(monkeypatch) -> None:
    monkeypatch.setattr(predictive_checks, "_left_out", lambda *args: (None, ()))
    assert law.pit_off() > 0.3


def test_a_distance_that_knows_one_side(monkeypatch) -> None:
    """The divergence of x and that of -x differ; both must be looked at."""

    def one_side(p, q, widths):
        return right(p, q, widths) * (p[0] <= p[-1])

    right = sensitivity._divergence
    posterior = law.rates()
    mirrored = dataclasses.replace(posterior, draws={"lam": -posterior.draws["lam"]})
    both = pi.sensitivity(posterior).prior[0], pi.sensitivity(mirrored).prior[0]
    assert both[0] == pytest.approx(both[1], rel=1e-6)
    monkeypatch.setattr(sensitivity, "_divergence", one_side)
    broken = pi.sensitivity(posterior).prior[0], pi.sensitivity(mirrored).prior[0]
    assert broken[0] != pytest.approx(broken[1], rel=1e-2)
