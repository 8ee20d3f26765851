"""Exact weights for the draws of a surrogate's posterior."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from scipy.special import logsumexp

from probinf.core.compiling import jitted
from probinf.core.coordinates import flatten
from probinf.core.estimate import Estimate
from probinf.core.population import usable
from probinf.core.program import Program
from probinf.core.psis import pareto_k
from probinf.results.findings import Finding
from probinf.results.posterior import Posterior
from probinf.results.statistics.weighted import kish_ess

_DRAWS = 1000
_LEAST_SHARE = 0.5  # of the effective size that must survive the correction
_HEAVY = 0.7
_LOST = 3.0  # nats
_OF_SURROGATE = {name: f"surrogate_{name}" for name in ("log_likelihood", "birth_log_likelihood")}


@jitted
def _log_likelihood(flat: Program, rows: Any) -> Any:
    return usable(jax.vmap(flat.score, (0, None))(rows, flat.data))[0]


def log_likelihoods(program: Program, rows: np.ndarray) -> np.ndarray:
    """(n,) exact log weights at flat positions (n, d); -inf where they are NaN."""
    flat, _ = flatten(program)
    return np.asarray(_log_likelihood(flat, jax.numpy.asarray(rows)), float)


@dataclasses.dataclass(frozen=True)
class Correction:
    """What exact weights changed.

    Attributes:
        k: Pareto shape of the ratios of exact to approximate likelihood under the surrogate's
            posterior; above 0.7 they cannot be trusted.
        delta: log evidence that they added.
        error: standard error of ``delta``.
        spread: root mean squared error of the surrogate over its own posterior, up to a constant,
            in nats; a draw that lost its weight counts as an error of 3.
        share: of the effective size that is left.
    """

    k: float
    delta: float
    error: float
    spread: float
    share: float

    @property
    def findings(self) -> tuple[Finding, ...]:
        """A surrogate that was too bad to be corrected."""
        if self.k <= _HEAVY and self.share >= _LEAST_SHARE and np.isfinite(self.delta):
            return ()
        message = (
            f"the surrogate's errors (sd {self.spread:.2g} nats over its posterior) left "
            f"{self.share:.0%} of the effective draws, with Pareto k {self.k:.2f}: posterior and "
            "evidence may be off. Train it on more points, or sample "
            "the exact likelihood."
        )
        return (Finding("bad_surrogate", message),)


def corrected(
    posterior: Posterior, exact: np.ndarray, approximate: np.ndarray, program: Program
) -> tuple[Posterior, Correction]:
    """The posterior of a surrogate with every draw weighted by the exact likelihood.

    Args:
        posterior: of the program with the surrogate's likelihood.
        exact: (chain, draw) exact log likelihoods.
        approximate: (chain, draw) the surrogate's.
        program: the exact measure.
    """
    before = np.asarray(posterior.log_weights, float)
    ratio = np.where(np.isfinite(exact), exact - approximate, -np.inf)
    after = before + ratio
    lost = not np.isfinite(after).any()
    share = np.exp(before - logsumexp(before)).ravel()
    delta = -np.inf if lost else float(logsumexp(after) - logsumexp(before))
    gained = np.zeros_like(share) if lost else np.exp(after - logsumexp(after)).ravel()
    error = float(np.sqrt(np.sum((gained - share) ** 2)))
    places = (np.arange(_DRAWS) + 0.5) / _DRAWS
    drawn = np.minimum(np.searchsorted(np.cumsum(share), places), share.size - 1)
    gap = np.clip(ratio.ravel() - (0.0 if lost else delta), -_LOST, _LOST)
    told = Correction(
        np.inf if lost else pareto_k(ratio.ravel()[drawn]),
        delta,
        error,
        float(np.sqrt(share @ gap**2)),
        0.0 if lost else kish_ess(after.ravel()) / kish_ess(before.ravel()),
    )
    evidence = posterior.evidence
    if evidence is not None:
        evidence = Estimate(evidence.value + delta, float(np.hypot(evidence.error, error)))
    # the contours of a nested run are the surrogate's
    stats = {_OF_SURROGATE.get(name, name): value for name, value in posterior.stats.items()}
    stats["log_likelihood"] = exact
    history = {k: v for k, v in posterior.history.items() if not k.startswith("log_evidence")}
    kind = posterior.kind if posterior.weighted else "weighted"
    top = 0.0 if lost else after.max()
    return dataclasses.replace(
        posterior,
        log_weights=after - top,
        stats=stats,
        history=history,
        evidence=evidence,
        kind=kind,
        program=program,
        ended=None,
        findings=(*told.findings, *posterior.findings),
    ), told
