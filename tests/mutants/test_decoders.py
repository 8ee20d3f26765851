"""Broken twins of the cached decoder, each of which the law of the cache must catch."""

from __future__ import annotations

import jax.numpy as jnp

from probinf.lm import caching
from tests.cases import decoders as cases
from tests.lm import test_transformer as laws
from tests.lm.test_transformer import llama as llama


def test_ancestors_that_leave_the_cache_where_it_is_fail(llama, monkeypatch):
    model, weights = llama
    monkeypatch.setattr(laws, "gather", lambda cache, ancestors: cache)
    assert laws.law_of_the_cache(model, cases.LLAMA, weights, steps=4) > 1e-2


def test_one_position_for_all_rows_fails(llama, monkeypatch):
    model, weights = llama
    real = caching.decode

    def together(weights, shape, tokens, positions, remember):
        return real(weights, shape, tokens, jnp.full_like(positions, positions.max()), remember)

    monkeypatch.setattr(caching, "decode", together)
    assert laws.law_of_the_cache(model, cases.LLAMA, weights) > 1e-2


def test_rows_that_pause_and_still_move_on_fail(llama, monkeypatch):
    model, weights = llama
    real = caching.write

    def onwards(weights, shape, base, rows, tokens, active):
        return real(weights, shape, base, rows, tokens, jnp.ones_like(active))

    monkeypatch.setattr("probinf.lm.transformer.write", onwards)
    assert laws.law_of_the_cache(model, cases.LLAMA, weights) > 1e-2
