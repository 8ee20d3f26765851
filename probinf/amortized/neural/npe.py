"""NPE: a flow learns the posterior from simulations; the answer is a program."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from probinf.amortized.nets.embedding import SetEmbedding
from probinf.amortized.nets.regression import Regression
from probinf.amortized.neural.base import Neural, Record
from probinf.amortized.neural.familiar import Familiar
from probinf.amortized.neural.fitted import (
    FittedNeural,
    is_traced,
    observations_of,
    stored_options,
    stored_parameters,
    stored_sites,
)
from probinf.amortized.neural.keyless import parameters_only
from probinf.amortized.neural.marginals import Marginals
from probinf.amortized.neural.parameters import Parameters
from probinf.amortized.neural.posterior_network import (
    Conditioned,
    PosteriorLoss,
    PosteriorNetwork,
    posterior_network,
)
from probinf.amortized.neural.simulations import Sites, simulate, warn_failed
from probinf.amortized.neural.trained_prior import TrainedPrior
from probinf.amortized.training import weights
from probinf.amortized.training.amortizer import Task
from probinf.amortized.training.loop import Trained
from probinf.core.coordinates import Layout
from probinf.core.normalised import normalised
from probinf.core.program import Key, Program
from probinf.errors import ObservationError, RangeWarning, SavedFileError, StructureError

_SUMMARIES = 2000


@dataclasses.dataclass(frozen=True)
class NPE(Neural):
    """Neural posterior estimation: minimise E[-log q(theta | data)] over the joint law.

    The flow lives in the program's unconstrained coordinates, so no draw can leave the
    support. Without an embedding it starts from a ridge regression of the parameters on the
    data, the answer of a linear-Gaussian model, and keeps that where training finds nothing
    better. ``NPE().fit(program, key=0).posterior(y)`` is a program with weight one that every
    engine takes; :func:`probinf.refine` corrects it exactly.

    Args:
        simulations: pairs simulated before training, a tenth of them held out.
        fresh: simulate anew at every step instead.
        layers: transformations of the flow.
        hidden: widths of each layer's conditioner.
        bins: of each spline.
        members: flows trained side by side and used as a mixture.
        batch: pairs per step and member.
        embedding: None for the data as they are; a :class:`SetEmbedding` for exchangeable data
            of any number; or an Equinox module from one standardised data set (in the shape
            of its site) to a vector, :func:`from_flax` for a Flax module.

    Raises:
        TrainingError: an option is out of range.

    Source: Papamakarios & Murray (2016); Greenberg, Nonnenmacher & Macke (2019).
    """

    embedding: Any = None

    def prepare(self, key: Key, source: Program) -> Task:
        """The untrained network, its scales set by simulations."""
        sites = Sites.of(source)
        sets = isinstance(self.embedding, SetEmbedding)
        if sets:
            _check_rows(sites)
        first, second, third = jax.random.split(key, 3)
        split, found = self.gather(first, source, sites)
        warn_failed(found, "the posterior learned here counts it so.")
        theta, data = found.theta[found.worked], found.data[found.worked]
        features = data
        if sets:
            features = np.asarray(jax.vmap(sites.as_rows)(data[:2000]))
            features = features.reshape(-1, features.shape[-1])
        network = posterior_network(
            self,
            self.embedding,
            (second, third),
            Marginals.of(features),
            Marginals.of(theta),
            sites,
            _prior(source),
        )
        if self.embedding is None:  # else the contexts are not known yet
            z, context = _mapped(
                network, sites, jnp.asarray(theta, float), jnp.asarray(data, float)
            )
            start = Regression.of(np.asarray(z), np.asarray(context))
            network = eqx.tree_at(lambda n: n.flows.start, network, start)
        return Task(
            network,
            PosteriorLoss(sites, self.batch, sets),
            split,
            PosteriorLoss(sites, self.batch, sets, held=True),
        )

    def finish(self, source: Program, trained: Trained) -> FittedNPE:
        """The fitted posterior; its training summaries are simulated once more."""
        sites, key = Sites.of(source), jax.random.key(0)
        sets = isinstance(self.embedding, SetEmbedding)
        found = simulate(source, key, _SUMMARIES, sites)
        data = jnp.asarray(found.data[found.worked], float)
        network = trained.model
        summaries = np.asarray(_summaries(network, sites, sets, data))
        network = eqx.tree_at(lambda n: n.familiar, network, Familiar.of(summaries))
        # a module holds arrays, which no static field may; the trained one is in the network
        options = self if sets else dataclasses.replace(self, embedding=None)
        record = Record.of(trained, self.simulations)
        parameters = Parameters.of(parameters_only(source))
        return FittedNPE(network, source, sites, parameters, options, record)


def _prior(source: Program) -> TrainedPrior:
    plain = parameters_only(source)
    return TrainedPrior.of(plain, Parameters.of(plain))


def _check_rows(sites: Sites) -> None:
    lengths = {shape[0] if shape else 0 for shape in sites.shapes}
    if len(lengths) != 1 or 0 in lengths:
        raise ObservationError(
            f"SetEmbedding: every observed site must hold the data along its leading axis, got "
            f"shapes {dict(zip(sites.names, sites.shapes, strict=True))}."
        )


@eqx.filter_jit
def _mapped(
    network: PosteriorNetwork, sites: Sites, theta: Array, data: Array
) -> tuple[Array, Array]:
    z = jax.vmap(lambda t: network.targets(t)[0])(theta)
    return z, jax.vmap(lambda v: network.context(v, sites))(data)


@eqx.filter_jit
def _summaries(network: PosteriorNetwork, sites: Sites, sets: bool, data: Array) -> Array:
    if sets:
        # sets of every size, as in training
        n, count = sites.shapes[0][0], data.shape[0]
        sizes = jnp.floor(jnp.exp((jnp.arange(count) + 0.5) / count * jnp.log(n + 1.0)))
        kept = jnp.arange(n) < sizes[:, None]
        return jax.vmap(lambda v, k: network.context(sites.as_rows(v), sites, k))(data, kept)
    return jax.vmap(lambda v: network.context(v, sites))(data)


class FittedNPE(FittedNeural):
    """A trained posterior: ``posterior(y)`` for any data of the trained shape."""

    kind = "npe"

    def posterior(self, observed: Any = None, *, program: Program | None = None) -> Program:
        """The learned posterior given data, as a program with weight one.

        It has the coordinates of the program it was trained on, so that
        ``pi.rebase(program, q)`` corrects it.

        Args:
            observed: one data set: an array by site, or one array for a single site; for a
                network with a SetEmbedding any number of data along the leading axis. By
                default the program's own observations.
            program: what the coordinates belong to, with the prior of the training; needed after
                loading.

        Raises:
            ObservationError: a shape or name is wrong, or a value is not finite.
            StructureError: there is no program, or its coordinates or prior are others.
        """
        given = self._given(program)
        self._check(given)
        if observed is None:
            observed = observations_of(given)
        if isinstance(self.options.embedding, SetEmbedding):
            rows = self.sites.rows(observed)
            _warn_longer(len(rows), self.sites.shapes[0][0])
            context = self.network.context(rows, self.sites, jnp.ones(len(rows), bool))
        else:
            context = self.network.context(self.sites.ravel(observed), self.sites)
        familiarity = self.network.familiar(context)
        familiarity.warn()
        learned = Conditioned(self.network.flows, self.network.targets, context, familiarity)
        return normalised(given, learned)

    def save(self, path: Any) -> None:
        """Write the network as safetensors; ``pi.amortized.load`` reads it.

        Raises:
            SavedFileError: the embedding is the user's own, which no file can rebuild.
        """
        if self.options.embedding is None and self.network.embedding is not None:
            raise SavedFileError(
                "save: the embedding is your own module, which no file can rebuild. Save it with "
                "equinox.tree_serialise_leaves(path, fitted.network)."
            )
        super().save(path)

    def _structure(self) -> dict[str, Any]:
        return {"size": self.network.coordinates}

    def _check(self, given: Program) -> None:
        """Refuse other coordinates, and a program that has another prior."""
        size = Layout.of(given).size
        if size != self.network.coordinates:
            raise StructureError(
                f"posterior: the network knows {self.network.coordinates} coordinates, the program "
                f"has {size}."
            )
        if given is not self.program and not is_traced(given):
            plain = parameters_only(given)
            self.parameters.check(plain)
            self.network.prior.refuse_other(plain, self.parameters)

    @classmethod
    def skeleton(cls, config: dict[str, Any]) -> PosteriorNetwork:
        """A network of the right structure."""
        method, sites = _options(config), stored_sites(config)
        width = sites.size
        if isinstance(method.embedding, SetEmbedding):
            width = sites.size // sites.shapes[0][0]
        keys = (jax.random.key(0), jax.random.key(1))
        return posterior_network(
            method,
            method.embedding,
            keys,
            Marginals.blank(width),
            Marginals.blank(config["size"]),
            sites,
            TrainedPrior.blank(stored_parameters(config).size),
        )

    @classmethod
    def assemble(cls, network: PosteriorNetwork, contents: weights.Contents) -> FittedNPE:
        """The fitted posterior from a file, without its program."""
        method, sites = _options(contents.config), stored_sites(contents.config)
        parameters = stored_parameters(contents.config)
        return cls(network, None, sites, parameters, method, Record(contents.training))


def _warn_longer(rows: int, longest: int) -> None:
    if rows > longest:
        warnings.warn(
            f"posterior: the number of data is {rows}, trained on 1 to {longest}. Correct the "
            f"answer with pi.refine, or train on a program of {rows} data or more.",
            RangeWarning,
            stacklevel=3,
        )


def _options(config: dict[str, Any]) -> NPE:
    options = stored_options(NPE, config)
    if options["embedding"] is not None:
        spec = options["embedding"]
        options["embedding"] = SetEmbedding(tuple(spec["hidden"]), spec["size"])
    return NPE(**options)
