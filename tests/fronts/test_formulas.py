"""Formulas: the model that is meant, its priors, new rows, and what is refused."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor

import probinf as pi
from probinf.core.program import score
from probinf.errors import MissingPackageError, ModelError, NewSitesWarning
from probinf.fronts.formulas.regression import Regression

G = np.random.default_rng(0)
ROWS = 60
FRAME = pd.DataFrame(
    {
        "x": G.normal(2020.0, 3.0, ROWS),
        "kind": G.choice(["a", "b", "c"], ROWS),
        "group": G.choice(["k", "l", "m", "n"], ROWS),
        "trials": G.integers(3, 9, ROWS),
    }
)
FRAME["y"] = 0.4 * (FRAME.x - 2020) + (FRAME.kind == "b") + G.normal(size=ROWS)
FRAME["count"] = G.poisson(np.exp(0.1 * (FRAME.x - 2020) + 1))
FRAME["hit"] = np.where(G.random(ROWS) < 1 / (1 + np.exp(-FRAME.y)), "yes", "no")
FRAME["hits"] = G.binomial(FRAME.trials, 0.4)
FRAME["share"] = G.beta(2, 3, ROWS)
FRAME["size"] = G.gamma(2.0, 1.5, ROWS)


def by_hand(x: Any, b: Any, c: Any, group: Any, y: Any = None) -> None:
    """``y ~ x + kind + (1 + x | group)`` written out."""
    spread = jnp.std(y)
    away = x - x.mean()
    sizes = {"x": x.std(), "kind[b]": b.std(), "kind[c]": c.std()}
    slope = {n: numpyro.sample(n, dist.Normal(0, 2.5 * spread / s)) for n, s in sizes.items()}
    middle = numpyro.sample("Intercept_centred", dist.Normal(y.mean(), 2.5 * spread))
    one = numpyro.sample("sd(1|group)", dist.Exponential(1 / spread))
    two = numpyro.sample("sd(x|group)", dist.Exponential(away.std() / spread))
    with numpyro.plate("group", 4):
        z = numpyro.sample("z(group)", dist.Normal(0, 1).expand([2]).to_event(1))
    cholesky = numpyro.sample("cholesky(group)", dist.LKJCholesky(2, 1.0))
    u = jnp.stack([one, two]) * (z @ cholesky.T)
    mean = middle + slope["x"] * away + u[group, 0] + u[group, 1] * away
    mean += slope["kind[b]"] * (b - b.mean()) + slope["kind[c]"] * (c - c.mean())
    sigma = numpyro.sample("sigma", dist.Exponential(1 / spread))
    numpyro.sample("y", dist.Normal(mean, sigma), obs=y)


def difference(written: pi.Program) -> float:
    """Largest difference of both log densities from the model written by hand."""
    index = np.array([list("klmn").index(g) for g in FRAME.group])
    columns = [FRAME.x.to_numpy(), *((FRAME.kind == k).to_numpy(float) for k in "bc")]
    hand = pi.from_numpyro(by_hand, *columns, index, y=FRAME.y.to_numpy())
    worst = 0.0
    for k in range(5):
        at = hand.start(jax.random.key(k), hand.data)
        pairs = zip(score(written, at), score(hand, at), strict=True)
        worst = max([worst, *(abs(float(a - b)) for a, b in pairs)])
    return worst


def test_a_formula_is_the_model_written_by_hand(x64: None) -> None:
    assert difference(pi.formula("y ~ x + kind + (1 + x | group)", FRAME)) < 1e-8


def test_mutant_columns_that_are_not_centred(x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Regression.__call__

    def uncentred(self: Any, priors: Any, x: Any, centre: Any, *rest: Any, **named: Any) -> None:
        original(self, priors, x, 0 * centre, *rest, **named)

    monkeypatch.setattr(Regression, "__call__", uncentred)
    assert difference(pi.formula("y ~ x + kind + (1 + x | group)", FRAME)) > 1.0


@pytest.mark.parametrize(
    ("formula", "family", "peer"),
    [
        ("y ~ x + kind", "gaussian", LinearRegression()),
        ("hit[yes] ~ x + kind", "bernoulli", LogisticRegression(C=np.inf, tol=1e-10)),
        ("count ~ x + kind", "poisson", PoissonRegressor(alpha=0, tol=1e-10)),
    ],
)
def test_the_likelihood_is_flat_at_the_maximum_of_another_library(
    formula: str, family: str, peer: Any, x64: None
) -> None:
    x = np.stack([FRAME.x - 2020, FRAME.kind == "b", FRAME.kind == "c"], 1).astype(float)
    outcome = formula.split(" ~")[0].removesuffix("[yes]")
    y = (FRAME.hit == "yes") if outcome == "hit" else FRAME[outcome]
    peer.fit(x, y)
    slopes = np.ravel(peer.coef_)
    middle = float(np.ravel(peer.intercept_)[0] + x.mean(0) @ slopes)
    program = pi.formula(formula, FRAME, family)
    at = dict(zip(("x", "kind[b]", "kind[c]"), slopes, strict=True)) | {"Intercept_centred": middle}
    at = {k: jnp.asarray(v, float) for k, v in at.items()}
    if family == "gaussian":
        at["sigma"] = jnp.zeros(())
    gradient = jax.grad(lambda at: score(program, at).log_weight)(at)
    for name in set(at) - {"sigma"}:
        assert abs(float(gradient[name])) < 2e-3, name


@pytest.mark.parametrize(
    ("formula", "family"),
    [
        ("y ~ x * kind", "student_t"),
        ("y ~ 0 + kind", "gaussian"),
        ("y ~ 1", "gaussian"),
        ("hit ~ x + (1 | group)", "bernoulli"),
        ("prop(hits, trials) ~ x", "binomial"),
        ("count ~ x + offset(np.log(trials))", "negative_binomial"),
        ("size ~ kind + (1 | group) + (1 | kind)", "gamma"),
        ("share ~ scale(x) + bs(x, df=4)", "beta"),
    ],
)
def test_every_family_has_a_proper_prior_and_predicts(formula: str, family: str) -> None:
    program = pi.formula(formula, FRAME, family)
    drawn = program.draw(jax.random.key(0), program.data)
    both = score(program, drawn)
    assert np.isfinite(both.log_base) and np.isfinite(both.log_weight)
    assert program.simulate is not None
    simulated = program.simulate(jax.random.key(1), drawn, program.data)
    assert next(iter(simulated.values())).shape == (ROWS,)
    assert "priors" in repr(program)


def test_units_do_not_matter(x64: None) -> None:
    """Priors scale with the data: another unit adds a constant to the log density."""
    plain = pi.formula("y ~ x", FRAME)
    other = pi.formula("y ~ x", FRAME.assign(x=FRAME.x * 1e3 + 5, y=FRAME.y * 100 + 7))
    at = plain.draw(jax.random.key(0), plain.data)
    moved = {
        "Intercept_centred": at["Intercept_centred"] * 100 + 7,
        "x": at["x"] / 10,
        "sigma": at["sigma"] + np.log(100.0),
    }
    difference = [
        float(score(plain, a).log_weight - score(other, b).log_weight) for a, b in [(at, moved)]
    ]
    assert difference[0] == pytest.approx(ROWS * np.log(100.0))


def test_new_rows_keep_categories_and_centre_and_draw_new_groups() -> None:
    program = pi.formula("y ~ x + kind + (1 | group)", FRAME)
    posterior = pi.sample(program, pi.NUTS(chains=1, warmup=200, draws=200), key=0)
    rows = pd.DataFrame({"x": [2021.0, 2021.0], "kind": ["b", "b"], "group": ["m", "new"]})
    with pytest.warns(NewSitesWarning):
        predicted = posterior.predict(key=1, program=program.with_data(rows))
    y = predicted["y"]
    assert y.shape == (1, 200, 2)
    expected = program.expected(posterior.draws, rows)
    by_hand = posterior.draws["Intercept"] + 2021.0 * posterior.draws["x"]
    by_hand = by_hand + posterior.draws["kind[b]"] + posterior.draws["1|group"][..., 2]
    np.testing.assert_allclose(expected[..., 0], by_hand, atol=2e-3)
    error = y[..., 0].std() / np.sqrt(200)
    assert abs(y[..., 0].mean() - expected[..., 0].mean()) < 5 * error


def test_a_second_table_of_the_same_shape_compiles_nothing() -> None:
    first = pi.formula("y ~ x + kind + (1 | group)", FRAME)
    other = FRAME.assign(y=FRAME.y[::-1].to_numpy(), x=FRAME.x * 2)
    second = pi.formula("y ~ x + kind + (1 | group)", other)
    assert dataclasses.replace(second, data=first.data) == first
    assert jax.tree.structure(first) == jax.tree.structure(second)


@pytest.mark.parametrize(
    ("formula", "changes", "says"),
    [
        ("y ~ z", {}, "names 'z'"),
        ("y ~ x +", {}, "cannot be read"),
        ("y ~ x", {"x": [np.nan, *FRAME.x[1:]]}, "'x' 1 of 60"),
        ("y ~ x", {"x": 3.0}, "'x' does not vary"),
        ("y ~ x", {"y": 3.0}, "'y' is 3.0 in all rows"),
        ("kind ~ x", {}, "has 3 categories"),
    ],
)
def test_bad_formulas_are_named(formula: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        pi.formula(formula, FRAME.assign(**changes))


def test_bad_options_are_named() -> None:
    with pytest.raises(ModelError, match="no family 'poison'"):
        pi.formula("count ~ x", FRAME, "poison")
    with pytest.raises(ModelError, match="takes the links log"):
        pi.formula("count ~ x", FRAME, "poisson", link="logit")
    with pytest.raises(ModelError, match="are counts"):
        pi.formula("y ~ x", FRAME, "poisson")
    with pytest.raises(ModelError, match=r"prop\(successes, trials\)"):
        pi.formula("hits ~ x", FRAME, "binomial")
    with pytest.raises(ModelError, match="no parameter 'slope'"):
        pi.formula("y ~ x", FRAME, priors={"slope": dist.Normal(0, 1)})
    with pytest.raises(ModelError, match="NumPyro distribution"):
        pi.formula("y ~ x", FRAME, priors={"x": 3.0})
    with pytest.raises(ModelError, match="DataFrame"):
        pi.formula("y ~ x", {"y": [1.0], "x": [2.0]})
    with pytest.raises(ModelError, match="like a parameter"):
        pi.formula("y ~ sigma", FRAME.rename(columns={"x": "sigma"}))
    program = pi.formula("y ~ x + kind", FRAME)
    with pytest.raises(ModelError, match="do not fit"):
        program.with_data(pd.DataFrame({"x": [1.0], "kind": ["q"]}))
    with pytest.raises(ModelError, match="no column 'kind'"):
        program.with_data(pd.DataFrame({"x": [1.0]}))


def test_without_the_parser_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "formulae", None)
    with pytest.raises(MissingPackageError, match=r"probinf\[formula\]"):
        pi.formula("y ~ x", FRAME)
