"""Formulas: the same numbers as arrays by hand, and what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("formulae")

from probinf import ppi
from probinf.errors import ArrayError, MethodError, ModelError


def people(n, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"age": rng.uniform(20, 60, n), "region": rng.choice(["n", "e", "s"], n)})
    frame["income"] = np.exp(0.02 * frame.age + (frame.region == "s") + 0.3 * rng.normal(size=n))
    frame["guess"] = frame.income * np.exp(0.2 * rng.normal(size=n))
    frame["other"] = frame.income * np.exp(0.4 * rng.normal(size=n))
    frame["rich"] = np.where(frame.income > 3, "yes", "no")
    frame["p"] = np.clip(frame.guess / 6, 0.01, 0.99)
    frame["w"] = rng.uniform(0.5, 2, n)
    frame["house"] = np.arange(n) // 2
    return frame.set_index(rng.permutation(n))  # an index that must not matter


MINE, OTHERS = people(150, 0), people(600, 1).drop(columns=["income", "rich"])


def by_hand(frame):
    return np.column_stack(
        [np.ones(len(frame)), frame.age, frame.region == "n", frame.region == "s"]
    ).astype(float)


def test_a_formula_is_its_arrays():
    x, xu = by_hand(MINE), by_hand(OTHERS)
    y, f, fu = (c.to_numpy() for c in (MINE.income, MINE.guess, OTHERS.guess))
    found = ppi.ols("income ~ age + C(region)", MINE, OTHERS, prediction="guess", alpha=0.2)
    expected = ppi.ols(x, y, f, xu, fu, alpha=0.2)
    assert found.names == ("Intercept", "age", "C(region)[n]", "C(region)[s]")
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-10)
    np.testing.assert_allclose(found.cov, expected.cov, rtol=1e-10)
    assert "age" in found.params.index
    # the prediction stands in for the outcome's column
    found = ppi.ols("np.log(income) ~ age + region", MINE, OTHERS, prediction="guess")
    expected = ppi.ols(x, np.log(y), np.log(f), xu, np.log(fu))
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-10)
    # several predictors, weights, clusters and offsets by name
    found = ppi.poisson(
        "income ~ age + region + offset(np.log(w))", MINE, OTHERS,
        prediction=["guess", "other"], weights="w", groups="house",
    )  # fmt: skip
    expected = ppi.poisson(
        x, y, MINE[["guess", "other"]].to_numpy(), xu, OTHERS[["guess", "other"]].to_numpy(),
        offset=(np.log(MINE.w.to_numpy()), np.log(OTHERS.w.to_numpy())),
        weights=(MINE.w.to_numpy(), OTHERS.w.to_numpy()),
        groups=(MINE.house.to_numpy(), OTHERS.house.to_numpy()),
    )  # fmt: skip
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-8)
    np.testing.assert_allclose(found.cov, expected.cov, rtol=1e-8)


def test_two_categories_are_predicted_by_a_probability():
    found = ppi.logistic("rich ~ age + region", MINE, OTHERS, prediction="p")
    rich = (MINE.rich == "yes").to_numpy(float)
    expected = ppi.logistic(
        by_hand(MINE), rich, MINE.p.to_numpy(), by_hand(OTHERS), OTHERS.p.to_numpy()
    )
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-8)


def test_columns_of_transforms_are_those_of_all_rows_together():
    """A centred column has one mean, that of labelled and unlabelled rows."""
    options = {"prediction": "guess", "tune": 0.5}  # a weight that no parametrisation changes
    found = ppi.ols("income ~ center(age)", MINE, OTHERS, **options)
    plain = ppi.ols("income ~ age", MINE, OTHERS, **options)
    age = pd.concat([MINE.age, OTHERS.age]).mean()
    np.testing.assert_allclose(found.theta[1], plain.theta[1], rtol=1e-9)
    np.testing.assert_allclose(found.theta[0], plain.theta @ [1, age], rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"prediction": None}, MethodError, "needs prediction="),
        ({"prediction": "gues"}, ArrayError, "have no column 'gues'; their columns are 'age'"),
        ({"x": "~ age"}, MethodError, "has no outcome; write 'y ~ age'"),
        ({"x": "income ~ age + wealth"}, ArrayError, "labelled rows have no column 'wealth'"),
        ({"x": "income ~ rich"}, ArrayError, "the unlabelled rows have no column 'rich'"),
        ({"x": "income ~ (1 | region)"}, MethodError, "vary by region"),
        ({"x": "I(income - w) ~ age"}, MethodError, "made of income, w"),
        ({"x": "income ~ age +"}, ModelError, "cannot be read"),
        ({"y": MINE.to_numpy()}, ArrayError, "needs two DataFrames"),
        ({"x_unlabeled": OTHERS}, MethodError, "no further arrays"),
        ({"weights": "u"}, ArrayError, "weights: the labelled rows have no column 'u'"),
        ({"y": MINE.assign(region="n")}, ArrayError, r"no labelled row has C\(region\)\[n\]|\[s\]"),
        ({"y": MINE.assign(age=np.nan)}, ModelError, "missing values in 'age'"),
        ({"y": MINE.assign(guess=np.nan)}, ArrayError, "NaN"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(change, error, match):
    given = {"x": "income ~ age + C(region)", "y": MINE, "f": OTHERS, "prediction": "guess"}
    with pytest.raises(error, match=match):
        ppi.ols(**(given | change))


def test_arrays_without_a_formula_say_what_is_missing():
    with pytest.raises(ArrayError, match="x_unlabeled and f_unlabeled are missing"):
        ppi.ols(by_hand(MINE), MINE.income, MINE.guess)
    with pytest.raises(MethodError, match="names a column for a formula"):
        ppi.ols(
            by_hand(MINE), MINE.income, MINE.guess, by_hand(OTHERS), OTHERS.guess, prediction="p"
        )
