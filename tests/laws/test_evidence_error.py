"""The error that a population states of its evidence is the one it makes."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import chi2

import probinf as pi
from probinf import kernels
from probinf.core.estimate import log_mean_exp
from probinf.results.posterior import Posterior
from probinf.samplers.populations import moving, tuning, unevenness
from probinf.samplers.populations.base import Islands
from probinf.samplers.populations.pooling import pooled_evidence
from tests.cases import sbibm, targets

WALK = kernels.RandomWalk()
WASTE_FREE = pi.SMC(particles=400, islands=64, waste_free=20, kernel=WALK)
ERROR_RATE = 1e-4


@dataclasses.dataclass(frozen=True)
class Persistent(pi.PersistentSMC):
    """Writes what its islands know of their evidences where SMC writes it."""

    def history(self, run):
        found = self.gathered(run)
        rows = {"variance": found.variances, "fourth": found.fourths}
        return super().history(run) | {name: row[:, None] for name, row in rows.items()}


def by_island(found: Posterior) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log evidence of every island, its variance and the sum of fourth powers."""
    rows = np.logaddexp.reduce(found.log_weights, axis=1)
    log_z = found.log_evidence.value + rows - log_mean_exp(rows).value
    last = np.isfinite(found.history["variance"]).sum(axis=1) - 1
    variance, fourth = (found.history[n][range(len(last)), last] for n in ("variance", "fourth"))
    return log_z, variance, fourth


def right(z: np.ndarray) -> bool:
    """Whether z-scores have variance one, at ``ERROR_RATE``, and no bias."""
    low, high = chi2.interval(1 - ERROR_RATE, z.size - 1)
    return bool(low < np.sum((z - z.mean()) ** 2) < high and abs(z.mean()) * np.sqrt(z.size) < 4)


@pytest.mark.parametrize(
    "method",
    [WASTE_FREE, Persistent(particles=100, islands=64, kernel=WALK)],
    ids=["waste-free", "persistent"],
)
def test_every_island_knows_its_error(method) -> None:
    """Over twenty keys z has a standard deviation of .9 to 1.1; that of shares less 1 / n, .3."""
    target = targets.skewed()
    found = pi.sample(target.program, method, key=1, progress=False, check=False)
    log_z, variance, fourth = by_island(found)
    z = [
        pooled_evidence(log_z[k : k + 1], variance[k : k + 1], fourth[k : k + 1])
        for k in range(log_z.size)
    ]
    assert right(np.array([e.z(target.log_evidence) for e in z]))
    if method is WASTE_FREE:
        assert not right((log_z - target.log_evidence) / np.sqrt(shares_less_one_over_n(found)))


def shares_less_one_over_n(found: Posterior) -> np.ndarray:
    """The mutant: final shares of first ancestors, as if each had begun with 1 / n."""
    n = found.log_weights.shape[1]
    weights = np.exp(found.log_weights - np.logaddexp.reduce(found.log_weights, 1, keepdims=True))
    shares = [np.bincount(c % n, w, n) for c, w in zip(found.clusters, weights, strict=True)]
    return np.sum(np.square(shares), axis=1) - 1 / n


@pytest.mark.parametrize("islands", [1, 2, 4, 8])
@pytest.mark.parametrize("lines", [12, 60])
def test_pooled_errors_make_z_scores_of_variance_one(islands: int, lines: int) -> None:
    """Islands whose evidences and gains are normal, four thousand times (sd known to .012)."""
    rng = np.random.default_rng(islands + lines)
    gains = 0.05 / np.sqrt(lines) * rng.normal(size=(4000, islands, lines))
    log_z = 0.05 * rng.normal(size=(4000, islands))
    squares, fourths = np.sum(gains**2, axis=2), np.sum(gains**4, axis=2)
    z = [pooled_evidence(*row).z(0.0) for row in zip(log_z, squares, fourths, strict=True)]
    assert abs(np.std(z) - 1) < 0.06
    if islands == 4 and lines == 12:  # the mutant: half and half, not widened
        halves = [
            log_mean_exp(row).value / np.sqrt((log_mean_exp(row).error ** 2 + s.mean() / 4) / 2)
            for row, s in zip(log_z, squares, strict=True)
        ]
        assert np.std(halves) > 1.03


def test_islands_further_apart_than_they_know_count_by_their_spread() -> None:
    """In different modes, say: each has a small error of its own."""
    log_z = np.log([1.0, 1.0, 3.0, 3.0])
    found = pooled_evidence(log_z, np.full(4, 1e-4), np.full(4, 1e-10))
    assert found.error > log_mean_exp(log_z).error


def test_what_is_not_known_is_not_made_up() -> None:
    nothing = np.full(4, np.nan)
    assert np.isnan(pooled_evidence(np.zeros(1), nothing[:1], nothing[:1]).error)
    log_z = np.array([0.0, 0.1, 0.2, 0.1])
    assert pooled_evidence(log_z, nothing, nothing).error > log_mean_exp(log_z).error
    assert pooled_evidence(np.zeros(3), np.zeros(3), np.zeros(3)).error == 0
    dead = pooled_evidence(np.array([0.0, -np.inf]), np.array([1e-4, 1.0]), np.array([1e-9, 1.0]))
    assert np.isfinite(dead.error)
    assert Islands._fields[5:7] == ("variances", "fourths")


def bowl(x):
    return -50.0 * jnp.sum((x - 1.0) ** 2)


def bias_of_long_chains() -> float:
    """Mean z-score of waste-free chains of fifty states, in units of its own error."""
    program = pi.from_log_likelihood(bowl, dist.Normal(0, 1).expand([5]).to_event(1))
    method = pi.SMC(particles=400, islands=400, waste_free=50, kernel=kernels.HMC(steps=3))
    found = pi.sample(program, method, key=1, progress=False, check=False)
    exact = -2.5 * (np.log(101.0) + 1 / 1.01)
    log_z, variance, fourth = by_island(found)
    z = [
        pooled_evidence(log_z[k : k + 1], variance[k : k + 1], fourth[k : k + 1]).z(exact)
        for k in range(log_z.size)
    ]
    return float(np.mean(z) / np.std(z) * np.sqrt(log_z.size))


@pytest.mark.slow
def test_chains_do_not_tune_the_steps_they_are_made_with(monkeypatch) -> None:
    found = bias_of_long_chains()
    monkeypatch.setattr(moving.Mover, "chains", tuned_on_the_way)
    jax.clear_caches()
    broken = bias_of_long_chains()
    jax.clear_caches()
    assert abs(found) < 4 < broken, (found, broken)


def tuned_on_the_way(self, key, program, position, params, *, length):
    """The mutant: every move of a chain changes the step size of the next."""
    states = self.start(program, position)

    def sweep(carry, k):
        states, params, info = self.sweep(jax.random.fold_in(key, k), program, *carry, k)
        return (states, params), (states.position, info)

    carry, (later, info) = jax.lax.scan(sweep, (states, params), jnp.arange(length - 1))
    every = jax.tree.map(
        lambda a, b: jnp.moveaxis(jnp.concatenate([a[None], b]), 0, 2), states.position, later
    )
    return moving.Moved(
        position=tuning.united(tuning.united(every)),
        params=carry[1],
        acceptance=info.acceptance.mean(),
        moves=jnp.asarray(length - 1),
        evaluations=info.evaluations.sum(),
        lost=info.lost.sum(),
        correlation=jnp.zeros(()),
        acceptances=unevenness.no_acceptances(every.size // every.shape[-1]),
    )


ENGINES = {
    "SMC": pi.SMC(particles=500, kernel=WALK),
    "waste-free": pi.SMC(particles=500, kernel=WALK, waste_free=10),
    "persistent": pi.PersistentSMC(particles=200, kernel=WALK),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", targets.ALL[:6], ids=lambda make: make.__name__)
@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize("islands", [1, 4])
def test_z_scores_over_a_hundred_keys(make, engine: str, islands: int) -> None:
    """One in 10,000 fails by chance, if z-scores are normal with variance one."""
    target = make()
    method = dataclasses.replace(ENGINES[engine], islands=islands)
    z = [
        pi.sample(target.program, method, key=seed, progress=False, check=False).log_evidence.z(
            target.log_evidence
        )
        for seed in range(100)
    ]
    assert right(np.array(z)), (np.mean(z), np.std(z))


def thin_mode() -> pi.Program:
    """Half of the mass in a spot of a thousandth of the prior's area; the evidence is 1 / 400."""

    def model() -> None:
        x = numpyro.sample("x", dist.Uniform(-10, 10).expand([2]).to_event(1))
        wide, thin = (dist.Normal(m, s).log_prob(x).sum() for m, s in ((-5.0, 1.0), (5.0, 0.1)))
        numpyro.factor("likelihood", jnp.logaddexp(wide, thin) - jnp.log(2.0))

    return pi.from_numpyro(model)


@pytest.mark.parametrize("method", [pi.SMC(particles=500), Persistent()], ids=["smc", "persistent"])
def test_what_few_particles_have_found_is_said_and_widens_the_error(method) -> None:
    """At each of twelve keys. The mutant, errors that count all lines alike, says nothing."""
    found = pi.sample(thin_mode(), method, key=1, progress=False, check=False)
    assert "uneven_lines" in found.diagnose().codes
    plain = pooled_evidence(*by_island(found))
    assert found.log_evidence.error > 1.3 * plain.error
    usual = pi.sample(targets.skewed().program, method, key=1, progress=False, check=False)
    assert "uneven_lines" not in usual.diagnose().codes
    assert usual.log_evidence.error == pytest.approx(pooled_evidence(*by_island(usual)).error)


@pytest.mark.slow
def test_errors_where_few_particles_find_a_ridge() -> None:
    """slcp's first observation, whose evidence thirty million draws of the prior give to .017.

    Twelve times four islands. The mutant counts all lines alike: errors of less than half.
    """
    if not sbibm.folder().exists():
        pytest.skip(f"no reference draws in {sbibm.folder()}")
    program = sbibm.program("slcp", sbibm.observation("slcp", 1).y)
    found = pi.sample(program, pi.SMC(islands=48), key=3, progress=False, check=False)
    rows = [np.reshape(row, (12, 4)) for row in by_island(found)]
    honest, plain = (
        np.array([pooled_evidence(*row, lines).z(-20.847) for row in zip(*rows, strict=True)])
        for lines in (1000, 0)
    )
    assert np.sum(honest**2) < chi2.isf(ERROR_RATE, 12)
    assert np.sum(plain**2) > 1.5 * np.sum(honest**2)
