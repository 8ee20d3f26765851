"""Parallel tempering: chains at every temperature that exchange their positions."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core import population
from probinf.core.coordinates import Layout, storable, vector_of
from probinf.core.inputs.limits import at_least
from probinf.core.program import Key, Program
from probinf.core.transformations.paths import temper
from probinf.kernels.base import Info, Kernel, check_kernel
from probinf.results.collecting import Transition
from probinf.results.findings import Finding
from probinf.runtime.method import Plan, Run
from probinf.samplers.chains import ChainMethod
from probinf.samplers.ladder import first_ladder, ladder_evidence, log_swap, respaced, swap
from probinf.samplers.populations.moving import check_drawable, default_kernel
from probinf.samplers.warmup.adaptation import Adaptation, AdaptationState
from probinf.samplers.warmup.starting import found_start

_RESPACINGS = 7  # at warmup / 2, warmup / 4, ...


class Rungs(NamedTuple):
    """What travels between temperatures, hottest first.

    Attributes:
        position: leading axis k.
        log_base: (k,).
        log_likelihood: (k,).
        from_base: (k,) whether the position has come from the base since it last was at 1.
    """

    position: Any
    log_base: Float[Array, " k"]
    log_likelihood: Float[Array, " k"]
    from_base: Bool[Array, " k"]


class Ladder(NamedTuple):
    """One ladder: its positions, temperatures, tuning and counts."""

    rungs: Rungs
    betas: Float[Array, " k"]
    adaptation: AdaptationState
    rejection: Float[Array, " pairs"]
    tried: Float[Array, " pairs"]
    nan_count: Int[Array, ""]


@dataclasses.dataclass(frozen=True)
class ParallelTempering(ChainMethod):
    """Chains of the tempered programs ``base * L**beta`` that swap positions: for several modes.

    The hottest chain draws from the base itself, so it visits every mode that the base covers;
    swaps carry its positions to the target with the right shares. Swaps alternate between even
    and odd pairs (non-reversible), and the warm-up spaces the temperatures so that all pairs
    reject equally often. The log likelihoods along the ladder give the evidence.

    Args:
        temperatures: rungs of the ladder, the base and the target included. About twice the
            barrier that ``provenance["barrier"]`` reports is right; ``diagnose`` says when
            there are too few.
        chains: independent ladders.
        warmup: rounds that adapt, discarded. A round is one move at every temperature and one
            set of swaps.
        draws: kept rounds.
        kernel: moves the chains; by default HMC, or a random walk where a coordinate is a
            random key.

    Raises:
        MethodError: a count is too small, or the kernel does not fit the program.
        ImproperPriorError: the base cannot be drawn from.

    Source: Syed, Bouchard-Côté, Deligiannidis & Doucet (2022), algorithms 1 and 4.
    """

    temperatures: int = 16
    chains: int = 4
    warmup: int = 1000
    draws: int = 1000
    kernel: Kernel | None = None

    sought: ClassVar[str] = "draw of the base"

    def __post_init__(self) -> None:
        check_kernel(self.kernel, optional=True)
        at_least(3, temperatures=self.temperatures)
        self.check_counts(("chains", "draws"))

    def plan(self, program: Program, layout: Layout) -> Plan:
        """A lane for each ladder, whose records hold likelihoods and swaps too.

        Raises:
            MethodError: the base cannot be drawn from, or the kernel does not fit.
        """
        check_drawable(program, layout, self.kernel)
        self.check_warmup(self.kernel)
        plan = super().plan(program, layout)
        more = 2 * self.temperatures * np.dtype(layout.dtype).itemsize
        return plan._replace(row_bytes=plan.row_bytes + self.chains * more)

    def _kernel(self, position: Any) -> Kernel:
        return default_kernel(self.kernel, position)

    def begin(self, key: Key, program: Program) -> tuple[Ladder, Bool[Array, ""]]:
        """Draws of the base with finite density and gradient at every temperature."""
        count = self.temperatures

        def attempt(key: Key, tries: Any) -> tuple[Any, Any]:
            x = program.draw(key, program.data)
            return self._kernel(x).init(program, x), x

        def search(key: Key) -> tuple[Any, Bool[Array, ""]]:
            return found_start(attempt, key)

        position, fine = _in_turn(search, jax.random.split(key, count))
        rungs, lost = scored(program, position, jnp.zeros((count,), bool))
        vectors = vector_of(position)[1:]
        betas = jnp.asarray(first_ladder(count), vectors.dtype)
        adaptation = jax.vmap(self._adaptation(position).init)(vectors)
        blank = jnp.zeros((count - 1,), vectors.dtype)
        ladder = Ladder(
            rungs=rungs,
            betas=betas,
            adaptation=adaptation,
            rejection=blank,
            tried=blank,
            nan_count=lost,
        )
        return ladder, jnp.all(fine)

    def _adaptation(self, position: Any) -> Adaptation:
        return Adaptation(self._kernel(position), self.warmup)

    def transition(
        self, key: Key, program: Program, own: Ladder, taken: Int[Array, ""]
    ) -> tuple[Ladder, Transition]:
        """One move at every temperature, then one set of swaps."""
        move_key, base_key, swap_key = jax.random.split(key, 3)
        adaptation = self._adaptation(own.rungs.position)
        position, info = self._moved(move_key, program, own)
        tuned = own.adaptation
        if self.warmup:
            tuned = jax.lax.cond(
                taken < self.warmup,
                lambda: jax.vmap(adaptation.update, (0, None, 0, 0))(
                    tuned, taken, vector_of(position), info
                ),
                lambda: tuned,
            )
        fresh = program.draw(base_key, program.data)
        position = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), fresh, position)
        from_base = own.rungs.from_base.at[0].set(True)
        rungs, lost = scored(program, position, from_base)

        log_ratio = log_swap(own.betas, rungs.log_likelihood)
        source, tried = swap(swap_key, log_ratio, taken)
        rungs = jax.tree.map(lambda leaf: leaf[source], rungs)
        round_trip = rungs.from_base[-1]
        rungs = rungs._replace(from_base=rungs.from_base.at[-1].set(False))
        chance = jnp.exp(jnp.minimum(log_ratio, 0.0))
        # likelihoods of zero are no matter of spacing
        counted = tried & jnp.isfinite(log_ratio)
        own = own._replace(
            rungs=rungs,
            adaptation=tuned,
            rejection=own.rejection + jnp.where(counted, 1 - chance, 0.0),
            tried=own.tried + counted,
            nan_count=own.nan_count + lost + info.lost.sum(),
        )
        stats = {
            "log_density": rungs.log_base[-1] + rungs.log_likelihood[-1],
            "log_likelihood": rungs.log_likelihood,
            "swap": jnp.where(tried, chance, jnp.nan),
            "round_trip": round_trip,
            "step_size": tuned.params.step_size[-1],
            "evaluations": info.evaluations.sum() + 2 * self.temperatures,
            "acceptance": info.acceptance[-1],
        }
        position = storable(jax.tree.map(lambda leaf: leaf[-1], rungs.position))
        return self._respaced(own, taken + 1), Transition(position, stats)

    def _moved(self, key: Key, program: Program, own: Ladder) -> tuple[Any, Info]:
        """One kernel move at every temperature but the base's."""
        kernel = self._kernel(own.rungs.position)

        def move(args: Any) -> tuple[Any, Info]:
            key, beta, x, params = args
            target = temper(program, beta)
            moved, info = kernel.step(key, target, kernel.init(target, x), params)
            return moved.position, info

        cold = jax.tree.map(lambda leaf: leaf[1:], own.rungs.position)
        keys = jax.random.split(key, self.temperatures - 1)
        args = (keys, own.betas[1:], cold, own.adaptation.params)
        return _in_turn(move, args)

    def _respaced(self, own: Ladder, taken: Int[Array, ""]) -> Ladder:
        """The ladder moved to equal rejection at the ends of doubling stretches of the warm-up."""
        ends = sorted({self.warmup >> k for k in range(1, _RESPACINGS + 1)} - {0})
        if not ends:
            return own

        def respace() -> Ladder:
            rate = jnp.where(own.tried > 0, own.rejection / jnp.maximum(own.tried, 1), 1.0)
            blank = jnp.zeros_like(own.tried)
            return own._replace(betas=respaced(own.betas, rate), rejection=blank, tried=blank)

        return jax.lax.cond(jnp.isin(taken, jnp.asarray(ends)), respace, lambda: own)

    def note(self, own: Ladder) -> str:
        """How often swaps are rejected."""
        rate = own.rejection.sum() / max(float(own.tried.sum()), 1.0)
        return f"{rate:.0%} of swaps rejected"

    def report(self, run: Run, stats: dict[str, np.ndarray]) -> dict[str, Any]:
        """The draws at temperature one, with the evidence along the ladder."""
        last: Ladder = run.states.own
        betas, log_likelihood = np.asarray(last.betas, float), stats["log_likelihood"]
        evidence = ladder_evidence(betas, log_likelihood)
        # with few rounds an odd pair may never have been tried
        tried = np.isfinite(stats["swap"])
        rate = np.where(tried, stats["swap"], 0.0).sum(axis=1) / np.maximum(tried.sum(axis=1), 1)
        barrier = round(float(np.sum(1 - rate, axis=1).mean()), 3)
        trips = [int(n) for n in stats["round_trip"].sum(axis=1)]
        kept = {name: value for name, value in stats.items() if name != "swap"}
        return {
            "stats": {**kept, "log_likelihood": log_likelihood[:, :, -1]},
            "history": {
                "beta": betas,
                "log_likelihood": log_likelihood.mean(axis=1),
                "swap_rate": np.pad(rate, ((0, 0), (0, 1)), constant_values=np.nan),
            },
            "evidence": evidence.bridged,
            "no_evidence": evidence.missing,
            "findings": _findings(betas, rate, barrier, trips),
            "provenance": {
                "barrier": barrier,
                "round_trips": trips,
                "log_evidence_thermodynamic": evidence.thermodynamic,
                "nan_evaluations": int(last.nan_count.sum()),
            },
        }


def _findings(
    betas: np.ndarray, rate: np.ndarray, barrier: float, trips: list[int]
) -> tuple[Finding, ...]:
    """What may be wrong with ladders.

    Args:
        betas: (chain, k).
        rate: (chain, pairs) of the swaps that were accepted.
        barrier: of the whole ladder.
        trips: round trips of each.
    """
    found, rungs = [], betas.shape[1]
    if rate.min() < 0.2:
        ladder, k = np.unravel_index(int(rate.argmin()), rate.shape)
        low, high = betas[ladder, k : k + 2]
        found.append(
            Finding(
                "swaps",
                f"only {rate.min():.0%} of the swaps between inverse temperatures "
                f"{low:.2g} and {high:.2g} are accepted. Use more than {rungs} temperatures: about "
                f"{max(rungs + 4, round(2 * barrier) + 1)}.",
            )
        )
    if min(trips) < 20:
        found.append(
            Finding(
                "round_trips",
                f"positions of the base reached the target {min(trips)} times in one ladder, so "
                "the shares of separate modes rest on few visits. Use more draws, or more "
                "temperatures.",
            )
        )
    return tuple(found)


def _in_turn(fn: Any, args: Any) -> Any:
    """``fn`` at every temperature: in turn on a CPU, where random numbers for many keys at once
    compile slowly and a trajectory would wait for the longest of all; else at once."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(fn, args)
    return jax.vmap(fn)(args)


def scored(
    program: Program, position: Any, from_base: Bool[Array, " k"]
) -> tuple[Rungs, Int[Array, ""]]:
    """Positions with their densities, and at how many the likelihood is NaN."""
    found = population.scored(program, position)
    return Rungs(position, found.log_base, found.log_weight, from_base), found.lost
