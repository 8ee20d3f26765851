"""TinyLM: a small transformer that does sums, and gets about half of them wrong."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_generator
from probinf.errors import ArrayError
from probinf.lm.architecture import Architecture
from probinf.lm.decoder import Weights
from probinf.lm.transformer import TransformerLM

ALPHABET = "0123456789+-=;"
LARGEST = 60
_FILE = pathlib.Path(__file__).parent / "shipped" / "tinylm.safetensors"
_TERM = re.compile(r"\d+(?:[+-]\d+)*")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TinyLM(TransformerLM):
    """A transformer of 75,000 weights that works out sums of three numbers, one step at a time.

    A problem is ``17+25-9=``, and the right text after it ``42-9=33;``: the first two terms are
    put together, then the rest, and a semicolon ends. It was trained so briefly
    (``bench/train_tinylm.py``) that half of its texts are wrong, so that there is something to be
    gained by sampling well; whether a text is right can be known exactly.

    Attributes: those of ``TransformerLM``.
    """

    @classmethod
    def load(cls) -> TinyLM:
        """The weights that come with probinf."""
        from safetensors.numpy import load_file

        return cls(_tree(load_file(_FILE)), ARCHITECTURE)

    @staticmethod
    def encode(text: str) -> np.ndarray:
        """A token for each character.

        Raises:
            ArrayError: a character that is neither a digit nor one of ``+-=;``.
        """
        bad = sorted(set(text) - set(ALPHABET))
        if bad:
            raise ArrayError(f"TinyLM knows the characters {ALPHABET!r}, not {''.join(bad)!r}.")
        return np.array([ALPHABET.index(letter) for letter in text], np.int32)

    @staticmethod
    def decode(tokens: Any) -> str:
        """The text of tokens, up to the semicolon that ends it."""
        text = "".join(ALPHABET[int(token)] for token in np.asarray(tokens).ravel())
        return text.split(";", 1)[0] + ";" if ";" in text else text

    @staticmethod
    def problems(count: int, key: Any = 0) -> list[str]:
        """Problems at random: three numbers up to 60, plus and minus, nothing below zero.

        Args:
            count: how many.
            key: random key or seed.
        """
        at_least(1, count=count)
        return drawn(as_generator(key), count)

    @staticmethod
    def solution(problem: str) -> str:
        """The right text after a problem.

        Raises:
            ArrayError: it is no problem.
        """
        found = re.fullmatch(r"(\d+[+-]\d+)([+-]\d+)=", problem)
        if not found:
            raise ArrayError(f"TinyLM: a problem looks like '17+25-9=', got {problem!r}.")
        start = str(_value(found[1]))
        return f"{start}{found[2]}={_value(start + found[2])};"

    @staticmethod
    def is_right(problem: str, text: str) -> bool:
        """Whether a text ends with the right result, whatever it says before."""
        result = text.removesuffix(";").rsplit("=", 1)[-1]
        return text.endswith(";") and result.isdigit() and int(result) == _value(problem[:-1])

    @staticmethod
    def right_steps(problem: str, text: str) -> list[bool]:
        """Of each finished step whether its value still is that of the problem."""
        value = _value(problem[:-1])
        ended = re.split("[=;]", text)[:-1]
        return [bool(_TERM.fullmatch(step)) and _value(step) == value for step in ended]


def drawn(rng: np.random.Generator, count: int) -> list[str]:
    """Problems from a generator of NumPy."""
    out: list[str] = []
    while len(out) < count:
        a, b, c = (int(number) for number in rng.integers(1, LARGEST + 1, 3))
        first, second = (int(sign) for sign in rng.choice([-1, 1], 2))
        if a + first * b >= 0 and a + first * b + second * c >= 0:
            out.append(f"{a}{'+' if first > 0 else '-'}{b}{'+' if second > 0 else '-'}{c}=")
    return out


def _value(terms: str) -> int:
    return sum(int(term) for term in re.findall(r"[+-]?\d+", terms))


ARCHITECTURE = Architecture(
    vocab_size=len(ALPHABET),
    eos=ALPHABET.index(";"),
    width=64,
    layers=2,
    heads=4,
    kv_heads=2,
    head_size=16,
    hidden=128,
    context=64,
)


def flat(weights: Weights) -> dict[str, np.ndarray]:
    """Weights by the path to each of them."""
    out = {name: np.asarray(weights[name]) for name in ("embedding", "norm")}
    for i, block in enumerate(weights["blocks"]):
        out |= {f"blocks.{i}.{name}": np.asarray(value) for name, value in block.items()}
    return out


def _tree(arrays: dict[str, np.ndarray]) -> Weights:
    blocks: list[dict[str, jax.Array]] = [{} for _ in range(ARCHITECTURE.layers)]
    for path, value in arrays.items():
        if path.startswith("blocks."):
            _, layer, name = path.split(".")
            blocks[int(layer)][name] = jnp.asarray(value)
    return {name: jnp.asarray(arrays[name]) for name in ("embedding", "norm")} | {"blocks": blocks}
