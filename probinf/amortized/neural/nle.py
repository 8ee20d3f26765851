"""NLE: a flow learns the likelihood from simulations; the posterior is sampled from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.neural.base import Neural, Record, widened
from probinf.amortized.neural.familiar import Familiar, Familiarity
from probinf.amortized.neural.fitted import (
    FittedNeural,
    is_traced,
    observations_of,
    stored,
    stored_options,
    stored_parameters,
    stored_sites,
)
from probinf.amortized.neural.keyless import parameters_only
from probinf.amortized.neural.likelihood_network import (
    LikelihoodLoss,
    LikelihoodNetwork,
    likelihood_network,
)
from probinf.amortized.neural.marginals import Marginals, Stretched
from probinf.amortized.neural.parameters import Parameters
from probinf.amortized.neural.simulations import Sites
from probinf.amortized.neural.sources import as_source
from probinf.amortized.neural.success import Success
from probinf.amortized.neural.trained_prior import TrainedPrior
from probinf.amortized.training import weights
from probinf.amortized.training.amortizer import Task
from probinf.amortized.training.loop import Trained
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
    constrain: Callable[[Position, Data], dict[str, Array]]
    parameters: Parameters

    def __call__(self, x: Position, data: Data) -> Score:
        observed: Observed = data[1]
        theta = self.parameters.vector(self.constrain(x, data[0]))
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

    needs_prior: ClassVar[bool] = False

    def prepare(self, key: Key, source: Any) -> Task:
        """The untrained network, its scales set by simulations."""
        source = as_source(source)
        sites, plain = source.sites, parameters_only(source.program)
        parameters = Parameters.of(plain)
        first, second, third = jax.random.split(key, 3)
        split, found = source.gather(first, self.simulations, self.fresh, parameters)
        source.warn(found, "its probability is learned beside the likelihood.")
        seen = found.data[found.worked]
        constant = (seen == seen[0]).all(axis=0) & (sites.counts == 0)
        if constant.any():
            raise TrainingError(
                f"NLE: {int(constant.sum())} of {sites.size} observed values are the same in all "
                "simulations and have no density. Leave them out of the observations."
            )
        cells = np.asarray(jax.random.uniform(third, seen.shape)) - 0.5
        data = seen + sites.counts * cells
        # what has one sign mostly varies by factors, what has both is left on its own scale
        signed = (seen < 0).any(axis=0) & (seen > 0).any(axis=0)
        if source.proposed:
            prior = TrainedPrior.seen(found.values)
        else:
            prior = TrainedPrior.of(plain, parameters)
        network = likelihood_network(
            self,
            second,
            Stretched.of(found.values),
            Marginals.of(data, np.asarray(signed)),
            sites,
            prior,
            failures=not found.worked.all(),
        )
        if network.success is not None:
            contexts = jax.vmap(network.context)(jnp.asarray(found.values, float))
            success = Success.of(jax.random.fold_in(second, 1), contexts, found.worked)
            network = eqx.tree_at(lambda n: n.success, network, success)
        network = eqx.tree_at(lambda n: n.familiar, network, _familiar(network.targets, data))
        return Task(
            network,
            LikelihoodLoss(sites, parameters, self.batch),
            split,
            LikelihoodLoss(sites, parameters, self.batch, held=True),
        )

    def finish(self, source: Any, trained: Trained) -> FittedNLE:
        """The fitted likelihood."""
        source = as_source(source)
        record = Record.of(trained, self.simulations, **source.record())
        parameters = Parameters.of(parameters_only(source.program))
        return FittedNLE(trained.model, source.program, source.sites, parameters, self, record)


def _familiar(targets: Marginals, data: np.ndarray) -> Familiar:
    """Half of the data describe, the others calibrate: no network was trained on either."""
    scores = np.asarray(_scored(targets, jnp.asarray(data, float)))
    mapped = np.asarray(jax.vmap(widened)(jnp.asarray(scores)))
    half = len(data) // 2
    return Familiar.of(mapped[:half], mapped[half:], data, np.abs(scores[half:]).max(axis=1))


@jax.jit
def _scored(targets: Marginals, data: Array) -> Array:
    return jax.vmap(lambda v: targets(v)[0])(data)


@partial(jax.jit, static_argnames=("sites",))
def _worst(network: LikelihoodNetwork, sites: Sites, data: Array) -> Familiarity:
    """Of several data sets: the furthest, and the one with the most unusual entry."""

    def one(row: Array) -> Familiarity:
        scores = network.targets(row)[0]
        return network.familiar(widened(scores), row, scores, network.targets, sites)

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


class FittedNLE(FittedNeural):
    """A trained likelihood: ``posterior(y)`` for any data of the trained shape.

    The pure function is ``network.log_likelihood(theta, y)``, with the parameters as the user
    writes them, in one vector (``parameters.names``).
    """

    kind = "nle"

    def posterior(self, observed: Any = None, *, program: Program | None = None) -> Program:
        """The prior of a program weighted by the learned likelihood of the data.

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
        familiarity = _worst(self.network, self.sites, data)
        familiarity.warn()
        return nest(
            given,
            Observed(self.network, data, familiarity),
            score=_Learned(given.score, given.constrain, self.parameters),
            draw=OnInner(given.draw),
            pointwise=None,
            observations=None,
            sites=None,
        )

    def _structure(self) -> dict[str, Any]:
        return {
            "failures": self.network.success is not None,
            "calibrated": self.network.familiar.calibrated,
        }

    def _check(self, given: Program) -> None:
        """Refuse other parameters; warn about values that no training saw."""
        if given is not self.program and not is_traced(given):
            plain = parameters_only(given)
            self.parameters.check(plain)
            self.network.prior.warn_outside(plain, self.parameters)

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
        size = stored_parameters(config).size
        return likelihood_network(
            method,
            jax.random.key(0),
            Stretched.blank(size),
            Marginals.blank(sites.size),
            sites,
            TrainedPrior.blank(size),
            config["failures"],
            stored(config, "calibrated"),
        )

    @classmethod
    def assemble(cls, network: LikelihoodNetwork, contents: weights.Contents) -> FittedNLE:
        """The fitted likelihood from a file, without its program."""
        config = contents.config
        method = NLE(**stored_options(NLE, config))
        sites, parameters = stored_sites(config), stored_parameters(config)
        return cls(network, None, sites, parameters, method, Record(contents.training))
