"""Kernel: one Markov transition that leaves a program's measure invariant."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.inputs.options import Options
from probinf.core.program import Key, Position, Program
from probinf.errors import MethodError
from probinf.kernels.metric import LowRank

MetricName = Literal["auto", "diagonal", "dense", "low_rank", "groups"]


class Params(NamedTuple):
    """Tuning of any kernel; dynamic, so retuning never recompiles.

    Attributes:
        step_size: scalar scale of one move, or one for each part of a ``cycle``.
        mean: (d,) location estimate of the target.
        covariance: (d,) variances or (d, d) covariance estimate of the target; Hamiltonian
            kernels also take a ``LowRank`` one.
    """

    step_size: Float[Array, "..."]
    mean: Float[Array, " d"]
    covariance: Any

    def scale(self) -> Float[Array, "..."]:
        """Square root of the covariance: (d,) standard deviations or a (d, d) Cholesky factor.

        Raises:
            MethodError: the covariance is a ``LowRank`` one.
        """
        if isinstance(self.covariance, LowRank):
            raise MethodError("a low-rank covariance serves Hamiltonian kernels only.")
        if self.covariance.ndim == 1:
            return jnp.sqrt(self.covariance)
        return jnp.linalg.cholesky(self.covariance)

    def deviations(self) -> Float[Array, " d"]:
        """Standard deviation of every coordinate."""
        if isinstance(self.covariance, LowRank):
            scale, directions, values = self.covariance
            return scale * jnp.sqrt(1 + directions**2 @ (values - 1))
        variances = self.covariance
        return jnp.sqrt(variances if variances.ndim == 1 else jnp.diagonal(variances))


class Info(NamedTuple):
    """What one transition reports, the same for every kernel.

    Attributes:
        acceptance: average acceptance probability, a scalar in [0, 1], or one for each part of
            a ``cycle``.
        divergent: whether the integrator lost the energy (gradient kernels only).
        evaluations: density (or density and gradient) evaluations spent.
        energy: Hamiltonian of the proposal; minus the log density for other kernels.
        depth: doublings of a NUTS tree; 0 for other kernels.
        lost: points that were tried at which the density is NaN or +inf; they count as
            impossible. Gradient kernels count the ends of trajectories that diverged, where
            they lie within ten standard deviations: farther out numbers overflow.
    """

    acceptance: Float[Array, "..."]
    divergent: Bool[Array, ""]
    evaluations: Int[Array, ""]
    energy: Float[Array, ""]
    depth: Int[Array, ""]
    lost: Int[Array, ""]


def info(
    acceptance: Any,
    evaluations: Any,
    energy: Any,
    divergent: Any = False,
    depth: Any = 0,
    lost: Any = 0,
) -> Info:
    """An ``Info`` of arrays, whatever mixture of numbers and arrays comes in."""
    return Info(
        jnp.asarray(acceptance, float),
        jnp.asarray(divergent, bool),
        jnp.asarray(evaluations, int),
        jnp.asarray(energy, float),
        jnp.asarray(depth, int),
        jnp.asarray(lost, int),
    )


@dataclasses.dataclass(frozen=True)
class Kernel(Options, abc.ABC):
    """A Markov kernel that leaves ``program`` invariant for every value of ``params``.

    Subclasses are frozen dataclasses of options. States are NamedTuples with at least
    ``position`` and ``logdensity``, and ``logdensity_grad`` for a low-rank metric. What a kernel
    can do it declares:

    Attributes:
        default_metric: of its ``metrics``, where the user names none.
        least_dim: coordinates that it needs.
        enumerates: whether it needs discrete coordinates with finitely many values.
        reports: fields of ``Info`` that only this kernel fills.
    """

    default_metric: ClassVar[MetricName] = "diagonal"
    least_dim: ClassVar[int] = 1
    enumerates: ClassVar[bool] = False
    reports: ClassVar[tuple[str, ...]] = ()

    @property
    @abc.abstractmethod
    def target_acceptance(self) -> float | None:
        """Acceptance that step-size adaptation aims at; None when there is no step size."""

    @property
    def targets(self) -> tuple[float | None, ...]:
        """``target_acceptance`` of every part that has a step size of its own."""
        return (self.target_acceptance,)

    @property
    def aims(self) -> Any:
        """``targets`` as numbers: one, or an array; 0.5 where there is nothing to aim at."""
        numbers = [0.5 if t is None else t for t in self.targets]
        return numbers[0] if len(numbers) == 1 else np.asarray(numbers)

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """The covariances that it can be given."""
        return ("diagonal", "dense")

    @property
    def moves_integers(self) -> bool:
        """Whether it moves discrete coordinates."""
        return False

    @property
    def moves_keys(self) -> bool:
        """Whether it moves random-key coordinates."""
        return False

    @property
    def short_steps_cost(self) -> bool:
        """Whether a transition by shorter steps takes more evaluations, without a small bound."""
        return False

    @property
    def needs_gradient(self) -> bool:
        """Whether every coordinate must be floating point and differentiable."""
        return False

    @abc.abstractmethod
    def init(self, program: Program, x: Position) -> Any:
        """State of a chain at position ``x``."""

    @abc.abstractmethod
    def step(self, key: Key, program: Program, state: Any, params: Params) -> tuple[Any, Info]:
        """One transition from ``state``; exactly invariant whatever ``params`` are."""

    def first_step_size(self, dim: int) -> Any:
        """Step size (or sizes) before anything is known about the target."""
        return 1.0


def check_kernel(kernel: Any, *, optional: bool = False) -> None:
    """Raise unless this is a kernel, made with its options.

    Raises:
        MethodError: it is something else, or a class of kernels.
    """
    if isinstance(kernel, Kernel) or (optional and kernel is None):
        return
    if isinstance(kernel, type) and issubclass(kernel, Kernel):
        raise MethodError(
            f"kernel is the class {kernel.__name__}; make one: pi.kernels.{kernel.__name__}()."
        )
    raise MethodError(
        f"kernel must be one of pi.kernels, such as pi.kernels.NUTS(), got {kernel!r}. Other "
        "options are given by name: NUTS(draws=1000)."
    )
