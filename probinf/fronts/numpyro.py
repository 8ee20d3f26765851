"""from_numpyro: a NumPyro model and its data become a Program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal

import jax

from probinf.core.abstract import shape_of
from probinf.core.program import Discrete, Observations, Program
from probinf.core.transformations.labelling import Coords, Dims, labelled
from probinf.errors import ModelError
from probinf.fronts.arguments import split
from probinf.fronts.density import NumpyroJacobian, NumpyroPointwise, NumpyroScore, NumpyroSites
from probinf.fronts.discovery import Discovered, discover
from probinf.fronts.door import admitted, own_arguments, refuse_missing, warn_unobserved
from probinf.fronts.drawing import (
    NumpyroConstrain,
    NumpyroDraw,
    NumpyroStart,
    NumpyroUnconstrain,
)
from probinf.fronts.enumeration.decoding import Decode, Probabilities
from probinf.fronts.enumeration.density import SummedPointwise, SummedScore, SummedSites
from probinf.fronts.enumeration.mixing import refuse_mixed
from probinf.fronts.enumeration.planning import planned
from probinf.fronts.enumeration.predicting import SummedPredict, SummedSimulate
from probinf.fronts.minibatch import NumpyroSubsampled
from probinf.fronts.model import Model, NumpyroData
from probinf.fronts.observing import GetObserved, NumpyroSimulate, set_observed
from probinf.fronts.predicting import NumpyroPredict
from probinf.fronts.summed import Summed
from probinf.fronts.translation import abstractly, clearly


def from_numpyro(
    model: Callable[..., Any],
    *args: Any,
    allow_broadcast: bool = False,
    allow_discrete: bool = False,
    discrete: Literal["sum"] | None = None,
    dims: Dims | Any = None,
    coords: Coords | Any = None,
    **kwargs: Any,
) -> Program:
    """The posterior of a NumPyro model given its data, split into prior and likelihood.

    Latent sites with their Jacobians form the base; observed sites and ``numpyro.factor``
    form the weight. Plates, deterministic sites, masks, scales, dependent supports,
    simplexes, Cholesky factors and ordered vectors are understood. Discrete latent sites with
    finitely many values are summed out exactly, also along plates and
    ``numpyro.contrib.control_flow.scan``, and found again by ``posterior.infer_discrete``; the
    sums are part of the weight. Arrays among the
    arguments are dynamic (new data of the same shape compile nothing); all other arguments
    (sizes, flags, names) are static.

    Args:
        model: a module-level function of NumPyro primitives. What ``functools.partial`` has
            given it counts as an argument.
        *args: the model's positional arguments.
        allow_broadcast: accept observed values whose shape differs from their
            distribution's but broadcasts against it.
        allow_discrete: keep discrete latent sites as coordinates. They are moved in blocks,
            ``MCMC(kernels.cycle(kernels.block("z", kernels.Enumerate()), ...))``, and by no
            other engine.
        discrete: ``"sum"`` sums finite discrete latent sites out, as is done by default where
            the package funsor is installed (``probinf[discrete]``).
        dims: names of dimensions by site, beside those of plates; see :func:`probinf.with_dims`.
        coords: labels by dimension. Models with an argument ``dims`` or ``coords`` of their own
            take it instead; for them there is ``pi.with_dims(program, ...)``.
        **kwargs: the model's keyword arguments, observations included.

    Returns:
        A Program on a dict of unconstrained arrays by site name.

    Raises:
        ObservationError: an observed value is NaN, out of support or misshapen.
        DiscreteLatentError: a discrete latent site cannot be summed out (infinitely many values,
            no plate around its entries, too large a sum, values of different entries mixed), or
            funsor is not installed and ``allow_discrete`` is not set.
        MissingPackageError: ``discrete="sum"`` without funsor.
        ParameterError: a distribution has constant parameters outside their domain.
        ImproperPriorError: a prior is improper and there is no likelihood.
        ModelError: the structure is not supported; the message names the site. Or arguments
            are missing, masked, or hold NaN that spread to the whole density.
    """
    own = own_arguments(model, {"dims": dims, "coords": coords})
    dims, coords = (None if n in own else v for n, v in (("dims", dims), ("coords", coords)))
    model, args, kwargs = admitted(model, args, {**own, **kwargs})
    treedef, static, arrays = split(args, kwargs)
    bare = Model(model, treedef, static)
    data = NumpyroData(arrays, {})

    found = discover(
        bare,
        data,
        partial(_reader, bare),
        allow_broadcast=allow_broadcast,
        discrete=_wish(allow_discrete, discrete),
    )
    latents = found.latents
    full = dataclasses.replace(bare, latents=latents)
    if found.summed:
        with clearly():
            summed = planned(full, data, found.summed, found.axes)
        full = dataclasses.replace(full, summed=summed)
    program = _summed_program(full, data) if found.summed else _program(full, data)
    program = dataclasses.replace(program, axes=found.named)
    anywhere = {latent.name: latent.blank() for latent in latents}
    leaves, structure = jax.tree.flatten((anywhere, program.data))
    shapes = tuple(shape_of(leaf) for leaf in leaves)
    if not any(latent.given for latent in latents):  # with it, only predictions can be made
        _try_score(program.score, structure, shapes)
        refuse_missing(program, args, kwargs)
        warn_unobserved(program, model, args, kwargs)
        if found.summed:
            refuse_mixed(full, program)
    return labelled(program, dims, coords)


def _wish(allow_discrete: bool, discrete: str | None) -> Literal["keep", "sum"] | None:
    if discrete not in (None, "sum"):
        raise ModelError(
            f"from_numpyro: discrete must be 'sum' or None, got {discrete!r}. To keep discrete "
            "sites as coordinates, pass allow_discrete=True."
        )
    if allow_discrete and discrete:
        raise ModelError(
            "from_numpyro: discrete='sum' sums discrete sites out, and allow_discrete=True keeps "
            "them as coordinates; pass one of them."
        )
    return "keep" if allow_discrete else "sum" if discrete else None


def _reader(bare: Model, found: Discovered) -> GetObserved:
    summed = Summed(found.summed, axes=found.axes)
    return GetObserved(dataclasses.replace(bare, latents=found.latents, summed=summed))


def _program(full: Model, data: NumpyroData) -> Program:
    return Program(
        draw=NumpyroDraw(full),
        start=NumpyroStart(full),
        score=NumpyroScore(full),
        constrain=NumpyroConstrain(full),
        simulate=NumpyroSimulate(full),
        pointwise=NumpyroPointwise(full),
        observations=Observations(GetObserved(full), set_observed),
        sites=NumpyroSites(full),
        predict=NumpyroPredict(full),
        unconstrain=NumpyroUnconstrain(full),
        log_jacobian=NumpyroJacobian(full),
        subsampled=NumpyroSubsampled(full),
        levels=tuple((n.name, *n.levels) for n in full.latents if n.levels is not None),
        data=data,
    )


def _summed_program(full: Model, data: NumpyroData) -> Program:
    lowest = tuple((name, low) for name, (low, _) in full.summed.levels().items())
    return dataclasses.replace(
        _program(full, data),
        score=SummedScore(full),
        simulate=SummedSimulate(full),
        predict=SummedPredict(full),
        pointwise=SummedPointwise(full),
        sites=SummedSites(full),
        subsampled=None,  # a part of a plate is not summed over its discrete sites
        discrete=Discrete(Decode(full), Probabilities(full), lowest),
    )


@lru_cache(maxsize=64)
def _try_score(score: Any, structure: Any, shapes: tuple[Any, ...]) -> None:
    """Trace the density with every array abstract, as an engine will; once per structure."""
    abstractly(score, *jax.tree.unflatten(structure, shapes))
