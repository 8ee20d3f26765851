"""from_language_model: texts of a language model, weighted, as a Program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from probinf.core.inputs.limits import at_least, positive
from probinf.core.program import Program
from probinf.errors import ModelError
from probinf.fronts.tokens.checks import check_constraint, check_functions, check_model, check_room
from probinf.fronts.tokens.context import Context, as_function, as_rule, as_tokens
from probinf.fronts.tokens.data import Sizes, Step, TokenData
from probinf.fronts.tokens.program import as_arrays, program_of
from probinf.lm.protocol import LanguageModel

WHO = "from_language_model"
_BUCKET = 16
_RAMP = 8


def from_language_model(
    lm: LanguageModel,
    prompt: Any = (),
    *,
    max_tokens: int,
    exponent: float = 1.0,
    ramp: Any = None,
    potential: Callable[..., Any] | None = None,
    constraint: Any = None,
    twist: Callable[[Context], Any] | None = None,
    proposal: Callable[..., Any] | None = None,
    stop: Any = None,
    block: int = 1,
    boundary: Any = None,
    max_steps: int | None = None,
) -> Program:
    """Texts of a language model, as a measure that any particle filter can draw from.

    The measure of a text x that follows the prompt is ``p(x) ** exponent`` times the potentials
    of its steps, where the constraint accepts it. A text ends with the model's ``eos``, where
    ``stop`` says so, or with ``max_tokens``. A step is one token; with ``block`` or ``boundary``
    it is several, and potentials are asked, and particles resampled, at the ends of steps.

    ``pi.sample(program, pi.ParticleFilter(particles, islands), key=0)`` draws whole texts, with
    the log of the measure's mass as evidence; draws of islands count by their evidences. Twist,
    proposal and ramp change how well this works and not the measure, as long as they leave every
    text of positive mass possible: where a proposal is -inf (the tokens outside a top-k, say) or
    a twist is -inf, all texts that go on from there are lost, without an error.

    Functions are module-level functions, or pytrees that can be called (their arrays are data).
    They see one text at a time as a :class:`~probinf.tokens.Context`.

    Args:
        lm: follows :class:`~probinf.lm.LanguageModel`.
        prompt: token numbers.
        max_tokens: of the longest text.
        exponent: of the model's probability; above one sharpens.
        ramp: steps over which the exponent rises from one by equal factors, or the exponents of
            the first steps themselves. By default 8, or all where there are fewer; 1 is no ramp.
        potential: ``context -> log factor`` of the step that has just ended, or
            :func:`~probinf.tokens.reward`.
        constraint: an :class:`~probinf.tokens.Automaton`; texts that it does not accept have
            mass zero, and tokens from which it cannot accept within ``max_tokens`` are not
            proposed. Texts that ``stop`` or ``max_steps`` ends sooner, or that the model cannot
            go on with, may still be dead ends: they weigh nothing.
        twist: ``context -> log psi``, a guess of the log mass that lies ahead; it cancels where
            it is finite, and is not asked for texts that have ended.
        proposal: ``(log_p, context) -> log q``, logits of the next token given the model's log
            probabilities. By default ``exponent * log_p``, under which the weight of a token
            does not depend on which it is. To forbid tokens, use ``constraint``; elsewhere it has
            to be above -inf wherever the model is (``jnp.logaddexp`` with a small multiple of
            its law is a floor).
        stop: tokens, or ``context -> bool``, with which a text ends; the ending token belongs to
            it.
        block: most tokens of a step.
        boundary: tokens, or ``context -> bool``, with which a step ends earlier: rows that are
            there wait for the others.
        max_steps: steps after which texts end however they stand; by default as many as blocks
            of full length make ``max_tokens`` (with ``boundary``, it has to be said).

    Returns:
        A Program on positions ``{"tokens": (max_tokens,)}``, ``eos`` after the end.

    Raises:
        ModelError: the prompt has tokens outside the vocabulary, or does not fit into the model
            together with ``max_tokens``; a function does not return one number.
        MethodError: a size or the exponent is out of range.

    Source: Feynman-Kac models, Del Moral (2004); for texts: Lew et al. (2023), arXiv 2306.03081,
    Zhao et al. (2024), arXiv 2404.17546; the exponent and its ramp: Azizi et al. (2026), arXiv
    2602.10273.
    """
    at_least(1, max_tokens=max_tokens, block=block, max_steps=max_steps)
    positive(exponent=exponent)
    check_model(lm)
    tokens = as_tokens("prompt", prompt, lm.vocab_size)
    check_room(lm, tokens.shape[0], max_tokens)
    check_constraint(constraint, lm, max_tokens)
    if boundary is not None and max_steps is None:
        raise ModelError(
            f"{WHO}: with boundary= a step has any number of tokens up to block={block}, so that "
            "the number of steps has to be said: max_steps=."
        )
    steps = -(-max_tokens // block) if max_steps is None else max_steps
    used = tokens.shape[0]
    padded = jnp.full((-(-max(used, 1) // _BUCKET) * _BUCKET,), lm.eos, jnp.int32)
    data = TokenData(
        lm=lm,
        prompt=padded.at[:used].set(tokens),
        used=jnp.int32(used),
        steps=_steps(steps, float(exponent), ramp),
        potential=as_function(potential),
        twist=as_function(twist),
        proposal=as_function(proposal),
        stop=as_rule("stop", stop, lm.vocab_size),
        boundary=as_rule("boundary", boundary, lm.vocab_size),
        constraint=constraint,
    )
    data = as_arrays(data)
    sizes = Sizes(max_tokens, min(block, max_tokens))
    check_functions(sizes, data)
    return program_of(sizes, data)


def _steps(count: int, exponent: float, ramp: Any) -> Step:
    number = np.arange(max(count, 2))  # a sequence has two steps at least
    if ramp is None or np.ndim(ramp) == 0:
        ramp = min(_RAMP, count) if ramp is None else ramp
        at_least(1, ramp=ramp)
        found = exponent ** np.minimum((number + 1) / int(ramp), 1)
    else:
        given = np.asarray(ramp, float)
        if given.ndim != 1 or not (np.isfinite(given).all() and (given > 0).all()):
            raise ModelError(
                f"{WHO}: ramp must be a number of steps, or positive exponents of the first "
                f"steps, got {ramp!r}."
            )
        found = np.full(number.size, exponent)
        found[: given.size] = given[:count]
    found[count - 1 :] = exponent  # a ramp that is cut off is made up for
    before = np.concatenate([found[:1], found[:-1]])
    return Step(
        jnp.asarray(number, jnp.int32),
        jnp.asarray(found, jnp.float32),
        jnp.asarray(before, jnp.float32),
        jnp.asarray(number >= count - 1),
    )
