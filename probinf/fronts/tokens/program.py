"""The callables of a token program: position ``{"tokens"}``, data ``TokenData``."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.program import Key, Position, Program, Score
from probinf.core.state_space import Sequence, StateSpace
from probinf.errors import RewardError, StructureError, ZeroLikelihoodError
from probinf.fronts.nothing import nothing
from probinf.fronts.tokens import held
from probinf.fronts.tokens.data import Rows, Sizes, TokenData
from probinf.fronts.tokens.reward import Reward
from probinf.fronts.tokens.sequence import replayed, run_through, sequence_of


def program_of(sizes: Sizes, data: TokenData) -> Program:
    """The program: texts of the model as its base, all else as its weight."""
    draw = _Draw(sizes)
    return Program(
        draw=draw,
        start=draw,
        score=_ScoreOf(sizes),
        constrain=_Constrain(sizes),
        state_space=TokenSpace(sizes),
        layered=True,
        data=data,
    )


@dataclasses.dataclass(frozen=True)
class _Draw:
    """A text of the model, at temperature one, whatever it weighs."""

    sizes: Sizes

    def __call__(self, key: Key, data: TokenData) -> Position:
        one = jnp.ones_like(data.steps.exponent)
        steps = data.steps._replace(exponent=one, before=one)
        plain = data._replace(
            steps=steps, potential=None, twist=None, proposal=None, constraint=None
        )
        return {"tokens": run_through(key, 1, self.sizes, plain).rows.tokens[0]}


@dataclasses.dataclass(frozen=True)
class _ScoreOf:
    """The text read step by step; one that could not have been written so has no density."""

    sizes: Sizes

    def __call__(self, x: Position, data: TokenData) -> Score:
        tokens = x["tokens"][None]
        kept = jnp.clip(tokens, 0, data.lm.vocab_size - 1)  # what was no token differs then
        rows = replayed(kept, self.sizes, data._replace(twist=None, proposal=None)).rows
        log_base = jnp.where((rows.tokens == tokens).all(), rows.log_prob[0], -jnp.inf)
        log_weight = (data.steps.exponent[-1] - 1) * rows.log_prob[0] + rows.log_potential[0]
        if data.constraint is not None:
            fine = data.constraint.accepts(rows.place)[0]
            log_weight = jnp.where(fine, log_weight, -jnp.inf)
        return Score(log_base, log_weight)


@dataclasses.dataclass(frozen=True)
class _Constrain:
    sizes: Sizes

    def __call__(self, x: Position, data: TokenData) -> dict[str, Any]:
        rows = replayed(x["tokens"][None], self.sizes, data).rows
        return {name: value[0] for name, value in shown(rows).items()}


def shown(rows: Rows) -> dict[str, Any]:
    """What users see of texts."""
    return {
        "tokens": rows.tokens,
        "length": rows.length,
        "log_prob": rows.log_prob,
        "log_potential": rows.log_potential,
    }


@dataclasses.dataclass(frozen=True)
class TokenSpace:
    """``Program.state_space``, and what filters ask of it besides."""

    sizes: Sizes

    def __call__(self, data: TokenData) -> StateSpace:
        return StateSpace(nothing(), sequence_of(self.sizes, data))

    def shown(self, rows: Rows) -> dict[str, Any]:
        """Draws by name."""
        return shown(rows)

    def holding(self, x: Position, data: TokenData) -> Sequence:
        """The sequence whose first particle is a given text."""
        return held.holding(x["tokens"], self.sizes, data)

    def read(self, x: Position, data: TokenData) -> held.Held:
        """A text, and how it goes on."""
        return held.held_of(x["tokens"], self.sizes, data)

    def ahead(self, rows: Rows, t: Int[Array, ""], path: held.Held, data: TokenData) -> Any:
        """Log of what the text's rest adds behind each beginning, and the beginnings."""
        return held.log_ahead(rows, t, path, self.sizes, data)

    def spliced(
        self,
        rows: Rows,
        chosen: Int[Array, ""],
        t: Int[Array, ""],
        path: held.Held,
        data: TokenData,
    ) -> held.Held:
        """The text with another beginning."""
        return held.spliced(rows, chosen, t, path, data)

    def path_of(self, path: held.Held) -> Position:
        """A text that was read, as a position."""
        return {"tokens": path.tokens}

    def position_at(self, rows: Rows, index: Int[Array, ""]) -> Position:
        """One text as a position."""
        return {"tokens": rows.tokens[index]}

    def log_density(self, rows: Rows, data: TokenData) -> Float[Array, " n"]:
        """Of the texts that have ended."""
        return data.steps.exponent[-1] * rows.log_prob + rows.log_potential

    def faults(self, rows: Rows) -> tuple[Array, Array]:
        """Step and value of the first weight that was no number; -1 where there was none."""
        return rows.fault[0], rows.seen[0]

    def sooner(self, old: tuple[Array, Array], new: tuple[Array, Array]) -> tuple[Array, Array]:
        """The faults noted before, or those now."""
        return jax.tree.map(lambda a, b: jnp.where(old[0] < 0, b, a), old, new)

    def refuse_faults(self, faults: tuple[Any, Any], program: Program) -> None:
        """As ``refuse``, of faults of any shape.

        Raises:
            RewardError: there are some.
        """
        self.refuse_fault(*faults, isinstance(program.data.potential, Reward))

    def followed(self, rows: Rows) -> dict[str, Any]:
        """What is summed up at every step."""
        return {"length": rows.length, "log_prob": rows.log_prob}

    def finished(self, rows: Rows, t: Int[Array, ""], data: TokenData) -> Bool[Array, ""]:
        """Whether no later step can change anything: all texts have ended, at full exponent."""
        return rows.done.all() & (data.steps.exponent[t] == data.steps.exponent[-1])

    def refuse(self, rows: Rows) -> None:
        """Raise where a potential was no number, at whichever step.

        Raises:
            RewardError: it was; the message has step and value.
        """
        self.refuse_fault(rows.fault, rows.seen, hasattr(rows.memory, "raw"))

    def refuse_fault(self, fault: Any, seen_then: Any, rewarded: bool) -> None:
        """As ``refuse``, of steps and values of any shape."""
        faults = np.asarray(fault)
        if (faults < 0).all():
            return
        first = int(faults[faults >= 0].min())
        seen = float(np.asarray(seen_then)[faults == first].ravel()[0])
        where = f"token {first}" if self.sizes.block == 1 else f"step {first}"
        if rewarded and (np.isnan(seen) or not 0 <= seen <= 1):
            raise RewardError(
                f"the reward of a text is {seen:g} at {where}; it must be a probability, in "
                "[0, 1]. Map scores of other ranges yourself (jax.nn.sigmoid, for logits)."
            )
        raise RewardError(
            f"the log weight of a text is {seen:g} at {where}: the potential, the twist, the "
            "proposal or the model's logits are NaN or infinite there."
        )

    def nothing_left(
        self, t: int, particles: int, islands: int, who: str = "ParticleFilter"
    ) -> ZeroLikelihoodError:
        """What to say when no particle is left."""
        where = f"token {t}" if self.sizes.block == 1 else f"step {t}"
        return ZeroLikelihoodError(
            f"{who}: all texts have weight zero at {where}, at each of "
            f"{particles} particles on {islands} island(s). The potential (or the constraint) "
            "excludes all that were proposed. Use more particles, a proposal= or twist= that knows "
            "where the potential is positive, or a reward that is small rather than 0."
        )


def sizes_of(program: Program) -> Sizes:
    """The static sizes of a token program.

    Raises:
        StructureError: it is none.
    """
    space = program.state_space
    if not isinstance(space, TokenSpace):
        raise StructureError(
            "this is no token program; make one with pi.from_language_model(lm, prompt, ...)."
        )
    return space.sizes


def as_arrays(data: TokenData) -> TokenData:
    """All leaves as arrays of JAX."""
    return jax.tree.map(jnp.asarray, data)
