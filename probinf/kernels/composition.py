"""Kernels made of kernels: cycle, repeat, and block, which is Gibbs sampling."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.core.coordinates import Layout, layout_of, with_layout
from probinf.core.inputs.limits import at_least
from probinf.core.program import Data, Key, Position, Program, Score, log_density
from probinf.errors import MethodError
from probinf.kernels.base import Info, Kernel, MetricName, Params


class Placed(NamedTuple):
    """A chain between two blocks: where it is, and its log density there."""

    position: Any
    logdensity: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class Cycle(Kernel):
    """Several kernels, one after the other; built by :func:`cycle`."""

    kernels: tuple[Kernel, ...]

    @property
    def target_acceptance(self) -> float | None:
        """The first one that there is; every kernel has its own step size."""
        return next((t for t in self.targets if t is not None), None)

    @property
    def targets(self) -> tuple[float | None, ...]:
        """Those of all kernels."""
        return tuple(t for kernel in self.kernels for t in kernel.targets)

    @property
    def needs_gradient(self) -> bool:
        """Whether any of the kernels needs it."""
        return any(k.needs_gradient for k in self.kernels)

    @property
    def short_steps_cost(self) -> bool:
        """Whether any of the kernels' does."""
        return any(k.short_steps_cost for k in self.kernels)

    @property
    def moves_integers(self) -> bool:
        """Whether any of the kernels does."""
        return any(k.moves_integers for k in self.kernels)

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """Those that serve every one of the kernels."""
        return tuple(m for m in super().metrics if all(m in k.metrics for k in self.kernels))

    @property
    def moves_keys(self) -> bool:
        """Whether all of the kernels do."""
        return all(k.moves_keys for k in self.kernels)

    def init(self, program: Program, x: Position) -> Any:
        """State of the first kernel; the others start from its position."""
        return self.kernels[0].init(program, x)

    def step(self, key: Key, program: Program, state: Any, params: Params) -> tuple[Any, Info]:
        """One transition of each kernel in turn."""
        reports, first, several = [], 0, len(self.targets) > 1
        for k, kernel in enumerate(self.kernels):
            own, count = params, len(kernel.targets)
            if several and params.step_size.ndim:
                sizes = params.step_size[first : first + count]
                own = params._replace(step_size=sizes if count > 1 else sizes[0])
            if k > 0:
                state = _handed(self.kernels[k - 1], kernel, program, state)
            state, report = kernel.step(jax.random.fold_in(key, k), program, state, own)
            reports.append(report)
            first += count
        state = _handed(self.kernels[-1], self.kernels[0], program, state)
        rates = [jnp.atleast_1d(r.acceptance) for r in reports]
        return state, reports[0]._replace(
            acceptance=jnp.concatenate(rates) if several else rates[0][0],
            evaluations=jnp.sum(jnp.stack([r.evaluations for r in reports])),
            divergent=jnp.any(jnp.stack([r.divergent for r in reports])),
            lost=jnp.sum(jnp.stack([r.lost for r in reports])),
        )

    def first_step_size(self, dim: int) -> Any:
        """Those of all kernels."""
        sizes = [np.atleast_1d(k.first_step_size(dim)) for k in self.kernels]
        return np.concatenate(sizes) if len(self.targets) > 1 else float(sizes[0][0])


def _handed(giver: Kernel, taker: Kernel, program: Program, state: Any) -> Any:
    """The state in the form of the next kernel."""
    if giver == taker or (isinstance(giver, Block) and isinstance(taker, Block)):
        return state
    return taker.init(program, state.position)


def cycle(*kernels: Kernel) -> Cycle:
    """The composition of kernels in a fixed order; invariant because each one is.

    A cycle of blocks is Gibbs sampling (Metropolis within Gibbs). The warm-up gives each
    kernel a step size of its own.
    """
    if not kernels:
        raise MethodError("cycle: at least one kernel is needed.")
    return Cycle(tuple(kernels))


class Wrapped(Kernel):
    """A kernel around another, ``kernel``, whose needs it shares."""

    kernel: Kernel

    @property
    def target_acceptance(self) -> float | None:
        """The inner kernel's."""
        return self.kernel.target_acceptance

    @property
    def targets(self) -> tuple[float | None, ...]:
        """The inner kernel's."""
        return self.kernel.targets

    @property
    def needs_gradient(self) -> bool:
        """The inner kernel's."""
        return self.kernel.needs_gradient

    @property
    def short_steps_cost(self) -> bool:
        """The inner kernel's."""
        return self.kernel.short_steps_cost

    @property
    def moves_integers(self) -> bool:
        """The inner kernel's."""
        return self.kernel.moves_integers

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """The inner kernel's, as far as any kernel takes them."""
        return tuple(m for m in super().metrics if m in self.kernel.metrics)

    @property
    def moves_keys(self) -> bool:
        """The inner kernel's."""
        return self.kernel.moves_keys


@dataclasses.dataclass(frozen=True)
class Repeat(Wrapped):
    """The same kernel several times; built by :func:`repeat`."""

    kernel: Kernel
    times: int

    def init(self, program: Program, x: Position) -> Any:
        """State of the repeated kernel."""
        return self.kernel.init(program, x)

    def step(self, key: Key, program: Program, state: Any, params: Params) -> tuple[Any, Info]:
        """``times`` transitions; acceptance is their average."""

        def body(state: Any, key: Key) -> tuple[Any, Info]:
            return self.kernel.step(key, program, state, params)

        state, reports = jax.lax.scan(body, state, jax.random.split(key, self.times))
        return state, Info(
            reports.acceptance.mean(axis=0),
            reports.divergent.any(),
            reports.evaluations.sum(),
            reports.energy[-1],
            reports.depth.max(),
            reports.lost.sum(),
        )

    def first_step_size(self, dim: int) -> Any:
        """The repeated kernel's."""
        return self.kernel.first_step_size(dim)


def repeat(kernel: Kernel, times: int) -> Repeat:
    """``times`` transitions of ``kernel`` as one."""
    at_least(1, times=times)
    return Repeat(kernel, times)


@dataclasses.dataclass(frozen=True)
class Block(Wrapped):
    """A kernel on the coordinates of some sites, given all others; built by :func:`block`."""

    sites: tuple[str, ...]
    kernel: Kernel

    def init(self, program: Program, x: Position) -> Placed:
        """Position and log density."""
        return Placed(x, log_density(program, x))

    def step(self, key: Key, program: Program, state: Placed, params: Params) -> tuple[Any, Info]:
        """One transition of the inner kernel on the conditional measure."""
        layout = layout_of(program)
        index, part = layout.part(self.sites)
        given = conditional(program, state.position, index, part)
        inner = self.kernel.init(given, state.position[index])
        covariance = params.covariance[index]
        if params.covariance.ndim == 2:
            covariance = covariance[:, index]
        own = Params(params.step_size, params.mean[index], covariance)
        inner, report = self.kernel.step(key, given, inner, own)
        position = state.position.at[index].set(inner.position)
        report = report._replace(evaluations=report.evaluations + 1)
        return Placed(position, inner.logdensity), report

    def first_step_size(self, dim: int) -> Any:
        """The inner kernel's."""
        return self.kernel.first_step_size(dim)


@dataclasses.dataclass(frozen=True)
class _Conditional:
    """The density of the whole position, as a function of a part of it."""

    inner: Callable[[Any, Data], Score]
    index: tuple[int, ...]

    def __call__(self, x: Any, data: Data) -> Score:
        inner_data, whole = data
        return self.inner(whole.at[np.asarray(self.index)].set(x), inner_data)


def conditional(program: Program, whole: Any, index: np.ndarray, part: Layout) -> Program:
    """The measure on some flat coordinates, the others held at their values in ``whole``.

    It is the full density, not the factors that mention the block alone, so that no factor can
    be forgotten.
    """
    given = dataclasses.replace(
        program,
        score=_Conditional(program.score, tuple(index.tolist())),
        data=(program.data, whole),
    )
    return with_layout(given, part)


def block(sites: str | tuple[str, ...], kernel: Kernel) -> Block:
    """``kernel`` moves the coordinates of ``sites``, given the values of all others.

    Args:
        sites: names of latent sites; ``cycle(block("z", a), block(("mu", "tau"), b))`` moves
            them in turn.
        kernel: of whatever kind fits these coordinates: ``Enumerate`` or ``IntegerWalk`` for
            discrete ones, any other for real ones.

    Raises:
        MethodError: no site is named.

    Source: Geman & Geman (1984); Tierney (1994), section 2.4, for Metropolis within Gibbs.
    """
    names = (sites,) if isinstance(sites, str) else tuple(sites)
    if not names:
        raise MethodError("block: at least one site is needed.")
    return Block(names, kernel)
