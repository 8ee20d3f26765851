"""precision="auto": single precision where that is enough, double where it is not."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from probinf.core import precision
from probinf.core.host.asking import asks
from probinf.core.precision import LIMIT, Loss, Precision, at_the_base, lost, scattered
from probinf.core.program import Program
from probinf.errors import EvidenceError, ModelError, PrecisionWarning
from probinf.results.posterior import Posterior
from probinf.results.precision import loss_at_draws

Once = Callable[[Precision, dict[str, Any]], Posterior]
"""One run in a precision, with notes for its provenance."""


def automatically(
    once: Once,
    program: Program,
    *,
    look: bool,
    again: bool,
    max_seconds: float | None,
    tell: Callable[[str], None],
) -> Posterior:
    """A run in single precision, unless double precision is seen to give another posterior.

    The log density is compared in both precisions before the run, at positions around the
    origin, and after it at its draws; where single is off by more than .05 nats the run is made
    in double precision, on a CPU. Elsewhere, and where there may be no second run, a warning
    says so.

    Args:
        once: makes the run.
        program: the user's.
        look: whether to compare before the run.
        again: whether a second run is possible (a checkpoint holds one).
        max_seconds: of the user; a second run has to fit into what is left.
        tell: takes the reason for double precision.
    """
    if precision.current() == "double":
        return once("double", {})
    if asks(program.data):
        reason = "the likelihood is ordinary Python, which computes in double precision"
        return once("double", {"precision_reason": reason})
    if look:
        rows = scattered(program)
        before = None if rows is None else lost(program, rows, forgiving=True)
        if before is not None and before.matters and _possible(before):
            return _in_double(once, before, "before the run", tell)
    began = time.perf_counter()
    try:
        found = once("single", {})
    except (ModelError, EvidenceError):
        loss = at_the_base(program)
        if loss is None or not loss.matters or not again or not _possible(loss):
            raise
        return _in_double(once, loss, "before the run, which failed in single precision", tell)
    took = time.perf_counter() - began
    loss = loss_at_draws(found)
    if loss is None:
        return found
    if loss.matters or (found.evidence is not None and abs(loss.offset) > LIMIT):
        left = np.inf if max_seconds is None else max_seconds - took
        if again and left > took and not found.provenance["interrupted"] and _possible(loss):
            return _in_double(once, loss, "at the draws of a first run", tell)
        warnings.warn(
            f"{loss} at the draws of this run. Run it again with precision='double'.",
            PrecisionWarning,
            stacklevel=3,
        )
    provenance = {**found.provenance, "precision_loss": loss._asdict()}
    return dataclasses.replace(found, provenance=provenance)


def _in_double(once: Once, loss: Loss, where: str, tell: Callable[[str], None]) -> Posterior:
    reason = f"{loss} ({where})"
    tell(f"precision='auto' chose double: {reason}")
    return once("double", {"precision_reason": reason})


def _possible(loss: Loss) -> bool:
    """Whether double precision is at hand without asking; a warning where it is not."""
    if jax.default_backend() == "cpu":
        return True
    warnings.warn(
        f"{loss}. Double precision is slow on this device, so it is not chosen by itself: pass "
        "precision='double', or run on a CPU.",
        PrecisionWarning,
        stacklevel=4,
    )
    return False
