"""FnLM: any function that goes one token further is a language model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.errors import ModelError
from probinf.lm.prompts import check_eos


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FnLM:
    """A language model out of two functions of JAX: a recurrent network, an n-gram, anything.

    Both functions are for one row, and module-level: they are compared by value, and a lambda
    would compile anew for every model.

    Attributes:
        begin: ``(weights, room) -> (cache, logits)``: what is known before the first token, where
            at most ``room`` tokens follow, and logits of the first one.
        further: ``(weights, cache, token) -> (cache, logits)``, one token more.
        weights: a tree of arrays, handed to both.
        vocab_size: V.
        eos: the token that ends a text.
        context: tokens of prompt and continuation together; None for any number.
    """

    begin: Callable[[Any, int], tuple[Any, Array]] = dataclasses.field(metadata={"static": True})
    further: Callable[[Any, Any, Array], tuple[Any, Array]] = dataclasses.field(
        metadata={"static": True}
    )
    weights: Any
    vocab_size: int = dataclasses.field(metadata={"static": True})
    eos: int = dataclasses.field(metadata={"static": True})
    context: int | None = dataclasses.field(default=None, metadata={"static": True})

    starts_empty: ClassVar[bool] = True

    @classmethod
    def of(
        cls,
        begin: Callable[[Any, int], tuple[Any, Array]],
        further: Callable[[Any, Any, Array], tuple[Any, Array]],
        weights: Any = (),
        *,
        vocab_size: int,
        eos: int,
        context: int | None = None,
    ) -> FnLM:
        """The model, once the shapes of its functions have been looked at.

        Raises:
            ModelError: a token that ends texts which is not in the vocabulary, logits of another
                shape, or a cache that changes its shape.
        """
        weights = jax.tree.map(jnp.asarray, weights)
        model = cls(begin, further, weights, vocab_size, eos, context)
        check_eos("FnLM", model.eos, model.vocab_size)
        first = jax.eval_shape(lambda w: begin(w, 4), weights)
        token = jax.ShapeDtypeStruct((), jnp.int32)
        second = jax.eval_shape(further, weights, first[0], token)
        if _kinds(first) != _kinds(second):
            raise ModelError(
                "FnLM: further must return what begin returns, with the same shapes and types; "
                f"begin: {first}, further: {second}."
            )
        if first[1].shape != (model.vocab_size,):
            raise ModelError(
                f"FnLM: logits must have shape ({model.vocab_size},), got {first[1].shape}."
            )
        return model

    def init(
        self, prompt: Int[Array, " p"], used: Int[Array, ""], rows: int, length: int
    ) -> tuple[Any, Float[Array, "rows vocab"]]:
        """Read the prompt token by token, once for all rows."""
        begun = self.begin(self.weights, prompt.shape[0] + length)

        def walk(state: Any, item: tuple[Array, Array]) -> tuple[Any, None]:
            place, token = item
            after = self.further(self.weights, state[0], token)
            return _chosen(place < used, after, state), None

        state, _ = jax.lax.scan(walk, begun, (jnp.arange(prompt.shape[0]), prompt))
        cache, logits = jax.tree.map(lambda v: jnp.broadcast_to(v, (rows, *v.shape)), state)
        return cache, logits

    def step(
        self, cache: Any, token: Int[Array, " rows"], active: Bool[Array, " rows"]
    ) -> tuple[Any, Float[Array, "rows vocab"]]:
        """One more token for every active row."""

        def one(cache: Any, token: Array, active: Array) -> tuple[Any, Array]:
            after, logits = self.further(self.weights, cache, token)
            return _chosen(active, after, cache), logits

        return jax.vmap(one)(cache, token, active)

    def log_prob(
        self,
        prompt: Int[Array, " p"],
        used: Int[Array, ""],
        tokens: Int[Array, "rows t"],
        mask: Bool[Array, "rows t"],
    ) -> Float[Array, "rows t"]:
        """Log probabilities along each row; 0 off the mask."""
        return stepwise_log_prob(self, prompt, used, tokens, mask)


def stepwise_log_prob(model: Any, prompt: Any, used: Any, tokens: Any, mask: Any) -> Array:
    """Log probabilities of given tokens, by the model's own steps."""
    cache, logits = model.init(prompt, used, *tokens.shape)

    def walk(state: Any, item: tuple[Array, Array]) -> tuple[Any, Array]:
        cache, logits = state
        token, counts = item
        logs = jax.nn.log_softmax(logits)
        here = jnp.take_along_axis(logs, token[:, None], 1)[:, 0]
        return model.step(cache, token, counts), jnp.where(counts, here, 0.0)

    _, out = jax.lax.scan(walk, (cache, logits), (tokens.T, mask.T))
    return out.T


def _chosen(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def _kinds(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), tree)
