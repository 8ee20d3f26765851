"""Surrogate: a network for an expensive likelihood, from values that are known."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.amortized.surrogates.network import LogLikelihood, trained
from probinf.core.coordinates import Layout
from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.core.transformations.guiding import guided
from probinf.errors import MethodError, StructureError, TrainingError


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
    """A network for an expensive log likelihood: a quadratic fit, and what is left of it.

    What it gives is approximate; ``kernels.DelayedAcceptance`` makes chains exact with it.

    Args:
        widths: of two hidden layers, that are tried; held-out points choose.
        steps: of training, for each width; 0 leaves the quadratic fit.

    Raises:
        MethodError: an option is out of range.
    """

    widths: tuple[int, ...] = (32, 64)
    steps: int = 4000

    def __post_init__(self) -> None:
        at_least(0, steps=self.steps)
        object.__setattr__(self, "widths", tuple(self.widths))
        if not self.widths or min(self.widths) < 1:
            raise MethodError(f"widths must be positive numbers, at least one, got {self.widths}.")

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
                "at least 50. Give it more points, or closer ones."
            )
        share = np.exp(weights[known] - weights[known].max())
        found = trained(
            as_key(key), rows[known], y[known], share / share.sum(), self.widths, self.steps
        )
        return FittedSurrogate(found.network, found.error, found.width, int(known.sum()))
