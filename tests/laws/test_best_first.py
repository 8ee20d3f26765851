"""The most probable texts against enumeration: which they are, and what is said to be proved."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf.errors import MethodError, ModelError, RewardError, ZeroLikelihoodError
from probinf.lm import HostLM, TableLM
from probinf.tokens.bounds import Bounds
from probinf.tokens.searching import Search
from tests.cases import tokens as case
from tests.cases.tiers import tiers

TARGETS = ["power", "steps", "reward", "odds", "diff", "blocks", "potential"]
FEW = {"rows": 4, "slots": 8, "branches": 2}
SEARCHES = [{}, {"limit": 40}, FEW]


def hold(name: str, options: dict, seeds: int = 4, **more) -> list:
    """Raise unless the law holds on some models; the results."""
    results = []
    for seed in range(seeds):
        lm = TableLM.random(seed)
        truth = case.exact(name, lm=lm)
        if name == "potential":
            more["largest_potential"] = 1.0
        found = pi.tokens.most_probable(case.program(name, lm=lm), count=3, **options, **more)
        best = np.argsort(-truth.log_mass)[:3]
        where = truth.index(found.tokens)
        assert np.allclose(found.log_density, truth.log_mass[where], atol=1e-4)
        assert np.allclose(found.log_prob, truth.log_p[where], atol=1e-4)
        others = np.delete(truth.log_mass, where)
        assert others.max() <= found.bound + 1e-4  # whether proved or not
        assert not found.proved or (where == best).all()
        assert (found.gap == 0) == found.proved
        results.append(found)
    return results


@pytest.mark.parametrize("name", tiers(TARGETS, ("power", "steps")))
def test_the_most_probable_texts_are_those_of_enumeration(name) -> None:
    """Proved where the search may go on, never wrongly where it may not."""
    for options in SEARCHES:
        found = hold(name, options)
        assert options or all(one.proved for one in found)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Best:
    """The most that a model can still add to a beginning, by going through all of them."""

    table: jax.Array
    vocab_size: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(cls, lm: TableLM, exponent: float, depth: int) -> Best:
        v = lm.vocab_size
        log_p = np.asarray(jax.nn.log_softmax(lm.logits), float)
        best = np.zeros(sum(v**k for k in range(depth + 1)))
        for node in reversed(range(len(log_p))):
            after = [0.0 if t == lm.eos else best[v * node + t + 1] for t in range(v)]
            best[node] = (exponent * log_p[node] + after).max()
        return cls(jnp.asarray(best, jnp.float32), v)

    def __call__(self, context):
        node = jnp.zeros((), int)
        for t in range(context.tokens.shape[0]):
            below = self.vocab_size * node + context.tokens[t] + 1
            node = jnp.where(t < context.length, below, node)
        return self.table[node]


def test_a_bound_that_looks_ahead_saves_work_and_one_too_small_is_refused() -> None:
    lm = TableLM.random(1)
    program, truth = case.program("power", lm=lm), case.exact("power", lm=lm)
    ahead = Best.of(lm, case.A, case.T)
    assert np.isclose(float(ahead.table[0]), truth.log_mass.max(), atol=1e-4)
    options = {"rows": 1, "slots": 64}
    plain = pi.tokens.most_probable(program, **options)
    found = pi.tokens.most_probable(program, ahead=ahead, **options)
    assert found.proved and (found.tokens == plain.tokens).all()
    assert found.opened < plain.opened
    small = dataclasses.replace(ahead, table=ahead.table - 0.5)
    with pytest.raises(ModelError, match=r"one of its beginnings was bounded by.*ahead="):
        pi.tokens.most_probable(program, ahead=small, **options)


def test_potentials_that_are_forgotten_in_the_bound_are_caught(monkeypatch) -> None:
    """The mutant: a bound that is not admissible."""
    monkeypatch.setattr(Bounds, "of_rest", lambda self, *known: 0.0)
    with pytest.raises((AssertionError, ModelError)):
        hold("potential", {"rows": 4})


def test_a_proof_that_forgets_what_was_dropped_is_caught(monkeypatch) -> None:
    """The mutant: beginnings without a slot count as searched."""
    nothing = property(lambda self: -np.inf, lambda self, value: None)
    monkeypatch.setattr(Search, "_missed", nothing, raising=False)
    with pytest.raises(AssertionError):
        hold("power", FEW)


def test_texts_that_a_constraint_leaves_are_all_found() -> None:
    rule = pi.tokens.one_of([[0, 1], [2], [1, 1, 1]], vocab_size=4, eos=3)
    program = pi.from_language_model(case.LM, max_tokens=6, constraint=rule)
    found = pi.tokens.most_probable(program, count=5)
    assert found.proved and sorted(found.length.tolist()) == [2, 3, 4]
    assert (np.diff(found.log_density) <= 0).all()


def above_one(context):
    return jnp.where(context.length == 2, 1.5, 0.5)


def nowhere(context):
    return jnp.where(context.length == 2, -jnp.inf, 0.0)


def test_what_cannot_be_searched_is_refused() -> None:
    search = pi.tokens.most_probable
    with pytest.raises(MethodError, match=r"largest_potential=.*ahead="):
        search(case.program("potential"))
    with pytest.raises(ModelError, match=r"said to be 0\.1 at most; raise largest_potential="):
        search(case.program("potential"), largest_potential=0.1)
    with pytest.raises(MethodError, match="slots must be at least twice rows=16, got 20"):
        search(case.program("power"), slots=20)
    with pytest.raises(RewardError, match=r"1\.5 at token 1"):
        search(case.program("power", potential=pi.tokens.reward(above_one)))
    dead = pi.from_language_model(
        TableLM.random(0, eos_bias=-np.inf), max_tokens=6, potential=nowhere
    )
    with pytest.raises(ZeroLikelihoodError, match="no text has positive mass"):
        search(dead, largest_potential=0.0)
    lm = TableLM(case.LM.logits.at[1].set(jnp.nan), case.LM.eos)
    with pytest.raises(RewardError, match="logits are NaN"):
        search(case.program("power", lm=lm))


@pytest.mark.slow
def test_a_model_in_ordinary_python_is_searched_too() -> None:
    lm = TableLM.random(2, vocab_size=3, depth=5)
    logits = np.asarray(lm.logits)

    def following(texts):
        nodes = []
        for text in texts:
            node = 0
            for token in text:
                node = 3 * node + int(token) + 1
            nodes.append(node)
        return logits[nodes]

    host = HostLM.of(following, vocab_size=3, eos=2)
    options = {"max_tokens": 4, "exponent": 2.0}
    found = pi.tokens.most_probable(pi.from_language_model(host, [0], **options), rows=4, slots=64)
    same = pi.tokens.most_probable(pi.from_language_model(lm, [0], **options), rows=4, slots=64)
    assert found.proved and (found.tokens == same.tokens).all()
