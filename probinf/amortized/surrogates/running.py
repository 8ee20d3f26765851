"""A pilot, then training and runs of an engine on the network in turn, until it is close."""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from probinf.amortized.surrogates.exact import Correction, corrected, log_likelihoods
from probinf.api import sample
from probinf.core.host.answering import tallied
from probinf.core.precision import precisely
from probinf.core.program import Key, Program
from probinf.results.findings import Finding
from probinf.results.posterior import Posterior
from probinf.results.statistics.weighted import weights_of
from probinf.samplers.nested.sampling import Nested

if TYPE_CHECKING:
    from probinf.amortized.surrogates.surrogate import FittedSurrogate, Surrogate

_APART = 4.0  # errors between the pilot's evidence and the last one
_BELOW = 3.0  # nats, by which a network hides a point
_HIDDEN = 0.05  # of the pilot's posterior that may be hidden


@dataclasses.dataclass
class _Known:
    """The exact likelihood wherever it was asked."""

    rows: np.ndarray
    log_likelihood: np.ndarray
    log_weights: np.ndarray
    evaluations: int

    def add(self, rows: np.ndarray, exact: np.ndarray, log_weights: np.ndarray) -> None:
        self.rows = np.concatenate([self.rows, rows])
        self.log_likelihood = np.concatenate([self.log_likelihood, exact])
        self.log_weights = np.concatenate([self.log_weights, log_weights])


def alternated(
    surrogate: Surrogate, program: Program, method: Any, key: Key, progress: bool
) -> Posterior:
    """See :meth:`Surrogate.sample`."""
    keys = jax.random.split(key, 2 * surrogate.rounds + 1)
    pilot = sample(program, Nested(live=surrogate.pilot), key=keys[-1], progress=progress)
    # the network's own rounding is corrected with the rest of its errors
    precision: Any = pilot.provenance.get("precision") or "single"
    known = _Known(
        pilot.unconstrained[0],
        pilot.stats["log_likelihood"][0],
        pilot.log_weights[0] - pilot.log_weights.max(),
        int(pilot.provenance["likelihood_evaluations"]),
    )
    failures = collections.Counter(pilot.provenance.get("callback", {}).get("failures", {}))
    for turn in range(surrogate.rounds):
        fitted = surrogate.fit(
            program,
            known.rows,
            known.log_likelihood,
            key=keys[2 * turn],
            log_weights=known.log_weights,
        )
        surrogate = dataclasses.replace(surrogate, widths=(fitted.width,))
        run = sample(
            fitted.instead(program),
            method,
            key=keys[2 * turn + 1],
            progress=progress,
            precision=precision,
        )
        rows = run.unconstrained.reshape(-1, known.rows.shape[1])
        with precisely(precision), tallied() as tally:
            exact = log_likelihoods(program, rows)
        failures.update(tally.failures)
        known.evaluations += len(rows)
        shape = run.log_weights.shape
        approximate = fitted.log_likelihood(rows)
        posterior, change = corrected(
            run, exact.reshape(shape), approximate.reshape(shape), program
        )
        hidden = _hidden(pilot, fitted, change)
        if change.spread <= surrogate.tolerance and not change.findings and hidden <= _HIDDEN:
            break
        known.add(rows, exact, posterior.log_weights.ravel())
    told = {
        "exact_evaluations": known.evaluations,
        "network_evaluations": run.provenance.get("likelihood_evaluations"),
        "rounds": turn + 1,
        "pareto_k": change.k,
        "delta_log_z": change.delta,
        "delta_log_z_error": change.error,
        "spread": change.spread,
        "share": change.share,
        "hidden": hidden,
        "held_out_error": fitted.error,
        "width": fitted.width,
        "pilot_log_z": pilot.log_evidence.value,
    }
    return _reported(posterior, pilot, told, dict(failures))


def _hidden(pilot: Posterior, fitted: FittedSurrogate, change: Correction) -> float:
    """Share of the pilot's posterior at which the network is far below the likelihood."""
    exact = pilot.stats["log_likelihood"][0]
    gap = fitted.log_likelihood(pilot.unconstrained[0]) + change.delta - exact
    return float(weights_of(pilot.log_weights[0]) @ (np.isfinite(exact) & ~(gap > -_BELOW)))


def _reported(
    posterior: Posterior, pilot: Posterior, told: dict[str, Any], failures: dict[str, int]
) -> Posterior:
    findings = posterior.findings
    if told["hidden"] > _HIDDEN:
        message = (
            f"the surrogate lies more than {_BELOW:g} nats below the likelihood on "
            f"{told['hidden']:.0%} of the pilot's posterior, where the engine hardly went: "
            "posterior and evidence lack it. Give it more rounds or steps, or more live points of "
            "the pilot."
        )
        findings = (Finding("surrogate_hides", message), *findings)
    gap = posterior.log_evidence.value - pilot.log_evidence.value
    error = float(np.hypot(posterior.log_evidence.error, pilot.log_evidence.error))
    if not abs(gap) <= _APART * error:
        message = (
            f"the log evidence differs by {gap:.2f} from the {pilot.log_evidence} of the pilot, "
            "which saw the exact likelihood: the surrogate hides a part of the posterior, or the "
            "pilot missed one. Use more live points of the pilot."
        )
        findings = (Finding("surrogate_disagrees", message), *findings)
    provenance = {
        **posterior.provenance,
        "engine": f"surrogate {posterior.engine}",
        "likelihood_evaluations": told["exact_evaluations"],
        "surrogate": told,
    }
    provenance.pop("options", None)  # no more of this run: its contours are the surrogate's
    if "callback" in pilot.provenance:
        counted = {"evaluations": told["exact_evaluations"]}
        provenance["callback"] = {**pilot.provenance["callback"], **counted}
        if failures:
            provenance["callback"]["failures"] = failures
    return dataclasses.replace(posterior, findings=findings, provenance=provenance)
