"""What NPE and NLE share: options, simulations split in two, and the loop over their batches."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.nets.ensemble import Ensemble
from probinf.amortized.nets.regression import Regression
from probinf.amortized.neural.parameters import Parameters
from probinf.amortized.neural.simulations import Simulated, Sites, pair, simulate
from probinf.amortized.training.amortizer import Amortizer
from probinf.amortized.training.loop import Trained
from probinf.amortized.training.options import Options, Training
from probinf.core.coordinates import flatten
from probinf.core.flows.flow import SplineFlow
from probinf.core.program import Key, Program
from probinf.errors import TrainingError

_HELD = 0.1
_PILOT = 5000


class Split(NamedTuple):
    """Simulations to train on (or the program that makes fresh ones), others to validate with."""

    train: Any
    held: Simulated


class Record:
    """Facts about one training; compared by identity, so that it may be a static field.

    Attributes:
        facts: JSON values: simulations, steps, seconds, smallest validation loss.
        losses: training loss of every step; empty after loading.
        validation_losses: one row ``(step, loss)`` per validation; empty after loading.
    """

    def __init__(self, facts: dict[str, Any], trained: Trained | None = None) -> None:
        self.facts = facts
        self.losses = np.zeros(0) if trained is None else trained.losses
        self.validation_losses = np.zeros((0, 2)) if trained is None else trained.validation_losses

    @classmethod
    def of(cls, trained: Trained, simulations: int) -> Record:
        """Of a training that has just ended."""
        facts = {
            "simulations": simulations,
            "steps": trained.steps,
            "seconds": round(trained.seconds, 1),
            "validation_loss": float(np.min(trained.validation_losses[:, 1])),
        }
        return cls(facts, trained)

    def summary(self) -> dict[str, Any]:
        """The facts."""
        return dict(self.facts)


def rows_for(
    data: Split,
    key: Key,
    sites: Sites,
    parameters: Parameters | None = None,
    *,
    members: int,
    rows: int,
    held: bool,
) -> Simulated:
    """Simulations for every member, (members, rows, ...): its own, or all that was held out."""
    if held:
        return jax.tree.map(lambda v: jnp.broadcast_to(v, (members, *v.shape)), data.held)
    count = members * rows
    if isinstance(data.train, Program):
        found = jax.vmap(lambda k: pair(k, data.train, sites, parameters))(
            jax.random.split(key, count)
        )
    else:
        chosen = jax.random.randint(key, (count,), 0, data.train.theta.shape[0])
        found = jax.tree.map(lambda v: v[chosen], data.train)
    return Simulated(*(v.reshape(members, rows, *v.shape[1:]) for v in found))


@dataclasses.dataclass(frozen=True)
class Neural(Amortizer):
    """Options shared by :class:`NPE` and :class:`NLE`.

    Args:
        simulations: pairs simulated before training, a tenth of them held out.
        fresh: simulate anew at every step instead; ``simulations`` then only set the scales
            and the validation. For fast simulators: nothing can be overfitted.
        layers: transformations of the flow.
        hidden: widths of each layer's conditioner.
        bins: of each spline.
        members: flows trained side by side and used as a mixture.
        batch: pairs per step and member.
    """

    defaults: ClassVar[Options] = {"steps": 5000, "clip": 5.0, "patience": 15}

    simulations: int = 10_000
    fresh: bool = False
    layers: int = 5
    hidden: tuple[int, ...] = (50, 50)
    bins: int = 8
    members: int = 1
    batch: int = 200

    def __post_init__(self) -> None:
        for name, least in (
            ("simulations", 100), ("layers", 1), ("bins", 2), ("members", 1), ("batch", 1)
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise TrainingError(
                    f"{type(self).__name__}: {name} must be at least {least}, got "
                    f"{getattr(self, name)}."
                )
        if not self.hidden or min(self.hidden) < 1:
            raise TrainingError(f"{type(self).__name__}: hidden widths must be positive.")

    def fit(
        self,
        source: Any,
        *,
        key: int | Key,
        simulations: int | None = None,
        training: Training | None = None,
        **options: Unpack[Options],
    ) -> Any:
        """Simulate from a program and train; the network of smallest held-out loss is kept.

        Args:
            source: a program with proper priors that simulates its observations.
            key: a JAX random key, or an integer seed.
            simulations: overrides the option.
            training: the options of the training; by default 5000 steps, gradients clipped to
                norm 5, a validation every 50th of the steps and patience for 15 of them.
            **options: fields of :class:`Training`, each here or there.

        Raises:
            StructureError: the program cannot simulate.
            TrainingError: the source is no program, simulations or losses are not finite, or
                options contradict.
            SavedFileError: the checkpoint belongs to another training.
        """
        if not isinstance(source, Program):
            raise TrainingError(
                f"{type(self).__name__}.fit: the source must be a program that simulates, got "
                f"{type(source).__name__}. Build one with from_numpyro or from_simulator; pairs "
                "simulated elsewhere are not taken."
            )
        count = self.simulations if simulations is None else simulations
        method = dataclasses.replace(self, simulations=count)
        return super(Neural, method).fit(source, key=key, training=training, **options)

    def flows(self, key: Key, *, size: int, context: int) -> Ensemble:
        """Untrained flows over ``size`` values given ``context`` numbers, without a start."""
        make = partial(
            SplineFlow,
            size=size,
            context=context,
            layers=self.layers,
            hidden=self.hidden,
            bins=self.bins,
        )
        return Ensemble.of(key, self.members, make, Regression.blank(size, context))

    def gather(
        self, key: Key, source: Program, sites: Sites, parameters: Parameters | None = None
    ) -> tuple[Split, Simulated]:
        """The split, and all stored simulations on the host."""
        count = min(self.simulations, _PILOT) if self.fresh else self.simulations
        found = simulate(source, key, count, sites, parameters)
        held = max(1, int(_HELD * count))
        stored = Simulated(*(jnp.asarray(v, v.dtype if v.dtype == bool else float) for v in found))
        first = jax.tree.map(lambda v: v[:held], stored)
        rest = jax.tree.map(lambda v: v[held:], stored)
        return Split(flatten(source)[0] if self.fresh else rest, first), found


def widened(value: Float[Array, " d"], most: float = 5.0) -> Float[Array, " d"]:
    """Inputs of a network: extremes are drawn in smoothly."""
    return most * jnp.arcsinh(value / most)
