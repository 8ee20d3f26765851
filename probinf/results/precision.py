"""The precision of a posterior: the loss of single precision at its draws, and its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from probinf.core import precision
from probinf.core.precision import Loss, Precision, precisely
from probinf.results.findings import Finding
from probinf.results.statistics.weighted import weights_of

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior

_ROWS = 2 * precision.POINTS

P = ParamSpec("P")
T = TypeVar("T")


def in_its_precision(
    fn: Callable[Concatenate[Posterior, P], T],
) -> Callable[Concatenate[Posterior, P], T]:
    """The function, computing in the precision that its first argument was computed in."""

    @functools.wraps(fn)
    def call(posterior: Posterior, *args: P.args, **kwargs: P.kwargs) -> T:
        with precisely(posterior.provenance.get("precision")):
            return fn(posterior, *args, **kwargs)

    return call


def precision_of_evidence(posterior: Posterior) -> Precision | None:
    """In which densities at its draws make an evidence: double where single shifts them all."""
    loss = posterior.provenance.get("precision_loss")
    if loss is not None and abs(loss["offset"]) > precision.LIMIT:
        return "double"
    found: Precision | None = posterior.provenance.get("precision")
    return found


def loss_at_draws(posterior: Posterior) -> Loss | None:
    """What single precision loses at the draws of a posterior.

    Returns:
        None where it cannot be known: without program or positions, or with random keys.
    """
    vectors = posterior.unconstrained
    if posterior.program is None or posterior.keys or 0 in vectors.shape:
        return None
    rows = vectors.reshape(-1, vectors.shape[-1])
    w = weights_of(posterior.log_weights.ravel())
    steps = (np.arange(_ROWS) + 0.5) / _ROWS
    chosen = rows[np.minimum(np.searchsorted(np.cumsum(w), steps), len(rows) - 1)]
    return precision.lost(posterior.program, chosen, forgiving=False)


def of_precision(posterior: Posterior) -> list[Finding]:
    """The finding that single precision is not enough, for draws that were made in it."""
    if posterior.provenance.get("precision") != "single":
        return []
    known: Any = posterior.provenance.get("precision_loss")
    loss = loss_at_draws(posterior) if known is None else Loss(**known)
    if loss is None:
        return []
    evidence = posterior.evidence is not None and abs(loss.offset) > precision.LIMIT
    if not loss.matters and not evidence:
        return []
    what = "the draws are from another distribution" if loss.matters else "so is the evidence"
    return [
        Finding(
            "precision",
            f"{loss}, so that {what}. Run again with pi.sample(..., precision='double'), or "
            "write the density without differences of large numbers.",
        )
    ]
