"""What a learned likelihood and a learned ratio share: they weigh a prior, which may change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.neural.base import widened
from probinf.amortized.neural.familiar import Familiar, Familiarity
from probinf.amortized.neural.fitted import FittedNeural, is_traced, observations_of
from probinf.amortized.neural.keyless import parameters_only
from probinf.amortized.neural.marginals import Marginals
from probinf.amortized.neural.parameters import Parameters
from probinf.amortized.neural.simulations import Simulated, Sites
from probinf.amortized.neural.sources import Source
from probinf.amortized.neural.trained_prior import TrainedPrior
from probinf.core.program import Data, Position, Program, Score
from probinf.core.transformations.nesting import OnInner, nest
from probinf.errors import ObservationError


class Observed(NamedTuple):
    """The dynamic part of a posterior with a learned weight.

    Attributes:
        network: with ``log_weight(theta, data)``.
        data: one row for each independent data set.
        familiarity: of the most unusual of them.
    """

    network: Any
    data: Float[Array, "n d"]
    familiarity: Familiarity


@dataclasses.dataclass(frozen=True)
class Learned:
    """The program's base, weighted by what was learned."""

    score: Callable[[Position, Data], Score]
    constrain: Callable[[Position, Data], dict[str, Array]]
    parameters: Parameters

    def __call__(self, x: Position, data: Data) -> Score:
        observed: Observed = data[1]
        theta = self.parameters.vector(self.constrain(x, data[0]))
        terms = jax.vmap(observed.network.log_weight, (None, 0))(theta, observed.data)
        return Score(self.score(x, data[0]).log_base, jnp.sum(terms))


def trained_prior(
    source: Source, plain: Program, parameters: Parameters, found: Simulated
) -> TrainedPrior:
    """The margins of the parameters that were learned from."""
    if source.proposed:
        return TrainedPrior.seen(found.values)
    return TrainedPrior.of(plain, parameters)


def familiar_of(targets: Marginals, data: np.ndarray) -> Familiar:
    """Half of the data describe, the others calibrate: no network was trained on either."""
    scores = np.asarray(_scored(targets, jnp.asarray(data, float)))
    mapped = np.asarray(jax.vmap(widened)(jnp.asarray(scores)))
    half = len(data) // 2
    return Familiar.of(mapped[:half], mapped[half:], data, np.abs(scores[half:]).max(axis=1))


@jax.jit
def _scored(targets: Marginals, data: Array) -> Array:
    return jax.vmap(lambda v: targets(v)[0])(data)


@partial(jax.jit, static_argnames=("sites",))
def _worst(familiar: Familiar, targets: Marginals, sites: Sites, data: Array) -> Familiarity:
    """Of several data sets: the furthest, and the one with the most unusual entry."""

    def one(row: Array) -> Familiarity:
        scores = targets(row)[0]
        return familiar(widened(scores), row, scores, targets, sites)

    each = jax.vmap(one)(data)
    far, outer = jnp.argmax(each.distance), jnp.argmax(each.extreme)
    beyond = tuple(jnp.sum(share == 0) for share in (each.share, each.share_outer))
    worst = jax.tree.map(lambda v: v[far], each)
    return dataclasses.replace(
        worst,
        share_outer=each.share_outer[outer],
        extreme=each.extreme[outer],
        data=each.data[outer],
        among=len(data),
        beyond=beyond,
    )


class FittedWeight(FittedNeural):
    """A trained weight of the parameters: ``posterior(y)`` for any data of the trained shape."""

    learned: ClassVar[str]

    def posterior(self, observed: Any = None, *, program: Program | None = None) -> Program:
        """The prior of a program weighted by what the network says of the data.

        Args:
            observed: one data set, or several independent ones with the same parameters along
                one more leading axis; an array by site, or one array for a single site. By
                default the program's own observations.
            program: whose prior to use; any with the same latent sites, whatever their supports,
                so that the prior may change without training. Needed after loading. There is a
                warning where it reaches beyond the values that training saw.

        Raises:
            ObservationError: a shape or name is wrong, or a value is not finite.
            StructureError: there is no program, or its coordinates are others.
        """
        given = self._given(program)
        self._check(given)
        given = parameters_only(given)
        values = self.sites.named(observations_of(given) if observed is None else observed)
        data = self._stacked(values)
        network = self.network
        familiarity = _worst(network.familiar, network.targets, self.sites, data)
        familiarity.warn()
        return nest(
            given,
            Observed(network, data, familiarity),
            score=Learned(given.score, given.constrain, self.parameters),
            draw=OnInner(given.draw),
            pointwise=None,
            observations=None,
            sites=None,
        )

    def _check(self, given: Program) -> None:
        """Refuse other parameters; warn about values that no training saw."""
        if given is not self.program and not is_traced(given):
            plain = parameters_only(given)
            self.parameters.check(plain)
            self.network.prior.warn_outside(plain, self.parameters, self.learned)

    def _stacked(self, values: dict[str, Array]) -> Float[Array, "n d"]:
        extra = {values[n].ndim - len(s) for n, s in zip(*self._named_shapes, strict=True)}
        if extra == {0}:
            return self.sites.ravel(values)[None]
        counts = {v.shape[0] for v in values.values() if v.ndim}
        shapes = all(values[n].shape[1:] == s for n, s in zip(*self._named_shapes, strict=True))
        if extra != {1} or not shapes or len(counts) != 1:
            seen = {name: v.shape for name, v in values.items()}
            raise ObservationError(
                f"posterior: sites have shapes {seen}, trained on "
                f"{dict(zip(*self._named_shapes, strict=True))}; several independent data sets "
                "go along one more leading axis of every site."
            )
        return jax.vmap(self.sites.ravel)(values)

    @property
    def _named_shapes(self) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
        return self.sites.names, self.sites.shapes
