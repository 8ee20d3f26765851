"""Surrogate: nested sampling and SMC of expensive likelihoods with few exact evaluations."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import numpy as np

from probinf.amortized.surrogates.network import trained, values
from probinf.amortized.surrogates.running import alternated
from probinf.core.coordinates import Layout
from probinf.core.inputs.intervals import ends_of
from probinf.core.inputs.limits import at_least, positive
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.core.transformations.guiding import guided
from probinf.errors import MethodError, StructureError, TrainingError
from probinf.results.posterior import Posterior
from probinf.samplers.nested.sampling import Nested
from probinf.samplers.smc import SMC

_LEAST = 50
_IMPOSSIBLE = 100.0  # nats below the best point, where the likelihood is zero
_NO_KEYS = "Surrogate: a random-key coordinate has no smooth likelihood."


@dataclasses.dataclass(frozen=True)
class FittedSurrogate:
    """A network for the log likelihood of one program.

    Attributes:
        network: from a flat position to the log likelihood; any Equinox module that can be called
            with one will do.
        error: root mean squared error in nats on held-out points, weighted by the posterior.
        width: of its hidden layers.
        points: exact evaluations that it was trained on.
    """

    network: eqx.Module
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
        return values(self.network, np.asarray(rows, float))


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
        steps: of training; 0 leaves the quadratic fit.

    Raises:
        MethodError: an option is out of range.

    Source: after Rinaldi et al. (2024), with an absolute tolerance, and exact weights.
    """

    pilot: int = 100
    tolerance: float = 0.3
    rounds: int = 5
    widths: tuple[int, ...] = (32, 64)
    steps: int = 8000

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
            log_likelihood: (n,) exact values there; where it is -inf or NaN, the network learns
                that little is there.
            key: random key or seed.
            log_weights: (n,) by which held-out errors count; equal where None.

        Raises:
            StructureError: a coordinate is discrete or a random key, or shapes do not fit.
            TrainingError: fewer than 50 values are finite.
        """
        layout = Layout.of(program)
        if layout.has_keys:
            raise StructureError(_NO_KEYS)
        rows, y = np.asarray(rows, float), np.asarray(log_likelihood, float)
        if rows.ndim != 2 or rows.shape[1] != layout.size or y.shape != rows.shape[:1]:
            raise StructureError(
                f"Surrogate: rows must be (n, {layout.size}) and log_likelihood (n,), got "
                f"{rows.shape} and {y.shape}."
            )
        weights = np.zeros(y.size) if log_weights is None else np.asarray(log_weights, float)
        finite = np.isfinite(y)
        if finite.sum() < _LEAST:
            raise TrainingError(
                f"Surrogate: the log likelihood is finite at {finite.sum()} points; a network "
                f"needs at least {_LEAST}. Use more live points of the pilot, or a closer prior."
            )
        known = np.isfinite(rows).all(axis=1) & ~np.isposinf(y)
        y = np.where(finite, y, y[finite].max() - _IMPOSSIBLE)[known]
        share = np.where(finite, np.exp(weights - weights[finite].max()), 0.0)[known]
        found = trained(
            as_key(key),
            rows[known],
            y,
            share / share.sum(),
            _intervals(program, layout),
            self.widths,
            self.steps,
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
        if Layout.of(program).has_keys:
            raise StructureError(_NO_KEYS)
        return alternated(self, program, method, as_key(key), progress)


def _intervals(program: Program, layout: Layout) -> np.ndarray:
    """(d,) which coordinates are logits of places in intervals."""
    found = np.zeros(layout.size, bool)
    for site in layout.places():
        if ends_of(program, site) is not None:
            found[layout.part((site,))[0]] = True
    return found
