"""Ensemble: walkers that move each other, affine-invariant and without gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.coordinates import Layout
from probinf.core.inputs.limits import at_least
from probinf.core.program import Key, Position, Program, counted
from probinf.errors import MethodError
from probinf.kernels.composition import Placed
from probinf.kernels.walkers import Stretch, WalkerMove
from probinf.results.collecting import ChainCollector, Transition
from probinf.results.findings import Finding
from probinf.results.statistics.ensembles import ensemble_ess_mean
from probinf.runtime.method import Plan, Run
from probinf.samplers.chains import ChainMethod
from probinf.samplers.warmup.starting import found_start, near, scattered

_CANDIDATES = 8
_BALL = 0.01  # of given starts, in unconstrained coordinates
_MANY = 50  # dimensions from which on ensembles of walkers are known to mislead
_TIMES = 50  # autocorrelation times that a run should be long


class Walkers(NamedTuple):
    """Where the walkers of one ensemble are.

    Attributes:
        position: (walkers, d).
        logdensity: (walkers,).
    """

    position: Float[Array, "n d"]
    logdensity: Float[Array, " n"]


@dataclasses.dataclass(frozen=True)
class Ensemble(ChainMethod):
    """Walkers that move each other: emcee's way, for densities without a gradient.

    At every step the walkers are parted in two halves at random, and each half moves with the
    help of the other one, which gives it directions and scales: nothing is tuned, and a
    posterior that is stretched or correlated costs no more than a round one. It needs no
    gradient and no prior that can be drawn from. Walkers are not independent chains: effective
    sizes and R-hat are those of the ensembles.

    Args:
        walkers: of an ensemble, an even number and at least twice the coordinates.
        ensembles: independent ones.
        warmup: steps of every walker that are discarded.
        draws: kept steps of every walker.
        moves: of :mod:`probinf.kernels`: ``Stretch()``, ``DifferentialEvolution()``,
            ``Snooker()``, or several of them, one of which is drawn at every step.
        weights: with which they are drawn; equal by default.
        thin: steps for each kept one.

    Raises:
        MethodError: a count is too small, or a move is none.

    Source: Goodman & Weare (2010); Foreman-Mackey, Hogg, Lang & Goodman (2013) for the halves.
    """

    walkers: int = 64
    ensembles: int = 2
    warmup: int = 1000
    draws: int = 1000
    moves: WalkerMove | Sequence[WalkerMove] = Stretch()
    weights: Sequence[float] | None = None
    thin: int = 1

    lockstep: ClassVar[bool] = True

    def __post_init__(self) -> None:
        at_least(4, walkers=self.walkers)
        at_least(1, ensembles=self.ensembles)
        self.check_counts(("draws", "thin"))
        if self.walkers % 2:
            raise MethodError(
                f"walkers must be even, since one half moves the other, got {self.walkers}."
            )
        moves = (self.moves,) if isinstance(self.moves, WalkerMove) else tuple(self.moves)
        if not moves or not all(isinstance(move, WalkerMove) for move in moves):
            raise MethodError(
                "moves must be Stretch(), DifferentialEvolution() or Snooker() of pi.kernels, or "
                f"several of them, got {self.moves!r}."
            )
        least = max(move.least_others for move in moves)
        if self.walkers // 2 < least:
            raise MethodError(f"walkers must be at least {2 * least} for these moves.")
        weights = self.weights if self.weights is None else tuple(map(float, self.weights))
        if weights is not None and (len(weights) != len(moves) or not _are_weights(weights)):
            raise MethodError(
                f"weights must be {len(moves)} positive numbers, one for each move, got "
                f"{self.weights!r}."
            )
        object.__setattr__(self, "moves", moves)
        object.__setattr__(self, "weights", weights)

    @property
    def chains(self) -> int:  # type: ignore[override]
        """Walkers of all ensembles."""
        return self.walkers * self.ensembles

    @property
    def lanes(self) -> int:
        """Ensembles."""
        return self.ensembles

    def plan(self, program: Program, layout: Layout) -> Plan:
        """A lane for each ensemble.

        Raises:
            MethodError: a coordinate is a random key, or there are too few walkers.
        """
        if layout.has_keys:
            raise MethodError(
                "Ensemble moves walkers along straight lines, but this program has a random-key "
                "coordinate. Use SMC or MCMC(kernels.RandomWalk()), which redraw it."
            )
        if self.walkers < 2 * layout.size:
            raise MethodError(
                f"{self.walkers} walkers are too few for {layout.size} coordinates: they would "
                f"hardly leave the plane that they began in. Use walkers={2 * layout.size} or "
                "more."
            )
        return super().plan(program, layout)

    def collector(self, run: Run, plan: Plan) -> ChainCollector:
        """All walkers, ensemble by ensemble.

        Raises:
            MethodError: only summaries are wanted.
        """
        if run.kept.summaries_only:
            raise MethodError(
                "summaries_only= sums up independent chains, which walkers are not. Name some "
                "sites with keep=, or keep every k-th step with thin=k."
            )
        return super().collector(run, plan)

    def begin(self, key: Key, program: Program) -> tuple[Walkers, Bool[Array, ""]]:
        """The densest of 8 over-dispersed points for every walker."""

        def attempt(key: Key, tries: Any) -> tuple[Any, Any]:
            placed = _placed(program, scattered(program, key, tries))
            return placed, placed

        def search(key: Key) -> tuple[Any, Bool[Array, ""]]:
            return found_start(attempt, key, _CANDIDATES)

        found, fine = jax.vmap(search)(jax.random.split(key, self.walkers))
        return Walkers(found.position, found.logdensity), jnp.all(fine)

    def begin_at(
        self, key: Key, program: Program, x: Position, given: Bool[Array, " d"]
    ) -> tuple[Walkers, Bool[Array, ""]]:
        """Every walker close to its own given coordinates, so that no two are at one point."""
        ball_key, search_key = jax.random.split(key)
        x = x + _BALL * jax.random.normal(ball_key, x.shape, x.dtype)

        def search(key: Key, row: Any) -> tuple[Any, Bool[Array, ""]]:
            return found_start(near(_placed, program, row, given), key)

        found, fine = jax.vmap(search)(jax.random.split(search_key, self.walkers), x)
        return Walkers(found.position, found.logdensity), jnp.all(fine)

    def transition(
        self, key: Key, program: Program, own: Walkers, taken: Int[Array, ""]
    ) -> tuple[Walkers, Transition]:
        """Both halves, one after the other."""
        order_key, move_key, *keys = jax.random.split(key, 4)
        n = self.walkers
        order = jax.random.permutation(order_key, n)
        which = self._drawn(move_key)
        chances, losses = jnp.zeros((n,), own.logdensity.dtype), jnp.zeros((n,), int)
        for half, other, half_key in (
            (order[: n // 2], order[n // 2 :], keys[0]),
            (order[n // 2 :], order[: n // 2], keys[1]),
        ):
            own, chance, lost = self._half(half_key, program, own, half, other, which)
            chances, losses = chances.at[half].set(chance), losses.at[half].set(lost)
        stats = {
            "log_density": own.logdensity,
            "acceptance": chances,
            "evaluations": jnp.ones((n,), int),
            "lost": losses,
        }
        return own, Transition(own.position, stats)

    def _drawn(self, key: Key) -> Int[Array, ""]:
        moves = _several(self.moves)
        weights = jnp.asarray(self.weights or [1.0] * len(moves))
        return jax.random.choice(key, len(moves), p=weights / weights.sum())

    def _half(
        self,
        key: Key,
        program: Program,
        own: Walkers,
        half: Int[Array, " k"],
        other: Int[Array, " k"],
        which: Int[Array, ""],
    ) -> tuple[Walkers, Float[Array, " k"], Int[Array, " k"]]:
        """One half moved with the help of the other: walkers, chances of acceptance, lost."""
        propose_key, accept_key = jax.random.split(key)
        x, others, before = own.position[half], own.position[other], own.logdensity[half]
        moves = [move.propose for move in _several(self.moves)]
        y, log_factor = jax.lax.switch(which, moves, propose_key, x, others)
        after, lost = jax.vmap(lambda x: counted(program, x))(y)
        ratio = log_factor + after - before
        chance = jnp.where(jnp.isnan(ratio), 0.0, jnp.exp(jnp.minimum(ratio, 0.0)))
        accepted = jax.random.uniform(accept_key, chance.shape, chance.dtype) < chance
        position = jnp.where(accepted[:, None], y, x)
        density = jnp.where(accepted, after, before)
        moved = Walkers(own.position.at[half].set(position), own.logdensity.at[half].set(density))
        return moved, chance, lost.astype(int)

    def report(self, run: Run, stats: dict[str, np.ndarray]) -> dict[str, Any]:
        """How long the walkers take to forget, and what that says of the run."""
        positions = run.records.position
        told: dict[str, Any] = {"ensembles": self.ensembles}
        findings: list[Finding] = []
        draws = stats["log_density"].shape[1]
        if positions is not None and draws >= 8:
            ess = ensemble_ess_mean(np.asarray(positions, float), self.ensembles)
            if np.isfinite(ess).any():
                time = float(self.chains * draws / np.nanmin(ess))
                told["autocorrelation_time"] = time
                if draws < _TIMES * time:
                    findings.append(_short(draws, time))
        if run.layout.size > _MANY:
            findings.append(_high(run.layout.size))
        fields = super().report(run, stats)
        return {**fields, "provenance": told, "findings": tuple(findings)}


def _placed(program: Program, x: Position) -> Placed:
    return Placed(x, counted(program, x)[0])


def _several(moves: Any) -> tuple[WalkerMove, ...]:
    return tuple(moves)


def _are_weights(weights: tuple[float, ...]) -> bool:
    return all(0 < w < np.inf for w in weights)


def _short(draws: int, time: float) -> Finding:
    return Finding(
        "autocorrelation",
        f"{draws} steps are {draws / time:.0f} autocorrelation times (the slowest coordinate "
        f"takes {time:.0f} steps), where {_TIMES} should be: neither errors nor the time itself "
        f"can be trusted. Take draws={int(_TIMES * time * 1.2):d}, or NUTS where there are "
        "gradients.",
    )


def _high(dim: int) -> Finding:
    return Finding(
        "many_dimensions",
        f"{dim} coordinates are many for an ensemble of walkers: beyond some {_MANY} it can stay "
        "on a shell that is not the posterior's and still look converged (Huijser, Goodman & "
        "Brewer, 2015). Compare with NUTS, or with SMC(kernel=pi.kernels.Slice()).",
    )
