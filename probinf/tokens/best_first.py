"""most_probable: the texts of the largest mass, by best-first search, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from probinf.core.inputs.limits import at_least
from probinf.core.program import Program
from probinf.errors import MethodError
from probinf.fronts.tokens.context import Context
from probinf.fronts.tokens.program import sizes_of
from probinf.tokens.bounds import Bounds
from probinf.tokens.searching import MostProbable, Search


def most_probable(
    program: Program,
    *,
    count: int = 1,
    limit: int = 10_000,
    rows: int = 16,
    slots: int = 512,
    branches: int = 64,
    ahead: Callable[[Context], Any] | None = None,
    largest_potential: float | None = None,
) -> MostProbable:
    """The texts of the largest mass under the program's target, by best-first search (A*).

    Every beginning of a text has a bound: exponent times its log probability, plus its log
    potentials, plus the most that can follow. A beam of ``rows`` texts goes first, then always
    the beginnings of the largest bounds, ``rows`` at a time, until no bound is above the texts
    that were found. Then these are proved to be the best. Where ``limit`` ends the search, or
    ``slots`` have forgotten beginnings on the way, ``bound`` says how good a text that was missed
    could be. A bound that turns out to be too small is refused.

    The model's probabilities give a bound by themselves, since no token can make a text more
    probable; so do rewards with ``link="prob"`` or ``"diff"``. It is search and not sampling:
    ramp, twist and proposal play no part, and there is no evidence.

    Args:
        program: of ``from_language_model``.
        count: M, texts that are asked for.
        limit: most beginnings that the model reads.
        rows: of one batch; of the beam that goes first.
        slots: beginnings that are kept, each with a cache of the model's.
        branches: likeliest tokens that may follow a beginning; others count in ``bound``.
        ahead: ``context -> bound``: at least the log of what exponent and potentials can still add
            to the beginning; not asked for texts that have ended. It may be infinite nowhere but
            at -inf. By default what exponent and potentials allow at most.
        largest_potential: of one step, its log; by default that of the reward.

    Returns:
        Fewer texts than ``count`` where there are no more.

    Raises:
        StructureError: this is no token program.
        MethodError: a size is out of range, or nothing bounds the potential.
        ModelError: a text surpasses the bound of one of its beginnings, or a log potential is
            larger than ``largest_potential``.
        RewardError: a potential was no number.
        ZeroLikelihoodError: no text of positive mass was found.

    Source: Hart, Nilsson & Raphael (1968); best-first search over texts with beams, Meister,
    Vieira & Cotterell (2020), arXiv 2007.03909; with rewards, Chatziveroglou (2025), arXiv
    2505.13672.
    """
    sizes = sizes_of(program)
    at_least(1, count=count, limit=limit, rows=rows, branches=branches)
    if slots < 2 * rows:
        raise MethodError(f"slots must be at least twice rows={rows}, got {slots}.")
    bounds = Bounds.of(program, sizes, ahead, largest_potential)
    search = Search(program, sizes, bounds, count, min(rows, limit), slots, branches)
    search.beam(limit)
    search.best_first(limit)
    return search.found()
