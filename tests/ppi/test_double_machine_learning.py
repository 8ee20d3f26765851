"""Double machine learning: what learners leave, who is predicted by whom, and which learners."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from probinf import ppi
from probinf.errors import ArrayError, MethodError
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


class Classifier:
    """Knows the probability of treatment, and tells a class if asked for no more."""

    def fit(self, x, d):
        return self

    def predict_proba(self, x):
        p = 1 / (1 + np.exp(-x[:, 1]))
        return np.column_stack([1 - p, p])

    def predict(self, x):
        return (x[:, 1] > 0) * 1.0


class Named(Classifier):
    """The same with classes in another order, as only the model knows."""

    classes_ = np.array([1.0, 0.0])

    def predict_proba(self, x):
        return super().predict_proba(x)[:, ::-1]


@pytest.mark.parametrize("treated", [None, Classifier(), Named()], ids=lambda a: type(a).__name__)
def test_learners_that_know_the_truth_find_effects_without_error(treated):
    rows, outcome, chance = truths()
    noise = np.random.default_rng(1).normal(size=60)
    almost, other = ({**rows, "y": rows["y"] + scale * noise} for scale in (1e-7, 1.0))
    more = {"learner": outcome, "learner_d": treated or chance, "tune": None}
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


def binary(n=120, seed=0):
    """A treatment yes or no, true and noisy outcomes."""
    rows = truths(n, seed)[0]
    rows["y"] = rows["y"] + np.random.default_rng(seed + 1).normal(size=n)
    guess = {"y": rows["y"] + 0.5 * np.random.default_rng(seed + 2).normal(size=n)}
    return {k: v for k, v in rows.items() if k != "v"}, guess, {**rows, **guess}


def test_models_of_scikit_learn_are_their_functions_by_hand():
    rows, guess, other = binary()
    logit = make_pipeline(StandardScaler(), LogisticRegression())

    def by_hand(x, y, new):
        return (
            make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y).predict_proba(new)[:, 1]
        )

    more = {"learner": LinearRegression()}, {"learner": least_squares}
    model = ppi.dml(rows, guess, other, learner_d=logit, **more[0])
    hand = ppi.dml(rows, guess, other, learner_d=by_hand, **more[1])
    np.testing.assert_allclose(model.theta, hand.theta, rtol=1e-6)
    np.testing.assert_allclose(model.bse, hand.bse, rtol=1e-6)
    assert not hasattr(logit[-1], "coef_")  # learners are copied, not trained
    forest = RandomForestRegressor(5, random_state=0, min_samples_leaf=5)
    trees = ppi.dml(rows, guess, other, learner=forest, learner_d=logit)
    assert np.isfinite(trees.bse).all() and trees.theta != model.theta


def test_learners_that_cannot_serve_are_named():
    rows, guess, other = binary(60)
    rare = {**rows, "d": (np.arange(60) == 3) * 1.0}
    logit = LogisticRegression()
    for error, match, mine, more in (
        (MethodError, "learner_d=LinearSVC.. .* no predict_proba.*treatment 0", rows,
         {"learner_d": LinearSVC()}),
        (MethodError, "learner=LogisticRegression.. is a classifier, but y .labelled", rows,
         {"learner": logit}),
        (MethodError, "learner_d is the class LogisticRegression", rows,
         {"learner_d": LogisticRegression}),
        (MethodError, "learner is 'ridge'", rows, {"learner": "ridge"}),
        (ArrayError, "LogisticRegression could not learn from the 48 rows.* the label 0", rare,
         {"learner_d": logit}),
    ):  # fmt: skip
        with pytest.raises(error, match=match):
            ppi.dml(mine, guess, other, **more)
    mine, guess, other = units()
    for side in (mine, other):
        side["d"] = (side["d"] > 0) * 1.0
    with pytest.raises(MethodError, match=r"learner_d=.*unit effects swept out leave none"):
        ppi.dml(mine, guess, other, learner_d=logit, effects="within")
