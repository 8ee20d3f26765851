"""Looks ahead against enumeration: exact as a filter, and what the published draw is worth."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf.errors import MethodError
from probinf.lm import TableLM
from probinf.tokens import lookahead, scalable
from tests.cases import tokens as case
from tests.laws.test_token_moves import small

right = lookahead._exact


def masses(**options):
    """Of squares: with one rollout, cubes weigh hundreds of times their mean, as no error says."""
    program, _ = small("power", exponent=2.0, ramp=1)
    truth = case.exact("power", 4, program.data.lm, 2.0)
    looking = pi.tokens.with_lookahead(program, **options)
    runs = case.filtered(jax.random.key(0), case.sequence(looking), runs=8000, particles=4)
    return case.z_score(runs[0], truth.log_z), truth.tv(case.pooled(truth, *runs))


@pytest.mark.parametrize(
    "options",
    [
        {"candidates": 1, "rollouts": 1},
        pytest.param({"candidates": 2, "rollouts": 2, "horizon": 1}, marks=pytest.mark.slow),
        pytest.param({"candidates": 8, "rollouts": 1}, marks=pytest.mark.slow),
    ],
)
def test_looking_ahead_leaves_mass_and_law(options) -> None:
    """However few candidates and rollouts there are."""
    z, distance = masses(**options)
    assert abs(z) < 4.5
    assert distance < 0.05


def old_estimates_stay(key, rows, logits, sizes, look, data, step):
    """The mutant: the uncorrected draw, with its step masses as weights."""
    forgotten = rows._replace(log_twist=jnp.zeros_like(rows.log_twist))
    return right(key, forgotten, logits, sizes, look, data, step)


@pytest.mark.slow
def test_the_uncorrected_draw_is_caught(monkeypatch) -> None:
    jax.clear_caches()
    monkeypatch.setattr(lookahead, "_exact", old_estimates_stay)
    z, _ = masses(candidates=2, rollouts=2)
    jax.clear_caches()
    assert abs(z) > 10


def test_the_jackknife_takes_bias_away() -> None:
    """Of the first token's law, against the exact one, over models; masses ahead by enumeration."""
    rng, m, times = np.random.default_rng(0), 8, 1500
    biases = np.zeros(2)
    for seed in range(6):
        lm = TableLM.random(seed, vocab_size=3, depth=4)
        truth = case.exact("power", 4, lm, 3.0)
        first = truth.tokens[:, 0]
        log_p = np.array([np.logaddexp.reduce(truth.log_p[first == v]) for v in range(3)])
        law = np.array([truth.law[first == v].sum() for v in range(3)])
        mass = np.empty((times, 3, m))
        for v in range(3):
            log_rest = truth.log_p[first == v] - log_p[v]
            chance = np.exp(log_rest)
            taken = rng.choice(len(chance), (times, m), p=chance / chance.sum())
            mass[:, v] = 2.0 * log_rest[taken]
            zeta = np.exp(3 * log_rest).sum()  # is the ratio of exact conditionals
            assert np.isclose(np.exp(3 * log_p[v] - truth.log_z) * zeta, law[v])
        given = (
            jnp.broadcast_to(jnp.asarray(log_p, jnp.float32), (times, 3)),
            jnp.asarray(mass, jnp.float32),
            jnp.asarray(3.0),
        )
        for k, rule in enumerate((scalable.shares, scalable.jackknifed)):
            biases[k] += np.abs(np.asarray(rule(*given)).mean(0) - law).sum()
    assert biases[1] < 0.7 * biases[0]


@pytest.mark.slow
def test_published_texts_come_close_with_many_rollouts() -> None:
    program, _ = small("power", exponent=3.0, ramp=1)
    truth = case.exact("power", 4, program.data.lm, 3.0)
    found = pi.tokens.scalable_power(program, key=0, rows=20_000, candidates=3, rollouts=32)
    shares = np.bincount(truth.index(found.tokens[:, 0]), minlength=len(truth.lengths)) / 20_000
    assert truth.tv(shares) < 0.05


def test_other_programs_are_refused() -> None:
    with pytest.raises(MethodError, match="powers of a model only"):
        pi.tokens.with_lookahead(case.program("reward"))
