"""Kernel: one Markov transition that leaves a program's measure invariant."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.metric import LowRank
from probinf.program import Key, Position, Program


class Params(NamedTuple):
    """Tuning of any kernel; dynamic, so retuning never recompiles.

    Attributes:
        step_size: scalar scale of one move.
        mean: (d,) location estimate of the target.
        covariance: (d,) variances or (d, d) covariance estimate of the target; Hamiltonian
            kernels also take a ``LowRank`` one.
    """

    step_size: Float[Array, ""]
    mean: Float[Array, " d"]
    covariance: Any

    def scale(self) -> Float[Array, "..."]:
        """Square root of the covariance: (d,) standard deviations or a (d, d) Cholesky factor.

        Raises:
            TypeError: the covariance is a ``LowRank`` one.
        """
        if isinstance(self.covariance, LowRank):
            raise TypeError("a low-rank covariance serves Hamiltonian kernels only.")
        if self.covariance.ndim == 1:
            return jnp.sqrt(self.covariance)
        return jnp.linalg.cholesky(self.covariance)


class Info(NamedTuple):
    """What one transition reports, the same for every kernel.

    Attributes:
        acceptance: scalar in [0, 1], average acceptance probability.
        divergent: whether the integrator lost the energy (gradient kernels only).
        evaluations: density (or density and gradient) evaluations spent.
        energy: Hamiltonian of the proposal; minus the log density for other kernels.
        depth: doublings of a NUTS tree; 0 for other kernels.
    """

    acceptance: Float[Array, ""]
    divergent: Bool[Array, ""]
    evaluations: Int[Array, ""]
    energy: Float[Array, ""]
    depth: Int[Array, ""]


def info(
    acceptance: Any, evaluations: Any, energy: Any, divergent: Any = False, depth: Any = 0
) -> Info:
    """An ``Info`` of arrays, whatever mixture of numbers and arrays comes in."""
    return Info(
        jnp.asarray(acceptance, float),
        jnp.asarray(divergent, bool),
        jnp.asarray(evaluations, int),
        jnp.asarray(energy, float),
        jnp.asarray(depth, int),
    )


@dataclasses.dataclass(frozen=True)
class Kernel(abc.ABC):
    """A Markov kernel that leaves ``program`` invariant for every value of ``params``.

    Subclasses are frozen dataclasses of options. States are NamedTuples with at least
    ``position`` and ``logdensity``.
    """

    @property
    @abc.abstractmethod
    def target_acceptance(self) -> float | None:
        """Acceptance that step-size adaptation aims at; None when there is no step size."""

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

    def first_step_size(self, dim: int) -> float:
        """Step size before anything is known about the target."""
        return 1.0


@dataclasses.dataclass(frozen=True)
class Cycle(Kernel):
    """Several kernels, one after the other; built by :func:`cycle`."""

    kernels: tuple[Kernel, ...]

    @property
    def target_acceptance(self) -> float | None:
        """The first kernel's target, which tunes the shared step size."""
        return self.kernels[0].target_acceptance

    @property
    def needs_gradient(self) -> bool:
        """Whether any of the kernels needs it."""
        return any(k.needs_gradient for k in self.kernels)

    def init(self, program: Program, x: Position) -> Any:
        """State of the first kernel; the others start from its position."""
        return self.kernels[0].init(program, x)

    def step(self, key: Key, program: Program, state: Any, params: Params) -> tuple[Any, Info]:
        """One transition of each kernel in turn."""
        reports = []
        for k, kernel in enumerate(self.kernels):
            if k > 0:
                state = kernel.init(program, state.position)
            state, report = kernel.step(jax.random.fold_in(key, k), program, state, params)
            reports.append(report)
        if len(self.kernels) > 1:
            state = self.kernels[0].init(program, state.position)
        total = jnp.sum(jnp.stack([r.evaluations for r in reports]))
        divergent = jnp.any(jnp.stack([r.divergent for r in reports]))
        return state, reports[0]._replace(evaluations=total, divergent=divergent)

    def first_step_size(self, dim: int) -> float:
        """The first kernel's."""
        return self.kernels[0].first_step_size(dim)


def cycle(*kernels: Kernel) -> Cycle:
    """The composition of kernels in a fixed order; invariant because each one is."""
    if not kernels:
        raise ValueError("cycle: at least one kernel is needed.")
    return Cycle(tuple(kernels))


@dataclasses.dataclass(frozen=True)
class Repeat(Kernel):
    """The same kernel several times; built by :func:`repeat`."""

    kernel: Kernel
    times: int

    @property
    def target_acceptance(self) -> float | None:
        """The repeated kernel's."""
        return self.kernel.target_acceptance

    @property
    def needs_gradient(self) -> bool:
        """The repeated kernel's."""
        return self.kernel.needs_gradient

    def init(self, program: Program, x: Position) -> Any:
        """State of the repeated kernel."""
        return self.kernel.init(program, x)

    def step(self, key: Key, program: Program, state: Any, params: Params) -> tuple[Any, Info]:
        """``times`` transitions; acceptance is their average."""

        def body(state: Any, key: Key) -> tuple[Any, Info]:
            return self.kernel.step(key, program, state, params)

        state, reports = jax.lax.scan(body, state, jax.random.split(key, self.times))
        return state, Info(
            reports.acceptance.mean(),
            reports.divergent.any(),
            reports.evaluations.sum(),
            reports.energy[-1],
            reports.depth.max(),
        )

    def first_step_size(self, dim: int) -> float:
        """The repeated kernel's."""
        return self.kernel.first_step_size(dim)


def repeat(kernel: Kernel, times: int) -> Repeat:
    """``times`` transitions of ``kernel`` as one."""
    if times < 1:
        raise ValueError(f"repeat: times must be at least 1, got {times}.")
    return Repeat(kernel, times)
