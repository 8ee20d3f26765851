"""NLE: a flow learns the likelihood from simulations; the posterior is sampled from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.neural.base import Neural, Record, widened
from probinf.amortized.neural.familiar import Familiar, Familiarity
from probinf.amortized.neural.fitted import (
    FittedNeural,
    observations_of,
    stored_options,
    stored_sites,
)
from probinf.amortized.neural.keyless import parameters_only
from probinf.amortized.neural.likelihood_network import (
    LikelihoodLoss,
    LikelihoodNetwork,
    likelihood_network,
)
from probinf.amortized.neural.marginals import Marginals
from probinf.amortized.neural.simulations import Sites
from probinf.amortized.training import weights
from probinf.amortized.training.amortizer import Task
from probinf.amortized.training.loop import Trained
from probinf.core.coordinates import Layout, vector_of
from probinf.core.program import Data, Key, Position, Program, Score
from probinf.core.transformations.nesting import OnInner, nest
from probinf.errors import ObservationError, TrainingError


class Observed(NamedTuple):
    """The dynamic part of a posterior with a learned likelihood."""

    network: LikelihoodNetwork
    data: Float[Array, "n d"]
    familiarity: Familiarity


@dataclasses.dataclass(frozen=True)
class _Learned:
    """The program's base, weighted by the learned likelihood."""

    score: Callable[[Position, Data], Score]
    layout: Layout

    def __call__(self, x: Position, data: Data) -> Score:
        observed: Observed = data[1]
        theta = vector_of(self.layout.ravel(x))
        terms = jax.vmap(observed.network.log_likelihood, (None, 0))(theta, observed.data)
        return Score(self.score(x, data[0]).log_base, jnp.sum(terms))


@dataclasses.dataclass(frozen=True)
class NLE(Neural):
    """Neural likelihood estimation: minimise E[-log q(data | theta)] over the joint law.

    ``NLE().fit(program, key=0).posterior(y)`` is the program's prior weighted by the learned
    likelihood, for any engine; independent data sets multiply. Counts are spread uniformly
    over unit cells in training, so that spikes have a density.

    Args:
        simulations: pairs simulated before training, a tenth of them held out.
        fresh: simulate anew at every step instead.
        layers: transformations of the flow.
        hidden: widths of each layer's conditioner.
        bins: of each spline.
        members: flows trained side by side and used as a mixture.
        batch: pairs per step and member.

    Raises:
        TrainingError: an option is out of range, or an observable never varies.

    Source: Papamakarios, Sterratt & Murray (2019).
    """

    def prepare(self, key: Key, source: Program) -> Task:
        """The untrained network, its scales set by simulations."""
        sites = Sites.of(source)
        first, second, third = jax.random.split(key, 3)
        split, stored = self.gather(first, source, sites)
        constant = (stored.data == stored.data[0]).all(axis=0) & (sites.counts == 0)
        if constant.any():
            raise TrainingError(
                f"NLE: {int(constant.sum())} of {sites.size} observed values are the same in all "
                "simulations and have no density. Leave them out of the observations."
            )
        cells = np.asarray(jax.random.uniform(third, stored.data.shape)) - 0.5
        data = stored.data + sites.counts * cells
        # what has one sign mostly varies by factors, what has both is left on its own scale
        signed = (stored.data < 0).any(axis=0) & (stored.data > 0).any(axis=0)
        targets = Marginals.of(data, np.asarray(signed))
        network = likelihood_network(self, second, Marginals.of(stored.theta), targets)
        z = np.asarray(_mapped(network.targets, jnp.asarray(data, float)))
        network = eqx.tree_at(lambda n: n.familiar, network, Familiar.of(z))
        return Task(
            network,
            LikelihoodLoss(sites, self.batch),
            split,
            LikelihoodLoss(sites, self.batch, held=True),
        )

    def finish(self, source: Program, trained: Trained) -> FittedNLE:
        """The fitted likelihood."""
        record = Record.of(trained, self.simulations)
        return FittedNLE(trained.model, source, Sites.of(source), self, record)


@jax.jit
def _mapped(targets: Marginals, data: Array) -> Array:
    return jax.vmap(lambda v: widened(targets(v)[0]))(data)


@jax.jit
def _worst(network: LikelihoodNetwork, data: Array) -> Familiarity:
    """Of the most unusual of several data sets."""
    z = _mapped(network.targets, data)
    each = jax.vmap(lambda row: network.familiar(row))(z)
    return jax.tree.map(lambda v: v[jnp.argmax(each.distance)], each)


class FittedNLE(FittedNeural):
    """A trained likelihood: ``posterior(y)`` for any data of the trained shape.

    The pure function is ``network.log_likelihood(theta, y)``.
    """

    kind = "nle"

    def posterior(self, observed: Any = None, *, program: Program | None = None) -> Program:
        """The prior of a program weighted by the learned likelihood of the data.

        Args:
            observed: one data set, or several independent ones with the same parameters along
                one more leading axis; an array by site, or one array for a single site. By
                default the program's own observations.
            program: whose prior to use; any with the same coordinates, so that the prior may
                change without training. Needed after loading.

        Raises:
            ObservationError: a shape or name is wrong, or a value is not finite.
            StructureError: there is no program, or its coordinates are others.
        """
        given = parameters_only(self._given(program))
        self._check(given)
        values = self.sites.named(observations_of(given) if observed is None else observed)
        data = self._stacked(values)
        familiarity = _worst(self.network, data)
        familiarity.warn()
        return nest(
            given,
            Observed(self.network, data, familiarity),
            score=_Learned(given.score, Layout.of(given)),
            draw=OnInner(given.draw),
            pointwise=None,
            observations=None,
            sites=None,
        )

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

    @classmethod
    def skeleton(cls, config: dict[str, Any]) -> LikelihoodNetwork:
        """A network of the right structure."""
        method, sites = NLE(**stored_options(NLE, config)), stored_sites(config)
        inputs, targets = Marginals.blank(config["size"]), Marginals.blank(sites.size)
        return likelihood_network(method, jax.random.key(0), inputs, targets)

    @classmethod
    def assemble(cls, network: LikelihoodNetwork, contents: weights.Contents) -> FittedNLE:
        """The fitted likelihood from a file, without its program."""
        config = contents.config
        method = NLE(**stored_options(NLE, config))
        return cls(network, None, stored_sites(config), method, Record(contents.training))
