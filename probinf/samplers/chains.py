"""ChainMethod: what all engines share whose draws are Markov chains after a warm-up."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool

from probinf.core.coordinates import Layout
from probinf.core.program import Program
from probinf.core.zero_likelihood import zero_likelihood
from probinf.errors import MethodError
from probinf.results.draws import ChainCollector, Chains, Kept
from probinf.runtime.loop import Method, Run
from probinf.samplers.warmup.starting import START_TRIES


class ChainMethod(Method):
    """An engine with ``chains``, ``warmup`` and ``draws``, whose states count the steps ``taken``
    and know whether they have ``started``."""

    chains: int
    warmup: int
    draws: int
    superchains: int | None = None

    def check_counts(self, *names: str) -> None:
        """Raise where ``draws`` or one of these is not positive, or ``warmup`` negative."""
        for name in (*names, "draws"):
            if getattr(self, name) < 1:
                raise MethodError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.warmup < 0:
            raise MethodError(f"warmup must not be negative, got {self.warmup}.")

    def by_chain(self, chunk: list[Any]) -> Any:
        """The records of all lanes as one, with leading axes (chain, step)."""
        return jax.tree.map(lambda *lanes: np.stack(lanes), *chunk)

    def evaluations(self, record: Any) -> np.ndarray:
        """Density evaluations by chain and step, of such a record."""
        return np.asarray(record.evaluations)

    def collector(self, flat: Program, layout: Layout, kept: Kept) -> ChainCollector:
        """Draws after the warm-up, written once."""
        return ChainCollector(
            flat,
            layout,
            kept,
            chains=self.chains,
            warmup=self.warmup,
            draws=self.draws,
            by_chain=self.by_chain,
            evaluations=self.evaluations,
            superchains=self.superchains,
        )

    def done(self, state: Any) -> Bool[Array, ""]:
        """All steps taken, or no start found."""
        return (state.taken >= self.warmup + self.draws) | ~state.started

    def gathered(self, run: Run, sought: str = "starting point") -> Chains:
        """What a run has collected.

        Raises:
            ZeroLikelihoodError: a chain has found no start.
            MethodError: there are no draws yet.
        """
        started = np.asarray(run.states.started)
        if not started.all():
            lane = f" for chain {int(np.argmin(started))}" if started.size > 1 else ""
            raise zero_likelihood(
                run.flat,
                run.layout,
                f"no {sought} with finite log density and gradient in {START_TRIES} tries{lane}",
            )
        chains: Chains = run.records
        if chains.record is None:
            raise MethodError("the run was interrupted during warm-up; there are no draws yet.")
        return chains
