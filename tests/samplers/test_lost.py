"""Densities of NaN and +inf are impossible points, and every engine counts and reports them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import norm

import probinf as pi
from probinf import kernels
from probinf.core.coordinates import flatten
from probinf.kernels import bracket
from probinf.kernels.base import Params
from probinf.samplers.ladder import ladder_evidence
from probinf.samplers.nested.findings import judged
from tests.cases import targets


def spoilt(x: Any, value: Any) -> Any:
    first = jnp.ravel(x)[0]
    return jnp.where((first > 0.5) & (first < 1.0), value, -0.5 * jnp.sum((x - 1.0) ** 2))


def program(value: float, d: int = 1) -> pi.Program:
    prior = dist.Normal(0, 1) if d == 1 else dist.Normal(0, 1).expand([d]).to_event(1)
    return pi.from_log_likelihood(spoilt, prior, np.float32(value))


RIGHT = float(np.log(norm.pdf(1.0, 0, np.sqrt(2)) * np.sqrt(2 * np.pi)))
RIGHT += float(np.log1p(-np.diff(norm.cdf([0.5, 1.0], 0.5, np.sqrt(0.5)))[0]))


def short(kernel: pi.Kernel) -> pi.MCMC:
    return pi.MCMC(kernel, chains=2, warmup=100, draws=200)


ENGINES = {
    "RandomWalk": short(kernels.RandomWalk()),
    "Slice": short(kernels.Slice()),
    "EllipticalSlice": short(kernels.EllipticalSlice()),
    "HMC": short(kernels.HMC()),
    "MALA": short(kernels.MALA()),
    "NUTS": pi.NUTS(chains=2, warmup=100, draws=200),
    "NUTS, thinned": pi.NUTS(chains=2, warmup=100, draws=100, thin=2),
    "ChEES": pi.ChEES(chains=16, warmup=50, draws=50),
    "cycle": short(kernels.cycle(kernels.repeat(kernels.Slice(), 2), kernels.RandomWalk())),
    "ParallelTempering": pi.ParallelTempering(temperatures=4, chains=2, warmup=100, draws=200),
    "Nested": pi.Nested(live=100),
    "Nested, dynamic": pi.Nested(live=100, goal=0.5, max_evaluations=10_000),
    "SMC": pi.SMC(particles=200, islands=2),
    "PersistentSMC": pi.PersistentSMC(particles=200),
    "Importance": pi.Importance(draws=1000),
}
FAST = ("RandomWalk", "Slice", "NUTS", "ParallelTempering", "Nested")


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=["nan", "inf"])
@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in ENGINES]
)
def test_lost_points_are_counted_and_reported(name: str, value: float) -> None:
    posterior = pi.sample(program(value), ENGINES[name], key=1, progress=False, check=False)
    assert posterior.provenance["nan_evaluations"] > 0
    assert "nan" in posterior.diagnose().codes
    draws = np.asarray(next(iter(posterior.draws.values()))).ravel()[
        posterior.log_weights.ravel() > -50
    ]
    assert not ((draws > 0.5) & (draws < 1.0)).any()
    if posterior.evidence is not None:
        assert np.isfinite(posterior.evidence).all()
        assert abs(posterior.evidence.z(RIGHT)) < 5


@pytest.mark.parametrize("name", ["Slice", "Nested"])
def test_nothing_is_reported_where_nothing_is_lost(name: str) -> None:
    bounded = pi.from_log_likelihood(
        targets.positive_half, dist.Normal(0, 1).expand([2]).to_event(1)
    )
    posterior = pi.sample(bounded, ENGINES[name], key=1, progress=False, check=False)
    assert posterior.provenance["nan_evaluations"] == 0
    assert "nan" not in posterior.diagnose().codes


@pytest.mark.slow
def test_microcanonical_moves_count_them() -> None:
    found = pi.sample(program(np.nan, 2), short(kernels.MAMS()), key=1, progress=False, check=False)
    assert found.provenance["nan_evaluations"] > 0


def counts(y: Any = None) -> None:
    k = numpyro.sample("k", dist.Binomial(10, 0.4))
    x = numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.factor("holes", jnp.where(k == 4, jnp.nan, 0.0))
    numpyro.sample("y", dist.Normal(k + x, 1.0), obs=y)


@pytest.mark.parametrize("kernel", [kernels.Enumerate(), kernels.IntegerWalk()])
def test_blocks_of_discrete_coordinates_count_them(kernel: pi.Kernel) -> None:
    both = kernels.cycle(kernels.block("k", kernel), kernels.block("x", kernels.RandomWalk()))
    model = pi.from_numpyro(counts, y=jnp.array(4.0), allow_discrete=True)
    posterior = pi.sample(model, short(both), key=1, progress=False, check=False)
    assert posterior.provenance["nan_evaluations"] > 0
    assert not (posterior.draws["k"] == 4).any()


def narrow(x: Any) -> Any:
    """A hole in a posterior that is far from most of the prior."""
    hole = (x > 4.01) & (x < 4.03)
    return jnp.where(hole, jnp.nan, -0.5 * ((x - 4.0) / 0.02) ** 2)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [None, kernels.RandomWalk()])
def test_holes_that_only_moves_meet_are_counted(kernel: Any) -> None:
    hidden = pi.from_log_likelihood(narrow, dist.Normal(0.0, 2.0))
    method = pi.SMC(particles=200, islands=1, kernel=kernel)
    posterior = pi.sample(hidden, method, key=2, progress=False, check=False)
    assert "nan" in posterior.diagnose().codes


# --- slices at the lowest level -------------------------------------------------------------------


def leaves_support(kernel: pi.Kernel, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a slice at the level of minus infinity leaves the half space of the target."""
    from probinf.kernels import slice as module

    monkeypatch.setattr(module, "height", lambda key, log_density: -jnp.inf + 0 * log_density)
    flat, layout = flatten(targets.half_space().program)
    params = Params(jnp.ones(()), jnp.zeros(layout.size), jnp.ones(layout.size))
    state = kernel.init(flat, jnp.array([0.1, 0.0]))

    def one(key: Any) -> Any:
        return kernel.step(key, flat, state, params)[0].position

    moved = jax.vmap(one)(jax.random.split(jax.random.key(0), 200))
    return bool((moved[:, 0] <= 0).any())


SLICES = [kernels.Slice(max_expansions=2), kernels.EllipticalSlice()]


@pytest.mark.parametrize("kernel", SLICES)
def test_slices_stay_in_the_support(kernel: pi.Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not leaves_support(kernel, monkeypatch)


@pytest.mark.parametrize("kernel", SLICES)
def test_slices_that_take_the_level_alone_are_found(
    kernel: pi.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bracket, "inside", lambda log_density, level: log_density >= level)
    assert leaves_support(kernel, monkeypatch)


def test_the_level_of_a_slice_is_finite() -> None:
    keys = jax.random.split(jax.random.key(0), 100_000)
    level = jax.vmap(lambda key: bracket.height(key, jnp.zeros(())))(keys)
    assert np.isfinite(level).all() and (level <= 0).all()
    assert abs(float(level.mean()) + 1) < 5 / np.sqrt(len(keys))


# --- evidence that is not there -----------------------------------------------------------------


def test_a_ladder_without_likelihood_at_its_base_has_no_evidence() -> None:
    rng = np.random.default_rng(0)
    log_l = rng.normal(size=(2, 50, 3))
    betas = np.array([[0.0, 0.3, 1.0]] * 2)
    assert ladder_evidence(betas, log_l).bridged is not None
    log_l[1, :, 0] = -np.inf
    found = ladder_evidence(betas, log_l)
    assert found.bridged is None and "none of the 50 draws of the base in 1 of 2" in found.missing
    assert "5 rounds are too few" in ladder_evidence(betas, log_l[:, :5]).missing


def test_runs_without_any_likelihood_are_reported() -> None:
    single = [pi.Estimate(-np.inf, np.nan), pi.Estimate(-3.0, 0.2), pi.Estimate(-3.1, 0.2)]
    (found,) = judged(0.5, single)
    assert found.code == "runs_disagree" and "1 of 3 runs" in found.message
