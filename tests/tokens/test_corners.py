"""Models with hard zeros, steps that are cut off, and faults inside chains."""

from __future__ import annotations

import inspect

import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf.errors import ArrayError, MethodError, RewardError, StructureError, ZeroLikelihoodError
from probinf.fronts.tokens.sequence import replayed
from probinf.lm import TableLM

INF = np.inf


def with_zeros(eos: int = 0) -> TableLM:
    """After token 1, only token 3 can follow."""
    lm = TableLM.random(0, vocab_size=4, depth=3)
    return TableLM(lm.logits.at[2].set(jnp.array([-INF, -INF, -INF, 0.0])), eos)


def nowhere(log_p, context):
    return jnp.where((context.length == 1) & (context.token == 1), -jnp.inf, log_p)


def test_a_dead_end_of_model_and_constraint_is_no_fault() -> None:
    lm = with_zeros()
    rule = pi.tokens.one_of([[1, 2], [2, 2]], vocab_size=4, eos=0)
    program = pi.from_language_model(lm, max_tokens=3, constraint=rule)
    fit = pi.sample(program, pi.ParticleFilter(64, islands=4), key=0, progress=False)
    alive = np.isfinite(fit.log_weights)
    assert alive.any() and (fit.draws["tokens"][..., 0][alive] == 2).all()


def test_a_proposal_that_is_nowhere_is_a_dead_end() -> None:
    program = pi.from_language_model(with_zeros(), max_tokens=3, proposal=nowhere)
    dead = replayed(jnp.array([[1, 3, 0], [2, 2, 0]]), *_parts(program))
    assert np.isneginf(dead.gained[0]) and np.isfinite(dead.gained[1])
    assert (dead.rows.fault < 0).all()


def at_the_end(context):
    return jnp.where(context.done, -7.0, 0.0)


@pytest.mark.parametrize(("max_steps", "length"), [(1, 2), (2, 4)])
def test_texts_that_are_cut_off_have_ended(max_steps: int, length: int) -> None:
    lm = TableLM.random(0, vocab_size=4, depth=6)
    program = pi.from_language_model(
        lm, max_tokens=6, block=2, max_steps=max_steps, potential=at_the_end
    )
    found = replayed(jnp.array([[0, 1, 2, 0, 1, 2]]), *_parts(program))
    assert found.rows.length[0] == length
    np.testing.assert_allclose(found.gained, -7.0, atol=1e-5)


def test_looking_ahead_refuses_texts_that_are_cut_off() -> None:
    program = pi.from_language_model(with_zeros(), max_tokens=3, exponent=2.0, max_steps=1)
    with pytest.raises(MethodError, match="max_steps"):
        pi.tokens.with_lookahead(program)


def above_one(context):
    return jnp.where(context.token == 1, 3.0, 0.5)


def excluding_all(context):
    return -jnp.inf * jnp.ones(())


CHAINS = [
    (pi.tokens.tail_metropolis, {"draws": 8, "chains": 4}),
    (pi.tokens.particle_gibbs, {"draws": 4, "chains": 2, "particles": 4}),
]


@pytest.mark.parametrize(("chains", "options"), CHAINS)
def test_chains_refuse_rewards_that_are_none(chains, options) -> None:
    lm = TableLM.random(0, vocab_size=4, depth=3)
    potential = pi.tokens.reward(above_one)
    program = pi.from_language_model(lm, max_tokens=3, potential=potential)
    start = jnp.tile(jnp.array([2, 2, 2]), (options["chains"], 1))
    for given in (None, start):
        with pytest.raises(RewardError, match="reward of a text is 3"):
            chains(program, key=0, start=given, **options)


@pytest.mark.parametrize(("chains", "options"), CHAINS)
def test_chains_refuse_to_start_where_all_is_impossible(chains, options) -> None:
    lm = TableLM.random(0, vocab_size=4, depth=3)
    program = pi.from_language_model(lm, max_tokens=3, potential=excluding_all)
    with pytest.raises(ZeroLikelihoodError, match="chain 0 has mass zero"):
        chains(program, key=0, **options)


def test_the_law_of_a_calibration_is_checked() -> None:
    with pytest.raises(MethodError, match="law"):
        calibrate = inspect.unwrap(pi.tokens.calibrate_optscale)  # as without checks of types
        calibrate(np.full((20, 4), 0.5), peek=2, target=0.4, law="emprical")


NO_TOKENS = [
    ([2, 99, 2], r"start: token 99 at place \(0, 1\) is not in the vocabulary.*0 to 3"),
    ([-1, 2, 2], "token -1 at place"),
    ([0.5, 2, 2], "tokens are whole numbers"),
]


@pytest.mark.parametrize(("text", "said"), NO_TOKENS)
def test_texts_of_what_is_no_token_are_refused(text, said) -> None:
    program = pi.from_language_model(with_zeros(), max_tokens=3)
    for chains, options in CHAINS:
        with pytest.raises(ArrayError, match=said):
            chains(program, key=0, start=[text] * options["chains"], **options)
    with pytest.raises(ArrayError, match="conditional_filter: held: token"):
        pi.tokens.conditional_filter(0, program, text, 4)
    if isinstance(text[0], int):
        log_base, log_weight = program.score({"tokens": jnp.array(text)}, program.data)
        assert np.isneginf(log_base) and not np.isnan(log_weight)


def _parts(program):
    return program.state_space.sizes, program.data


def test_a_look_ahead_where_the_other_tokens_are_impossible() -> None:
    lm = TableLM.random(1, vocab_size=4, depth=3)
    lm = TableLM(lm.logits.at[1].set(jnp.array([-INF, -INF, -INF, 0.0])), lm.eos)
    program = pi.from_language_model(lm, max_tokens=3, exponent=2.0)
    ahead = pi.tokens.with_lookahead(program, candidates=2, rollouts=1)
    method = pi.ParticleFilter(8, islands=1000)
    fit = pi.sample(ahead, method, key=0, progress=False)
    texts, lengths = lm.texts(3)
    none = (jnp.zeros(1, jnp.int32), jnp.int32(0))
    log_p = lm.log_prob(*none, texts, jnp.arange(3) < lengths[:, None])
    log_p = np.where(np.arange(3) < np.asarray(lengths)[:, None], log_p, 0.0).sum(1)
    exact = np.log(np.exp(2 * log_p).sum())
    assert abs(fit.log_evidence.value - exact) < 4.5 * fit.log_evidence.error
    assert fit.log_evidence.error < 0.05


def test_a_held_text_of_another_length_is_refused() -> None:
    program = pi.from_language_model(with_zeros(), max_tokens=3)
    with pytest.raises(StructureError, match=r"held must have shape \(max_tokens,\) = \(3,\)"):
        pi.tokens.conditional_filter(0, program, [1, 3], 4)
