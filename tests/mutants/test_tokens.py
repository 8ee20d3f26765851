"""Token programs that are wrong in one place each, as published ones are; a law catches each."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probinf.core.population import Population
from probinf.core.sequence import particle_filter
from probinf.fronts.tokens import constraint, held, sequence, stepping
from probinf.samplers.pmcmc import whole
from tests.cases import tokens as case
from tests.laws import test_token_moves as moves
from tests.laws import test_tokens as law

right_step = stepping._step


def no_bridge(key, rows, logits, sizes, data, step, choose):
    """Old tokens keep the exponent that they were drawn under."""
    return right_step(key, rows, logits, sizes, data, step._replace(before=step.exponent), choose)


def ended_texts_are_not_bridged(key, rows, logits, sizes, data, step, choose):
    found = right_step(key, rows, logits, sizes, data, step, choose)
    return found._replace(gained=jnp.where(rows.done, 0.0, found.gained))


def twists_are_never_taken_back(key, rows, logits, sizes, data, step, choose):
    forgotten = rows._replace(log_twist=jnp.zeros_like(rows.log_twist))
    return right_step(key, forgotten, logits, sizes, data, step, choose)


def ended_texts_are_judged_again(rows, began, data, step):
    return right_judged(rows, jnp.ones_like(began), data, step)


right_judged = stepping.judged


def mass(name: str, **options) -> float:
    sequence = case.sequence(case.program(name, **options))
    runs = case.filtered(jax.random.key(3), sequence, runs=5000, particles=32)
    return abs(case.z_score(runs[0], case.exact(name).log_z))


@pytest.mark.parametrize(
    ("where", "mutant", "name", "options"),
    [
        ("_step", no_bridge, "power", {}),
        pytest.param(
            "_step",
            ended_texts_are_not_bridged,
            "power",
            {"ramp": 6},
            marks=pytest.mark.slow,
        ),
        pytest.param("_step", twists_are_never_taken_back, "twist", {}, marks=pytest.mark.slow),
        pytest.param("judged", ended_texts_are_judged_again, "reward", {}, marks=pytest.mark.slow),
    ],
)
def test_the_law_of_the_mass_catches(monkeypatch, where, mutant, name, options) -> None:
    jax.clear_caches()
    monkeypatch.setattr(stepping, where, mutant)
    found = mass(name, **options)
    jax.clear_caches()
    assert found > 8


def evidence_lost_where_runs_are_pooled(key, sequence, particles, **options) -> Population:
    """The published pooling: weights of the last step only, whatever the runs have lost before."""
    return particle_filter(key, sequence, particles, **options)._replace(log_z=jnp.zeros(()))


@pytest.mark.slow
def test_pooling_without_evidence_is_caught() -> None:
    truth, sequence = case.exact("power"), case.sequence(case.program("power"))
    runs = case.filtered(
        jax.random.key(3),
        sequence,
        runs=5000,
        particles=32,
        run=evidence_lost_where_runs_are_pooled,
    )
    assert truth.tv(case.pooled(truth, *runs)) > 0.1  # the law asks for 0.04


def lengths_forgotten(current, proposed):
    """The published ratio."""
    return proposed.log_ratio - current.log_ratio


def test_the_published_ratio_of_tails_is_caught(x64) -> None:
    program, truth = moves.small("power")
    matrix = moves.transitions(program, truth, lengths_forgotten)
    assert np.abs(truth.law @ matrix - truth.law).sum() > 1e-5  # the law asks for 1e-12


def published_move(truth: case.Exact, lm, exponent: float) -> np.ndarray:
    """The matrix of the published move: tails no longer than the text, cut in the ratio.

    New tails stop at the current length; the old tail counts as far as the new one goes.
    """
    eos = lm.eos
    logits = np.asarray(lm.logits, float)
    log_p = logits - np.logaddexp.reduce(logits, 1, keepdims=True)
    log_q = exponent * log_p
    log_q = log_q - np.logaddexp.reduce(log_q, 1, keepdims=True)

    def along(text, table):
        node, out = 0, []
        for v in text:
            out.append(table[node, v])
            node = lm.vocab_size * node + v + 1
        return np.array(out)

    texts = [tuple(row[:n]) for row, n in zip(truth.tokens.tolist(), truth.lengths, strict=True)]
    # states: complete texts, and texts that were cut at their length
    states = sorted({text[:k] for text in texts for k in range(1, len(text) + 1)})
    index = {text: k for k, text in enumerate(states)}
    matrix = np.zeros((len(states), len(states)))
    for text in states:
        i, n = index[text], len(text)
        for place in range(n):
            for other in states:
                ended = other[-1] == eos
                if other[:place] != text[:place] or len(other) > n or len(other) <= place:
                    continue
                if len(other) < n and not ended:
                    continue
                q_new = along(other, log_q)[place:].sum()
                k = len(other)
                ratio = exponent * along(other, log_p)[place:].sum() - q_new
                ratio += along(text[:k], log_q)[place:].sum()
                ratio -= exponent * along(text[:k], log_p)[place:].sum()
                matrix[i, index[other]] += np.exp(q_new) * np.exp(min(ratio, 0.0)) / n
        matrix[i, i] += 1 - matrix[i].sum()
    law = np.zeros(len(states))
    law[[index[text] for text in texts]] = truth.law
    return law @ matrix - law


def test_the_published_move_of_tails_does_not_keep_the_law() -> None:
    """Of the algorithm as published, from its own matrix; no law of ours runs it."""
    program, truth = moves.small("power")
    assert np.abs(published_move(truth, program.data.lm, case.A)).sum() > 1e-3


def the_held_text_is_lost(key, weights):
    u = jax.random.uniform(key, weights.shape, weights.dtype)
    return jnp.searchsorted(jnp.cumsum(weights) / weights.sum(), u).astype(int) % weights.size


@pytest.mark.slow
def test_a_conditional_filter_that_loses_its_text_is_caught(monkeypatch) -> None:
    jax.clear_caches()
    monkeypatch.setattr(whole, "keeping_the_first", the_held_text_is_lost)
    runs = 10_000
    options = {"resample_below": 1.0, "refresh": "none"}
    truth, _, _, log_z = moves.conditional_law("reward", 4, runs, **options)
    jax.clear_caches()
    inverse = np.exp(truth.log_z - log_z)
    assert abs(inverse.mean() - 1) > 8 * inverse.std() / np.sqrt(runs)


def what_lies_ahead_is_not_asked(rows, t, path, sizes, data):
    """As the weight of a beginning alone, which is right where the state is all that counts."""
    return jnp.where(rows.done == path.done[t], 0.0, -jnp.inf), rows


@pytest.mark.slow
def test_ancestors_by_weight_alone_are_caught(monkeypatch) -> None:
    jax.clear_caches()
    monkeypatch.setattr(held, "log_ahead", what_lies_ahead_is_not_asked)
    found = moves.farthest("reward", runs=20_000)
    jax.clear_caches()
    assert found > 8


@pytest.mark.slow
def test_an_automaton_that_allows_what_it_forbids_is_caught(monkeypatch) -> None:
    def open_minded(self, place, left):
        return jnp.ones((place.size, self.table.shape[1]), bool)

    jax.clear_caches()
    monkeypatch.setattr(constraint.Automaton, "allowed", open_minded)
    with pytest.raises(AssertionError):
        law.test_constraints_are_never_violated_and_keep_their_mass()
    jax.clear_caches()


@pytest.mark.slow
def test_a_score_that_reads_another_text_is_caught(monkeypatch) -> None:
    """Forced tokens that lag by one."""

    def late(self, key, log_q, rows):
        where = jnp.maximum(rows.length - 1, 0)
        return jnp.take_along_axis(self.tokens, where[:, None], 1)[:, 0]

    jax.clear_caches()
    monkeypatch.setattr(sequence.Given, "__call__", late)
    with pytest.raises(AssertionError):
        law.test_the_score_of_a_program_is_its_mass("steps")
    jax.clear_caches()
