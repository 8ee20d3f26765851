"""Rounds of truncation: what a round learns from has the law of the prior cut to its region."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import probinf as pi
from probinf.amortized import NPE, SetEmbedding, load
from probinf.amortized.neural import rounds
from probinf.amortized.neural.rounds import Region, draws_within, inside, learned_from
from probinf.amortized.neural.simulations import Simulated
from probinf.core.coordinates import flatten
from probinf.errors import ObservationError, TrainingError, TrainingWarning

SMALL = {"layers": 2, "hidden": (16, 16), "bins": 6}


class Bell(NamedTuple):
    """A normal law in the place of a learned posterior."""

    centre: jax.Array
    sd: jax.Array

    def sample(self, key):
        return self.centre + self.sd * jax.random.normal(key, self.centre.shape)

    def log_density(self, x):
        return jnp.sum(dist.Normal(self.centre, self.sd).log_prob(x))


def model(y=None):
    m = numpyro.sample("m", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(m, 0.2), obs=y)


def bell(centre: float, sd: float) -> Bell:
    return Bell(jnp.asarray([centre]), jnp.asarray([sd]))


def as_rows(theta: np.ndarray) -> Simulated:
    n = len(theta)
    return Simulated(theta, np.zeros((n, 0)), theta, np.ones(n, bool))


def apart(regions: list[Region], seed: int, cut) -> float:
    """Kolmogorov's distance, per what chance allows in one of a thousand, from the exact law."""
    flat, _ = flatten(pi.from_numpyro(model, y=0.5))
    parts = []
    for k in range(len(regions) + 1):
        theta, _ = draws_within(flat, jax.random.key(10 * seed + k), 1500, regions[:k])
        parts.append(as_rows(theta))
    rows = cut(parts, regions).theta[:, 0]
    grid = np.linspace(-4, 4, 200_001)
    within = inside(regions, grid[:, None])
    mass = np.cumsum(np.where(within, stats.norm.pdf(grid), 0.0))
    found = stats.ks_1samp(rows, lambda v: np.interp(v, grid, mass / mass[-1]))
    return float(found.statistic / (1.95 / np.sqrt(len(rows))))


@pytest.fixture(scope="module")
def regions() -> list[Region]:
    """Two regions, the second of a law that reaches beyond the first."""
    first = Region.of(bell(1.0, 0.5), jax.random.key(0), 0.01, [])
    cut = Region.of(bell(2.0, 0.6), jax.random.key(1), 0.05, [first])
    return [first, cut]


def test_a_round_learns_from_the_prior_cut_to_its_region(regions) -> None:
    assert max(apart(regions, seed, learned_from) for seed in range(3)) < 1


def test_all_simulations_without_weights_have_another_law(regions) -> None:
    """The mutant: earlier simulations outside the region are kept."""

    def kept(parts, regions):
        return Simulated(*(np.concatenate(v) for v in zip(*parts, strict=True)))

    assert apart(regions, 0, kept) > 2


def test_the_share_of_the_prior_is_its_mass(regions) -> None:
    """By quadrature; the draws of a law with a mass of epsilon outside."""
    flat, _ = flatten(pi.from_numpyro(model, y=0.5))
    _, share = draws_within(flat, jax.random.key(3), 20_000, regions)
    ends = stats.norm.cdf(np.sort(np.linspace(-4, 4, 800_001)[inside_line(regions)])[[0, -1]])
    assert abs(share - (ends[1] - ends[0])) < 4.5 * np.sqrt(share / 40_000)
    draws = np.asarray(jax.vmap(bell(1.0, 0.5).sample)(jax.random.split(jax.random.key(4), 20_000)))
    outside = 1 - inside(regions[:1], draws).mean()
    assert abs(outside - 0.01) < 0.006


def inside_line(regions: list[Region]) -> np.ndarray:
    return inside(regions, np.linspace(-4, 4, 800_001)[:, None])


@pytest.mark.slow
def test_rounds_answer_for_their_observation(tmp_path) -> None:
    program = pi.from_numpyro(model, y=1.5)
    fitted = NPE(**SMALL).fit(
        program,
        key=0,
        simulations=600,
        rounds=2,
        epsilon=1e-3,
        steps=150,
        progress=False,
        checkpoint=tmp_path / "checkpoint",
    )
    assert sorted(p.name for p in (tmp_path / "checkpoint").iterdir()) == ["round-1", "round-2"]
    told = fitted.training.facts["rounds"]
    assert [r["simulations"] for r in told] == [300, 300]
    assert told[0]["share_of_prior"] == 1 and 0.02 < told[1]["share_of_prior"] < 0.9
    assert 300 < told[1]["learned_from"] < 600
    fitted.save(tmp_path / "one.safetensors")
    again = load(tmp_path / "one.safetensors").with_program(program)
    x = {"m": jnp.asarray(1.4)}
    one, other = (f.posterior() for f in (fitted, again))
    assert one.score(x, one.data).log_base == other.score(x, other.data).log_base
    found = pi.refine(program, one, key=1, draws=1000, progress=False).summary()["m"]
    assert abs(found["mean"] - 1.5 / 1.04) < 4.5 * found["mcse"]
    with pytest.raises(ObservationError, match="in rounds for one observation"):
        again.posterior(np.array(0.3))


@pytest.mark.slow
def test_rounds_of_a_set_answer_for_it_alone() -> None:
    def many(y=None):
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(m, 1.0).expand([4]), obs=y)

    y = np.array([0.7, 0.1, 0.3, 0.5])
    method = NPE(embedding=SetEmbedding(hidden=(8,), size=4), **SMALL)
    fitted = method.fit(
        pi.from_numpyro(many, y=y), key=0, simulations=400, rounds=2, steps=60, progress=False
    )
    fitted.posterior(y[::-1].copy())
    for other in (y + 9, y[:3]):
        with pytest.raises(ObservationError, match="in rounds for one observation"):
            fitted.posterior(other)


def test_bad_rounds_are_named(monkeypatch) -> None:
    program, method = pi.from_numpyro(model, y=1.5), NPE(simulations=300, **SMALL)
    with pytest.raises(TrainingError, match="rounds must be at least 1, got 0"):
        method.fit(program, key=0, rounds=0)
    with pytest.raises(TrainingError, match=r"epsilon must lie in \(0, 0.5\), got 2"):
        method.fit(program, key=0, rounds=2, epsilon=2.0)
    with pytest.raises(TrainingError, match="observed= goes with rounds="):
        method.fit(program, key=0, observed=1.0)
    with pytest.raises(TrainingError, match="fresh=True learns for all data"):
        NPE(fresh=True).fit(program, key=0, rounds=2)
    monkeypatch.setattr(rounds, "_MOST", 0)
    with pytest.warns(TrainingWarning, match=r"too narrow to be met from the prior"):
        rounds._warn_narrow(1, 0, 150)
