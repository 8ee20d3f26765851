"""`Design` as a record: the numbers are those of keywords, errors name the field."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

from probinf import ppi
from probinf.errors import ArrayError, MethodError, TooFewLabelsError
from tests.cases.ppi_samples import regression

n, N = 60, 300
X, Y, F, XU, FU = regression("gaussian", n=n, N=N)
ROWS = {"x": X, "y": Y}, {"y": F}, {"x": XU, "y": FU}
SEEN, UNSEEN = np.c_[X[:, 1:], F], np.c_[XU[:, 1:], FU]
CLASSES = [np.abs(a).round().clip(0, 2) for a in (Y, F, FU)]
P, PU = (1 / (1 + np.exp(-np.c_[a, -a])) for a in (F, FU))

ESTIMATORS = {
    "mean": lambda **d: ppi.mean(Y, F, FU, **d),
    "distribution": lambda **d: ppi.distribution(*CLASSES, **d),
    "quantile": lambda **d: ppi.quantile(Y, F, FU, 0.5, **d),
    "glm": lambda **d: ppi.glm(X, Y, F, XU, FU, family="huber", **d),
    "ols": lambda **d: ppi.ols(X, Y, F, XU, FU, **d),
    "logistic": lambda **d: ppi.logistic(X, *(a > 0 for a in (Y, F)), XU, FU > 0, **d),
    "poisson": lambda **d: ppi.poisson(X, CLASSES[0], CLASSES[1], XU, CLASSES[2], **d),
    "estimate": lambda **d: ppi.estimate(square_score, *ROWS, is_score=True, **d),
    "ptd": lambda **d: ppi.ptd("gaussian", *ROWS, **d),
    "reppi": lambda **d: ppi.reppi("gaussian", ROWS[0], SEEN, UNSEEN, **d),
    "dsl": lambda **d: ppi.dsl("gaussian", ROWS[0], {"x": XU}, SEEN, UNSEEN, repeats=1, **d),
    "ranking": lambda **d: ppi.ranking(P, (P > 0.4).astype(float), PU, **d),
    "compare_systems": lambda **d: ppi.compare_systems(P**2, P, PU, **d).levels,
}
PAIR = np.arange(n) // 3, 1000 + np.arange(N) // 4
STRATA = np.arange(n) % 3, np.arange(N) % 3
KNOWN = np.linspace(0.1, 0.9, n)


def square_score(theta, row):
    return row["x"] * (row["x"] @ theta - row["y"])


def same(first, second):
    for field in ("theta", "cov", "df", "cov_labeled", "rho"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
    assert first.cov_type == second.cov_type


@pytest.mark.filterwarnings("ignore::probinf.errors.PredictionWarning")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_clusters_in_the_record_equal_the_keyword(name):
    estimator = ESTIMATORS[name]
    found = estimator(design=ppi.Design(clusters=PAIR))
    same(found, estimator(groups=PAIR))
    assert found.cov_type == "cluster"


@pytest.mark.parametrize(
    "fields",
    [
        {"weights": (KNOWN, None)},
        {"propensity": 60 / 360 * KNOWN / KNOWN.mean()},
        {"strata": STRATA},
        {"finite_population": True},
        {"strata": STRATA, "finite_population": True},
        {"weights": (KNOWN, None), "strata": STRATA},
    ],
)
def test_other_fields_equal_their_keywords_and_are_no_simple_random_sample(fields):
    found = ppi.mean(Y, F, FU, design=ppi.Design(**fields))
    same(found, ppi.mean(Y, F, FU, **fields))
    assert not np.array_equal(found.cov, ppi.mean(Y, F, FU, design=ppi.Design()).cov)


def test_a_record_and_a_keyword_for_another_field_add_up():
    design = ppi.Design(strata=STRATA)
    weights = (KNOWN, None)
    both = ppi.ols(X, Y, F, XU, FU, design=design, weights=weights)
    same(both, ppi.ols(X, Y, F, XU, FU, design=dataclasses.replace(design, weights=weights)))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda: ppi.mean(Y, F, FU, design=ppi.Design(clusters=PAIR), groups=PAIR),
            MethodError,
            r"clusters \(groups=\): given both as keyword and in design=",
        ),
        (
            lambda: ppi.estimate(
                square_score,
                *ROWS,
                design=ppi.Design(weights=(KNOWN, None), strata=STRATA),
                weights=(KNOWN, None),
                strata=STRATA,
            ),
            MethodError,
            "weights, strata: given both",
        ),
        (lambda: ppi.Design(propensity=KNOWN, strata=STRATA), MethodError, "propensity.*strata"),
        (
            lambda: ppi.Design(finite_population=True, clusters=PAIR),
            MethodError,
            r"finite_population cannot.*clusters \(groups=\)",
        ),
        (lambda: ppi.Design(clusters=PAIR[0]), ArrayError, r"clusters \(groups=\) must be a pair"),
        (
            lambda: ppi.mean(Y, F, FU, design=ppi.Design(clusters=PAIR[::-1])),
            ArrayError,
            r"60 labelled and 300 unlabelled labels; got shapes \(300,\) and \(60,\)",
        ),
        (
            lambda: ppi.ptd("gaussian", *ROWS, propensity=KNOWN),
            MethodError,
            "cannot serve propensity, but weights, clusters, strata",
        ),
        (
            lambda: ESTIMATORS["dsl"](design=ppi.Design(strata=STRATA)),
            MethodError,
            "cannot serve strata",
        ),
        (lambda: ppi.mean(Y, F, FU, group=PAIR), TypeError, "unexpected keyword argument 'group'"),
        (
            lambda: ppi.quantile(Y, F, FU, 0.5, design=ppi.Design(strata=STRATA), compat="ppi_py"),
            MethodError,
            "no weights or designs",
        ),
    ],
)
def test_errors_name_the_field(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_every_level_is_one_tenth_unless_asked_for():
    levels = {}
    for name in dir(ppi):
        fit = getattr(ppi, name)
        if callable(fit) and "alpha" in inspect.signature(fit).parameters:
            levels[name] = inspect.signature(fit).parameters["alpha"].default
    results = levels.pop("FabResult"), levels.pop("anytime")  # that of the result they belong to
    assert results == (inspect.Parameter.empty, None)
    assert len(levels) > 10 and set(levels.values()) == {0.1}
    assert ESTIMATORS["dsl"]().alpha == ppi.cox(*events()).alpha == 0.1


def events():
    rows = {"x": X[:, 1:], "time": np.exp(Y), "event": (Y < 2) * 1.0}
    other = {"x": XU[:, 1:], "time": np.exp(FU), "event": np.ones(N)}
    return rows, {"time": np.exp(F), "event": np.ones(n)}, other


def test_dsl_says_what_lacks_and_what_folds_cannot_hold() -> None:
    given = {"repeats": 1, "key": 0}
    with pytest.raises(ArrayError, match=r"^unlabeled lacks x; predicted= names"):
        ppi.dsl("gaussian", ROWS[0], {"z": XU}, SEEN, UNSEEN, **given)
    with pytest.raises(TooFewLabelsError, match="cannot fill 5000 folds"):
        ppi.dsl("gaussian", ROWS[0], {"x": XU}, SEEN, UNSEEN, folds=5000, **given)
    with pytest.raises(MethodError, match="rows must be at least 1"):
        ppi.dsl_sim(0)
