"""NRE: a network learns the likelihood-to-evidence ratio by telling pairs from strangers."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from probinf.amortized.nets.adapting import adapted
from probinf.amortized.nets.embedding import Embedding, takes_sets
from probinf.amortized.neural.base import Neural, Record
from probinf.amortized.neural.fitted import (
    stored,
    stored_options,
    stored_parameters,
    stored_sites,
)
from probinf.amortized.neural.keyless import parameters_only
from probinf.amortized.neural.marginals import Marginals, Stretched
from probinf.amortized.neural.parameters import Parameters
from probinf.amortized.neural.ratio_network import (
    GaussianRatio,
    RatioLoss,
    RatioNetwork,
    ratio_network,
)
from probinf.amortized.neural.sources import as_source
from probinf.amortized.neural.trained_prior import TrainedPrior
from probinf.amortized.neural.weighing import FittedWeight, familiar_of, trained_prior
from probinf.amortized.training import weights
from probinf.amortized.training.amortizer import Task
from probinf.amortized.training.loop import Trained
from probinf.core.program import Key
from probinf.errors import TrainingError


@dataclasses.dataclass(frozen=True)
class NRE(Neural):
    """Neural ratio estimation: a classifier learns p(data | theta) / p(data) from simulations.

    ``NRE().fit(program, key=0).posterior(y)`` is the program's prior weighted by the ratio, for
    any engine; independent data sets multiply. No density of the data is needed, so that they
    may be counts, constants or images. The network starts from the ratio of a joint normal
    law, the answer of a linear-Gaussian model.

    The evidence that an engine finds is that of the prior it was given over that of the
    training: of one data set, under the prior of the training, its logarithm is zero, and how
    far it is from that tells how good the network is at these data.

    Args:
        simulations: pairs simulated before training, a tenth of them held out.
        fresh: simulate anew at every step instead.
        hidden: widths of the layers of the network.
        members: networks trained side by side; their ratios are averaged.
        batch: pairs per step.
        contrasts: other parameters that each data set is compared with.
        gamma: odds that one of the parameters made the data. Small values fix the scale of the
            ratio, large ones only its shape (``contrasts=1, gamma=1`` is binary
            classification, as in Hermans, Begy & Louppe, 2020).
        embedding: None for the data as they are; a :class:`CNN`, or an Equinox or Flax NNX
            module of your own from one standardised data set to a vector.

    Raises:
        TrainingError: an option is out of range.

    Source: Miller, Weniger & Forré (2022), "Contrastive neural ratio estimation".
    """

    needs_prior: ClassVar[bool] = False

    contrasts: int = 10
    gamma: float = 1.0
    embedding: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(contrasts=1)
        if not 0 < self.gamma < np.inf:
            raise TrainingError(f"NRE: gamma must be positive and finite, got {self.gamma}.")
        if not self.contrasts < self.batch:
            raise TrainingError(
                f"NRE: contrasts={self.contrasts} other parameters need a batch of more pairs, "
                f"got batch={self.batch}."
            )
        if takes_sets(self.embedding):
            raise TrainingError(
                "NRE: an embedding of sets is for NPE. Train on one datum: independent data go "
                "along one more leading axis of the observations, and their ratios multiply."
            )

    def prepare(self, key: Key, source: Any) -> Task:
        """The untrained network, its scales set by simulations."""
        source = as_source(source)
        sites, plain, embedding = source.sites, parameters_only(source.program), self.embedding
        embedding = adapted(embedding)
        parameters = Parameters.of(plain)
        first, second = jax.random.split(key)
        split, found = source.gather(first, self.simulations, self.fresh, parameters)
        source.warn(found, "they count as data that no parameters made, and so does the ratio.")
        if (held := len(split.held.worked)) <= self.contrasts:
            raise TrainingError(
                f"NRE: {held} simulations are held out, of which contrasts={self.contrasts} at a "
                "time are other parameters. Take more simulations, or fewer contrasts."
            )
        data = found.data[found.worked]
        network = ratio_network(
            self,
            embedding,
            second,
            Stretched.of(found.values),
            Marginals.of(data),
            sites,
            trained_prior(source, plain, parameters, found),
        )
        if embedding is None:  # else the contexts are not known yet
            scores = _both(network, jnp.asarray(found.values[found.worked]), jnp.asarray(data))
            start = GaussianRatio.of(*(np.asarray(v) for v in scores))
            network = eqx.tree_at(lambda n: n.start, network, start)
        network = eqx.tree_at(lambda n: n.familiar, network, familiar_of(network.targets, data))
        loss = RatioLoss(sites, parameters, self.batch, self.contrasts, self.gamma)
        return Task(network, loss, split, dataclasses.replace(loss, held=True))

    def finish(self, source: Any, trained: Trained) -> FittedNRE:
        """The fitted ratio."""
        source = as_source(source)
        # a module holds arrays, which no static field may; the trained one is in the network
        own = self.embedding is not None and not isinstance(self.embedding, Embedding)
        options = dataclasses.replace(self, embedding=None) if own else self
        record = Record.of(trained, self.simulations, **source.record())
        parameters = Parameters.of(parameters_only(source.program))
        return FittedNRE(trained.model, source.program, source.sites, parameters, options, record)


@eqx.filter_jit
def _both(network: RatioNetwork, values: Any, data: Any) -> Any:
    return jax.vmap(network.scores)(values), jax.vmap(network.context)(data)


class FittedNRE(FittedWeight):
    """A trained ratio: ``posterior(y)`` for any data of the trained shape.

    The pure function is ``network.log_ratio(theta, y)``, with the parameters as the user
    writes them, in one vector (``parameters.names``).
    """

    kind = "nre"
    learned = "ratio"

    def _structure(self) -> dict[str, Any]:
        embedding = self.options.embedding
        return {
            "calibrated": self.network.familiar.calibrated,
            "embedding": None if embedding is None else embedding.stored(),
        }

    @classmethod
    def skeleton(cls, config: dict[str, Any]) -> RatioNetwork:
        """A network of the right structure."""
        method, sites = NRE(**stored_options(NRE, config)), stored_sites(config)
        size = stored_parameters(config).size
        return ratio_network(
            method,
            method.embedding,
            jax.random.key(0),
            Stretched.blank(size),
            Marginals.blank(sites.size),
            sites,
            TrainedPrior.blank(size),
            calibrated=stored(config, "calibrated"),
        )

    @classmethod
    def assemble(cls, network: RatioNetwork, contents: weights.Contents) -> FittedNRE:
        """The fitted ratio from a file, without its program."""
        config = contents.config
        method = NRE(**stored_options(NRE, config))
        sites, parameters = stored_sites(config), stored_parameters(config)
        return cls(network, None, sites, parameters, method, Record(contents.training))
