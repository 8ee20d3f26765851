"""guided: a program with a cheap stand-in for its likelihood beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from probinf.core.coordinates import Layout
from probinf.core.host.asking import unasked
from probinf.core.program import Data, Position, Program, Score
from probinf.core.transformations.nesting import OnInner, nest


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Guide:
    """Lies in the data of a guided program.

    Attributes:
        network: from a flat position to an approximate log weight, a pytree of arrays.
        exact: whether the program's score is its own, or has the network in the weight's place.
    """

    network: Any
    exact: bool = dataclasses.field(metadata={"static": True})


def _is_guide(value: Any) -> bool:
    return isinstance(value, Guide)


@dataclasses.dataclass(frozen=True)
class _GuidedScore:
    inner: Callable[[Position, Data], Score]
    layout: Layout

    def __call__(self, x: Position, data: Data) -> Score:
        guide = data[1]
        if guide.exact:
            return self.inner(x, data[0])
        with unasked():
            log_base, _ = self.inner(x, data[0])  # the likelihood is not used, so not computed
        return Score(log_base, guide.network(self.layout.ravel(x)).astype(log_base.dtype))


def guided(program: Program, network: Any, *, exact: bool = True) -> Program:
    """The same measure, with a network for its log weight beside it.

    Args:
        program: the measure ``base * L``; all its coordinates are floating point.
        network: a pytree of arrays, from the flat position (d,) to an approximate ``log L``.
        exact: whether the score is the program's own (for kernels that look at both) or has the
            network in the place of ``log L`` (another measure, which costs no likelihood).
    """
    lifted = {
        name: None if getattr(program, name) is None else OnInner(getattr(program, name))
        for name in ("unconstrain", "log_jacobian")
    }
    only = {} if exact else {"pointwise": None}
    return nest(
        program,
        Guide(network, exact),
        score=_GuidedScore(program.score, Layout.of(program)),
        **lifted,
        **only,
    )


def is_guided(program: Program) -> bool:
    """Whether a network for the log weight lies beside the program."""
    return any(_is_guide(leaf) for leaf in jax.tree.leaves(program.data, is_leaf=_is_guide))


def by_network(program: Program) -> bool:
    """Whether a network is in the place of the log weight."""
    leaves = jax.tree.leaves(program.data, is_leaf=_is_guide)
    return any(_is_guide(leaf) and not leaf.exact for leaf in leaves)


def by_guide(program: Program) -> Program:
    """The measure with the network's weight, of a guided program or any transformation of it."""

    def switched(leaf: Any) -> Any:
        return dataclasses.replace(leaf, exact=False) if _is_guide(leaf) else leaf

    data = jax.tree.map(switched, program.data, is_leaf=_is_guide)
    return dataclasses.replace(program, data=data)
