"""What NPE, NLE and NRE share: options, simulations split in two, and the loop over batches."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.nets.ensemble import Ensemble
from probinf.amortized.nets.regression import Regression
from probinf.amortized.neural.parameters import Parameters
from probinf.amortized.neural.simulations import Simulated, Sites, pair
from probinf.amortized.neural.sources import Source, Split, as_source
from probinf.amortized.neural.table import Missing, tabulated
from probinf.amortized.training.amortizer import Amortizer
from probinf.amortized.training.loop import Trained
from probinf.amortized.training.options import Options, Training
from probinf.core.flows.flow import SplineFlow
from probinf.core.program import Key, Program
from probinf.errors import TrainingError


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
    def of(cls, trained: Trained, simulations: int, **more: Any) -> Record:
        """Of a training that has just ended."""
        facts = {
            "simulations": simulations,
            "steps": trained.steps,
            "seconds": round(trained.seconds, 1),
            "validation_loss": float(np.min(trained.validation_losses[:, 1])),
            **more,
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
        chosen = jax.random.randint(key, (count,), 0, data.count)
        found = jax.tree.map(lambda v: v[chosen], data.train)
    return Simulated(*(v.reshape(members, rows, *v.shape[1:]) for v in found))


def require_count(who: str, name: str, value: object, least: int) -> None:
    """Refuse what is no whole number, or smaller than this.

    Raises:
        TrainingError: it is.
    """
    if not isinstance(value, int | np.integer):
        raise TrainingError(f"{who}: {name} must be a whole number, got {value!r}.")
    if value < least:
        raise TrainingError(f"{who}: {name} must be at least {least}, got {value}.")


@dataclasses.dataclass(frozen=True)
class Neural(Amortizer):
    """Options shared by :class:`NPE`, :class:`NLE` and :class:`NRE`.

    Args:
        simulations: pairs simulated before training, a tenth of them held out.
        fresh: simulate anew at every step instead; ``simulations`` then only set the scales
            and the validation. For fast simulators: nothing can be overfitted.
        hidden: widths of the layers of a network.
        members: networks trained side by side and used as a mixture.
        batch: pairs per step and member.
    """

    needs_prior: ClassVar[bool] = True
    """Whether the parameters learned from must be draws from the prior."""

    defaults: ClassVar[Options] = {
        "steps": 5000,
        "learning_rate": 3e-3,
        "clip": 5.0,
        "patience": 15,
    }

    simulations: int = 10_000
    fresh: bool = False
    hidden: tuple[int, ...] = (50, 50)
    members: int = 1
    batch: int = 200

    def __post_init__(self) -> None:
        self.require(simulations=100, members=1, batch=1)
        if not self.hidden or min(self.hidden) < 1:
            raise TrainingError(f"{type(self).__name__}: hidden widths must be positive.")

    def require(self, **least: int) -> None:
        """Refuse options that are no whole numbers, or smaller than this.

        Raises:
            TrainingError: one of them is.
        """
        for name, value in least.items():
            require_count(type(self).__name__, name, getattr(self, name), value)

    def fit(
        self,
        source: Any,
        *,
        key: int | Key,
        theta: Any = None,
        x: Any = None,
        missing: Missing = "refuse",
        simulations: int | None = None,
        training: Training | None = None,
        **options: Unpack[Options],
    ) -> Any:
        """Train on simulations; the network of smallest held-out loss is kept.

        Args:
            source: a program with proper priors that simulates its observations; with ``theta``
                and ``x`` what describes the prior alone is enough (a NumPyro model without
                arguments, distributions by name).
            key: a JAX random key, or an integer seed.
            theta: parameters of finished simulations in the user's coordinates: a dict of arrays
                (n, ...) by site, a data frame with columns ``tau``, ``beta[0]``, or of a single
                site one array.
            x: the data simulated from them, likewise. Their sites are those that the program
                observes; where it observes none, those of the table, or one array.
            missing: what to do where ``x`` is NaN or infinite: "refuse" it; "drop" the rows, as
                failed simulations are left out; or "mask" the entries, which the network of an
                NPE is told of, so that an observation may lack them too.
            simulations: overrides the option.
            training: the options of the training; by default 5000 steps, a learning rate of 3e-3,
                gradients clipped to norm 5, a validation every 50th of the steps and patience
                for 15 of them.
            **options: fields of :class:`Training`, each here or there.

        Raises:
            StructureError: the program cannot simulate.
            TrainingError: the source is no program, simulations or losses are not finite, options
                contradict, or the table does not fit the prior (the message names site and row).
            ArrayError: the table's columns or shapes are not those of the program.
            SavedFileError: the checkpoint belongs to another training.
        """
        name = type(self).__name__
        if theta is not None or x is not None:
            if simulations is not None:
                raise TrainingError(f"{name}.fit: simulations= does not go with a table.")
            source = tabulated(name, source, theta, x, missing, needs_prior=self.needs_prior)
        elif missing != "refuse":
            raise TrainingError(f"{name}.fit: missing= goes with theta= and x=.")
        elif not isinstance(source, Program | Source):
            raise TrainingError(
                f"{name}.fit: the source must be a program that simulates, got "
                f"{type(source).__name__}. Build one with from_numpyro or from_simulator, or pass "
                "finished simulations as theta= and x= beside their prior."
            )
        source = as_source(source)
        count = source.count(self.simulations if simulations is None else simulations)
        method = dataclasses.replace(self, simulations=count)
        return super(Neural, method).fit(source, key=key, training=training, **options)


@dataclasses.dataclass(frozen=True)
class Flows(Neural):
    """Options of those whose network is a flow.

    Args:
        layers: transformations of the flow.
        bins: of each spline.
    """

    layers: int = 5
    bins: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(layers=1, bins=2)

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


def widened(value: Float[Array, " d"], most: float = 5.0) -> Float[Array, " d"]:
    """Inputs of a network: extremes are drawn in smoothly."""
    return most * jnp.arcsinh(value / most)
