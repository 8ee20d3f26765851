"""Memory: what the draws of a run will take, and a refusal of more than there is."""

from __future__ import annotations

import os

import jax
import numpy as np

from probinf.core.coordinates import Layout
from probinf.core.program import Program
from probinf.errors import MethodError
from probinf.runtime.records import Kept

STATS_BYTES = 40
"""Of the statistics of one transition."""


def draws_bytes(program: Program, layout: Layout, kept: Kept, draws: int) -> int:
    """Bytes that draws and their statistics take at least, as they are kept.

    A chunk on its way (some 10 MB) and what the warm-up has to remember come on top.
    """
    out = jax.eval_shape(program.constrain, program.template(), program.data)
    itemsize, places = np.dtype(layout.dtype).itemsize, layout.places()
    row = STATS_BYTES
    if kept.everything:
        row += layout.size * itemsize
    if not kept.summaries_only:
        row += sum(
            leaf.size * leaf.dtype.itemsize
            for name, leaf in out.items()
            if (kept.sites is None or name in kept.sites)
            and not (kept.everything and places.get(name, (0, None))[1] == leaf.shape)
        )
    return draws * row


def guarded(program: Program, layout: Layout, kept: Kept, draws: int) -> dict[str, float]:
    """What the run will need, for its provenance; empty where the number of draws is not known.

    Raises:
        MethodError: this machine has less.
    """
    if not draws:
        return {}
    needed = draws_bytes(program, layout, kept, draws)
    total, free = _bytes_of("SC_PHYS_PAGES"), _bytes_of("SC_AVPHYS_PAGES")
    if total is not None and needed > total:
        left = "" if free is None else f" ({free / 1e9:.1f} free)"
        raise MethodError(
            f"the run needs at least {needed / 1e9:.1f} GB of memory, this machine has "
            f"{total / 1e9:.1f}{left}. Keep fewer draws, every k-th with "
            'thin=k, some sites with keep=("tau",), or summaries_only=True with checkpoint=, '
            "which leaves the draws on disk."
        )
    return {"memory_estimate_mb": round(needed / 1e6, 3)}


def _bytes_of(pages: str) -> int | None:
    """Memory by name; None where the system does not say: macOS what is free, Windows anything."""
    try:
        return int(os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return None
