"""Which law the unconstrained coordinates of a site follow, where it is known in closed form."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints, transforms

from probinf.fronts.distributions.bounds import ends_of
from probinf.fronts.distributions.combined import rebuilt, with_base
from probinf.fronts.distributions.corners import (
    LogAbovePareto,
    LogitOfBeta,
    LogitOfKumaraswamy,
    LogOfDagum,
    LogOfGamma,
    LogOfWeibull,
    Moved,
    SticksOfDirichlet,
)

_WRAPPERS = (dist.Independent, dist.ExpandedDistribution)
_FROM_THE_LINE = (transforms.ExpTransform, transforms.SigmoidTransform)
_LAWS: dict[Any, Any] = {
    dist.Beta: LogitOfBeta,
    dist.BetaProportion: LogitOfBeta,
    dist.Dirichlet: SticksOfDirichlet,
    dist.Gamma: LogOfGamma,
    dist.Chi2: LogOfGamma,
    dist.Weibull: LogOfWeibull,
    dist.Kumaraswamy: LogitOfKumaraswamy,
    dist.Dagum: LogOfDagum,
}


def law_of(fn: Any) -> Any:
    """The distribution of ``biject_to(fn.support).inv(value)``, value by ``fn``; or None.

    None stands for: go through the value, whose digits are enough.
    """
    if isinstance(fn, _WRAPPERS):
        law = law_of(fn.base_dist)
        return None if law is None else with_base(fn, law)
    if type(fn) in _LAWS:
        return _LAWS[type(fn)](fn)
    if isinstance(fn, dist.Pareto):
        return LogAbovePareto(fn, fn.scale, fn.alpha)
    if isinstance(fn, dist.LowerTruncatedPowerLaw):
        return LogAbovePareto(fn, fn.low, -1.0 - fn.alpha)
    if isinstance(fn, dist.MixtureSameFamily):
        law = law_of(fn.component_distribution)
        return None if law is None else rebuilt(type(fn), fn, _component_distribution=law)
    if isinstance(fn, dist.TransformedDistribution) and not fn.event_dim:
        return _of_transformed(fn)
    return None


def _of_transformed(fn: Any) -> Any:
    """Follow the transforms as long as they move coordinates in a way that is known."""
    base, steps = fn.base_dist, list(fn.transforms)
    ends = ends_of(base.support)
    if isinstance(fn, dist.FoldedDistribution) or ends is None:
        return None
    if base.support is constraints.real:
        before = []
        while steps and isinstance(steps[0], transforms.AffineTransform):
            before.append(steps.pop(0))
        if not steps or not isinstance(steps[0], _FROM_THE_LINE):
            return None
        law = dist.TransformedDistribution(base, before) if before else base
        logarithm = zero = isinstance(steps.pop(0), transforms.ExpTransform)
    else:
        law, zero = law_of(base), base.support is constraints.positive
        logarithm = zero or ends.high is None
        if law is None:
            return None
    for step in steps:
        if isinstance(step, transforms.PowerTransform) and zero and _is(step.exponent, -1):
            law = Moved(law, sign=-1)
        elif isinstance(step, transforms.AffineTransform) and _positive(step.scale):
            law = Moved(law, shift=jnp.log(step.scale)) if logarithm else law
            zero = zero and _is(step.loc, 0)
        else:
            return None
    return law


def _is(value: Any, number: int) -> bool:
    return _known(value) and bool(np.all(np.asarray(value) == number))


def _positive(scale: Any) -> bool:
    return _known(scale) and bool(np.all(np.asarray(scale) > 0))


def _known(value: Any) -> bool:
    return not isinstance(value, jax.core.Tracer)
