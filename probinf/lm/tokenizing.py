"""Text to tokens and back, by the package ``tokenizers``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from probinf.errors import ArrayError, MissingPackageError, ModelError


def package() -> Any:
    """The package ``tokenizers``.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import tokenizers
    except ImportError:
        raise MissingPackageError(
            "Text needs the package tokenizers: pip install 'probinf[tokens]'. Without it, hand "
            "token numbers to the language model."
        ) from None
    return tokenizers


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """A vocabulary, and how a conversation is written in it.

    Attributes:
        inner: a ``tokenizers.Tokenizer``.
        system: what is told to a chat model before a conversation that does not begin with a
            message of the role ``system``; None for a model that does not chat.
    """

    inner: Any
    system: str | None = None

    def encode(self, text: str) -> list[int]:
        """The tokens of a text; nothing is added to it."""
        return list(self.inner.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Any, *, special: bool = False) -> str:
        """The text of tokens.

        Args:
            tokens: numbers, one text.
            special: whether tokens that only steer (ends of messages) are spelled out.

        Raises:
            ArrayError: a token is not in the vocabulary.
        """
        ids = [int(token) for token in tokens]
        bad = [token for token in ids if not 0 <= token < self.inner.get_vocab_size()]
        if bad:
            raise ArrayError(
                f"decode: tokens {bad[:5]} are not in the vocabulary of "
                f"{self.inner.get_vocab_size()} tokens."
            )
        return str(self.inner.decode(ids, skip_special_tokens=not special))

    def chat(self, messages: str | Sequence[tuple[str, str]]) -> list[int]:
        """A conversation up to the point where the model answers.

        Args:
            messages: what the user says, or pairs of a role (``system``, ``user``,
                ``assistant``) and what it said.

        Raises:
            ModelError: the model knows no conversations, or a role.
        """
        if self.system is None:
            raise ModelError("chat: this model has no template of conversations; use encode(text).")
        told = [("user", messages)] if isinstance(messages, str) else list(messages)
        for role, _ in told:
            if role not in ("system", "user", "assistant"):
                raise ModelError(f"chat: a role is 'system', 'user' or 'assistant', got {role!r}.")
        if told and told[0][0] != "system":
            told = [("system", self.system), *told]
        written = "".join(f"<|im_start|>{role}\n{said}<|im_end|>\n" for role, said in told)
        return self.encode(written + "<|im_start|>assistant\n")


def from_vocabulary(
    tokens: Sequence[str], merges: Sequence[str], special: Sequence[str], system: str | None
) -> Tokenizer:
    """A byte-level BPE that takes digits one by one, as that of SmolLM2.

    Args:
        tokens: the vocabulary in its order.
        merges: pairs of tokens, with a space between, in the order of their rank.
        special: tokens that steer, which no text is split into.
        system: see ``Tokenizer``.
    """
    it = package()
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    model = it.models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=pairs)
    inner = it.Tokenizer(model)
    inner.pre_tokenizer = it.pre_tokenizers.Sequence(
        [
            it.pre_tokenizers.Digits(individual_digits=True),
            it.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    inner.decoder = it.decoders.ByteLevel()
    inner.add_special_tokens([it.AddedToken(token, special=True) for token in special])
    return Tokenizer(inner, system)


def from_file(path: Any, system: str | None = None) -> Tokenizer:
    """The tokenizer of a ``tokenizer.json``.

    Raises:
        ModelError: the file holds none.
    """
    try:
        inner = package().Tokenizer.from_file(str(path))
    except MissingPackageError:
        raise
    except Exception as error:  # tokenizers raises bare exceptions
        raise ModelError(f"{path} holds no tokenizer: {error}.") from None
    return Tokenizer(inner, system)


def chat_markup(template: str) -> str | None:
    """What a ChatML template tells a model first; None when the template is another one."""
    begin = "<|im_start|>system\n"
    if begin not in template or "<|im_end|>" not in template:
        return None
    return template.split(begin, 1)[1].split("<|im_end|>", 1)[0]
