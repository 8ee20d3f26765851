"""Particle marginal Metropolis-Hastings: parameters move, a particle filter sums out the states."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array, Bool, Int

from probinf import kernels
from probinf.core.coordinates import Layout, flatten
from probinf.core.inputs.limits import at_least, check_choice, inside
from probinf.core.program import Key, Program
from probinf.errors import MethodError
from probinf.kernels.base import Kernel, check_kernel
from probinf.results.collecting import ChainCollector, Transition
from probinf.results.findings import Finding
from probinf.results.posterior import Posterior
from probinf.runtime.method import Plan, Run
from probinf.samplers.chains import ChainMethod
from probinf.samplers.mcmc import Chain
from probinf.samplers.pmcmc.correlated import OneBlock
from probinf.samplers.pmcmc.filtering import Filter
from probinf.samplers.pmcmc.paths import joined
from probinf.samplers.pmcmc.pilot import AIM, NOISY, dying, noise, settle
from probinf.samplers.pmcmc.refreshing import Refreshing
from probinf.samplers.pmcmc.space import NO_EVIDENCE, parameters_of, parts_of, state_sites
from probinf.samplers.pmcmc.target import target

_STICKS = 0.02  # acceptance below which a chain says nothing


@dataclasses.dataclass(frozen=True)
class PMMH(ChainMethod):
    """Particle marginal Metropolis-Hastings: draws of parameters and state paths, exactly.

    Every proposal is judged by the likelihood that a particle filter estimates; the estimate
    of an accepted one is kept until the next is accepted, which makes the draws exact whatever
    the number of particles. Each draw comes with one path of its filter. While chains warm up,
    the estimate of where they are is drawn afresh now and then, so that none stays for good at a
    lucky estimate far out.

    Args:
        particles: of every filter. ``"auto"`` takes a pilot's, for which the variance of the log
            likelihood at the middle of the posterior is about 1.5
            (``provenance["pilot"]`` says what it found).
        kernel: of the parameters, one that renews random keys: ``RandomWalk`` with a covariance
            from the warm-up.
        chains: independent chains, each from its own over-dispersed start.
        warmup: adaptive transitions per chain, discarded.
        draws: kept transitions per chain.
        thin: transitions per kept draw.
        metric: ``"dense"`` or ``"diagonal"`` covariance of the proposals.
        blocks: stretches of time with random numbers of their own. With more than one a move
            renews those of one stretch and keeps the others (correlated pseudo-marginal), so
            that far fewer particles are needed for long series; particles are then sorted by
            the first coordinate of the state before they are resampled.
        resample_below: the filter resamples when its ESS falls below this share.

    Raises:
        MethodError: an option is out of range, or the kernel cannot renew random keys.

    Source: Andrieu, Doucet & Holenstein (2010), section 2.4.2; particles: Doucet, Pitt,
    Deligiannidis & Kohn (2015); blocks: Tran, Kohn, Quiroz & Villani (2016).
    """

    particles: int | Literal["auto"] = "auto"
    kernel: Kernel = kernels.RandomWalk(target_acceptance=0.15)
    chains: int = 4
    warmup: int = 1000
    draws: int = 1000
    thin: int = 1
    metric: Literal["diagonal", "dense"] = "dense"
    blocks: int = 1
    resample_below: float = 0.5

    def __post_init__(self) -> None:
        check_kernel(self.kernel)
        self.check_counts()
        self.check_warmup(self.kernel)
        check_choice("metric", self.metric, ("diagonal", "dense"))
        at_least(1, blocks=self.blocks)
        inside(0, 1, closed=True, resample_below=self.resample_below)
        check_particles(self.particles, 1)
        name = type(self.kernel).__name__
        if not self.kernel.moves_keys:
            raise MethodError(
                f"PMMH cannot move by {name}: the filter's random numbers have no gradient and no "
                "distance. Use kernels.RandomWalk(), or ParticleGibbs(kernel=...), which moves "
                "the parameters given the states."
            )
        if self.blocks > 1 and type(self.kernel) is not kernels.RandomWalk:
            raise MethodError(
                f"blocks={self.blocks} renews random numbers in parts, which kernels.RandomWalk "
                f"does; {name} renews all of them. Use RandomWalk, or blocks=1."
            )

    @property
    def _filter(self) -> Filter:
        assert self.particles != "auto"
        return Filter(int(self.particles), self.resample_below, ordered=self.blocks > 1)

    @property
    def _engine(self) -> Refreshing:
        kernel = self.kernel
        if self.blocks > 1:
            assert isinstance(kernel, kernels.RandomWalk)
            kernel = OneBlock(kernel.target_acceptance)
        return Refreshing(kernel, self.chains, self.warmup, self.draws, self.metric, self.thin)

    def _target(self, program: Program) -> Program:
        return target(program, self._filter, self.blocks)

    def _flat(self, program: Program) -> Program:
        return flatten(self._target(program))[0]

    def settled(self, program: Program, key: Key) -> tuple[PMMH, dict[str, Any]]:
        """With the particles of a pilot where none are given."""
        parts_of(program, "PMMH")
        if self.particles != "auto":
            return self, {}
        blank = Filter(1, self.resample_below, ordered=self.blocks > 1)
        found = settle(program, blank, self.blocks, jax.random.fold_in(key, 2**31 - 1))
        what = "log likelihood" if self.blocks == 1 else "change of the log likelihood (half of it)"
        note = (
            f"particles={found.particles}: the variance of the {what} at the median of a short run "
            f"is {found.variance:.2f}"
        )
        return dataclasses.replace(self, particles=found.particles), {"pilot": note}

    def plan(self, program: Program, layout: Layout) -> Plan:
        """A lane for each chain.

        Raises:
            MethodError: the program has no states.
        """
        space = parts_of(program, "PMMH")
        state_sites(program, space, "PMMH")
        if self.particles == "auto":
            raise MethodError("PMMH(particles='auto') is settled by pi.sample; give a number here.")
        inner = self._target(program)
        plan = self._engine.plan(inner, flatten(inner)[1])
        return plan._replace(moves_integers=True)

    def begin(self, key: Key, program: Program) -> tuple[Chain, Bool[Array, ""]]:
        """A start at which the filter survives."""
        return self._engine.begin(key, self._flat(program))

    def transition(
        self, key: Key, program: Program, own: Chain, taken: Int[Array, ""]
    ) -> tuple[Chain, Transition]:
        """One proposal, with a filter of its own."""
        return self._engine.transition(key, self._flat(program), own, taken)

    def collector(self, run: Run, plan: Plan) -> ChainCollector:
        """Draws of the parameters and of the filters' random numbers, from which paths follow."""
        return super().collector(self._inner(run), plan)

    def _inner(self, run: Run) -> Run:
        inner = self._target(run.program)
        flat, layout = flatten(inner)
        flat = dataclasses.replace(flat, data=run.flat.data)
        return run._replace(program=inner, flat=flat, layout=layout)

    def report(self, run: Run, stats: dict[str, np.ndarray]) -> dict[str, Any]:
        """What the chains and the filters' noise say of each other."""
        fields = super().report(run, stats)
        fields["no_evidence"] = NO_EVIDENCE.format("PMMH")
        found = []
        acceptance = float(np.mean(stats["acceptance"]))
        centre = np.asarray(run.states.own.adaptation.params.mean).mean(axis=0)
        variance = noise(
            run.program, self._filter, self.blocks, jax.numpy.asarray(centre), 9, jax.random.key(0)
        )
        if variance > NOISY:
            many = _enough(self._filter.particles, variance)
            found.append(
                Finding(
                    "noisy_likelihood",
                    f"the log likelihood has variance {variance:.3g} at the posterior mean, so "
                    f"that chains stick to lucky estimates; it should be below 3. Use {many} "
                    "(or particles='auto').",
                )
            )
        if acceptance < _STICKS:
            found.append(
                Finding(
                    "acceptance",
                    f"only {acceptance:.1%} of the proposals were accepted. Use more particles or "
                    "a longer warm-up.",
                )
            )
        fields["findings"] = (*fields.get("findings", ()), *found)
        fields["provenance"] = {
            **fields.get("provenance", {}),
            "log_likelihood_variance": round(variance, 4),
        }
        return fields

    def finish(self, run: Run) -> Posterior:
        """Draws of the parameters and of one path each.

        Raises:
            ZeroLikelihoodError: filters lose all their particles, with the step at which.
            MethodError: there are no draws yet.
        """
        started = np.asarray(run.states.started)
        if not started.all():
            raise dying(run.program, self._filter, "PMMH found no starting point")
        found = super().finish(self._inner(run))
        sites = state_sites(run.program, parts_of(run.program, "PMMH"), "PMMH")
        layout = flatten(parameters_of(run.program))[1]
        return joined(found, run.program, layout, set(sites))

    def note(self, own: Chain) -> str:
        """The step size."""
        return self._engine.note(own)


def _enough(particles: int, variance: float) -> str:
    if not np.isfinite(variance):
        return "several times as many particles"
    return f"about {int(np.ceil(particles * variance / AIM / 10) * 10)} particles"


def check_particles(particles: Any, least: int) -> None:
    """A number of particles, or ``"auto"``.

    Raises:
        MethodError: neither.
    """
    if isinstance(particles, str):
        if particles != "auto":
            raise MethodError(f"particles must be a number or 'auto', got {particles!r}.")
        return
    if particles is None:
        raise MethodError("particles must be a number or 'auto', got None.")
    at_least(least, particles=particles)
