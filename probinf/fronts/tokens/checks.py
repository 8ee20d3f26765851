"""What can be said of a token program before it runs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.program import Program
from probinf.errors import MethodError, ModelError
from probinf.fronts.tokens.constraint import Automaton
from probinf.fronts.tokens.context import Context
from probinf.fronts.tokens.data import Sizes, TokenData, blank
from probinf.fronts.tokens.program import sizes_of
from probinf.fronts.tokens.stepping import context_of
from probinf.lm.prompts import check_begun
from probinf.lm.protocol import LanguageModel

WHO = "from_language_model"


def check_model(lm: Any) -> None:
    """Raise unless this is a language model.

    Raises:
        ModelError: it is not.
    """
    if not isinstance(lm, LanguageModel):
        raise ModelError(
            f"{WHO}: {type(lm).__name__} is no language model: it needs vocab_size, eos, context, "
            "init, step and log_prob (probinf.lm.LanguageModel)."
        )


def check_room(lm: LanguageModel, used: int, max_tokens: int) -> None:
    """Raise unless prompt and texts fit into the model.

    Raises:
        ModelError: they do not, or the prompt is empty where it must not be.
    """
    check_begun(WHO, used, lm)
    if lm.context is not None and used + max_tokens > lm.context:
        raise ModelError(
            f"{WHO}: the prompt has {used} tokens, and with max_tokens={max_tokens} these are "
            f"{used + max_tokens}; the model holds {lm.context}. Shorten the prompt, or set "
            f"max_tokens={max(lm.context - used, 0)}."
        )


def check_constraint(constraint: Any, lm: LanguageModel, max_tokens: int) -> None:
    """Raise unless the constraint is one of this vocabulary that some text can meet.

    Raises:
        ModelError: it is not.
    """
    if constraint is None:
        return
    if not isinstance(constraint, Automaton):
        raise ModelError(
            f"{WHO}: constraint must be an Automaton (pi.tokens.automaton, one_of, without), got "
            f"{type(constraint).__name__}. Other rules are a potential of -inf."
        )
    if constraint.table.shape[1] != lm.vocab_size:
        raise ModelError(
            f"{WHO}: the constraint is over {constraint.table.shape[1]} tokens, and the model has "
            f"{lm.vocab_size}."
        )
    ends = np.asarray(constraint.accepting)
    after = np.where(ends, np.arange(len(ends)), -1)
    if not np.array_equal(np.asarray(constraint.table)[:, lm.eos], after):
        raise ModelError(
            f"{WHO}: the constraint does not let texts end by token {lm.eos}, which is what ends "
            f"the texts of this model; make it with eos={lm.eos}."
        )
    least = int(constraint.distance[constraint.start])
    if least > max_tokens:
        raise ModelError(
            f"{WHO}: the shortest text that the constraint accepts has {least} tokens, more than "
            f"max_tokens={max_tokens}."
        )


def check_functions(sizes: Sizes, data: TokenData) -> None:
    """Raise unless every function of a text returns one number (the proposal: V of them).

    Raises:
        ModelError: one does not.
    """

    def first() -> Context:
        rows = blank(sizes, data, 1, ())
        step = jax.tree.map(lambda leaf: leaf[0], data.steps)
        found = context_of(rows, data, step)
        return found._replace(**{name: getattr(found, name)[0] for name in Context._fields[:6]})

    context = jax.eval_shape(first)
    vocab = data.lm.vocab_size
    log_p = jax.ShapeDtypeStruct((vocab,), jnp.zeros(()).dtype)
    for name, shape in (("potential", ()), ("twist", ()), ("stop", ()), ("boundary", ())):
        fn = getattr(data, name)
        if fn is not None and hasattr(fn, "begin"):
            _look(name, lambda c, fn=fn: fn(c, fn.begin())[0], (context,), shape)
        elif fn is not None:
            _look(name, fn, (context,), shape)
    if data.proposal is not None:
        _look("proposal", data.proposal, (log_p, context), (vocab,))


def _look(name: str, fn: Any, args: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    found = jax.eval_shape(fn, *args)
    if not hasattr(found, "shape") or found.shape != shape:
        what = "one number" if shape == () else f"logits of shape {shape}"
        raise ModelError(
            f"{WHO}: {name} must return {what} for one text, got "
            f"{jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), found)}."
        )


def only_a_power(who: str, program: Program) -> Sizes:
    """The sizes of a program that is a power of a model.

    Raises:
        MethodError: it is more than that.
    """
    sizes, data = sizes_of(program), program.data
    parts = ("potential", "twist", "proposal", "stop", "boundary", "constraint")
    given = [name for name in parts if getattr(data, name) is not None]
    if bool(data.steps.last[: sizes.max_tokens - 1].any()):
        given.append("max_steps")
    if given or sizes.block > 1:
        raise MethodError(
            f"{who} serves powers of a model only, and this program has "
            f"{[*given, *(['block'] if sizes.block > 1 else [])]}; use a filter with twist=."
        )
    return sizes
