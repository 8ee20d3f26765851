"""The small model that is always there: what it was trained on, and how well it does it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from probinf.errors import ArrayError, ModelError
from probinf.lm import TinyLM, generate
from probinf.lm.tiny import _FILE


def test_about_half_of_its_texts_are_right():
    model, right, greedy = TinyLM.load(), 0, 0
    problems = TinyLM.problems(25, key=1)
    for i, problem in enumerate(problems):
        prompt = TinyLM.encode(problem)
        out = generate(model, prompt, key=i, rows=20, length=12)
        right += sum(TinyLM.is_right(problem, TinyLM.decode(row)) for row in out.tokens)
        out = generate(model, prompt, length=12, temperature=0.0)
        greedy += TinyLM.is_right(problem, TinyLM.decode(out.tokens[0]))
    assert 0.3 < right / 500 < 0.65  # 0.47 of a thousand problems
    assert greedy >= 10
    assert _FILE.stat().st_size < 2**20


def test_problems_have_one_solution_that_is_right():
    for problem in TinyLM.problems(50):
        text = TinyLM.solution(problem)
        assert TinyLM.is_right(problem, text) and TinyLM.right_steps(problem, text) == [True] * 2
        assert TinyLM.decode(TinyLM.encode(text + "12")) == text
    assert TinyLM.solution("17+25-9=") == "42-9=33;"
    assert TinyLM.is_right("17+25-9=", "41-9=33;")  # by its end alone
    assert TinyLM.right_steps("17+25-9=", "41-9=33;") == [False, True]
    assert TinyLM.right_steps("17+25-9=", "42-9=3") == [True]
    for wrong in ("33", "42-9=32;", ";", "42-9=+33;", "42-9="):
        assert not TinyLM.is_right("17+25-9=", wrong)
    with pytest.raises(ArrayError, match="knows the characters"):
        TinyLM.encode("two")
    with pytest.raises(ArrayError, match="a problem looks like"):
        TinyLM.solution("1+1=")


def test_nothing_follows_from_nothing():
    with pytest.raises(ModelError, match="the prompt is empty"):
        generate(TinyLM.load(), [], length=4)


def test_weights_that_say_nothing_are_named():
    model = TinyLM.load()
    weights = jax.tree.map(lambda leaf: leaf * jnp.nan, model.weights)
    with pytest.raises(ModelError, match="NaN to 2 of 2 rows"):
        generate(dataclasses.replace(model, weights=weights), [1, 2], rows=2, length=3)


def test_a_text_read_before_takes_its_own_length_of_the_context():
    model = TinyLM.load()
    assert model.after([1] * 33).context == model.context - 33
