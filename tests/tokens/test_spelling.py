"""Automata over letters, as automata over tokens."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

import probinf as pi
from probinf.errors import ModelError
from probinf.fronts.tokens import constraint

PIECES = ["", "1", "12", "2", "0", "20", "x", "01x", "<end>"]
EOS = 8
# numbers without a zero in front, of an even number of digits
LETTERS, TABLE, ENDS = "012", [[-1, 1, 1], [2, 2, 2], [1, 1, 1]], [2]
RIGHT = re.compile("[12][012](?:[012][012])*")


def law_of_spelling() -> None:
    """A text of tokens is accepted where its spelling is, for all texts of up to three tokens."""
    rule = pi.tokens.spelled(TABLE, ENDS, letters=LETTERS, spellings=PIECES, eos=EOS)
    table, ends = np.asarray(rule.table), np.asarray(rule.accepting)
    for count in (1, 2, 3):
        for text in itertools.product(range(EOS), repeat=count):
            place = 0
            for token in text:
                place = -1 if place < 0 else table[place, token]
            accepted = place >= 0 and ends[place] and table[place, EOS] >= 0
            there = 0 not in text and RIGHT.fullmatch("".join(PIECES[t] for t in text))
            assert accepted == bool(there), text


def test_what_is_accepted_is_what_is_spelled_so() -> None:
    law_of_spelling()


def test_pieces_of_which_only_the_last_letter_counts_are_caught(monkeypatch) -> None:
    class Careless(str):
        def __iter__(self):
            return iter(self[-1:])

    monkeypatch.setattr(f"{__name__}.PIECES", [Careless(piece) for piece in PIECES])
    with pytest.raises(AssertionError):
        law_of_spelling()


@pytest.mark.parametrize(
    ("table", "letters", "said"),
    [
        (TABLE, "01", "3 columns, and letters='01' names 2"),
        (TABLE, "011", "letters='011' names 2 letters"),
        ([[5, 0, 0]], "012", r"spelled: table\[0, 0\] leads to state 5"),
        ([[0.5, 0, 0]], "012", "whole numbers"),
        ([[0, 0, 0], [-1, -1, -1]], "012", "no text is possible"),
    ],
)
def test_rules_that_are_none(table, letters, said) -> None:
    with pytest.raises(ModelError, match=said):
        constraint.spelled(table, [len(table) - 1], letters=letters, spellings=PIECES, eos=EOS)
