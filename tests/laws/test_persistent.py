"""Persistent sampling is consistent: right within its error, on every kind of target."""

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.core.estimate import log_mean_exp
from probinf.errors import MethodError
from probinf.samplers.populations.pooling import pooled_evidence
from tests.cases import targets
from tests.cases.tiers import tiers

METHOD = pi.PersistentSMC(particles=500, islands=8, moves=5)


def agrees(target: targets.Target, key: int) -> bool:
    """Whether evidence and mean are those of the target, within four and five errors."""
    posterior = pi.sample(target.program, METHOD, key=key, progress=False, check=False)
    drawn = jax.tree.leaves(targets.exact_draws(target, 20_000, seed=2))
    exact = np.concatenate([np.asarray(leaf).reshape(20_000, -1) for leaf in drawn], axis=1)
    w = np.exp(posterior.log_weights)
    means = np.einsum("in,ind->id", w, posterior.unconstrained) / w.sum(axis=1, keepdims=True)
    error = np.maximum(means.std(axis=0, ddof=1), 0.01 * exact.std(axis=0)) / np.sqrt(len(means))
    right = (np.abs(means.mean(axis=0) - exact.mean(axis=0)) < 5 * error).all()
    return bool(right and abs(posterior.log_evidence.z(target.log_evidence)) < 4)


@pytest.mark.parametrize(
    "make",
    tiers(
        [targets.half_space, targets.nan_sprinkled, targets.skewed, targets.bimodal],
        (targets.nan_sprinkled, targets.bimodal),
    ),
    ids=lambda make: make.__name__,
)
def test_right_within_its_error(make) -> None:
    assert agrees(make(), key=10)


def test_a_large_offset_costs_no_precision() -> None:
    plain, shifted = targets.correlated(), targets.correlated(1e6)
    found = [
        pi.sample(t.program, METHOD, key=3, progress=False, check=False).log_evidence.value
        for t in (plain, shifted)
    ]
    assert found[1] - 1e6 == pytest.approx(found[0], abs=0.2)


def test_all_generations_are_kept() -> None:
    posterior = pi.sample(targets.skewed().program, METHOD, key=4, progress=False, check=False)
    stages = np.isfinite(posterior.history["beta"]).sum(axis=1)
    drawn = (stages + 3) * METHOD.particles
    assert (np.isfinite(posterior.log_weights).sum(axis=1) == drawn).all()
    assert (posterior.history["ess"][:, 0] > METHOD.particles).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"particles": 5}, "even number"),
        ({"islands": 0}, "at least 1"),
        ({"target_ess": 0.0}, "positive"),
        ({"moves": 0}, "at least 1"),
        ({"max_stages": 3}, "at least 5"),
    ],
)
def test_options_are_checked(options, message) -> None:
    with pytest.raises(MethodError, match=message):
        pi.PersistentSMC(**options)


def sharp() -> None:
    x = numpyro.sample("x", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(x, 1e-4), obs=2.0)


def test_too_few_generations_are_an_error() -> None:
    with pytest.raises(MethodError, match="not reached in 6 generations"):
        pi.sample(
            pi.from_numpyro(sharp),
            pi.PersistentSMC(particles=20, islands=2, target_ess=2.9, max_stages=6, moves=1),
            key=1,
            progress=False,
            check=False,
        )


def test_errors_from_few_islands_make_z_scores_of_variance_one() -> None:
    """Eight islands with normal log evidences, ten thousand times; the bare spread is too small."""
    log_z = 0.05 * np.random.default_rng(0).normal(size=(10_000, 8))
    unknown = np.full(8, np.nan)
    honest = [pooled_evidence(row, unknown, unknown).z(0.0) for row in log_z]
    bare = [log_mean_exp(row).z(0.0) for row in log_z]
    assert abs(np.std(honest) - 1) < 0.04
    assert np.std(bare) > 1.12  # the mutant: Student's t with seven degrees of freedom
