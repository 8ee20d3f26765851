"""Identities that hold exactly, on skewed, bounded and tied data, and the mutants they catch."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probinf import ppi
from probinf.ppi.designs.resolve import resolve
from probinf.ppi.inference import core, losses, moments
from probinf.ppi.inference.scheme import Scheme
from tests.cases.ppi_samples import regression

KINDS = ["gaussian", "binomial", "poisson"]


def huber(theta, row):
    size = jnp.abs(row["y"] - row["x"] @ theta)
    inside = jnp.minimum(size, 1.345)
    return 0.5 * inside**2 + 1.345 * (size - inside)


def logistic_loss(theta, row):
    eta = row["x"] @ theta
    return jnp.logaddexp(0.0, eta) - row["y"] * eta


def square_score(theta, row):
    return row["x"] * (row["x"] @ theta - row["y"])


def as_rows(arrays):
    x, y, f, xu, fu = arrays
    return {"x": x, "y": y}, {"y": f}, {"x": xu, "y": fu}


@pytest.mark.parametrize(
    "kind", ["gaussian", "binomial", pytest.param("poisson", marks=pytest.mark.slow)]
)
def test_merged_and_two_sample_forms_are_one_estimator(kind):
    """Known equal propensities with weight lam (1 + n / N) give the two-sample estimate."""
    arrays = regression(kind)
    n, N, lam = len(arrays[1]), len(arrays[4]), 0.6
    two = ppi.glm(*arrays, family=kind, tune=lam)
    p = np.full(n, n / (n + N))
    merged = ppi.glm(*arrays, family=kind, tune=lam * (1 + n / N), propensity=p)
    np.testing.assert_allclose(merged.theta, two.theta, rtol=0, atol=1e-12)
    mutant = ppi.glm(*arrays, family=kind, tune=lam, propensity=p)
    assert np.abs(mutant.theta - two.theta).max() > 1e-4


@pytest.mark.parametrize(
    ("loss", "family", "is_score"),
    [
        pytest.param(logistic_loss, "binomial", False, marks=pytest.mark.slow),
        (huber, "huber", False),
        (square_score, "gaussian", True),
    ],
)
@pytest.mark.parametrize("tune", ["trace", pytest.param("matrix", marks=pytest.mark.slow)])
def test_user_written_losses_equal_the_built_in_ones(loss, family, is_score, tune):
    arrays = regression("binomial" if family == "binomial" else "gaussian")
    theirs = ppi.estimate(loss, *as_rows(arrays), is_score=is_score, tune=tune)
    ours = ppi.glm(*arrays, family=family, tune=tune)
    np.testing.assert_allclose(theirs.theta, ours.theta, rtol=0, atol=1e-9)
    np.testing.assert_allclose(theirs.cov, ours.cov, rtol=1e-8)


def test_negative_binomial_with_its_dispersion_needs_no_new_mathematics():
    rng = np.random.default_rng(1)
    n, N = 600, 6000
    x = np.column_stack([np.ones(n + N), rng.normal(size=n + N)])
    mu = np.exp(x @ [1.0, 0.5])
    rate = mu * rng.gamma(2.0, 0.5, n + N)  # dispersion 0.5
    y = rng.poisson(rate).astype(float)
    f = rng.poisson(rate).astype(float)  # as noisy as the labels themselves
    found = ppi.estimate(
        ppi.losses.negative_binomial_loss,
        {"x": x[:n], "y": y[:n]},
        {"y": f[:n]},
        {"x": x[n:], "y": f[n:]},
        init={"beta": np.zeros(2), "log_dispersion": np.zeros(())},
    )
    assert found.names == ("beta[0]", "beta[1]", "log_dispersion")
    assert np.all(np.abs(found.theta - [1.0, 0.5, np.log(0.5)]) < 4 * found.bse)
    assert found.lam > 0.2


@pytest.mark.slow
def test_multinomial_with_two_classes_is_logistic():
    arrays = regression("binomial")
    mine, guess, other = as_rows(arrays)
    soft = {k: np.column_stack([1 - v, v]) for k, v in {"l": mine["y"], "f": guess["y"]}.items()}
    unseen = np.column_stack([1 - other["y"], other["y"]])
    found = ppi.estimate(
        ppi.losses.Multinomial(2),
        {"x": mine["x"], "y": soft["l"]},
        {"y": soft["f"]},
        {"x": other["x"], "y": unseen},
        init=np.zeros((3, 1)),
    )
    ours = ppi.logistic(*arrays)
    np.testing.assert_allclose(found.theta, ours.theta, atol=1e-9)
    np.testing.assert_allclose(found.bse, ours.bse, rtol=1e-8)


@pytest.mark.parametrize("tune", [None, 1.0, "trace", "element", "diagonal", "matrix", 1])
def test_influence_values_reproduce_estimate_and_covariance(tune):
    arrays = regression("poisson")
    n, N = len(arrays[1]), len(arrays[4])
    found = ppi.poisson(*arrays, tune=tune, small_sample=False)
    mine, theirs = found.influence
    assert mine.shape == (n, 3) and theirs.shape == (N, 3)
    np.testing.assert_allclose(mine.T @ mine + theirs.T @ theirs, found.cov, rtol=1e-10)


def test_influence_predicts_what_dropping_a_row_does():
    x, y, f, xu, fu = regression("binomial")
    found = ppi.logistic(x, y, f, xu, fu, tune=0.7)
    kept = np.arange(len(y)) != 7
    without = ppi.logistic(x[kept], y[kept], f[kept], xu, fu, tune=0.7)
    change = found.theta - without.theta
    np.testing.assert_allclose(change, found.influence.labeled[7], rtol=0.05, atol=2e-5)


@pytest.mark.slow
def test_tuning_never_loses_against_its_special_cases():
    """The variance estimate at the tuned weight is at most that at 0 and 1, and matrix is least."""
    for kind in KINDS:
        arrays = regression(kind, n=2000)
        options = {"family": kind, "small_sample": False}
        traces = {
            tune: np.trace(ppi.glm(*arrays, tune=tune, **options).cov)
            for tune in (None, 1.0, "trace", "element", "matrix")
        }
        slack = 1.01
        assert traces["trace"] <= slack * min(traces[None], traces[1.0])
        assert traces["element"] <= slack * traces["trace"]
        assert traces["matrix"] <= slack * traces["element"]


@pytest.mark.parametrize("mutant", ["swapped", "one-sample", "ddof", "joint"])
def test_variance_mutants_are_caught_by_simulation(mutant, monkeypatch):
    """The covariance matches the spread of the estimate; each broken twin misses it."""
    rng = np.random.default_rng(5)
    n, N, lam = 25, 50, 0.8
    f = rng.exponential(size=(300, n + N))
    y = f + 0.5 * rng.exponential(size=f.shape) + 1.0
    theta = lam * f[:, n:].mean(axis=1) + (y - lam * f)[:, :n].mean(axis=1)
    truth = lam**2 / N + ((1 - lam) ** 2 + 0.5**2) / n  # variances of exponentials are 1

    def broken(g, h, rest, alpha, gamma, beta, jac_g, jac_c, *, joint=False):
        real = ORIGINAL(g, h, rest, alpha, gamma, beta, jac_g, jac_c, joint=joint)
        if mutant == "swapped":  # h and u change places
            return real._replace(gc=-real.gc)
        if mutant == "one-sample":  # the unlabelled rows are taken as known
            return real._replace(cu=real.cu * 0)
        if mutant == "ddof":  # parameters and tuning are not paid for
            return real._replace(gg=real.gg * 0.7, gc=real.gc * 0.7, cc=real.cc * 0.7)
        return real._replace(gg=real.gg + np.outer(real.score + 1, real.score + 1) / len(g))

    def ratio(function):
        """Mean variance estimate over the true variance."""
        monkeypatch.setattr("probinf.ppi.inference.scheme.parts", function)
        rows = zip(y, f, strict=True)
        found = [ppi.mean(a[:n], b[:n], b[n:], tune=lam) for a, b in rows]
        np.testing.assert_allclose([r.theta[0] for r in found], theta)
        return np.mean([r.cov[0, 0] for r in found]) / truth

    ORIGINAL = moments.parts
    if mutant == "swapped":  # the sample is the same for all
        assert abs(ratio(ORIGINAL) - 1) < 0.1  # its standard error is 0.02
    assert abs(ratio(broken) - 1) > 0.1


def test_constant_predictions_fall_back_to_the_labels():
    _, y, _, _, fu = regression("gaussian")
    one, many = np.ones(len(y)), np.ones(len(fu))
    with pytest.warns(match="constant"):
        found = ppi.mean(y, one, many)
    assert found.lam == 0.0
    np.testing.assert_allclose(found.theta, y.mean())
    with pytest.warns(match="constant"):
        matrix = ppi.mean(y, one, many, tune="matrix")
    np.testing.assert_allclose(matrix.theta, y.mean())


def test_jax_pandas_and_numpy_agree_and_names_come_from_frames():
    pd = pytest.importorskip("pandas")
    x, y, f, xu, fu = regression("gaussian")
    frame = pd.DataFrame(x, columns=["const", "age", "dose"])
    found = ppi.ols(frame, pd.Series(y, name="y"), f, pd.DataFrame(xu), fu)
    assert list(found.params.index) == ["const", "age", "dose"]
    assert list(found.conf_int().columns) == ["lower", "upper"]
    plain = ppi.ols(jnp.asarray(x), jnp.asarray(y), jnp.asarray(f), xu, fu)
    np.testing.assert_allclose(found.params.to_numpy(), plain.params, atol=1e-5)
    text = str(found.summary())
    assert "age" in text and "Worth in labels" in text
    assert found.to_dataframe().shape == (3, 7)


def test_contrast_delta_and_simultaneous_limits():
    found = ppi.ols(*regression("gaussian"))
    R = np.array([[0.0, 1, -1], [1, 0, 0]])
    contrast = found.contrast(R, names=["difference", "intercept"])
    np.testing.assert_allclose(contrast.theta, R @ found.theta)
    np.testing.assert_allclose(contrast.cov, R @ found.cov @ R.T)
    by_delta = found.delta(lambda t: jnp.stack([t[1] - t[2], t[0]]))
    np.testing.assert_allclose(by_delta.cov, contrast.cov, rtol=1e-10)
    ratio = found.delta(lambda t: t[1] / t[2])
    slope = np.array([0, 1 / found.theta[2], -found.theta[1] / found.theta[2] ** 2])
    np.testing.assert_allclose(ratio.cov[0, 0], slope @ found.cov @ slope, rtol=1e-10)
    np.testing.assert_allclose(
        contrast.influence.labeled, found.influence.labeled @ R.T, atol=1e-15
    )
    single, band = found.conf_int(), found.simultaneous(key=1)
    assert np.all(band[:, 0] < single[:, 0]) and np.all(band[:, 1] > single[:, 1])
    bonferroni = found.conf_int(0.1 / 3)
    assert np.all(band[:, 1] < bonferroni[:, 1] + 0.01 * found.bse)


def test_bootstrap_has_the_covariance_and_keeps_clusters_together():
    x, y, f, xu, fu = regression("gaussian")
    groups = (np.repeat(np.arange(100), 5), 1000 + np.repeat(np.arange(1000), 5))
    for options in ({}, {"groups": groups}):
        found = ppi.ols(x, y, f, xu, fu, **options)
        for kind in ("multiplier", "rademacher"):
            draws = found.bootstrap(key=2, draws=4000, kind=kind)
            np.testing.assert_allclose(np.cov(draws.T).diagonal(), found.cov.diagonal(), rtol=0.15)
    np.testing.assert_array_equal(
        found.bootstrap(key=3, draws=10), found.bootstrap(key=3, draws=10)
    )


def test_singleton_clusters_and_one_stratum_change_nothing():
    x, y, f, xu, fu = regression("poisson")
    n, N = len(y), len(fu)
    plain = ppi.poisson(x, y, f, xu, fu)
    groups = (np.arange(n), n + np.arange(N))
    alone = ppi.poisson(x, y, f, xu, fu, groups=groups)
    np.testing.assert_allclose(alone.theta, plain.theta, atol=1e-4)
    np.testing.assert_allclose(alone.bse, plain.bse, rtol=3e-3)
    strata = (np.zeros(n), np.zeros(N))
    one = ppi.poisson(x, y, f, xu, fu, strata=strata)
    np.testing.assert_allclose(one.bse, plain.bse, rtol=2e-3)


def test_equal_weights_change_nothing_and_integer_weights_repeat_rows():
    x, y, f, xu, fu = regression("binomial")
    n, N = len(y), len(fu)
    plain = ppi.logistic(x, y, f, xu, fu, tune=0.5)
    weighted = ppi.logistic(x, y, f, xu, fu, tune=0.5, weights=(np.full(n, 3.0), np.full(N, 2.0)))
    np.testing.assert_allclose(weighted.theta, plain.theta, atol=1e-12)
    np.testing.assert_allclose(weighted.cov, plain.cov, rtol=1e-10)
    w = np.random.default_rng(0).integers(1, 4, n)
    i = np.repeat(np.arange(n), w)
    repeated = ppi.logistic(x[i], y[i], f[i], xu, fu, tune=0.5)
    weighted = ppi.logistic(x, y, f, xu, fu, tune=0.5, weights=(w, None))
    np.testing.assert_allclose(weighted.theta, repeated.theta, atol=1e-9)


def test_several_predictors_use_each_for_what_it_knows():
    """Two predictors that each see half of the signal give what their sum gives."""
    rng = np.random.default_rng(0)
    n, N = 400, 8000
    a, b = rng.exponential(size=(2, n + N))
    y = a + b + 0.3 * rng.normal(size=n + N)
    both = np.column_stack([a, b])
    found = ppi.mean(y[:n], both[:n], both[n:])
    best = ppi.mean(y[:n], (a + b)[:n], (a + b)[n:])
    alone = ppi.mean(y[:n], a[:n], a[n:])
    assert found.bse[0] < 1.03 * best.bse[0] < 0.6 * alone.bse[0]
    x = np.ones((n + N, 1))
    glm = ppi.ols(x[:n], y[:n], both[:n], x[n:], both[n:])
    np.testing.assert_allclose(glm.theta, found.theta, atol=1e-10)
    np.testing.assert_allclose(glm.bse, found.bse, rtol=1e-10)


def test_one_step_and_solved_forms_agree_to_second_order():
    arrays = regression("poisson", n=4000)
    solved = ppi.poisson(*arrays, tune=0.8)
    step = ppi.poisson(*arrays, tune=0.8, form="onestep")
    assert np.abs(solved.theta - step.theta).max() < 0.1 * solved.bse.min()


def totals(u, w):
    raw = (u.T * w**2) @ u
    return moments.Totals(w @ u, np.zeros((u.shape[1],) * 2), (w**2) @ u, raw)


def test_variances_from_one_pass_are_those_about_the_mean():
    """Also where scores lie 1,000 standard deviations from zero; zero where they are constant."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        w = rng.uniform(0.5, 1.5, 3000) / 3000
        w /= w.sum()
        u = rng.normal(size=(3000, 2)) @ [[1.0, 0.4], [0.0, 2.0]]
        for offset, tolerance in ((0.0, 1e-12), (1000.0, 1e-7)):
            sums = totals(u + offset, w)
            with jax.enable_x64(True):
                found = np.asarray(sums.centred((w**2).sum()))
            direct = moments.spread(u, w, w @ u)
            np.testing.assert_allclose(found, direct, rtol=0, atol=tolerance * direct.max())
        with jax.enable_x64(True):
            constant = totals(np.full((3000, 1), 7.0), w).centred((w**2).sum())
        assert np.all(np.asarray(constant) == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tuned_equation_is_solved_although_the_last_step_is_not_looked_at(kind):
    """To a tenth of a billionth of the standard error of its score."""
    model = losses.Linear(losses.family_of(kind))
    M, zero = 0.6 * np.eye(3), np.zeros(3)
    for seed in range(5):
        x, y, f, xu, fu = regression(kind, seed=seed)
        w, v = np.full(len(y), 1 / len(y)), np.full(len(fu), 1 / len(fu))
        data = core.Data({"x": x, "y": y}, ({"x": x, "y": f},), ({"x": xu, "y": fu},), w, w, v)
        with jax.enable_x64(True):
            first = core.solve(model, data, np.zeros((3, 3)), zero, controls=False)
            root = core.solve(model, data, M, first.theta)
            found = core.moments(model, data, root.theta)
        assert root.converged
        error = np.abs(np.asarray(found.score) + M @ np.asarray(found.control))
        assert np.all(error <= 1e-10 * np.sqrt(np.diag(np.asarray(found.gg))))


def test_a_scheme_is_plain_data():
    scheme = resolve(ppi.Design(), 3, 4)
    assert isinstance(scheme, Scheme) and scheme.simple
    assert dataclasses.replace(scheme, joint=True).cov_type == "known propensity"
