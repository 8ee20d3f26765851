"""Surrogate: nested sampling and SMC of expensive likelihoods with few exact evaluations."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.amortized.surrogates.exact import Correction, corrected, log_likelihoods
from probinf.amortized.surrogates.network import LogLikelihood, trained
from probinf.api import sample
from probinf.core.coordinates import Layout
from probinf.core.inputs.limits import at_least, positive
from probinf.core.keys import as_key
from probinf.core.precision import precisely
from probinf.core.program import Key, Program
from probinf.core.transformations.guiding import guided
from probinf.errors import MethodError, StructureError, TrainingError
from probinf.results.findings import Finding
from probinf.results.posterior import Posterior
from probinf.samplers.nested.sampling import Nested
from probinf.samplers.smc import SMC

_APART = 4.0  # errors between the pilot's evidence and the last one


@dataclasses.dataclass(frozen=True)
class FittedSurrogate:
    """A network for the log likelihood of one program.

    Attributes:
        network: from a flat position to the log likelihood.
        error: root mean squared error in nats on held-out points, weighted by the posterior.
        width: of its hidden layers.
        points: exact evaluations that it was trained on.
    """

    network: LogLikelihood
    error: float
    width: int
    points: int

    def instead(self, program: Program) -> Program:
        """The measure with the network in the place of the likelihood: cheap, and not exact."""
        return guided(program, self.network, exact=False)

    def beside(self, program: Program) -> Program:
        """The exact measure with the network beside it, for ``kernels.DelayedAcceptance``."""
        return guided(program, self.network)

    def log_likelihood(self, rows: np.ndarray) -> np.ndarray:
        """(n,) the network's values at flat positions (n, d)."""
        return np.asarray(_values(self.network, jnp.asarray(rows)), float)


@jax.jit
def _values(network: LogLikelihood, rows: Any) -> Any:
    return jax.vmap(network)(rows)


@dataclasses.dataclass(frozen=True)
class Surrogate:
    """A network learns an expensive likelihood, an engine runs on it, exact weights correct it.

    A short nested run of the exact likelihood, the pilot, gives points at every depth. The engine
    then runs on the network alone, and the exact likelihood is evaluated once at each of its
    draws. Where the network's error over the posterior exceeds ``tolerance``, it learns from
    these points too, and the engine runs again. The last run's draws are weighted by
    ``L / L_network`` and its evidence corrected by the mean of that, so that the network decides
    how many exact evaluations are needed and never what is found. ``provenance["surrogate"]``
    counts them.

    Args:
        pilot: live points of the pilot.
        tolerance: largest standard deviation of the network's error over the posterior, in nats.
        rounds: runs of the engine, at most.
        widths: of two hidden layers, that are tried; held-out points choose.
        steps: of training, for each width; 0 leaves the quadratic fit.

    Raises:
        MethodError: an option is out of range.

    Source: after Rinaldi et al. (2024), with an absolute tolerance, and exact weights.
    """

    pilot: int = 100
    tolerance: float = 0.3
    rounds: int = 4
    widths: tuple[int, ...] = (32, 64)
    steps: int = 4000

    def __post_init__(self) -> None:
        at_least(1, rounds=self.rounds)
        at_least(0, steps=self.steps)
        positive(tolerance=self.tolerance)
        object.__setattr__(self, "widths", tuple(self.widths))
        if not self.widths or min(self.widths) < 1:
            raise MethodError(f"widths must be positive numbers, at least one, got {self.widths}.")
        if self.pilot < 20 or self.pilot % 2:
            raise MethodError(f"pilot must be an even number of at least 20, got {self.pilot}.")

    def fit(
        self,
        program: Program,
        rows: np.ndarray,
        log_likelihood: np.ndarray,
        *,
        key: int | Key,
        log_weights: np.ndarray | None = None,
    ) -> FittedSurrogate:
        """A network for values of the log likelihood that are known.

        Args:
            program: whose likelihood it is.
            rows: (n, d) flat positions, such as ``posterior.unconstrained[0]`` of a nested run.
            log_likelihood: (n,) exact values there; those that are not finite are left out.
            key: random key or seed.
            log_weights: (n,) by which held-out errors count; equal where None.

        Raises:
            StructureError: a coordinate is discrete or a random key, or shapes do not fit.
            TrainingError: fewer than 50 values are finite.
        """
        layout = Layout.of(program)
        if layout.has_keys:
            raise StructureError("Surrogate: a random-key coordinate has no smooth likelihood.")
        rows, y = np.asarray(rows, float), np.asarray(log_likelihood, float)
        if rows.ndim != 2 or rows.shape[1] != layout.size or y.shape != rows.shape[:1]:
            raise StructureError(
                f"Surrogate: rows must be (n, {layout.size}) and log_likelihood (n,), got "
                f"{rows.shape} and {y.shape}."
            )
        weights = np.zeros(y.size) if log_weights is None else np.asarray(log_weights, float)
        known = np.isfinite(y) & np.isfinite(rows).all(axis=1)
        if known.sum() < 50:
            raise TrainingError(
                f"Surrogate: the log likelihood is finite at {known.sum()} points; a network needs "
                "at least 50. Use more live points of the pilot, or a closer prior."
            )
        share = np.exp(weights[known] - weights[known].max())
        found = trained(
            as_key(key), rows[known], y[known], share / share.sum(), self.widths, self.steps
        )
        return FittedSurrogate(found.network, found.error, found.width, int(known.sum()))

    def sample(
        self,
        program: Program,
        method: Any = None,
        *,
        key: int | Key,
        progress: bool = False,
    ) -> Posterior:
        """The posterior and its evidence, with exact weights.

        Args:
            program: with an expensive likelihood, in JAX or from ``from_callback``.
            method: ``Nested`` (the default) or ``SMC``, any options.
            key: random key or seed.
            progress: show progress bars in a terminal.

        Raises:
            MethodError: the method is another one.
            StructureError: a coordinate is discrete or a random key.
            TrainingError: the likelihood is finite at fewer than 50 points of the pilot.
        """
        method = Nested() if method is None else method
        if not isinstance(method, Nested | SMC):
            raise MethodError(
                f"Surrogate: method must be Nested or SMC, got {method!r}. For Markov chains give "
                "kernels.DelayedAcceptance the program that fit(...).beside(program) returns."
            )
        keys = jax.random.split(as_key(key), 2 * self.rounds + 1)
        pilot = sample(program, Nested(live=self.pilot), key=keys[-1], progress=progress)
        calls = int(pilot.provenance["likelihood_evaluations"])
        rows, y = pilot.unconstrained[0], pilot.stats["log_likelihood"][0]
        # the network's own rounding is corrected with the rest of its errors
        precision: Any = pilot.provenance.get("precision") or "single"
        weights, told = pilot.log_weights[0] - pilot.log_weights.max(), []
        for turn in range(self.rounds):
            fitted = self.fit(program, rows, y, key=keys[2 * turn], log_weights=weights)
            cheap = fitted.instead(program)
            run = sample(
                cheap, method, key=keys[2 * turn + 1], progress=progress, precision=precision
            )
            flat = run.unconstrained.reshape(-1, rows.shape[1])
            with precisely(precision):
                exact = log_likelihoods(program, flat)
            calls += len(flat)
            shape = run.log_weights.shape
            approximate = fitted.log_likelihood(flat)
            posterior, change = corrected(
                run, exact.reshape(shape), approximate.reshape(shape), program
            )
            told.append(change)
            if change.spread <= self.tolerance and not change.findings:
                break
            rows, y = np.concatenate([rows, flat]), np.concatenate([y, exact])
            weights = np.concatenate([weights, posterior.log_weights.ravel()])
        return _reported(posterior, pilot, fitted, told, calls)


def _reported(
    posterior: Posterior,
    pilot: Posterior,
    fitted: FittedSurrogate,
    told: list[Correction],
    calls: int,
) -> Posterior:
    last = told[-1]
    surrogate = {
        "exact_evaluations": calls,
        "rounds": len(told),
        "pareto_k": last.k,
        "delta_log_z": last.delta,
        "delta_log_z_error": last.error,
        "spread": last.spread,
        "held_out_error": fitted.error,
        "width": fitted.width,
        "pilot_log_z": pilot.log_evidence.value,
    }
    gap = posterior.log_evidence.value - pilot.log_evidence.value
    error = float(np.hypot(posterior.log_evidence.error, pilot.log_evidence.error))
    findings = posterior.findings
    if not abs(gap) <= _APART * error:
        message = (
            f"the log evidence differs by {gap:.2f} from the {pilot.log_evidence} of the pilot, "
            "which saw the exact likelihood: the surrogate hides a part of the posterior, or the "
            "pilot missed one. Use more live points of the pilot."
        )
        findings = (Finding("surrogate_disagrees", message), *findings)
    return dataclasses.replace(
        posterior,
        findings=findings,
        provenance={**posterior.provenance, "surrogate": surrogate},
    )
