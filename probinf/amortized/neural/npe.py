"""NPE: a flow learns the posterior from simulations; the answer is a program."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from probinf.amortized.nets.adapting import adapted
from probinf.amortized.nets.embedding import Embedding, takes_sets
from probinf.amortized.nets.regression import Regression
from probinf.amortized.neural.base import Flows, Record
from probinf.amortized.neural.familiar import Familiar
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
from probinf.amortized.neural.marginals import Marginals
from probinf.amortized.neural.parameters import Parameters
from probinf.amortized.neural.posterior_network import (
    Conditioned,
    PosteriorLoss,
    PosteriorNetwork,
    posterior_network,
)
from probinf.amortized.neural.rounds import Rounds, in_rounds
from probinf.amortized.neural.simulations import Sites
from probinf.amortized.neural.sources import as_source
from probinf.amortized.neural.table import Missing
from probinf.amortized.neural.trained_prior import TrainedPrior
from probinf.amortized.training import weights
from probinf.amortized.training.amortizer import Task
from probinf.amortized.training.loop import Trained
from probinf.amortized.training.options import Options, Training
from probinf.core.coordinates import Layout
from probinf.core.inputs.tables import labels
from probinf.core.normalised import normalised
from probinf.core.program import Key, Program
from probinf.errors import (
    ObservationError,
    RangeWarning,
    StructureError,
    TrainingError,
)


@dataclasses.dataclass(frozen=True)
class NPE(Flows):
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
        embedding: None for the data as they are; a :class:`SetEmbedding` or
            :class:`SetTransformer` for exchangeable data of any number, a :class:`CNN` for
            sequences and images; or an Equinox or Flax NNX module of your own from one
            standardised data set (in the shape of its site) to a vector.

    Raises:
        TrainingError: an option is out of range.

    Source: Papamakarios & Murray (2016); Greenberg, Nonnenmacher & Macke (2019).
    """

    embedding: Any = None

    def fit(
        self,
        source: Any,
        *,
        key: int | Key,
        theta: Any = None,
        x: Any = None,
        missing: Missing = "refuse",
        rounds: int = 1,
        epsilon: float = 1e-4,
        observed: Any = None,
        simulations: int | None = None,
        training: Training | None = None,
        **options: Unpack[Options],
    ) -> Any:
        """Train on simulations; the network of smallest held-out loss is kept.

        With ``rounds`` the simulations are spent on one observation: every round draws its share
        from the prior inside the region of highest density of the posterior that the rounds
        before have learned, and learns from all simulations inside, which are draws from the
        prior cut to that region. Nothing has to be reweighted, and the answer holds for that
        observation alone.

        Args:
            source: a program with proper priors that simulates its observations; with ``theta``
                and ``x`` what describes the prior alone is enough (a NumPyro model without
                arguments, distributions by name).
            key: a JAX random key, or an integer seed.
            theta: parameters of finished simulations in the user's coordinates, draws from the
                prior: a dict of arrays (n, ...) by site, a data frame with columns ``tau``,
                ``beta[0]``, or of a single site one array.
            x: the data simulated from them, likewise. Their sites are those that the program
                observes; where it observes none, those of the table, or one array.
            missing: what to do where ``x`` is NaN or infinite: "refuse" it; "drop" the rows, as
                failed simulations are left out; or "mask" the entries, of which the network is
                told, so that an observation may lack them too (NaN).
            rounds: of truncation; 1 learns for all data.
            epsilon: mass of the learned posterior that one truncation may cut off.
            observed: with ``rounds``, the observation; by default the program's own.
            simulations: overrides the option; over all rounds.
            training: the options of the training, of every round; by default 5000 steps,
                a learning rate of 3e-3, gradients clipped to norm 5, a validation every 50th of
                the steps and patience for 15 of them.
            **options: fields of :class:`Training`, each here or there.

        Raises:
            StructureError: the program cannot simulate.
            TrainingError: the source is no program, simulations or losses are not finite, options
                contradict, or the table does not fit the prior (the message names site and row).
            ArrayError: the table's columns or shapes are not those of the program.
            ObservationError: the observation has another shape.
            SavedFileError: the checkpoint belongs to another training.

        Source: Deistler, Gonçalves & Macke (2022), "Truncated proposals for scalable and
        hassle-free simulation-based inference".
        """
        if rounds == 1:
            if observed is not None:
                raise TrainingError("NPE.fit: observed= goes with rounds=, of which there is one.")
            return super().fit(
                source,
                key=key,
                theta=theta,
                x=x,
                missing=missing,
                simulations=simulations,
                training=training,
                **options,
            )
        if theta is not None or x is not None or missing != "refuse":
            raise TrainingError(
                "NPE.fit: rounds= asks a simulator for more simulations, which a table cannot "
                "give. Fit the table in one round, or give a program that simulates."
            )
        count = self.simulations if simulations is None else simulations
        settings = Rounds(rounds, epsilon, observed)
        return in_rounds(self, source, settings, key, count, training=training, **options)

    def prepare(self, key: Key, source: Any) -> Task:
        """The untrained network, its scales set by simulations."""
        source = as_source(source)
        sites, embedding = source.sites, adapted(self.embedding)
        sets = takes_sets(embedding)
        if sets:
            _check_rows(sites)
        first, second, third = jax.random.split(key, 3)
        split, found = source.gather(first, self.simulations, self.fresh, None)
        source.warn(found, "the posterior learned here counts it so.")
        theta, data = found.theta[found.worked], found.data[found.worked]
        features, lacked = data, None
        if source.masked:
            if not sets and embedding is not None:
                raise TrainingError(
                    "NPE.fit: missing='mask' goes with the data as they are or with an embedding "
                    "of sets. For a network of your own write a finite code into the entries, and "
                    "a second channel that says where."
                )
            lacked = tuple(bool(v) for v in np.isnan(data).any(axis=0))
        if sets:
            features = np.asarray(jax.vmap(sites.as_rows)(data[:2000]))
            features = features.reshape(-1, features.shape[-1])
        network = posterior_network(
            self,
            embedding,
            (second, third),
            Marginals.of(_imputed(features)),
            Marginals.of(theta),
            sites,
            _prior(source.program),
            lacked=lacked,
        )
        if embedding is None:  # else the contexts are not known yet
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

    def finish(self, source: Any, trained: Trained) -> FittedNPE:
        """The fitted posterior; what is familiar comes from data that it did not learn from."""
        source = as_source(source)
        sites, network = source.sites, trained.model
        sets = takes_sets(self.embedding)
        describe, others = (jnp.asarray(v, float) for v in source.familiar())
        contexts = [np.asarray(_summaries(network, sites, sets, v)) for v in (describe, others)]
        extremes = np.asarray(_extremes(network, sites, sets, others))
        data = jnp.concatenate([describe, others])
        if sets:
            data = jax.vmap(sites.as_rows)(data)
        familiar = Familiar.of(contexts[0], contexts[1], np.asarray(data), extremes)
        network = eqx.tree_at(lambda n: n.familiar, network, familiar)
        # a module holds arrays, which no static field may; the trained one is in the network
        own = self.embedding is not None and not isinstance(self.embedding, Embedding)
        options = dataclasses.replace(self, embedding=None) if own else self
        record = Record.of(trained, self.simulations, **source.record())
        parameters = Parameters.of(parameters_only(source.program))
        return FittedNPE(network, source.program, sites, parameters, options, record)


def _imputed(values: np.ndarray) -> np.ndarray:
    """Missing entries filled with others of their column, which leaves its quantiles alone."""
    bad = np.isnan(values)
    if not bad.any():
        return values
    values = values.copy()
    for k in np.flatnonzero(bad.any(axis=0)):
        values[bad[:, k], k] = np.resize(values[~bad[:, k], k], int(bad[:, k].sum()))
    return values


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
def _extremes(network: PosteriorNetwork, sites: Sites, sets: bool, data: Array) -> Array:
    def one(v: Array) -> Array:
        scores = jax.vmap(network.scores)(sites.as_rows(v)) if sets else network.scores(v)
        return jnp.max(jnp.abs(scores))

    return jax.vmap(one)(data)


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

    @property
    def only(self) -> np.ndarray | None:
        """The observation of a training in rounds as a vector; None where any will do."""
        found = self.training.facts.get("observed")
        return None if found is None else np.asarray(found, float)

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
        masked = self.network.lacked is not None
        if observed is None:
            observed = observations_of(given) if self.only is None else self.sites.split(self.only)
        network, sites = self.network, self.sites
        if takes_sets(self.options.embedding):
            data = sites.rows(observed, masked=masked)
            self._check_only(data)
            _warn_longer(len(data), sites.shapes[0][0])
            context = network.context(data, sites, jnp.ones(len(data), bool))
            scores = jax.vmap(network.scores)(data)
        else:
            data = sites.ravel(observed, masked=masked)
            self._check_lacking(data)
            self._check_only(data)
            context, scores = network.context(data, sites), network.scores(data)
        familiarity = network.familiar(context, data, scores, network.inputs, sites)
        familiarity.warn()
        learned = Conditioned(network.flows, network.targets, context, familiarity)
        return normalised(given, learned)

    def _check_lacking(self, data: Array) -> None:
        """Refuse an entry that is missing here and never was in training."""
        if self.network.lacked is None or isinstance(data, jax.core.Tracer):
            return
        new = np.isnan(np.asarray(data)) & ~np.asarray(self.network.lacked)
        if new.any():
            entry = labels(self.sites.names, self.sites.shapes)[int(np.argmax(new))]
            raise ObservationError(
                f"posterior: '{entry}' is missing, which it never was in the training. Train on "
                "rows that lack it (set it to NaN in some), or give its value."
            )

    def _check_only(self, data: Array) -> None:
        """Refuse other data than those that the rounds were for."""
        if self.only is None or isinstance(data, jax.core.Tracer):
            return
        ours, theirs = self.only, np.asarray(data)
        if theirs.ndim == 2:  # exchangeable ones, in any order
            ours = _in_order(np.asarray(self.sites.rows(self.sites.split(ours), masked=True)))
            theirs = _in_order(theirs)
        same = ours.shape == theirs.shape
        if not same or not np.allclose(theirs, ours, rtol=1e-5, atol=0, equal_nan=True):
            raise ObservationError(
                "posterior: this network was trained in rounds for one observation and knows "
                "nothing of others. Train with rounds=1 to answer for any data."
            )

    def _structure(self) -> dict[str, Any]:
        network, embedding = self.network, self.options.embedding
        return {
            "size": network.coordinates,
            "calibrated": network.familiar.calibrated,
            "lacked": network.lacked,
            "embedding": None if embedding is None else embedding.stored(),
        }

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
        if takes_sets(method.embedding):
            width = sites.size // sites.shapes[0][0]
        lacked = stored(config, "lacked")
        return posterior_network(
            method,
            method.embedding,
            (jax.random.key(0), jax.random.key(1)),
            Marginals.blank(width),
            Marginals.blank(config["size"]),
            sites,
            TrainedPrior.blank(stored_parameters(config).size),
            lacked=None if lacked is None else tuple(lacked),
            calibrated=stored(config, "calibrated"),
        )

    @classmethod
    def assemble(cls, network: PosteriorNetwork, contents: weights.Contents) -> FittedNPE:
        """The fitted posterior from a file, without its program."""
        method, sites = _options(contents.config), stored_sites(contents.config)
        parameters = stored_parameters(contents.config)
        return cls(network, None, sites, parameters, method, Record(contents.training))


def _in_order(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.T)]


def _warn_longer(rows: int, longest: int) -> None:
    if rows > longest:
        warnings.warn(
            f"posterior: the number of data is {rows}, trained on 1 to {longest}. Correct the "
            f"answer with pi.refine, or train on a program of {rows} data or more.",
            RangeWarning,
            stacklevel=3,
        )


def _options(config: dict[str, Any]) -> NPE:
    return NPE(**stored_options(NPE, config))
