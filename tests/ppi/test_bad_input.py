"""Bad input is named: the argument, what was seen, the remedy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probinf import ppi
from probinf.errors import (
    ArrayError,
    ConvergenceError,
    LevelError,
    MethodError,
    PredictionWarning,
    TooFewLabelsError,
)
from tests.cases.ppi_samples import regression

X, Y, F, XU, FU = regression("gaussian", n=60, N=300)


def changed(a, index, value):
    a = a.copy()
    a[index] = value
    return a


def pinball(theta, row):
    error = row["y"] - theta
    return jnp.maximum(0.9 * error, -0.1 * error)


def estimate(loss, **options):
    return ppi.estimate(loss, {"y": Y}, {"y": F}, {"y": FU}, init=0.0, **options)


CASES = [
    (lambda: ppi.mean(changed(Y, 3, np.nan), F, FU), ArrayError, r"y holds 1 NaN.*\[3\]"),
    (lambda: ppi.mean(Y, F, changed(FU, 0, np.inf)), ArrayError, "f_unlabeled holds 1"),
    (lambda: ppi.mean(Y, F[:-1], FU), ArrayError, "y has 60, f has 59"),
    (lambda: ppi.mean(Y, F, FU[:, None, None]), ArrayError, "1 or 2 dimension"),
    (lambda: ppi.mean(["a"] * 60, F, FU), ArrayError, "does not hold numbers"),
    (lambda: ppi.mean(Y.astype(str), F, FU), ArrayError, "y does not hold numbers: it holds text"),
    (lambda: ppi.estimate(len, {"y": ["1"]}, {"y": [1]}, {"y": [1]}), ArrayError, "holds text"),
    (
        lambda: ppi.mean(
            Y, F, FU, strata=(np.ma.masked_less(np.arange(60) % 2, 1), np.arange(300) % 2)
        ),
        ArrayError,
        "labelled strata has masked values",
    ),
    (lambda: ppi.mean(Y[:1], F[:1], FU), TooFewLabelsError, "1 labelled row"),
    (lambda: ppi.mean(Y[:2], F[:2], FU), TooFewLabelsError, "no degree of freedom"),
    (lambda: ppi.mean(Y, F, FU[:1]), TooFewLabelsError, "method='classical'"),
    (lambda: ppi.mean(Y, F, FU, alpha=95.0), LevelError, "alpha=0.1"),
    (lambda: ppi.mean(Y, F, FU, alternative="greater"), MethodError, "'larger'"),
    (lambda: ppi.mean(Y, F, FU, method="cross"), MethodError, "'ppi\\+\\+'"),
    (lambda: ppi.mean(Y, F, FU, tune=1), MethodError, r"write tune=1.0"),
    (lambda: ppi.mean(Y, F, FU, tune="best"), MethodError, "'trace'"),
    (
        lambda: ppi.mean(Y, F, FU, weights=(-F, None)),
        ArrayError,
        r"weights\[0\].*nonnegative; got minimum -",
    ),
    (lambda: ppi.mean(Y, F, FU, weights=F), ArrayError, "pair"),
    (lambda: ppi.mean(Y, F, FU, propensity=np.zeros(60)), ArrayError, "positive sum"),
    (lambda: ppi.mean(Y, F, FU, propensity=np.full(60, 2.0)), LevelError, r"\(0, 1\]"),
    (lambda: ppi.mean(Y, F, FU, groups=(np.zeros(60), np.ones(300))), TooFewLabelsError, "cluster"),
    (lambda: ppi.mean(Y, F, FU, strata=(np.arange(60), np.ones(300))), TooFewLabelsError, "Merge"),
    (
        lambda: ppi.mean(Y, F, FU, finite_population=True, weights=(abs(F), None)),
        MethodError,
        "finite_population",
    ),
    (lambda: ppi.quantile(Y, F, FU, 50), LevelError, "q=0.5"),
    (lambda: ppi.ols(X[:, :2], Y, F, XU, FU), ArrayError, "x has 2 columns"),
    (lambda: ppi.ols(X[:3], Y[:3], F[:3], XU, FU), TooFewLabelsError, "3 coefficients"),
    (lambda: ppi.logistic(X, Y, F, XU, FU), ArrayError, r"\[0, 1\]"),
    (lambda: ppi.poisson(X, -abs(Y), F, XU, FU), ArrayError, "negative"),
    (lambda: ppi.glm(X, Y, F, XU, FU, family="probit"), MethodError, "gaussian"),
    (
        lambda: ppi.ols(X[:, [0, 1, 1]], Y, F, XU[:, [0, 1, 1]], FU),
        ConvergenceError,
        "collinear",
    ),
    (lambda: ppi.estimate(len, {"y": Y}, {"y": F}, {"y": FU}), MethodError, "init is needed"),
    (
        lambda: ppi.estimate(len, {"y": Y}, {"z": F}, {"y": FU}, init=0.0),
        ArrayError,
        "does not hold",
    ),
    (
        lambda: ppi.estimate(len, {"y": Y, "x": X}, {"y": F}, {"y": FU}, init=0.0),
        ArrayError,
        "unlabeled lacks x",
    ),
    (lambda: ppi.distribution([0, 1.5, 1], [0, 1, 1], [0, 1, 1]), ArrayError, "class numbers"),
    (lambda: ppi.label_shift([0, 0, 1], [0, 0, 1], [0, 1, 1]), TooFewLabelsError, "class 1"),
    (lambda: ppi.active_probs(abs(F), 1000.0), LevelError, "budget"),
    (lambda: ppi.AnytimeMean(prior=("cauchy", 1)), MethodError, "laplace"),
    (lambda: ppi.AnytimeMean().run(Y[:20], F[:20], FU), TooFewLabelsError, "n_min"),
    (lambda: ppi.BettingMean().run(Y, F), LevelError, "outside the bounds"),
    (lambda: ppi.fab(Y, F, FU, prior="cauchy"), MethodError, "horseshoe"),
    (lambda: ppi.bayes(Y, F, FU, kind="chain"), ArrayError, "0 or 1"),
    (lambda: ppi.ranking(X, X, X), LevelError, r"\[0, 1\]"),
    (lambda: ppi.expected_metric(np.full((2, 20), 0.5), "ndcg"), MethodError, r"2\*\*20"),
    (lambda: ppi.compare_systems(Y[:, None], F[:, None], FU[:, None]), MethodError, "two or more"),
    (lambda: ppi.unshrink(-Y, Y).linear(F), ConvergenceError, "unshrink"),
    (lambda: ppi.cross_fit(None, X[:3], Y[:3], XU), TooFewLabelsError, "folds"),
    (lambda: ppi.plan_labels(ppi.mean(Y, F, FU)), MethodError, "target_se or budget"),
    (lambda: ppi.mean(Y, F, FU).contrast([1, 2]), ArrayError, "2 columns for 1"),
    (lambda: estimate(pinball), ConvergenceError, "ppi.quantile"),
    (lambda: estimate(lambda t, r: jnp.ones(2) * t), ArrayError, r"shape \(\), not \(2,\)"),
    (lambda: estimate(lambda t, r: jnp.ones(2) * t, is_score=True), ArrayError, r"\(1,\), not \(2"),
    (lambda: estimate(lambda t, r: (r["z"] - t) ** 2), ArrayError, "column 'z'.* columns are y"),
    (lambda: ppi.ols(X, Y, F, XU, FU, offset=1.0), ArrayError, "offset must be a pair"),
    (lambda: ppi.ols(X, Y, F, XU, FU, offset=Y), ArrayError, "offset must be a pair"),
    (lambda: ppi.fab(Y, np.c_[F, F], np.c_[FU, FU]), ArrayError, "1 dimension"),
    (lambda: ppi.mean(Y + 1j, F, FU), ArrayError, "y is complex"),
    (lambda: ppi.mean(np.ma.masked_greater(Y, 1), F, FU), ArrayError, "y has masked values"),
    (lambda: ppi.AnytimeMean().init(0.0, N=100.0), MethodError, "fu_var"),
    (
        lambda: ppi.unshrink(F, Y).effect(F, F, draws=1),
        MethodError,
        "draws must be at least 20, got 1",
    ),
    (
        lambda: ppi.mean(
            Y,
            F,
            FU,
            groups=(np.arange(60) // 30, np.arange(300) + 100),
            strata=(np.arange(60) // 30, np.arange(300) // 150),
        ),
        TooFewLabelsError,
        "clusters. Merge",
    ),
]


@pytest.mark.filterwarnings("ignore::probinf.errors.PredictionWarning")
@pytest.mark.parametrize("case", range(len(CASES)))
def test_named(case):
    call, error, message = CASES[case]
    with pytest.raises(error, match=message):
        call()


def test_traced_arrays_point_at_the_pure_core():
    with pytest.raises(ArrayError, match=r"ppi\.core"):
        jax.jit(lambda y: ppi.mean(y, F, FU).theta)(Y)


def test_misaligned_frames():
    pd = pytest.importorskip("pandas")
    y = pd.Series(Y)
    with pytest.raises(ArrayError, match="different indexes"):
        ppi.mean(y, pd.Series(F, index=y.index[::-1]), FU)
    with pytest.raises(ArrayError, match="different indexes"):
        ppi.quantile(y, pd.Series(F, index=y.index[::-1]), FU, 0.5)
    with pytest.raises(ArrayError, match="different indexes"):
        ppi.estimate(
            pinball, {"y": y}, {"y": pd.Series(F, index=y.index[::-1])}, {"y": FU}, init=0.0
        )


def test_separated_classes_are_no_number():
    x = np.column_stack([np.ones(20), np.linspace(-1, 1, 20)])
    y = (x[:, 1] > 0).astype(float)
    xu = np.column_stack([np.ones(200), np.linspace(-1, 1, 200)])
    with pytest.raises(ConvergenceError, match="separated"):
        ppi.logistic(x, y, np.full(20, 0.4) + y / 5, xu, np.full(200, 0.5) + xu[:, 1] / 5)


def test_suspicious_predictions_are_named():
    with pytest.warns(PredictionWarning, match="repeat the labelled"):
        found = ppi.mean(Y, F, np.concatenate([F, FU]))
    assert any("repeat" in note for note in found.notes)
    with pytest.warns(PredictionWarning, match="seen these labels"):
        ppi.mean(Y, Y, FU)
    with pytest.warns(PredictionWarning, match="average differently"):
        ppi.mean(Y, F, FU + 5)
    with pytest.warns(PredictionWarning, match="standard error is zero"):
        ppi.mean(np.ones(30), np.ones(30) - F[:30] * 0, FU, method="classical")


def test_notes_of_few_labels_without_correction():
    found = ppi.mean(Y[:20], F[:20], FU, small_sample=False)
    assert any("n = 20" in note for note in found.notes)
    assert "n = 20" in str(found)
