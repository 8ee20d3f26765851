"""Populations whose moves fail in places: what is measured of it, said of it, done about it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.integrate import quad
from scipy.special import logsumexp

import probinf as pi
from probinf import kernels
from probinf.core.coordinates import flatten
from probinf.samplers.populations import moving, unevenness
from probinf.samplers.populations.moving import Mover, first_params
from probinf.samplers.populations.unevenness import Acceptances, no_acceptances, uneven_moves
from tests.cases import targets

WIDE = 10.0


def funnel(sd: float, dim: int) -> pi.Program:
    """Neal's funnel as a likelihood, its base N(0, 10)."""

    def log_likelihood(x):
        neck = dist.Normal(0.0, sd).log_prob(x[0])
        return neck + dist.Normal(0.0, jnp.exp(x[0] / 2)).log_prob(x[1:]).sum()

    base = dist.Normal(0.0, WIDE).expand([dim]).to_event(1)
    return pi.from_log_likelihood(log_likelihood, base)


def funnel_evidence(sd: float, dim: int) -> float:
    """One integral is left, of the neck's coordinate."""
    v = np.linspace(-40.0, 40.0, 400_001)
    normal = [-0.5 * (v / s) ** 2 - np.log(s * np.sqrt(2 * np.pi)) for s in (sd, WIDE)]
    others = (dim - 1) * -0.5 * (np.log(2 * np.pi) + np.log(np.exp(v) + WIDE**2))
    return float(logsumexp(sum(normal) + others) + np.log(v[1] - v[0]))


def sums(rates: np.ndarray) -> Acceptances:
    """Of moves (moves, n), one after the other, all by the whole step."""
    found = no_acceptances(rates.shape[1])
    for row in rates:
        found = found.after(jnp.asarray(row[None]), jnp.asarray(False))
    return found


@pytest.mark.parametrize("between", [0.0, 0.1, 0.3])
def test_the_share_of_place_is_that_of_an_analysis_of_variance(between: float) -> None:
    rng = np.random.default_rng(1)
    rates = 0.5 + between * rng.normal(size=400) + 0.2 * rng.normal(size=(5, 400))
    found = sums(rates)
    within = np.mean(np.var(rates, axis=0, ddof=1))
    among = max(np.var(rates.mean(axis=0)) - within / 5, 0.0)
    assert float(found.of_place) == pytest.approx(among / (among + within), abs=1e-4)
    assert abs(float(found.of_place) - between**2 / (between**2 + 0.04)) < 0.07


def test_a_short_move_does_not_count_and_one_move_says_nothing() -> None:
    rates = np.random.default_rng(2).uniform(size=(1, 50))
    one = sums(rates)
    assert np.isnan(float(one.of_place))
    same = one.after(jnp.ones((2, 25)), jnp.asarray(True))
    assert int(same.moves) == 1
    np.testing.assert_array_equal(same.mean, one.mean)
    nearly_all = 1 - 3e-4 * np.random.default_rng(5).exponential(size=(3, 1000)).astype(np.float32)
    assert float(sums(nearly_all).of_place) < 0.05  # digits are kept
    several_parts = no_acceptances(4).after(jnp.full((2, 2, 3), 0.5), jnp.asarray(False))
    np.testing.assert_allclose(several_parts.mean, 0.5)


def test_the_correlation_with_the_likelihood_is_weighted_and_finite() -> None:
    rng = np.random.default_rng(3)
    rates, value, log_w = rng.uniform(size=(3, 200)), rng.normal(size=200), rng.normal(size=200)
    found = sums(rates)
    w = np.exp(log_w)
    covariance = np.cov(rates.mean(axis=0), value, aweights=w)
    exact = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert float(found.along(jnp.asarray(value), jnp.asarray(log_w))) == pytest.approx(
        exact, abs=1e-4
    )
    lost = jnp.asarray(value).at[:3].set(-jnp.inf)
    assert np.isfinite(float(found.along(lost, jnp.asarray(log_w))))
    offset = found.along(jnp.asarray(value - 1e5), jnp.asarray(log_w))
    assert float(offset) == pytest.approx(exact, abs=0.01)
    assert float(found.along(jnp.full(200, -jnp.inf), jnp.asarray(log_w))) == 0
    assert float(sums(np.ones((3, 200))).along(jnp.asarray(value), jnp.asarray(log_w))) == 0


def test_shorter_moves_are_called_for_where_one_step_does_not_fit() -> None:
    rng = np.random.default_rng(4)
    even = sums(rng.uniform(size=(3, 1000)))
    place = sums(np.where(rng.uniform(size=1000) < 0.2, 0.0, 1.0) * rng.uniform(size=(3, 1000)))

    def called(found: Acceptances, along: float, correlation: float) -> bool:
        signs = jnp.asarray(along), jnp.asarray(correlation)
        before = jnp.asarray(False)
        return bool(found.call_for_shorter(*signs, found.mean.size, before))

    assert not called(even, -0.5, 0.9)
    assert called(place, -0.5, 0.1)  # weights lead to them
    assert called(place, 0.1, 0.5)  # they stay where they were
    assert not called(place, 0.1, 0.1)  # they do no harm
    assert not called(sums(rng.uniform(size=(3, 10))), -0.5, 0.9)  # ten particles prove nothing
    one = sums(rng.uniform(size=(1, 1000)))  # nor does a single move: what was called for stays
    for before in (False, True):
        signs = jnp.asarray(-0.5), jnp.asarray(0.9)
        assert bool(one.call_for_shorter(*signs, 1000, jnp.asarray(before))) is before


@pytest.mark.parametrize(
    ("kernel", "shortens"),
    [
        (kernels.HMC(steps=4), True),
        (kernels.RandomWalk(), True),
        (kernels.NUTS(), False),
        (kernels.MAMS(), False),
        (kernels.repeat(kernels.NUTS(), 2), False),
        (kernels.cycle(kernels.RandomWalk(), kernels.MAMS()), False),
        (kernels.cycle(kernels.RandomWalk(), kernels.HMC()), True),
        (kernels.Slice(), False),
        (kernels.HMC(steps=20, length=1.5), True),
        (kernels.HMC(steps=500, length=1.5), False),
        (kernels.DelayedAcceptance(kernels.HMC(steps=500, length=1.5)), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_second_move_is_short_where_that_costs_little(kernel, shortens: bool) -> None:
    """Trees and trajectories of fixed length would grow; a slice has no step size."""
    mover = Mover(kernel, tune=True, groups=2, varied=True)
    odd = [bool(mover._is_short(jnp.asarray(k))) for k in range(4)]
    assert odd == [False, shortens, False, shortens]
    assert not Mover(kernel, tune=True, groups=2)._is_short(jnp.asarray(1))
    assert not Mover(kernel, tune=False, groups=2, varied=True)._is_short(jnp.asarray(1))


@pytest.mark.parametrize("most", [1, 2, 5])
def test_max_moves_is_the_most_there_are(most: int) -> None:
    method = pi.SMC(particles=20, islands=1, max_moves=most, kernel=kernels.RandomWalk())
    found = pi.sample(targets.skewed().program, method, key=0, progress=False, check=False)
    assert np.nanmax(found.history["moves"]) <= most
    flat, _ = flatten(targets.skewed().program)
    start = jnp.linspace(-1.0, 1.0, 20)[:, None]
    mover = Mover(kernels.RandomWalk(), True, 2, varied=True)
    params = first_params(mover.kernel, start, 2)
    moved = mover.until_mixed(jax.random.key(0), flat, start, params, moves=None, max_moves=most)
    assert int(moved.moves) <= most


@pytest.mark.parametrize(
    "method",
    [
        pi.SMC(particles=4, islands=6, kernel=kernels.RandomWalk()),
        pi.PersistentSMC(particles=4, islands=6, kernel=kernels.RandomWalk()),
    ],
    ids=["smc", "persistent"],
)
def test_islands_that_are_dead_from_the_start_say_nothing(method) -> None:
    program = pi.from_log_likelihood(
        lambda x: jnp.where(x > 1.0, 0.0, -jnp.inf), dist.Normal(0.0, 1.0)
    )
    for key in range(3):
        found = pi.sample(program, method, key=key, progress=False, check=False)
        assert "uneven_moves" not in found.diagnose().codes
        assert np.isfinite(found.log_evidence.value)


class ByPlace(Mover):
    """The mutant: the step is short where the particle's density says that it should be."""

    def sweep(self, key, program, states, params, count):
        def move(k, state, p):
            far = state.position[0] > 0
            size = p.step_size * jnp.where(far & (count % 2 == 1), 0.03, 1.0)
            return self.kernel.step(k, program, state, p._replace(step_size=size))

        groups, members = states.logdensity.shape
        keys = moving.divided(jax.random.split(key, groups * members), groups)
        states, info = jax.vmap(lambda k, s, p: jax.vmap(lambda a, b: move(a, b, p))(k, s))(
            keys, states, params
        )
        return states, params, info


def test_a_step_that_varies_leaves_the_target_invariant() -> None:
    """Draws of a skewed target stay draws of it; the mutant of steps by place carries them off."""
    program = pi.from_log_likelihood(lambda x: 0.0 * x, dist.Gamma(2.0, 1.0))
    flat, _ = flatten(program)
    n = 40_000
    start = jax.vmap(lambda k: flat.draw(k, flat.data))(jax.random.split(jax.random.key(0), n))
    kernel = kernels.RandomWalk()
    params = first_params(kernel, start, 2)
    exact = quad(lambda g: np.log(g) * g * np.exp(-g), 0, np.inf)[0]

    def z(mover: Mover) -> float:
        moved = mover.until_mixed(
            jax.random.key(1), flat, start, params, moves=20, max_moves=20
        ).position
        values = np.asarray(moved)[:, 0]
        return float((values.mean() - exact) / values.std() * np.sqrt(n))

    assert abs(z(Mover(kernel, True, 2, varied=True))) < 4.5
    assert abs(z(ByPlace(kernel, True, 2, varied=True))) > 20


def test_a_finding_needs_both_signs() -> None:
    def codes(place: float, along: float) -> list[str]:
        return [f.code for f in uneven_moves(np.full(4, place), np.full(4, along))]

    assert codes(0.4, -0.65) == ["uneven_moves"]
    assert codes(0.4, 0.2) == codes(0.05, -0.65) == []
    assert uneven_moves(np.empty(0), np.empty(0)) == ()


@pytest.mark.parametrize(
    "method",
    [
        pi.SMC(waste_free=10),
        pytest.param(pi.SMC(), marks=pytest.mark.slow),
        pytest.param(pi.PersistentSMC(), marks=pytest.mark.slow),
    ],
    ids=["waste-free", "smc", "persistent"],
)
def test_a_funnel_is_found_out(method) -> None:
    """At each of twenty keys; a half space, at whose wall moves fail too, is not."""
    found = pi.sample(funnel(3.0, 10), method, key=1, progress=False, check=False)
    assert "uneven_moves" in found.diagnose().codes
    assert np.nanmin(found.history["acceptance_by_likelihood"]) < -0.4
    usual = pi.sample(targets.half_space().program, method, key=1, progress=False, check=False)
    assert "uneven_moves" not in usual.diagnose().codes


@pytest.mark.slow
@pytest.mark.parametrize("make", targets.ALL, ids=lambda make: make.__name__)
def test_usual_targets_are_not(make) -> None:
    for key in range(10):
        found = pi.sample(make().program, pi.SMC(), key=key, progress=False, check=False)
        assert "uneven_moves" not in found.diagnose().codes, key


@pytest.mark.slow
def test_shorter_steps_halve_what_a_funnel_loses(monkeypatch) -> None:
    """By whole steps alone, the mutant, the evidence of a mild funnel is .22 too low, not .06."""
    program, exact = funnel(1.0, 10), funnel_evidence(1.0, 10)

    def off() -> np.ndarray:
        jax.clear_caches()
        runs = [pi.sample(program, pi.SMC(), key=k, progress=False, check=False) for k in range(12)]
        return np.array([run.log_evidence.value - exact for run in runs])

    varied = off()
    monkeypatch.setattr(unevenness, "_UNEVEN", 2.0)
    whole = off()
    jax.clear_caches()
    assert varied.mean() > -0.13 > whole.mean(), (varied, whole)
