"""Priors by truncation, and other distributions whose draws or supports NumPyro lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.distributions import constraints, transforms
from numpyro.infer.reparam import LocScaleReparam
from scipy import integrate, stats

import probinf as pi
from probinf.errors import ImproperPriorError, ModelError
from probinf.fronts.distributions.completion import completed
from probinf.fronts.distributions.edges import unconstrained
from probinf.fronts.distributions.tails import log_cdf, log_tail

FAMILIES: dict[str, tuple[Any, Any]] = {
    "Normal": (dist.Normal(1.0, 2.0), stats.norm(1, 2)),
    "Cauchy": (dist.Cauchy(1.0, 2.0), stats.cauchy(1, 2)),
    "Laplace": (dist.Laplace(1.0, 2.0), stats.laplace(1, 2)),
    "Logistic": (dist.Logistic(1.0, 2.0), stats.logistic(1, 2)),
    "StudentT": (dist.StudentT(3.0, 1.0, 2.0), stats.t(3, 1, 2)),
}
BOUNDS = [
    (0.0, None),
    (None, 0.0),
    (-1.0, 4.0),
    (11.0, None),  # five scales out
    (None, -9.0),
    (11.0, 13.0),
    (-12.0, -9.0),
    (0.9, 1.1),
]


def mass(law: Any, low: Any, high: Any) -> Any:
    """Probability between two points, from the tail in which they are small numbers."""
    if np.all(np.asarray(low) > law.median()):
        return law.sf(low) - law.sf(high)
    return law.cdf(high) - law.cdf(low)


def of(low: float | None, high: float | None) -> tuple[float, float]:
    return (-np.inf if low is None else low), (np.inf if high is None else high)


def truncated(base: Any, low: Any = None, high: Any = None) -> Any:
    return completed(dist.TruncatedDistribution(base, low=low, high=high), latent=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_and_density_of_truncated_families(family: str) -> None:
    base, law = FAMILIES[family]
    for low, high in BOUNDS:
        a, b = of(low, high)
        fn = truncated(base, low, high)
        x = np.asarray(fn.sample(jax.random.key(1), (4000,)), float)
        assert x.min() > a and x.max() < b
        assert np.asarray(fn.support(x)).all()

        def cdf(v: Any, a: float = a, b: float = b) -> Any:
            return mass(law, a, v) / mass(law, a, b)

        assert stats.kstest(x, cdf).pvalue > 1e-6, (low, high)
        expected = law.logpdf(x) - np.log(mass(law, a, b))
        np.testing.assert_allclose(fn.log_prob(jnp.asarray(x)), expected, rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(fn.cdf(jnp.asarray(x)), cdf(x), rtol=2e-3, atol=2e-5)
        assert np.isneginf(fn.log_prob(jnp.array(a - 1 if np.isfinite(a) else b + 1)))


def test_the_prior_that_ended_in_an_import_error() -> None:
    fn = truncated(dist.StudentT(3.0, 0.0, 10.0), low=0.0)
    x = np.asarray(fn.sample(jax.random.key(0), (5000,)))
    assert stats.kstest(x, stats.foldcauchy.cdf, args=(0,)).pvalue < 1e-6
    assert stats.kstest(x / 10, lambda v: 2 * stats.t(3).cdf(v) - 1).pvalue > 1e-6


def test_tails_of_student_and_their_derivatives() -> None:
    z = jnp.array([0.0, 1e-4, 0.01, 0.5, 1.7, 3.0, 40.0, 1e4])
    for df in (0.5, 3.0, 30.0):
        base = dist.StudentT(df)
        np.testing.assert_allclose(log_cdf(base, -z), stats.t.logcdf(-z, df), rtol=1e-5, atol=1e-6)

        def tail(nu: Any, v: Any) -> Any:
            return log_cdf(dist.StudentT(nu), v)

        slope = jax.vmap(jax.grad(tail), (None, 0))(jnp.array(df), -z)
        h = 1e-4 * df
        expected = (stats.t.logcdf(-z, df + h) - stats.t.logcdf(-z, df - h)) / (2 * h)
        np.testing.assert_allclose(slope, expected, rtol=2e-3, atol=1e-4)


def test_the_beta_function_is_compiled_once() -> None:
    def tail(nu: Any, v: Any) -> Any:
        return log_tail(dist.StudentT(nu, validate_args=False), v)

    for which in (0, 1, (0, 1)):
        traced = str(jax.make_jaxpr(jax.grad(tail, which))(3.0, -1.0))
        assert traced.count("regularized_incomplete_beta") == 1
    curved = (stats.t.pdf(-0.99, 3) / stats.t.cdf(-0.99, 3)) - (
        stats.t.pdf(-1.01, 3) / stats.t.cdf(-1.01, 3)
    )
    assert jax.hessian(tail, 1)(3.0, -1.0) == pytest.approx(curved / 0.02, rel=1e-3)


# --- a model with such a prior ------------------------------------------------------------------

Y = np.array([1.0, 2.0, -3.0, 4.0])


def scales(y: Any) -> None:
    prior = dist.TruncatedDistribution(dist.StudentT(3.0, 0.0, 10.0), low=0.0)
    sigma = numpyro.sample("sigma", prior)
    with numpyro.plate("n", 4):
        numpyro.sample("y", dist.Normal(0.0, sigma), obs=y)


def joint(s: float) -> float:
    return float(2 * stats.t(3, 0, 10).pdf(s) * stats.norm(0, s).pdf(Y).prod())


def moments() -> tuple[float, float]:
    """Evidence and posterior mean by quadrature."""
    total = integrate.quad(joint, 0, np.inf)[0]
    return total, integrate.quad(lambda s: s * joint(s), 0, np.inf)[0] / total


def test_evidence_of_a_truncated_prior() -> None:
    posterior = pi.sample(pi.from_numpyro(scales, Y), pi.Importance(draws=8000), key=0)
    assert abs(posterior.log_evidence.z(np.log(moments()[0]))) < 5


def test_nuts_on_a_truncated_prior() -> None:
    method = pi.NUTS(chains=4, warmup=200, draws=500)
    posterior = pi.sample(pi.from_numpyro(scales, Y), method, key=0, progress=False)
    sigma = np.asarray(posterior.draws["sigma"])
    assert abs(sigma.mean() - moments()[1]) < 5 * sigma.std() / np.sqrt(300)


def unknown_degrees(y: Any) -> None:
    nu = numpyro.sample("nu", dist.Gamma(2.0, 0.1))
    low = numpyro.sample("low", dist.Normal(0.0, 1.0))
    numpyro.sample("sigma", dist.TruncatedDistribution(dist.StudentT(nu), low=low))
    numpyro.sample("x", dist.TruncatedDistribution(dist.StudentT(nu), low=low), obs=y)


def test_degrees_of_freedom_and_bounds_may_be_latent() -> None:
    program = pi.from_numpyro(unknown_degrees, jnp.array(5.0))
    assert np.isfinite(pi.check(program).sites[0].gradient)
    at = {"nu": jnp.log(3.0), "low": jnp.array(6.0), "sigma": jnp.array(0.0)}
    assert np.isneginf(program.score(at, program.data).log_weight)


# --- under handlers ------------------------------------------------------------------------------

LOW = np.array([0.0, 1.0, 20.0], np.float32)
LAW = stats.t(3, 0, 2)


def under_plate() -> None:
    with numpyro.plate("k", 3):
        numpyro.sample("x", dist.TruncatedDistribution(dist.StudentT(3.0, 0.0, 2.0), low=LOW))


def under_two_plates() -> None:
    with numpyro.plate("rows", 2, dim=-2), numpyro.plate("k", 3, dim=-1):
        numpyro.sample("x", dist.TruncatedDistribution(dist.StudentT(3.0, 0.0, 2.0), low=LOW))


def under_scope() -> None:
    with handlers.scope(prefix="a"):
        under_plate()


def under_scale() -> None:
    with handlers.scale(scale=2.0):
        under_plate()


def under_reparam() -> None:
    with handlers.reparam(config={"m": LocScaleReparam(0.0, shape_params=["df"])}):
        numpyro.sample("m", dist.StudentT(3.0, 1.0, 2.0))
        under_plate()


def in_event() -> None:
    fn = dist.TruncatedDistribution(dist.StudentT(3.0, 0.0, 2.0), low=LOW)
    numpyro.sample("x", fn.expand([2, 3]).to_event(2))


def half_masked(y: Any = Y[:3]) -> None:
    with numpyro.plate("k", 3):
        fn = dist.TruncatedDistribution(dist.StudentT(3.0, 0.0, 2.0), low=LOW)
        numpyro.sample("x", fn, obs=LOW + 1, obs_mask=np.array([True, False, True]))


HANDLED = {
    "x": [under_plate, under_two_plates, under_scale, under_reparam, in_event],
    "a/x": [under_scope],
    "x_unobserved": [half_masked],
}


@pytest.mark.parametrize(("name", "model"), [(n, m) for n, ms in HANDLED.items() for m in ms])
def test_truncation_under_handlers(name: str, model: Callable[..., None]) -> None:
    program = pi.from_numpyro(model)

    @jax.jit
    def draw(key: Any) -> Any:
        x = program.draw(key, program.data)
        value = program.constrain(x, program.data)[name]
        slope = jax.grad(lambda x: program.score(x, program.data).log_base)(x)
        return x, value, slope

    x, values, slope = jax.lax.map(draw, jax.random.split(jax.random.key(3), 3000))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((x, slope)))
    for k, low in enumerate(LOW):
        column = np.asarray(values)[..., k].reshape(3000, -1)[:, 0].astype(float)
        assert column.min() > low
        assert stats.kstest(column, lambda v, a=low: 1 - LAW.sf(v) / LAW.sf(a)).pvalue > 1e-6


def observed(y: Any) -> None:
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("n", 2000):
        fn = dist.TruncatedDistribution(dist.StudentT(3.0, 0.0, sigma), low=0.0)
        numpyro.sample("y", fn, obs=y)


def test_an_observed_truncated_site_is_simulated() -> None:
    program = pi.from_numpyro(observed, np.full(2000, 1.0, np.float32))
    assert program.simulate is not None
    y = program.simulate(jax.random.key(2), {"sigma": jnp.log(2.0)}, program.data)["y"]
    assert stats.kstest(np.asarray(y) / 2, lambda v: 2 * stats.t(3).cdf(v) - 1).pvalue > 1e-6


# --- what else NumPyro lacks -------------------------------------------------------------------


class OnlyCdf(dist.Distribution):
    """An exponential that knows no draws and no quantiles."""

    support = constraints.positive

    def log_prob(self, value: Any) -> Any:
        return -value

    def cdf(self, value: Any) -> Any:
        return -jnp.expm1(-value)


class OnlyDensity(OnlyCdf):
    def cdf(self, value: Any) -> Any:
        raise ImportError("Please install something else.")


class NoDensity(dist.Exponential):
    def log_prob(self, value: Any) -> Any:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Of:
    kind: type

    def __call__(self) -> None:
        numpyro.sample("s", self.kind())


def test_draws_from_a_cdf() -> None:
    program = pi.from_numpyro(Of(OnlyCdf))
    x = jax.vmap(program.draw, (0, None))(jax.random.split(jax.random.key(0), 5000), program.data)
    assert stats.kstest(np.exp(x["s"]), stats.expon.cdf).pvalue > 1e-6


def test_a_density_without_draws_serves_chains_only() -> None:
    program = pi.from_numpyro(Of(OnlyDensity))
    with pytest.raises(ImproperPriorError, match=r"'s' \(OnlyDensity\) has no draws.*NUTS"):
        program.draw(jax.random.key(0), program.data)
    method = pi.NUTS(chains=2, warmup=200, draws=500)
    posterior = pi.sample(program, method, key=0, progress=False)
    assert abs(float(np.mean(posterior.draws["s"])) - 1) < 0.3


def test_a_site_without_density_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'s' \(NoDensity\) has no log density.*factor"):
        pi.from_numpyro(Of(NoDensity))


def asymmetric() -> None:
    numpyro.sample("sigma", dist.TruncatedDistribution(dist.Weibull(1.0, 2.0), low=0.5))


def absolute() -> None:
    base = dist.Normal(0.0, 1.0)
    numpyro.sample("a", dist.TransformedDistribution(base, transforms.AbsTransform()))


def turned() -> None:
    tau = numpyro.sample("tau", dist.Normal(0.0, 1.0))
    affine = transforms.AffineTransform(0.0, tau)
    numpyro.sample("h", dist.TransformedDistribution(dist.HalfNormal(1.0), affine))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (asymmetric, r"site 'sigma' \(Weibull\).*dist\.TruncatedGamma"),
        (absolute, r"site 'a' \(TransformedDistribution of Normal\).*FoldedDistribution"),
        (turned, r"site 'h' \(TransformedDistribution of HalfNormal\).*deterministic"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(model: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        pi.from_numpyro(model)


def test_the_support_of_a_transform_is_the_image_of_its_base() -> None:
    base = dist.HalfNormal(1.0)
    for transform, ends in [
        (transforms.AffineTransform(1.0, -2.0), (-np.inf, 1.0)),
        (transforms.ExpTransform(), (1.0, np.inf)),
        (transforms.SigmoidTransform(), (0.5, 1.0)),
    ]:
        fn = completed(dist.TransformedDistribution(base, transform), latent=True)
        low, high = fn.support.feasible_like(jnp.zeros(())), fn.support
        assert ends[0] < low < ends[1]
        for end, beyond in zip(ends, (-0.1, 0.1), strict=True):
            assert np.isinf(end) or not high(end + beyond)


def test_a_fold_takes_the_density_of_what_it_folds() -> None:
    fold = completed(dist.FoldedDistribution(dist.LogNormal(0.0, 1.0)), latent=True)
    np.testing.assert_allclose(fold.log_prob(2.0), stats.lognorm(1).logpdf(2.0), rtol=1e-5)
    fold = completed(dist.FoldedDistribution(dist.Uniform(-1.0, 2.0)), latent=True)
    np.testing.assert_allclose(np.exp(fold.log_prob(jnp.array([0.5, 1.5, 2.5]))), [2 / 3, 1 / 3, 0])


def test_components_with_other_supports_leave_gradients_finite() -> None:
    weights = dist.Categorical(probs=jnp.array([0.4, 0.6]))
    parts = [dist.Normal(0.0, 1.0), dist.Gamma(2.5, 1.0)]
    fn = completed(dist.MixtureGeneral(weights, parts, support=constraints.real), latent=True)
    for value in (-1.0, 1.0):
        expected = 0.4 * stats.norm.pdf(value) + 0.6 * stats.gamma(2.5).pdf(value)
        np.testing.assert_allclose(fn.log_prob(value), np.log(expected), rtol=1e-5)
        assert np.isfinite(jax.grad(fn.log_prob)(value))


def test_a_draw_that_is_rounded_onto_an_end_stays_finite() -> None:
    for value in (-np.pi, np.pi):
        x = unconstrained(constraints.interval(-np.pi, np.pi), jnp.array(value, jnp.float32))
        assert np.isfinite(x) and np.sign(x) == np.sign(value)
