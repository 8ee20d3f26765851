"""Approximate engines: their laws are normalised, and close where they can be."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.special import betaln
from scipy.stats import chi2

import probinf as pi
from probinf.core.flows.flow import SplineFlow
from probinf.core.flows.laws import DrawnFlow, FittedFlow
from probinf.core.laws import DiagonalNormal, FactorNormal, LowRankNormal, NormalMixture, Scaled
from probinf.errors import EvidenceError
from probinf.validity import check_base
from tests.cases import targets
from tests.cases.tiers import tiers

SMALL = {"draws": 1000, "max_steps": 3000}
ENGINES = (
    pi.Laplace(starts=2, draws=1000),
    pi.Pathfinder(paths=2, draws=1000),
    pi.VI("mean_field", **SMALL),
    pi.VI("full_rank", **SMALL),
    pi.VI("low_rank", **SMALL),
)


def run(program: pi.Program, engine: pi.samplers.Method, key: int = 0) -> pi.Posterior:
    return pi.sample(program, engine, key=key, progress=False, precision="single")


def some_laws() -> dict[str, object]:
    """None with valleys, where the ratios that ``check_base`` averages would have no variance."""
    rng = np.random.default_rng(1)
    d = 3
    mean, factor = rng.normal(size=d), np.tril(rng.normal(size=(d, d)))
    np.fill_diagonal(factor, [0.5, 1.5, 0.8])
    low = LowRankNormal(
        jnp.asarray(mean, "f4"),
        jnp.asarray(rng.normal(size=d), "f4"),
        jnp.asarray(rng.normal(size=(d, 2)), "f4"),
    )
    full = FactorNormal.of(jnp.asarray(mean, "f4"), jnp.asarray(factor, "f4"))
    diagonal = DiagonalNormal(low.mean, low.log_scale)
    mixture = NormalMixture(
        jnp.log(jnp.array([0.3, 0.7])),
        jnp.asarray(0.5 * rng.normal(size=(2, d)), "f4"),
        jnp.asarray(np.stack([factor, 0.8 * np.eye(d)]), "f4"),
    )
    scaled = Scaled(low, full.mean, full.factor)

    def bent(tails: Literal["identity", "linear"]) -> SplineFlow:
        flow = SplineFlow(jax.random.key(0), d, 0, layers=2, hidden=(16,), tails=tails)
        return jax.tree.map(lambda v: v + 0.15 * rng.normal(size=v.shape).astype("f4"), flow)

    return {
        "fitted_flow": FittedFlow(bent("identity")),
        "fitted_linear_flow": FittedFlow(bent("linear")),
        "drawn_flow": DrawnFlow(bent("linear")),
        "diagonal": diagonal,
        "low_rank": low,
        "full_rank": full,
        "mixture": mixture,
        "scaled": scaled,
        "scaled_diagonal": Scaled(full, full.mean, jnp.exp(diagonal.log_scale)),
    }


def three(x: jax.Array) -> jax.Array:
    return jnp.sum(x)


@pytest.mark.parametrize("name", some_laws())
def test_laws_are_normalised(name: str) -> None:
    program = pi.from_log_likelihood(three, dist.Normal(0, 1).expand([3]).to_event(1))
    made = pi.core.normalised.normalised(program, some_laws()[name])
    result = check_base(made, key=1, draws=10_000)
    assert result, result


@pytest.mark.parametrize(
    "make",
    tiers([targets.skewed, targets.bounded], [targets.skewed]),
    ids=lambda m: m.__name__,
)
@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: getattr(e, "family", type(e).__name__))
def test_programs_are_normalised_and_correct_to_the_exact_evidence(make, engine) -> None:
    target = make()
    posterior = run(target.program, engine)
    result = check_base(posterior.as_program(), key=1, draws=10_000)
    assert result, result
    exact = pi.sample(
        pi.rebase(target.program, posterior.as_program()),
        pi.Importance(draws=20_000),
        key=2,
        progress=False,
    )
    assert abs(exact.log_evidence.z(target.log_evidence)) < 4


def correlated_posterior() -> tuple[pi.Program, np.ndarray, np.ndarray]:
    """A normal posterior with known moments."""
    prior = np.linalg.inv(targets.COVARIANCE)
    covariance = np.linalg.inv(prior + np.eye(2))
    return targets.correlated().program, covariance @ np.array([1.0, -1.0]), covariance


@pytest.mark.parametrize(
    "engine", [ENGINES[0], ENGINES[3], ENGINES[1]], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("key", range(2))
def test_a_normal_posterior_is_found(engine, key: int) -> None:
    program, mean, covariance = correlated_posterior()
    posterior = run(program, engine, key)
    x = posterior.unconstrained.reshape(-1, 2)
    w = np.exp(posterior.log_weights.ravel())
    error = np.sqrt(np.diag(covariance) / len(x))
    assert (np.abs(np.average(x, axis=0, weights=w) - mean) < 5 * error).all()
    np.testing.assert_allclose(np.cov(x.T, aweights=w), covariance, atol=0.1)
    assert posterior.provenance["approximation"]["pareto_k"] < 0.5
    assert posterior.diagnose(), posterior.diagnose()
    assert "Pareto k of the approximation: " in str(posterior.diagnose())
    assert abs(posterior.log_evidence.value - targets.correlated().log_evidence) < 0.05


def test_mean_field_has_the_conditional_variances() -> None:
    program, mean, covariance = correlated_posterior()
    law = run(program, pi.VI("mean_field", **SMALL)).approximation
    sd = np.asarray(law.scale * jnp.exp(law.inner.log_scale))
    np.testing.assert_allclose(sd, 1 / np.sqrt(np.diag(np.linalg.inv(covariance))), rtol=0.05)
    np.testing.assert_allclose(law.shift + law.scale * law.inner.mean, mean, atol=0.05)


def two_modes(x: jax.Array) -> jax.Array:
    """A narrow bump with nearly all the mass at -3, a low wide one at 3."""
    high = jnp.log(0.9) - 0.5 * ((x + 3) / 0.3) ** 2 - jnp.log(0.3)
    low = jnp.log(0.1) - 0.5 * ((x - 3) / 0.6) ** 2 - jnp.log(0.6)
    return jnp.logaddexp(high, low)


def share_of_the_low_mode(key: int = 0) -> float:
    program = pi.from_log_density(two_modes, base=dist.Normal(0, 4))
    posterior = run(program, pi.Pathfinder(paths=12, draws=4000), key)
    x, w = posterior.draws["x"].ravel(), np.exp(posterior.log_weights.ravel())
    return float(w[x > 0].sum() / w.sum())


def test_pathfinder_weighs_modes_by_their_mass() -> None:
    assert abs(share_of_the_low_mode() - 0.1) < 0.03


def scale_only(y: jax.Array) -> None:
    sigma = numpyro.sample("sigma", dist.Exponential(1.0))
    numpyro.sample("y", dist.Normal(0.0, sigma).expand(y.shape).to_event(1), obs=y)


Y = np.array([0.3, -1.2, 0.8, 2.1, -0.4, 0.9])


def test_a_mode_is_that_of_the_coordinates_that_are_named() -> None:
    program = pi.from_numpyro(scale_only, Y)
    grid = np.linspace(0.3, 3.0, 270_001)
    log_p = -grid - len(Y) * np.log(grid) - 0.5 * (Y**2).sum() / grid**2
    user = pi.sample(program, pi.MAP(starts=2), key=0, progress=False)
    free = pi.sample(program, pi.MAP(starts=2, coordinates="unconstrained"), key=0, progress=False)
    assert user.draws["sigma"].item() == pytest.approx(grid[log_p.argmax()], abs=2e-5)
    shifted = log_p + np.log(grid)
    assert free.draws["sigma"].item() == pytest.approx(grid[shifted.argmax()], abs=2e-5)
    assert user.provenance["approximation"]["coordinates"] == "user"
    assert user.diagnose(), user.diagnose()


def minibatched(y: jax.Array) -> None:
    mu = numpyro.sample("mu", dist.Normal(0.0, 3.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2.0))
    with numpyro.plate("data", y.shape[0]):
        numpyro.sample("y", dist.Normal(mu, sigma), obs=numpyro.subsample(y, event_dim=0))


def test_a_part_of_a_plate_is_unbiased_and_fits() -> None:
    y = np.random.default_rng(0).normal(1.0, 2.0, 500)
    program = pi.from_numpyro(minibatched, y)
    x = {"mu": jnp.asarray(0.5), "sigma": jnp.asarray(0.3)}
    whole = program.score(x, program.data)
    parts = jax.vmap(lambda k: program.subsampled((("data", 20),), k, x, program.data))(
        jax.random.split(jax.random.key(0), 4000)
    )
    assert parts.log_base[0] == pytest.approx(float(whole.log_base), rel=1e-5)
    error = parts.log_weight.std() / np.sqrt(4000)
    assert abs(parts.log_weight.mean() - whole.log_weight) < 4 * error
    found = run(program, pi.VI(subsample={"data": 100}, draws=2000, max_steps=4000))
    assert found.draws["mu"].mean() == pytest.approx(y.mean(), abs=0.05)
    assert found.draws["sigma"].std() == pytest.approx(2 / np.sqrt(1000), rel=0.3)


def test_a_law_fitted_in_double_precision_serves_in_single() -> None:
    program = targets.skewed().program
    for engine in (ENGINES[0], ENGINES[3], ENGINES[1]):
        with jax.enable_x64(True):
            posterior = pi.sample(program, engine, key=0, progress=False, precision="double")
        found = pi.refine(program, posterior, key=1, draws=2000, progress=False)
        assert found.provenance["precision"] == "single"
        assert abs(found.log_evidence.z(targets.skewed().log_evidence)) < 4


def test_refine_says_how_far_off_the_approximation_was() -> None:
    target = targets.skewed()
    posterior = run(target.program, pi.Laplace(starts=2, draws=1000))
    exact = pi.refine(target.program, posterior, key=1, draws=4000, progress=False)
    report = pi.amortized.refinement(exact)
    assert report.off is not None and report.off[0] == "x"
    assert "the approximation was off" in str(report)
    mean = (2 + targets.COUNTS.sum()) / (1 + len(targets.COUNTS))
    row = exact.summary()["x"]
    assert abs(row["mean"] - mean) < 4 * row["mcse"]


@pytest.mark.slow
def test_a_flow_learns_a_curved_posterior() -> None:
    program = pi.from_log_density(banana, base=dist.Normal(0, 3).expand([2]).to_event(1))
    rng = np.random.default_rng(0)
    x0 = rng.normal(size=4000)
    x = np.stack([x0, x0**2 - 1 + 0.3 * rng.normal(size=4000)], axis=1).astype("f4")
    drawn = dataclasses.replace(
        run(program, pi.Laplace(starts=1, draws=100)),
        draws={"x": x[None]},
        unconstrained=x[None],
        log_weights=np.zeros((1, 4000)),
        approximation=None,
    )
    gaps = {}
    for family in ("normal", "flow"):
        gaps[family] = gap_to_the_banana(pi.fit(drawn, family), jnp.asarray(x[:500]))
    assert gaps["normal"] > 0.5
    assert gaps["flow"] < 0.15


def gap_to_the_banana(fitted: pi.Program, rows: jax.Array) -> float:
    log_q = jax.vmap(lambda v: fitted.score({"x": v}, fitted.data).log_base)(rows)
    return float(jnp.mean(jax.vmap(banana)(rows)) - jnp.mean(log_q))


def banana(x: jax.Array) -> jax.Array:
    second = (x[1] - x[0] ** 2 + 1) / 0.3
    return -0.5 * x[0] ** 2 - 0.5 * second**2 - jnp.log(2 * jnp.pi * 0.3)


@pytest.mark.parametrize("name", some_laws())
def test_a_law_is_saved_as_it_is(name: str, tmp_path) -> None:
    program = pi.from_log_likelihood(three, dist.Normal(0, 1).expand([3]).to_event(1))
    x = np.random.default_rng(0).normal(size=(1, 50, 3)).astype("f4")
    law = jax.tree.map(np.asarray, some_laws()[name])
    kept = pi.Posterior(
        draws={"x": x},
        log_weights=np.zeros((1, 50)),
        stats={},
        history={},
        unconstrained=x,
        provenance={"engine": "VI"},
        kind="weighted",
        clusters=np.arange(50)[None],
        program=program,
        approximation=law,
    )
    kept.save(tmp_path / "fit")
    found = pi.load(tmp_path / "fit", program).approximation
    assert jax.tree.structure(found) == jax.tree.structure(law)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(law), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def never_seen(n: int, zeros: float) -> None:
    """A share of which nothing was seen: on the line its tail is exponential, to one side."""
    share = numpyro.sample("share", dist.Beta(0.7, 1.0))
    numpyro.sample("y", dist.Binomial(n, share), obs=zeros)


def z_of_an_exponential_tail(engine: pi.samplers.Method, keys: range) -> np.ndarray:
    """Errors of the evidences, in their stated errors, where one was given."""
    exact = betaln(0.7, 61.0) - betaln(0.7, 1.0)
    program = pi.from_numpyro(never_seen, 60, 0.0)
    found = [run(program, engine, key) for key in keys]
    return np.array([p.log_evidence.z(exact) for p in found if p.evidence is not None])


@pytest.mark.parametrize("engine", [pi.Laplace(starts=2), pi.Pathfinder(paths=2)], ids=str)
def test_mass_that_no_draw_of_the_law_reaches_is_in_the_evidence(engine) -> None:
    z = z_of_an_exponential_tail(engine, range(10))
    assert z.size >= 5
    assert chi2.sf(z @ z, z.size) > 1e-4, z


def test_draws_that_weights_would_move_are_told() -> None:
    posterior = run(pi.from_numpyro(never_seen, 60, 0.0), pi.Laplace(starts=2))
    assert {"shifted", "pareto_k"} & set(posterior.diagnose().codes)


def improper(y) -> None:
    mu = numpyro.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def test_an_improper_prior_has_draws_and_no_evidence() -> None:
    program = pi.from_numpyro(improper, np.array([1.0, 2.0]))
    for engine in (pi.Laplace(starts=1), pi.Pathfinder(paths=2), pi.VI("mean_field", **SMALL)):
        quick = run(program, engine)
        found = [quick, pi.refine(program, quick, key=1, progress=False)]
        for posterior in found:
            assert posterior.summary()["mu"]["mean"] == pytest.approx(1.5, abs=0.1)
            with pytest.raises(EvidenceError, match=r"site 'mu'.*ImproperUniform"):
                posterior.log_evidence  # noqa: B018
