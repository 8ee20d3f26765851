"""Double machine learning: what learners leave, who is predicted by whom, and which learners."""

from __future__ import annotations

import numpy as np

from probinf import ppi
from probinf.ppi.estimators import orthogonal
from tests.ppi.test_estimands import assert_derivative, units

EFFECTS = np.array([0.7, -0.4])


def least_squares(x, y, new):
    """A learner of which a linear part of its target leaves nothing."""
    one, other = (np.column_stack([np.ones(len(a)), a]) for a in (x, new))
    return other @ np.linalg.lstsq(one, y, rcond=None)[0]


def truths(n=60, seed=0):
    """Rows without noise in the outcome, and learners that know what is behind them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    v = np.column_stack([np.ones(n), np.sin(x[:, 0])])
    share = 1 / (1 + np.exp(-x[:, 1]))
    d = (rng.uniform(size=n) < share) * 1.0
    y = (v @ EFFECTS) * d + x[:, 0] ** 2

    def chance(x, y, new):
        return 1 / (1 + np.exp(-new[:, 1]))

    def outcome(x, y, new):
        effect = np.column_stack([np.ones(len(new)), np.sin(new[:, 0])]) @ EFFECTS
        return effect * chance(x, y, new) + new[:, 0] ** 2

    return {"x": x, "d": d, "y": y, "v": v}, outcome, chance


def test_learners_that_know_the_truth_find_effects_without_error():
    rows, outcome, chance = truths()
    noise = np.random.default_rng(1).normal(size=60)
    almost, other = ({**rows, "y": rows["y"] + scale * noise} for scale in (1e-7, 1.0))
    more = {"learner": outcome, "learner_d": chance, "tune": None}
    found = ppi.rlearner(almost, {"y": other["y"]}, other, **more)
    np.testing.assert_allclose(found.theta, EFFECTS, atol=1e-5)


def test_the_influence_is_the_derivative_in_the_weights():
    rows, outcome, chance = truths()
    noisy = {**rows, "y": rows["y"] + np.random.default_rng(1).normal(size=60)}

    def fit(r, w):
        return orthogonal._orthogonal("rows", r, w, (outcome, chance), 5, 0, "none")

    assert_derivative(fit, noisy, fit(noisy, np.full(60, 1 / 60)).influence)


def test_what_controls_explain_of_outcome_and_treatment_changes_nothing():
    mine, guess, other = units()
    found = []
    for a, b in ((0.0, 0.0), (5.0, 0.0), (0.0, 2.0)):

        def moved(rows, a=a, b=b):
            return {
                **rows,
                "y": rows["y"] + a * rows["x"][:, 1],
                "d": rows["d"] + b * rows["x"][:, 0],
            }

        proxies = {"y": guess["y"] + a * mine["x"][:, 1]}
        found.append(ppi.dml(moved(mine), proxies, moved(other), learner=least_squares).theta)
    np.testing.assert_allclose(found[1:], [found[0]] * 2, atol=1e-9)


def test_nobody_is_predicted_by_a_model_that_knows_the_unit():
    mine, guess, other = units()
    for rows in (mine, other):
        rows["x"] = np.column_stack([rows["x"], rows["unit"]])
    seen = []

    def watching(x, y, new):
        seen.append(np.intersect1d(x[:, 2], new[:-1, 2]).size)  # the last row is not asked for
        return least_squares(x[:, :2], y, new[:, :2])

    ppi.dml(mine, guess, other, learner=watching)
    assert len(seen) == 3 * 2 * 5 and not any(seen)
