"""Checks of a posterior: closed forms of conjugate models, ArviZ's numbers, and refusals."""

from __future__ import annotations

import dataclasses

import arviz_base
import arviz_stats
import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import beta, gamma, norm

import probinf as pi
from probinf.errors import ImproperPriorError, MethodError, StructureError
from tests.evidence.test_loo import Y, as_posterior, conjugate, location, two_sites

ENGINE = pi.Importance(draws=4000)


def given(y: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of the next datum given some of them, of the model ``location``."""
    variance = 1 / (kept.sum(axis=-1) + 1 / 9)
    return variance * (kept * y).sum(axis=-1), np.sqrt(1 + variance)


def test_a_datum_counts_as_often_as_its_weight() -> None:
    w = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 2.0], Y.size)
    program = pi.weigh(pi.from_numpyro(location, Y), {"y": w})
    found = pi.sample(program, ENGINE, key=0, progress=False)
    precision = w.sum() + 1 / 9
    mean = (w * Y).sum() / precision
    log_z = -w.sum() * np.log(2 * np.pi) / 2 - np.log(9 * precision) / 2
    log_z += (mean**2 * precision - (w * Y**2).sum()) / 2
    assert abs(found.log_evidence.z(log_z)) < 4
    row = found.summary()["mu"]
    assert abs(row["mean"] - mean) < 4 * row["mcse"]
    assert row["sd"] == pytest.approx(precision**-0.5, rel=0.1)


def folds_off(key: int = 1) -> float:
    """Largest difference of a datum's density from that given the other folds."""
    found = pi.kfold(conjugate(Y), ENGINE, key=key, folds=5, progress=False)
    assert np.bincount(found.folds).tolist() == [6] * 5
    kept = found.folds[:, None] != found.folds
    return float(np.abs(found.pointwise - norm.logpdf(Y, *given(Y, kept))).max())


def test_kfold_is_the_density_given_the_other_folds() -> None:
    assert folds_off() < 0.1


def test_folds_of_groups_and_of_labels() -> None:
    posterior, groups = conjugate(Y), np.repeat(np.arange(10), 3)
    found = pi.kfold(posterior, ENGINE, key=1, folds=5, groups=groups, progress=False)
    assert all(len(set(found.folds[groups == g])) == 1 for g in range(10))
    assert len(set(found.folds)) == 5 and "in 5 folds" in str(found)
    again = pi.kfold(posterior, ENGINE, key=1, folds=found.folds, progress=False)
    np.testing.assert_allclose(again.pointwise, found.pointwise, atol=0.2)
    both = pi.compare({"a": found, "b": again})
    assert abs(both.differences["b"].value) < 1


def future_off(**options: object) -> tuple[float, pi.evidence.leave_future_out.FutureOut]:
    found = pi.lfo(conjugate(Y), ENGINE, key=1, progress=False, **options)
    kept = np.arange(Y.size) < found.times[:, None]
    mean, sd = given(Y, kept)
    truth = norm.logpdf(Y[found.times], mean, sd)
    if found.ahead == 2:  # the second given the first
        further = np.arange(Y.size) <= found.times[:, None]
        truth = truth + norm.logpdf(Y[found.times + 1], *given(Y, further))
    return float(np.abs(found.pointwise - truth).max()), found


@pytest.mark.parametrize("options", [{}, {"ahead": 2, "first": 5}, {"max_k": -5.0, "first": 26}])
def test_the_next_data_given_those_before(options: dict) -> None:
    off, found = future_off(**options)
    assert off < 0.15
    fits = len(found.times) if "max_k" in options else 1
    assert len(found.refits) >= fits and len(found.refits) < 5
    assert f"by {len(found.refits)} fits" in str(found)


def lever(x, y):
    b = numpyro.sample("b", dist.Normal(0.0, 3.0).expand([2]).to_event(1))
    numpyro.sample("y", dist.Normal(x @ b, 1.0), obs=y)


def levered() -> tuple[pi.Posterior, np.ndarray]:
    """Exact draws of a line one datum of which alone tells the slope, and exact LOO densities."""
    x, y = np.stack([np.ones(12), np.eye(12)[11]], axis=1), np.append(Y[:11], 4.0)

    def law(kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        covariance = np.linalg.inv(x[kept].T @ x[kept] + np.eye(2) / 9)
        return covariance @ x[kept].T @ y[kept], covariance

    draws = np.random.default_rng(0).multivariate_normal(*law(np.ones(12, bool)), 4000)
    others = [law(np.arange(12) != i) for i in range(12)]
    truth = [
        norm.logpdf(y[i], x[i] @ m, np.sqrt(1 + x[i] @ c @ x[i])) for i, (m, c) in enumerate(others)
    ]
    b = draws.reshape(4, -1, 2)
    program = pi.from_numpyro(lever, x, y)
    one = as_posterior(Y, draws[:, 0])
    return dataclasses.replace(one, draws={"b": b}, unconstrained=b, program=program), truth


def test_a_fit_without_the_datum_that_alone_tells() -> None:
    posterior, truth = levered()
    bad = pi.loo(posterior)
    assert bad.unreliable == ["y[11]"] and "pi.reloo" in str(bad)
    found = pi.reloo(posterior, ENGINE, key=1, progress=False)
    assert found.refitted == ("y[11]",) and found.unreliable == []
    np.testing.assert_allclose(found.pointwise, truth, atol=0.25)
    assert found.elpd.value + found.p_loo == pytest.approx(bad.elpd.value + bad.p_loo)
    assert "1 by fits without them: y[11]" in str(found)
    with pytest.raises(MethodError, match="max_refits=0"):
        pi.reloo(posterior, ENGINE, key=1, max_refits=0)


COUNTS = np.array([2.0, 5.0, 3.0])


def rate(y):
    lam = numpyro.sample("lam", dist.Gamma(2.0, 4.0))
    numpyro.sample("y", dist.Poisson(lam).expand(y.shape), obs=y)


def rates(key: int = 0, stretch: float = 1.0) -> pi.Posterior:
    """Exact draws of the rate, or draws of a wider law with their weights."""
    a, b = 2.0 + COUNTS.sum(), 4.0 + COUNTS.size
    lam = gamma.rvs(a / stretch, scale=stretch / b, size=8000, random_state=key)
    log_w = gamma.logpdf(lam, a, scale=1 / b) - gamma.logpdf(lam, a / stretch, scale=stretch / b)
    base = as_posterior(Y, lam, log_w if stretch != 1 else None)
    return dataclasses.replace(
        base,
        draws={"lam": lam.reshape(4, -1)},
        unconstrained=np.log(lam).reshape(4, -1, 1),
        program=pi.from_numpyro(rate, COUNTS),
    )


def distances(posterior: pi.Posterior) -> tuple[float, float]:
    """Sensitivities of the rate to its prior and likelihood, by quadrature as far as draws go."""
    lam = posterior.draws["lam"]
    x = np.linspace(lam.min(), lam.max(), 100_001)

    def distance(one: np.ndarray, two: np.ndarray) -> float:
        def part(p: np.ndarray, q: np.ndarray) -> float:
            m = (p + q) / 2
            with np.errstate(all="ignore"):
                terms = np.nan_to_num(p * np.log2(p / m)) + np.nan_to_num(q * np.log2(q / m))
            return float(terms.sum() / (p + q).sum())

        return np.sqrt(max(part(one, two), part(1 - one, 1 - two)))

    found = []
    for of_prior in (True, False):
        rates = []
        for power in (0.99, 1.01):
            p, q = (power, 1.0) if of_prior else (1.0, power)
            shape = p * 1.0 + q * COUNTS.sum() + 1
            scaled = gamma.cdf(x, shape, scale=1 / (4.0 * p + q * COUNTS.size))
            whole = gamma.cdf(x, 2.0 + COUNTS.sum(), scale=1 / (4.0 + COUNTS.size))
            rates.append(distance(whole, scaled) / abs(np.log2(power)))
        found.append(float(np.mean(rates)))
    return found[0], found[1]


@pytest.mark.parametrize("stretch", [1.0, 1.5], ids=["draws", "weighted"])
def test_sensitivities_of_a_conjugate_rate(stretch: float) -> None:
    posterior = rates(stretch=stretch)
    found = pi.sensitivity(posterior)
    prior, likelihood = distances(posterior)
    assert found.prior[0] == pytest.approx(prior, rel=0.1)
    assert found.likelihood[0] == pytest.approx(likelihood, rel=0.1)
    # d mean / d power of Gamma(p + 1 + sum y, 4 p + n), at p = 1
    a, b = 2.0 + COUNTS.sum(), 4.0 + COUNTS.size
    slope = np.log(2) * (1 / b - 4 * a / b**2) / (np.sqrt(a) / b)
    assert found.shift[0] == pytest.approx(slope, rel=0.1)
    assert found.diagnosis["lam"] == "prior-data conflict" and not found
    assert found.pareto_k < 0.7


def test_arviz_agrees_on_sensitivities() -> None:
    posterior = rates()
    lam = posterior.draws["lam"]
    groups = {
        "posterior": {"lam": lam},
        "log_prior": {"lam": gamma.logpdf(lam, 2.0, scale=0.25)},
        "log_likelihood": {"y": (COUNTS * np.log(lam)[..., None] - lam[..., None])},
    }
    theirs = arviz_stats.psense_summary(arviz_base.from_dict(groups), round_to=6)
    ours = pi.sensitivity(posterior)
    assert ours.prior[0] == pytest.approx(float(theirs["prior"].iloc[0]), rel=0.05)
    assert ours.likelihood[0] == pytest.approx(float(theirs["likelihood"].iloc[0]), rel=0.05)


def groups(y):
    mu = numpyro.sample("mu", dist.Normal(0, 0.1))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("groups", 3):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, 5.0), obs=y)


def test_priors_that_depend_on_others_are_part_of_the_model() -> None:
    y, rng = np.array([-1.0, 0.5, 2.0]), np.random.default_rng(0)
    mu, tau = 0.1 * rng.normal(size=8000), np.abs(rng.normal(size=8000))
    theta = mu[:, None] + tau[:, None] * rng.normal(size=(8000, 3))
    log_w = norm.logpdf(y, theta, 5.0).sum(axis=1)
    draws = {"mu": mu, "tau": tau, "theta": theta}
    posterior = dataclasses.replace(
        as_posterior(Y, mu, log_w),
        draws={name: v.reshape(4, -1, *v.shape[1:]) for name, v in draws.items()},
        unconstrained=np.column_stack([mu, np.log(tau), theta]).reshape(4, -1, 5),
        program=pi.from_numpyro(groups, y),
    )
    found = pi.sensitivity(posterior, names=["mu", "tau"])
    assert set(found.by_prior) == {"mu", "tau"} and found.names == ("mu", "tau")
    assert found.diagnosis["mu"] == "weak likelihood" and found.culprit("mu") == "mu"
    assert "weak likelihood, by the prior of 'mu'" in str(found)
    assert set(pi.sensitivity(posterior, priors="theta").by_prior) == {"theta"}


def pit_off(key: int = 3) -> float:
    """Largest error of a datum's probability given the others, in normal scores."""
    y = np.array([-1.5, 0.2, 1.0, 2.5])
    found = pi.predictive_check(conjugate(y), key=key)
    mean, sd = given(y, ~np.eye(y.size, dtype=bool))
    return float(np.abs(norm.ppf(found.pointwise) - (y - mean) / sd).max())


def test_every_datum_given_the_others() -> None:
    assert pit_off() < 0.2


def test_a_surprising_datum_is_named() -> None:
    found = pi.predictive_check(conjugate(np.append(Y, 6.0)), key=1)
    assert found.surprising == ["y[30]"] and "1 of 31 (y[30])" in str(found)


def test_statistics_of_drawn_data() -> None:
    posterior = conjugate(Y)
    variance = 1 / (30 + 1 / 9)

    def misfit(y, params):
        return np.sum((y - params["mu"]) ** 2)

    found = pi.predictive_check(posterior, {"mean": np.mean, "misfit": misfit}, key=1)
    p = norm.sf(Y.mean(), variance * Y.sum(), np.sqrt(variance + 1 / 30))
    assert found.p_values["mean"] == pytest.approx(p, abs=5 * found.errors["mean"])
    mu = posterior.draws["mu"].ravel()
    from scipy.stats import chi2

    p = chi2.sf(((Y - mu[:, None]) ** 2).sum(axis=1), 30).mean()
    assert found.p_values["misfit"] == pytest.approx(p, abs=5 * found.errors["misfit"])
    assert "misfit" in str(found) and found.loo
    assert pi.predictive_check(posterior, key=1, loo=False).loo is False


def coin(y):
    p = numpyro.sample("p", dist.Beta(1.0, 1.0))
    with numpyro.plate("tosses", y.size):
        numpyro.sample("y", dist.Bernoulli(p), obs=y)


def test_ties_count_half() -> None:
    y = np.array([1, 1, 0, 1, 1, 1, 0, 1])
    p = beta.rvs(7, 3, size=8000, random_state=1)
    posterior = dataclasses.replace(
        as_posterior(Y, p),
        draws={"p": p.reshape(4, -1)},
        unconstrained=np.log(p / (1 - p)).reshape(4, -1, 1),
        program=pi.from_numpyro(coin, y),
    )
    found = pi.predictive_check(posterior, ["max"], key=1)
    one, zero = beta.mean(1 + 5, 1 + 2), beta.mean(1 + 6, 1 + 1)  # given the others
    truth = np.where(y == 1, (1 - one) + one / 2, (1 - zero) / 2)
    np.testing.assert_allclose(found.pointwise, truth, atol=0.05)
    none = beta.rvs(7, 3, size=100_000, random_state=0)
    assert found.p_values["max"] == pytest.approx(np.mean(1 - (1 - none) ** 8) / 2, abs=0.05)


def test_a_plot_of_every_check() -> None:
    posterior = conjugate(Y)
    assert pi.predictive_check(posterior, ["mean"], key=1).plot() is not None


def in_numpy(theta):
    return -0.5 * float(np.sum((Y - theta["mu"]) ** 2))


def test_a_likelihood_in_python_has_a_prior_too() -> None:
    posterior = conjugate(Y)
    program = pi.from_callback(in_numpy, {"mu": dist.Normal(0, 3)})
    asked = pi.sensitivity(dataclasses.replace(posterior, program=program))
    found = pi.sensitivity(posterior)
    np.testing.assert_allclose(asked.prior, found.prior, rtol=1e-3)
    np.testing.assert_allclose(asked.likelihood, found.likelihood, rtol=1e-3)


def bowl(x):
    return -0.5 * (x**2).sum()


def nothing_seen():
    numpyro.sample("mu", dist.Normal(0, 1))


def test_refusals() -> None:
    posterior = conjugate(Y)
    bare = dataclasses.replace(posterior, program=None)
    for call in (pi.kfold, pi.lfo, pi.reloo):
        with pytest.raises(StructureError, match="the log likelihood of a single datum"):
            call(bare, key=0)
    for call in (pi.sensitivity, pi.predictive_check):
        with pytest.raises(StructureError, match="program"):
            call(bare, **({"key": 0} if call is pi.predictive_check else {}))
    with pytest.raises(StructureError, match="40 folds of only 30 data"):
        pi.kfold(posterior, key=0, folds=40)
    with pytest.raises(StructureError, match="folds has 3 labels, there are 30"):
        pi.kfold(posterior, key=0, folds=[0, 1, 2])
    with pytest.raises(StructureError, match="one fold"):
        pi.kfold(posterior, key=0, folds=np.zeros(30))
    with pytest.raises(StructureError, match="groups= out"):
        pi.kfold(posterior, key=0, folds=np.arange(30), groups=np.arange(30))
    with pytest.raises(StructureError, match="has 30 data, fewer than first=30 and ahead=1"):
        pi.lfo(posterior, key=0, first=30)
    with pytest.raises(StructureError, match="several sites hold data"):
        pi.kfold(dataclasses.replace(posterior, program=pi.from_numpyro(two_sites, Y)), key=0)
    with pytest.raises(StructureError, match="was transformed"):
        pi.sensitivity(dataclasses.replace(posterior, program=pi.temper(posterior.program, 0.5)))
    few = as_posterior(Y, np.linspace(0, 1, 40))
    with pytest.raises(StructureError, match="40 draws with a weight are too few"):
        pi.sensitivity(few)
    with pytest.raises(StructureError, match=r"no scalar named \['nu'\]"):
        pi.sensitivity(posterior, names=["nu"])
    with pytest.raises(StructureError, match=r"no latent site named \['y'\]"):
        pi.sensitivity(posterior, priors="y")
    with pytest.raises(StructureError, match="likelihood is the same at every draw"):
        pi.sensitivity(dataclasses.replace(posterior, program=pi.from_numpyro(nothing_seen)))
    flat = pi.from_log_density(bowl, initial=np.zeros(1))
    with pytest.raises(ImproperPriorError, match="one density without a prior"):
        pi.sensitivity(dataclasses.replace(posterior, program=flat))
    with pytest.raises(StructureError, match="no statistic is called 'mode'"):
        pi.predictive_check(posterior, ["mode"], key=0)
    with pytest.raises(StructureError, match="'sort' must be a number, got an array of shape"):
        pi.predictive_check(posterior, [np.sort], key=0)
    for weights, told in (({"z": 1.0}, "no observed site 'z'"), ({"y": [1.0]}, "have shape")):
        with pytest.raises(StructureError, match=told):
            pi.weigh(posterior.program, weights)
    with pytest.raises(StructureError, match="must be finite and >= 0"):
        pi.weigh(posterior.program, {"y": np.full(30, -1.0)})
    assert jax.eval_shape(posterior.program.start, jax.random.key(0), posterior.program.data)
