"""NLE: a flow learns the likelihood from simulations; the posterior is sampled from it."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from probinf.amortized.neural.base import Flows, Record
from probinf.amortized.neural.fitted import (
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
from probinf.amortized.neural.sources import as_source
from probinf.amortized.neural.success import Success
from probinf.amortized.neural.trained_prior import TrainedPrior
from probinf.amortized.neural.weighing import FittedWeight, familiar_of, trained_prior
from probinf.amortized.training import weights
from probinf.amortized.training.amortizer import Task
from probinf.amortized.training.loop import Trained
from probinf.core.program import Key
from probinf.errors import TrainingError


@dataclasses.dataclass(frozen=True)
class NLE(Flows):
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
        prior = trained_prior(source, plain, parameters, found)
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
        network = eqx.tree_at(lambda n: n.familiar, network, familiar_of(network.targets, data))
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


class FittedNLE(FittedWeight):
    """A trained likelihood: ``posterior(y)`` for any data of the trained shape.

    The pure function is ``network.log_likelihood(theta, y)``, with the parameters as the user
    writes them, in one vector (``parameters.names``).
    """

    kind = "nle"
    learned = "likelihood"

    def _structure(self) -> dict[str, Any]:
        return {
            "failures": self.network.success is not None,
            "calibrated": self.network.familiar.calibrated,
        }

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
