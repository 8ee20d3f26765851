"""Chiseling by hand: a greedy rule that looks at all it may, over every set of outcomes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import probinf.conformal as pc
from probinf.errors import ArrayError, MethodError

N, P, ALPHA = 8, 0.4, 0.15


def greedy(session):
    """Cut off points away from the successes seen, and test whenever there is something left."""
    while session.masked > 1 and not session.rejected:
        if session.test(0.4):
            break
        seen = session.revealed

        def rule(x, seen=seen):
            near = np.exp(-abs(x - seen.X[:, 0]) / 0.02)
            return near @ (seen.y - P) - 1e-6 * x[:, 0]

        session.cut(rule, 1)
    return session.rejected or (session.masked > 0 and session.test(1.0))


def error_rate():
    """The exact probability that the adversary rejects, though y is independent of x."""
    x = np.random.default_rng(0).uniform(size=(N, 1))
    total = 0.0
    for y in product((0, 1), repeat=N):
        session = pc.selection.ChiselByHand(x, y, above=P, key=1, alpha=ALPHA, start=0.1)
        chance = P ** sum(y) * (1 - P) ** (N - sum(y))
        total += chance * greedy(session)
    return total


def test_no_rule_rejects_more_often_than_alpha(monkeypatch):
    rate = error_rate()
    assert 0.3 * ALPHA < rate <= ALPHA + 1e-12

    class Open(pc.selection.ChiselByHand):
        """Reveals the outcomes of the region."""

        @property
        def revealed(self):
            return pc.selection.by_hand.Revealed(np.arange(N), self._x, self._y)

    monkeypatch.setattr(pc.selection, "ChiselByHand", Open)
    assert error_rate() > ALPHA


def test_it_finds_what_is_there_and_refuses_what_would_spoil_it():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(600, 2))
    y = rng.uniform(size=600) < np.where(x[:, 0] > 0.6, 0.75, 0.2)
    session = pc.selection.ChiselByHand(x, y, above=0.5, key=0)
    assert not session.test() and session.budget < 0.05
    before = session.masked
    cut = session.cut(lambda v: v[:, 0], 300)
    assert len(cut.rows) == 300 and session.masked == before - 300
    assert session.test() and session.contains(x).mean() < 0.6
    with pytest.raises(MethodError, match="start anew"):
        session.test()
    fresh = pc.selection.ChiselByHand(x, y, above=0.5, key=0)
    with pytest.raises(MethodError, match="one value"):
        fresh.cut(lambda v: np.zeros(len(v)), 3)
    with pytest.raises(MethodError, match="count must lie"):
        fresh.cut(lambda v: v[:, 0], 0)
    with pytest.raises(ArrayError, match="0 and 1 only"):
        pc.selection.ChiselByHand(x, x[:, 0], above=0.5, key=0)
