"""from_numpyro: a NumPyro model and its data become a Program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax

from probinf.core.program import Observations, Program
from probinf.fronts.arguments import split
from probinf.fronts.density import NumpyroJacobian, NumpyroPointwise, NumpyroScore, NumpyroSites
from probinf.fronts.discovery import discover
from probinf.fronts.door import admitted, refuse_missing, warn_unobserved
from probinf.fronts.drawing import (
    NumpyroConstrain,
    NumpyroDraw,
    NumpyroStart,
    NumpyroUnconstrain,
)
from probinf.fronts.latent import Latent
from probinf.fronts.minibatch import NumpyroSubsampled
from probinf.fronts.model import Model, NumpyroData
from probinf.fronts.observing import GetObserved, NumpyroSimulate, set_observed
from probinf.fronts.predicting import NumpyroPredict
from probinf.fronts.translation import abstractly


def from_numpyro(
    model: Callable[..., Any],
    *args: Any,
    allow_broadcast: bool = False,
    allow_discrete: bool = False,
    **kwargs: Any,
) -> Program:
    """The posterior of a NumPyro model given its data, split into prior and likelihood.

    Latent sites with their Jacobians form the base; observed sites and ``numpyro.factor``
    form the weight. Plates, deterministic sites, masks, scales, dependent supports,
    simplexes, Cholesky factors and ordered vectors are understood. Arrays among the
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
        **kwargs: the model's keyword arguments, observations included.

    Returns:
        A Program on a dict of unconstrained arrays by site name.

    Raises:
        ObservationError: an observed value is NaN, out of support or misshapen.
        DiscreteLatentError: a latent site is discrete, and ``allow_discrete`` is not set.
        ParameterError: a distribution has constant parameters outside their domain.
        ImproperPriorError: a prior is improper and there is no likelihood.
        ModelError: the structure is not supported; the message names the site. Or arguments
            are missing, masked, or hold NaN that spread to the whole density.
    """
    model, args, kwargs = admitted(model, args, kwargs)
    treedef, static, arrays = split(args, kwargs)
    bare = Model(model, treedef, static)
    data = NumpyroData(arrays, {})

    def observed(latents: tuple[Latent, ...]) -> GetObserved:
        return GetObserved(dataclasses.replace(bare, latents=latents))

    latents = discover(
        bare, data, observed, allow_broadcast=allow_broadcast, allow_discrete=allow_discrete
    )
    full = dataclasses.replace(bare, latents=latents)
    program = Program(
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
        levels=tuple((n.name, *n.levels) for n in latents if n.levels is not None),
        data=data,
    )
    anywhere = {latent.name: latent.blank() for latent in latents}
    leaves, structure = jax.tree.flatten((anywhere, program.data))
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    if not any(latent.given for latent in latents):  # with it, only predictions can be made
        _try_score(NumpyroScore(full), structure, shapes)
        refuse_missing(program, args, kwargs)
        warn_unobserved(program, model, args, kwargs)
    return program


@lru_cache(maxsize=64)
def _try_score(score: NumpyroScore, structure: Any, shapes: tuple[Any, ...]) -> None:
    """Trace the density with every array abstract, as an engine will; once per structure."""
    abstractly(score, *jax.tree.unflatten(structure, shapes))
