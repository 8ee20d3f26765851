"""Automaton: which texts are possible, as a table of states and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from probinf.errors import ModelError

_FAR = 2**30  # tokens to an accepting state that cannot be reached


class Automaton(NamedTuple):
    """A deterministic finite automaton over tokens: texts that it does not accept have mass zero.

    Only tokens are proposed from which an accepting state can still be reached with the tokens
    that are left, so that no particle runs into a dead end.

    Attributes:
        table: (states, V) the next state, -1 where the token is forbidden.
        accepting: (states,) where a text may end.
        start: the first state.
        distance: (states,) fewest tokens to an accepting state.
    """

    table: Int[Array, "states vocab"]
    accepting: Bool[Array, " states"]
    start: Int[Array, ""]
    distance: Int[Array, " states"]

    def allowed(self, place: Int[Array, " n"], left: Int[Array, " n"]) -> Bool[Array, "n vocab"]:
        """Tokens that may come next, where ``left`` more may follow them."""
        after = jnp.where(place[:, None] < 0, -1, self.table[place])
        near = self.distance[jnp.maximum(after, 0)] <= left[:, None]
        return (after >= 0) & near

    def next(self, place: Int[Array, " n"], token: Int[Array, " n"]) -> Int[Array, " n"]:
        """States after a token; a forbidden one leads nowhere, which is accepted by none."""
        return jnp.where(place < 0, -1, self.table[place, token]).astype(place.dtype)

    def accepts(self, place: Int[Array, " n"]) -> Bool[Array, " n"]:
        """Where a text may end."""
        return (place >= 0) & self.accepting[jnp.maximum(place, 0)]


def automaton(table: Any, accepting: Any, *, eos: int, start: int = 0) -> Automaton:
    """An automaton from its transitions.

    Args:
        table: (states, V) whole numbers: the next state, -1 where a token is forbidden. The
            column of ``eos`` is not read: a text may end where the state accepts.
        accepting: (states,) booleans, or numbers of the states where a text may end.
        eos: token that ends a text.
        start: the first state.

    Raises:
        ModelError: a number is none of a state, or no text at all is accepted.
    """
    given = _table("automaton", table, "vocabulary")
    states, vocab_size = given.shape
    if not 0 <= eos < vocab_size:
        raise ModelError(f"automaton: eos is token {eos}, and the table has {vocab_size} columns.")
    given[:, eos] = -1
    _check_states("automaton", given)
    ends = _ends(accepting, states)
    given[:, eos] = np.where(ends, np.arange(states), -1)
    distance = _distance(given, ends)
    if not 0 <= start < states or distance[start] >= _FAR:
        raise ModelError(
            f"automaton: no accepting state can be reached from state {start}, so no text is "
            f"possible; accepting states are {np.flatnonzero(ends).tolist()}."
        )
    return Automaton(
        jnp.asarray(given, jnp.int32),
        jnp.asarray(ends),
        jnp.asarray(start, jnp.int32),
        jnp.asarray(distance, jnp.int32),
    )


def spelled(
    table: Any,
    accepting: Any,
    *,
    letters: str,
    spellings: Sequence[str],
    eos: int,
    start: int = 0,
) -> Automaton:
    """The automaton over tokens of one over letters: it accepts what is spelled as that one does.

    So a rule is written once, whatever pieces a tokenizer cuts texts into.

    Args:
        table: (states, letters) whole numbers: the state after a letter, -1 where it is forbidden.
        accepting: (states,) booleans, or numbers of the states where a text may end.
        letters: of the columns, each once; no other letter is possible.
        spellings: (V,) of the tokens, ``[words.decode([t]) for t in range(V)]``; a token that is
            spelled by nothing is forbidden.
        eos: token that ends a text.
        start: the first state.

    Raises:
        ModelError: letters are no columns of the table, or as ``automaton``.
    """
    given = _table("spelled", table, "letters")
    column = {letter: k for k, letter in enumerate(letters)}
    if given.shape[1] != len(letters) or len(column) < len(letters):
        raise ModelError(
            f"spelled: the table has {given.shape[1]} columns, and letters={letters!r} names "
            f"{len(column)} letters; each column needs one of its own."
        )
    _check_states("spelled", given)
    walk = np.vstack([given, np.full((1, len(letters)), -1)])  # from -1 on there is no way
    after = np.full((len(given), len(spellings)), -1)
    for token, text in enumerate(spellings):
        if text and set(text) <= column.keys():
            place = np.arange(len(given))
            for letter in text:
                place = walk[place, column[letter]]
            after[:, token] = place
    return automaton(after, accepting, eos=eos, start=start)


def _table(who: str, table: Any, columns: str) -> np.ndarray:
    given = np.array(table)
    if given.ndim != 2 or given.dtype.kind not in "iu":
        raise ModelError(
            f"{who}: table must be whole numbers of shape (states, {columns}), got "
            f"{given.dtype} of shape {given.shape}."
        )
    return given


def _check_states(who: str, table: np.ndarray) -> None:
    """Raise unless every entry is a state or -1."""
    wrong = np.argwhere((table < -1) | (table >= len(table)))
    if len(wrong):
        row, column = map(int, wrong[0])
        raise ModelError(
            f"{who}: table[{row}, {column}] leads to state {table[row, column]}, and the "
            f"states are 0 to {len(table) - 1}; -1 forbids."
        )


def _ends(accepting: Any, states: int) -> np.ndarray:
    """Which states accept, from booleans or from numbers of states."""
    given = np.asarray(accepting)
    if given.dtype == bool and given.shape == (states,):
        return given
    if given.ndim != 1 or given.dtype.kind not in "iu" or not given.size:
        raise ModelError(
            f"automaton: accepting must be {states} booleans, or numbers of states, got "
            f"{given.dtype} of shape {given.shape}."
        )
    if given.min() < 0 or given.max() >= states:
        raise ModelError(
            f"automaton: accepting names state {given[(given < 0) | (given >= states)][0]}, and "
            f"the states are 0 to {states - 1}."
        )
    ends = np.zeros(states, bool)
    ends[given] = True
    return ends


def one_of(texts: Sequence[Sequence[int]], *, vocab_size: int, eos: int) -> Automaton:
    """The automaton that accepts some texts and no other.

    Args:
        texts: their tokens, without ``eos``.
        vocab_size: V.
        eos: token that ends a text.

    Raises:
        ModelError: no texts, or a token that is outside the vocabulary or ends texts.
    """
    rows: list[dict[int, int]] = [{}]
    ends = []
    for text in texts:
        place = 0
        for token in text:
            if not 0 <= token < vocab_size:
                raise ModelError(
                    f"one_of: token {token} of text {list(text)} is outside the vocabulary, 0 to "
                    f"{vocab_size - 1}."
                )
            if token == eos:
                raise ModelError(
                    f"one_of: text {list(text)} has the token {eos}, which ends texts; leave it "
                    "out, each text ends by itself."
                )
            if token not in rows[place]:
                rows[place][token] = len(rows)
                rows.append({})
            place = rows[place][token]
        ends.append(place)
    if not ends:
        raise ModelError("one_of: no texts, so that none is possible; give at least one.")
    table = np.full((len(rows), vocab_size), -1)
    for place, after in enumerate(rows):
        for token, state in after.items():
            table[place, token] = state
    return automaton(table, np.unique(ends), eos=eos)


def without(tokens: Sequence[int], *, vocab_size: int, eos: int) -> Automaton:
    """The automaton of all texts in which some tokens do not occur.

    Raises:
        ModelError: a token is outside the vocabulary, or ends texts.
    """
    table = np.zeros((1, vocab_size), int)
    for token in tokens:
        if not 0 <= token < vocab_size or token == eos:
            raise ModelError(
                f"without: token {token} is outside the vocabulary, 0 to {vocab_size - 1}, or "
                f"ends texts (eos={eos})."
            )
        table[:, token] = -1
    return automaton(table, [0], eos=eos)


def _distance(table: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Fewest tokens from each state to an accepting one."""
    distance = np.where(ends, 0, _FAR)
    for _ in range(len(table)):
        after = np.where(table >= 0, distance[np.maximum(table, 0)], _FAR)
        closer = np.minimum(distance, after.min(1) + 1)
        if (closer == distance).all():
            break
        distance = closer
    return np.minimum(distance, _FAR)
