"""Filters that are wrong in one place each, which the law of the mass must catch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf.core import filtering
from probinf.core.population import Population, normalise
from probinf.samplers.filters import lines, particle_filter
from tests.samplers.filters import test_lines as calibration
from tests.samplers.filters import test_particle_filter as law

right = filtering.next_step
follow = lines.followed


def weights_lost_where_nothing_is_resampled(key, sequence, cloud, value, **options):
    equal = jnp.full_like(cloud.log_w, -jnp.log(cloud.log_w.size))
    found = right(key, sequence, cloud, value, **options)
    lost = right(key, sequence, cloud._replace(log_w=equal), value, **options)
    return jax.tree.map(lambda a, b: jnp.where(found.resampled, a, b), found, lost)


def first_stage_forgotten(key, sequence, cloud, value, lookahead=None, **options):
    if lookahead is None:
        return right(key, sequence, cloud, value, **options)
    look = jax.vmap(lookahead, (0, None, None))(cloud.x, value, sequence.data)
    biased = Population(cloud.x, normalise(cloud.log_w + look), cloud.log_z)
    return right(key, sequence, biased, value, **options)


@pytest.mark.parametrize(
    ("mutant", "options"),
    [
        (weights_lost_where_nothing_is_resampled, {"resample_below": 0.3}),
        (first_stage_forgotten, {"auxiliary": law.case.first_stage}),
    ],
)
def test_the_law_catches(monkeypatch, mutant, options) -> None:
    jax.clear_caches()
    monkeypatch.setattr(particle_filter, "next_step", mutant)
    found = law.scores(pi.ParticleFilter(8, **options))
    jax.clear_caches()
    assert np.abs(found).max() > 10


def gains_of_the_last_step_only(before, *rest):
    return follow(before._replace(descent=jax.tree.map(jnp.zeros_like, before.descent)), *rest)


@pytest.mark.slow
def test_calibration_catches_forgotten_gains(monkeypatch) -> None:
    jax.clear_caches()
    monkeypatch.setattr(particle_filter, "followed", gains_of_the_last_step_only)
    found = calibration.spread(pi.ParticleFilter(1000), 20)
    jax.clear_caches()
    assert found > 1.3
