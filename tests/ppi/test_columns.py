"""Tables of both samples are matched by the names of their columns, rows by their index."""

from __future__ import annotations

import numpy as np
import pytest

from probinf import ppi
from probinf.errors import ArrayError

pd = pytest.importorskip("pandas")

n, N = 60, 400
rng = np.random.default_rng(0)
WHOLE = pd.DataFrame(rng.normal(size=(n + N, 3)), columns=["a", "b", "c"])
HIDDEN = rng.normal(size=n + N)
TRUTH = WHOLE.to_numpy() @ [1, -2, 3] + HIDDEN + 0.5 * rng.normal(size=n + N)
GUESS = WHOLE.to_numpy() @ [0.8, -1.5, 2.5] + HIDDEN
X, XU = WHOLE[:n], WHOLE[n:]
Y, F, FU = TRUTH[:n], GUESS[:n], GUESS[n:]
MANY = pd.DataFrame({"u": TRUTH, "v": TRUTH**2, "w": -TRUTH})
JUDGE = MANY + rng.normal(size=MANY.shape)
SHARES = pd.DataFrame(rng.dirichlet([1, 2, 3], size=n + N))
CLASSES = (rng.uniform(size=n + N)[:, None] > SHARES.to_numpy().cumsum(axis=1)).sum(axis=1)


def square(theta, row):
    return (row["y"] - row["x"] @ theta) ** 2


def turned(frame):
    return frame[frame.columns[[1, 2, 0]]]


CALLS = {
    "ols": lambda t: ppi.ols(X, Y, F, t(XU), FU),
    "several predictors": lambda t: ppi.mean(Y, JUDGE[:n], t(JUDGE[n:])),
    "glm of several": lambda t: ppi.ols(X, Y, JUDGE[:n], XU, t(JUDGE[n:])),
    "mean, f": lambda t: ppi.mean(MANY[:n], t(JUDGE[:n]), JUDGE[n:], tune="element"),
    "mean, f_unlabeled": lambda t: ppi.mean(MANY[:n], JUDGE[:n], t(JUDGE[n:]), tune="element"),
    "estimate": lambda t: ppi.estimate(
        square, {"x": X, "y": Y}, {"y": F}, {"x": t(XU), "y": FU}, init=np.zeros(3)
    ),
    "ptd": lambda t: ppi.ptd("gaussian", {"x": X, "y": Y}, {"x": t(X)}, {"x": XU, "y": TRUTH[n:]}),
    "reppi": lambda t: ppi.reppi("gaussian", {"x": X, "y": Y}, JUDGE[:n], t(JUDGE[n:])),
    "dsl, x": lambda t: ppi.dsl(
        "gaussian", {"x": X, "y": Y}, {"x": t(XU)}, JUDGE[:n], JUDGE[n:], repeats=1
    ),
    "dsl, features": lambda t: ppi.dsl(
        "gaussian", {"x": X, "y": Y}, {"x": XU}, JUDGE[:n], t(JUDGE[n:]), repeats=1
    ),
    "distribution": lambda t: ppi.distribution(CLASSES[:n], t(SHARES[:n]), t(SHARES[n:])),
    "compare_systems": lambda t: ppi.compare_systems(MANY[:n], JUDGE[:n], t(JUDGE[n:])).levels,
    "ranking": lambda t: ppi.ranking(SHARES[:n], t(SHARES[:n].round()), t(SHARES[n:])),
}


@pytest.mark.filterwarnings("ignore::probinf.errors.PredictionWarning")
@pytest.mark.parametrize("name", CALLS)
def test_columns_in_another_order_change_nothing(name):
    found, right = CALLS[name](turned), CALLS[name](lambda frame: frame)
    np.testing.assert_allclose(found.theta, right.theta, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.cov, right.cov, rtol=1e-7, atol=1e-14)


def test_the_order_matters_where_names_are_dropped():
    mutant = ppi.ols(X, Y, F, turned(XU).to_numpy(), FU, method="ppi")
    assert abs(ppi.ols(X, Y, F, turned(XU), FU, method="ppi").theta[1] + 2) < 0.6
    assert abs(mutant.theta[1] + 2) > 1


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda: ppi.ols(X, Y, F, XU.rename(columns={"b": "d"}), FU),
            "x_unlabeled lacks b and x lacks d",
        ),
        (lambda: ppi.ols(X, Y, F, XU.assign(d=1.0), FU), "x lacks d"),
        (
            lambda: ppi.mean(MANY[:n], JUDGE.rename(columns={"u": "z"})[:n], JUDGE[n:]),
            "share the columns v, w",
        ),
        (
            lambda: ppi.ols(
                X.set_axis(list("aab"), axis=1), Y, F, XU.set_axis(list("baa"), axis=1), FU
            ),
            "repeat names",
        ),
        (lambda: ppi.distribution(CLASSES[:n], SHARES[[1, 2]], SHARES[[1, 2]]), "0 to 2"),
    ],
)
def test_columns_that_differ_are_named(call, match):
    with pytest.raises(ArrayError, match=match):
        call()


def test_predictions_may_have_names_of_their_own_and_numbers_are_no_names():
    hats = JUDGE.rename(columns=lambda c: f"{c}_hat")
    found = ppi.mean(MANY[:n], hats[:n], hats[n:])
    np.testing.assert_array_equal(found.theta, ppi.mean(MANY[:n], JUDGE[:n], JUDGE[n:]).theta)
    assert ppi.ols(X, Y, F, pd.DataFrame(XU.to_numpy()), FU).names == ("a", "b", "c")


LABELS, GUESSES = pd.Series(Y), pd.Series(F)
OTHER = GUESSES[::-1]


@pytest.mark.parametrize(
    "call",
    [
        lambda: ppi.bayes(LABELS, OTHER, FU),
        lambda: ppi.fab(LABELS, OTHER, FU),
        lambda: ppi.cross_fit(None, X, LABELS[::-1], XU),
        lambda: ppi.ppboot(len, {"y": LABELS}, {"y": OTHER}, {"y": FU}),
        lambda: ppi.compare_systems(MANY[:n], JUDGE[:n][::-1], JUDGE[n:]),
        lambda: ppi.distribution(pd.Series(CLASSES[:n]), SHARES[:n][::-1], SHARES[n:]),
        lambda: ppi.label_shift(pd.Series(CLASSES[:n]), pd.Series(CLASSES[:n])[::-1], [0, 1, 2]),
        lambda: ppi.ranking(SHARES[:n], SHARES[:n][::-1].round(), SHARES[n:]),
        lambda: ppi.AnytimeMean().run(LABELS, OTHER, FU),
        lambda: ppi.BettingMean(low=-99, high=99).run(LABELS, OTHER),
        lambda: ppi.unshrink(LABELS, OTHER),
        lambda: ppi.reppi("gaussian", {"x": X, "y": Y}, X[::-1], XU),
        lambda: ppi.dsl("gaussian", {"x": X, "y": Y}, {"x": XU}, X[::-1], XU),
        lambda: ppi.mean(LABELS, F, FU, weights=(abs(OTHER), None)),
        lambda: ppi.mean(LABELS, F, FU, propensity=abs(OTHER)),
        lambda: ppi.mean(LABELS, F, FU, groups=(OTHER.round(), np.arange(N))),
        lambda: ppi.mean(Y, F, pd.Series(FU), strata=(Y > 0, pd.Series(FU > 0)[::-1])),
        lambda: ppi.ols(X, LABELS, F, XU, FU, offset=(OTHER, FU)),
    ],
)
def test_rows_in_another_order_are_refused_everywhere(call):
    with pytest.raises(ArrayError, match="different indexes"):
        call()


def test_learners_see_frames_as_they_are():
    compose = pytest.importorskip("sklearn.compose")
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = WHOLE.assign(kind=np.where(HIDDEN > 0, "high", "low"))
    frame.loc[::7, "a"] = np.nan
    columns = compose.make_column_transformer(
        (SimpleImputer(), ["a", "b", "c"]), (OneHotEncoder(), ["kind"])
    )
    model = make_pipeline(columns, Ridge(0.1))
    found = ppi.cross_fit(model, frame[:n], Y, frame[["kind", "c", "b", "a"]][n:], key=0)
    assert np.corrcoef(found.f, Y)[0, 1] > 0.8
    assert np.corrcoef(found.f_unlabeled, TRUTH[n:])[0, 1] > 0.8
    fitted = ppi.dsl(
        "gaussian", {"x": X, "y": Y}, {"x": XU}, frame[:n], frame[n:], learner=model, repeats=1
    )
    assert np.all(np.abs(fitted.theta - [1, -2, 3]) < 5 * fitted.bse)
    with pytest.raises(ArrayError, match="features"):
        ppi.cross_fit(None, frame[:n], Y, frame[n:])
