"""Parameters on a circle: moves through the seam, circular summaries, a finding without them."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import special, stats

import probinf as pi
from probinf.core.coordinates import flatten
from probinf.errors import MethodError, StructureError
from probinf.results.circular import around
from probinf.samplers.nested import periodic
from probinf.samplers.nested.periodic import on_circle, to_line, wrapped

ANGLES = np.array([0.3, -0.4, 0.1, -0.2, 0.35])  # around the seam of (0, 2 pi)
KAPPA = 2.0


def angle(y: Any = None) -> None:
    phi = numpyro.sample("phi", dist.Uniform(0, 2 * jnp.pi))
    with numpyro.plate("n", len(ANGLES)):
        numpyro.sample("y", dist.VonMises(phi, KAPPA), obs=y)


def from_the_west(y: Any = None) -> None:
    """A VonMises prior, whose interval is cut at pi."""
    phi = numpyro.sample("phi", dist.VonMises(jnp.pi - 0.1, 1.0))
    numpyro.sample("height", dist.Normal(0.0, 1.0))
    with numpyro.plate("n", len(ANGLES)):
        numpyro.sample("y", dist.VonMises(phi + jnp.pi, KAPPA), obs=y)


def exact(prior: tuple[float, float], shift: float) -> tuple[float, float, float]:
    """Log evidence, mean direction and circular sd: products of VonMises are VonMises."""
    each = KAPPA * np.exp(1j * (ANGLES - shift)).sum()
    total = prior[1] * np.exp(1j * prior[0]) + each
    log_i0 = lambda k: np.log(special.i0e(k)) + k  # noqa: E731
    log_z = log_i0(abs(total)) - log_i0(prior[1])
    log_z -= len(ANGLES) * (np.log(2 * np.pi) + log_i0(KAPPA))
    length = special.i1e(abs(total)) / special.i0e(abs(total))
    return float(log_z), float(np.angle(total)), float(np.sqrt(-2 * np.log(length)))


CASES = [(angle, (0.0, 0.0), 0.0), (from_the_west, (np.pi - 0.1, 1.0), np.pi)]


@functools.cache
def found(model: Any, sites: tuple[str, ...] = ("phi",), **options: Any) -> pi.Posterior:
    program = pi.from_numpyro(model, y=jnp.asarray(ANGLES))
    method = pi.Nested(live=100, runs=4, periodic=sites, **options)
    return pi.sample(program, method, key=1, progress=False, check=False)


@pytest.mark.parametrize(
    ("model", "prior", "shift"), CASES, ids=lambda v: getattr(v, "__name__", "")
)
def test_nested_sampling_goes_through_the_seam(model: Any, prior: Any, shift: float) -> None:
    log_z, mean, sd = exact(prior, shift)
    posterior = found(model)
    assert abs(posterior.log_evidence.z(log_z)) < 5
    assert posterior.provenance["insertion_p_value"] > 1e-4
    row = posterior.summary()["phi"]
    assert abs(np.angle(np.exp(1j * (row["mean"] - mean)))) < 5 * row["mcse"]
    assert row["sd"] == pytest.approx(sd, rel=0.15)
    assert row["mcse"] < 0.1 * sd and row["ess"] > 200
    assert "phi (circular)" in str(posterior.summary())
    assert posterior.summary().circular == ("phi",)
    low, high = posterior.provenance["periodic"]["phi"]
    values = posterior.draws["phi"]
    assert low[0] <= values.min() and values.max() <= high[0] + 1e-5
    assert "both_ends" not in posterior.diagnose().codes


@pytest.mark.slow
def test_errors_on_a_circle_are_right() -> None:
    log_z, mean, _ = exact((0.0, 0.0), 0.0)
    program = pi.from_numpyro(angle, y=jnp.asarray(ANGLES))
    z = []
    for key in range(60):
        method = pi.Nested(live=100, periodic=("phi",))
        fit = pi.sample(program, method, key=key, progress=False, check=False)
        row = fit.summary()["phi"]
        off = np.angle(np.exp(1j * (row["mean"] - mean)))
        z.append([fit.log_evidence.z(log_z), off / row["mcse"]])
    low, high = np.sqrt(stats.chi2.ppf([5e-5, 1 - 5e-5], 59) / 59)
    spread = np.std(z, axis=0, ddof=1)
    assert (spread > low).all() and (spread < high).all()
    assert (np.abs(np.mean(z, axis=0)) < 4 / np.sqrt(60)).all()


def on_the_circle() -> tuple[Any, Any]:
    """A skewed prior on its interval, on the line and on the circle."""
    flat, _ = flatten(pi.from_log_likelihood(flat_likelihood, {"x": dist.Kumaraswamy(2.0, 3.0)}))
    return flat, on_circle(flat, ("x",))


def flat_likelihood(v: Any) -> Any:
    return 0.0 * v["x"]


def mass() -> float:
    flat, program = on_the_circle()
    grid = jnp.asarray((np.arange(4000) + 0.5) / 4000 - 0.5, jnp.float32)[:, None]
    score = jax.vmap(program.score, (0, None))(grid, flat.data)
    return float(np.exp(np.asarray(score.log_base, float)).mean())


def test_the_measure_on_the_circle_is_the_same() -> None:
    assert mass() == pytest.approx(1.0, abs=1e-3)
    flat, program = on_the_circle()
    keys = jax.random.split(jax.random.key(0), 500)
    line = jax.vmap(flat.draw, (0, None))(keys, flat.data)
    circle = jax.vmap(program.draw, (0, None))(keys, flat.data)
    assert (np.abs(circle) <= 0.5).all()
    np.testing.assert_allclose(to_line(circle, (True,)), line, rtol=1e-4, atol=1e-5)
    turned = program.score(circle[0] + 3.0, flat.data).log_base
    assert turned == pytest.approx(float(program.score(circle[0], flat.data).log_base), abs=1e-3)


def test_a_circle_without_its_slope_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = periodic._logit
    monkeypatch.setattr(periodic, "_logit", lambda w: (right(w)[0], 0.0 * w))
    assert abs(mass() - 1) > 0.5


def test_coordinates_wrap() -> None:
    w = wrapped(jnp.array([[0.7, 0.7], [-0.6, -0.6], [2.2, 2.2]]), (True, False))
    np.testing.assert_allclose(w, [[-0.3, 0.7], [0.4, -0.6], [0.2, 2.2]], atol=1e-6)


@pytest.mark.parametrize(
    ("sites", "says"),
    [
        ("mu", "values of site 'mu' do not fill an interval"),
        ("omega", "no real latent site 'omega'; there are \\['mu', 'phi'\\]"),
    ],
)
def test_periodic_sites_are_checked(sites: str, says: str) -> None:
    program = pi.from_numpyro(level_and_phase)
    with pytest.raises(MethodError, match=says):
        pi.sample(program, pi.Nested(periodic=sites), key=0, progress=False)


def level_and_phase() -> None:
    numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.sample("phi", dist.Uniform(0.0, 1.0))
    numpyro.factor("f", 0.0)


# --- summaries ------------------------------------------------------------------------------------


def test_circular_columns_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    hours = (23.5 + rng.normal(0, 2.0, (4, 500))) % 24
    draws = {"level": rng.normal(size=(4, 500, 2)), "hour": hours}
    posterior = chains(draws)
    row = posterior.summary(circular={"hour": 24.0})["hour"]
    assert row["mean"] == pytest.approx(stats.circmean(hours, high=24))
    assert row["sd"] == pytest.approx(stats.circstd(hours, high=24))
    assert row["mcse"] == pytest.approx(row["sd"] / np.sqrt(2000), rel=0.25)
    assert row["q50"] == pytest.approx(row["mean"], abs=0.3) and row["q95"] > 24
    assert row["r_hat"] < 1.02
    plain = posterior.summary()
    assert plain["level[1]"] == posterior.summary(circular={"hour": 24.0})["level[1]"]
    assert plain.circular == () and plain["hour"]["sd"] > 8


def test_the_error_of_a_mean_direction_is_its_spread() -> None:
    rng = np.random.default_rng(1)
    means, errors = [], []
    for _ in range(200):
        row = chains({"a": rng.vonmises(3.1, 0.8, (1, 300))}).summary(circular=["a"])["a"]
        means.append(np.angle(np.exp(1j * (row["mean"] - 3.1))))
        errors.append(row["mcse"])
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.2)


def chains(draws: dict[str, np.ndarray]) -> pi.Posterior:
    shape = next(iter(draws.values())).shape[:2]
    return pi.Posterior(
        draws=draws,
        log_weights=np.zeros(shape),
        stats={},
        history={},
        unconstrained=np.zeros((*shape, 0)),
        provenance={},
        kind="chains",
    )


def test_circular_sites_are_checked() -> None:
    posterior = chains({"a": np.zeros((2, 20))})
    with pytest.raises(StructureError, match="circular names site 'b'"):
        posterior.summary(circular=["b"])
    with pytest.raises(StructureError, match="period of 'a' must be positive"):
        posterior.summary(circular={"a": 0.0})


def test_draws_of_weight_zero_do_not_count() -> None:
    hours = np.array([[23.0, 1.0, 23.5, 0.5, np.nan]])
    posterior = dataclasses.replace(
        chains({"hour": hours}),
        log_weights=np.array([[0.0, 0.0, 0.0, 0.0, -np.inf]]),
        clusters=np.arange(5)[None],
        kind="weighted",
    )
    row = posterior.summary(circular={"hour": 24.0})["hour"]
    assert np.cos(row["mean"] * np.pi / 12) == pytest.approx(1.0) and 0 < row["mcse"] < 1


def test_weights_and_entries_keep_their_place() -> None:
    draws = {"b": np.ones((1, 3, 2)), "a": np.array([[0.1, 6.2, 3.0]])}
    values = np.concatenate([draws["b"], draws["a"][..., None]], axis=2)
    ends = {"a": (np.asarray(0.0), np.asarray(2 * np.pi))}
    seen = around(draws, ends, values, np.array([0.5, 0.5, 0.0]))
    assert seen.circular.tolist() == [False, False, True]
    np.testing.assert_array_equal(seen.values[..., :2], 1.0)
    np.testing.assert_allclose(seen.mean[2], (0.1 + 6.2 - 2 * np.pi) / 2, atol=1e-9)


# --- the finding ----------------------------------------------------------------------------------


def nothing_known(y: Any = None) -> None:
    numpyro.sample("phi", dist.Uniform(0, 2 * jnp.pi))
    numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)


def u_shaped(y: Any = None) -> None:
    p = numpyro.sample("p", dist.Beta(0.3, 0.3))
    numpyro.sample("y", dist.Binomial(2, p), obs=y)


def at_a_bound(y: Any = None) -> None:
    x = numpyro.sample("x", dist.Uniform(-1.0, 1.0))
    numpyro.sample("y", dist.Normal(x, 0.3), obs=y)


def unequal(y: Any = None) -> None:
    x = numpyro.sample("x", dist.Uniform(0.0, 1.0))
    low, high = -0.5 * ((x - 0.03) / 0.05) ** 2, -1.5 - 0.5 * ((x - 0.97) / 0.05) ** 2
    numpyro.factor("two", jnp.logaddexp(low, high))
    numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)


def reports(model: Any, y: Any) -> bool:
    program = pi.from_numpyro(model, y=jnp.asarray(y))
    method = pi.Importance(draws=4000)
    posterior = pi.sample(program, method, key=3, progress=False, check=False)
    return "both_ends" in posterior.diagnose().codes


def test_a_cut_angle_is_reported() -> None:
    assert reports(angle, ANGLES)


@pytest.mark.parametrize(
    ("model", "y"), [(nothing_known, 0.0), (u_shaped, 1), (at_a_bound, 0.9), (unequal, 0.0)]
)
def test_no_false_alarm(model: Any, y: Any) -> None:
    """A flat posterior, a U-shaped prior, a bound, and two modes that differ are no angle."""
    assert not reports(model, y)


def test_an_angle_far_from_the_seam_is_not_reported() -> None:
    assert not reports(angle, ANGLES + 2.0)
