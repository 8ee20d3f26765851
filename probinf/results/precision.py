"""The precision of a posterior: the loss of single precision at its draws, and its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from probinf.core import precision
from probinf.core.coordinates import Layout, Mixed
from probinf.core.precision import Loss, Precision, precisely
from probinf.core.program import Program
from probinf.results.findings import Finding
from probinf.results.statistics.weighted import weights_of

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior

_ROWS = 2 * precision.POINTS
_CARRIES_WEIGHT = 10.0  # nats below the best draw

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


def loss_at(program: Program, vectors: np.ndarray, log_weights: np.ndarray) -> Loss | None:
    """What single precision loses at weighted positions, and a little beyond them.

    Where single precision has no number at all no draws go, and they show nothing; positions
    twice as far from the mean do.

    Args:
        program: the user's, without random keys.
        vectors: unconstrained, (n, d).
        log_weights: (n,).
    """
    steps = (np.arange(_ROWS) + 0.5) / _ROWS
    chosen = np.searchsorted(np.cumsum(weights_of(log_weights)), steps)
    rows = vectors[np.minimum(chosen, len(vectors) - 1)]
    loss = precision.lost(program, rows, forgiving=False)
    if loss is None or loss.matters or Layout.of(program, integers=True).integers:
        return loss
    centre = rows.mean(axis=0, dtype=float)
    half = rows[:: _ROWS // precision.POINTS]
    beyond = (centre + 2 * (half - centre)).astype(rows.dtype)
    both = np.concatenate([half, beyond])
    outside = precision.lost(program, both, forgiving=True, hopeless=_CARRIES_WEIGHT)
    return outside if outside is not None and outside.matters else loss


def loss_at_draws(posterior: Posterior) -> Loss | None:
    """What single precision loses at the draws of a posterior.

    Returns:
        None where it cannot be known: without program or positions, or with random keys.
    """
    known = posterior.provenance.get("precision_loss")
    if known is not None:
        return Loss(**known)
    vectors = posterior.unconstrained
    if posterior.program is None or posterior.keys or 0 in vectors.shape:
        return None
    rows = vectors.reshape(-1, vectors.shape[-1])
    return loss_at(posterior.program, rows, posterior.log_weights.ravel())


def loss_before_letting_go(program: Program, positions: Any, log_weights: Any) -> dict[str, Any]:
    """For the provenance of a run in single precision whose positions are not kept."""
    if precision.current() == "double" or isinstance(positions, Mixed) or 0 in positions.shape:
        return {}
    rows = positions.reshape(-1, positions.shape[-1])
    weights = np.zeros(len(rows)) if log_weights is None else np.asarray(log_weights).ravel()
    loss = loss_at(program, rows, weights)
    return {} if loss is None else {"precision_loss": loss._asdict()}


def of_precision(posterior: Posterior) -> list[Finding]:
    """The finding that single precision is not enough, for draws that were made in it."""
    if posterior.provenance.get("precision") != "single":
        return []
    loss = loss_at_draws(posterior)
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
