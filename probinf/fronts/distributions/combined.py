"""Folded, mixed and transformed distributions with the support and the gradient that they have."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import logsumexp
from numpyro.distributions import constraints, transforms

from probinf.errors import ModelError
from probinf.fronts.distributions.bounds import Ends, between, ends_of, folded, hull, pushed, same
from probinf.fronts.distributions.edges import guarded


def _within(fn: Any, value: Any) -> Array:
    """The log density, -inf outside the support, whose gradient is never NaN for being outside."""
    inside, safe = guarded(fn.support, value)
    return jnp.where(inside, fn.log_prob(safe), -jnp.inf)


class FoldedDistribution(dist.FoldedDistribution):
    """The law of an absolute value, for a base that need not be symmetric or unbounded."""

    pytree_data_fields = ("_ends",)
    _ends: Ends

    @property
    def support(self) -> Any:
        """Where absolute values of the base's values lie."""
        return between(self._ends)

    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """Both signs, each where the base can be."""
        value = jnp.asarray(value, float)
        return logsumexp(
            jnp.stack([_within(self.base_dist, value), _within(self.base_dist, -value)]), axis=0
        )


class TransformedDistribution(dist.TransformedDistribution):
    """A transformed distribution whose support is the image of the base's."""

    pytree_data_fields = ("_ends",)
    _ends: Ends

    @property
    def support(self) -> Any:
        """The image of the base's support."""
        support = between(self._ends)
        return constraints.independent(support, self.event_dim) if self.event_dim else support


class MixtureGeneral(dist.MixtureGeneral):
    """A mixture of components, each within its own support."""

    def component_log_probs(self, value: Any) -> Array:
        """Log of weight times density, by component."""
        parts = [_within(d, value) for d in self.component_distributions]
        parts = list(jnp.broadcast_arrays(*parts))
        return jax.nn.log_softmax(self.mixing_distribution.logits) + jnp.stack(parts, axis=-1)


def rebuilt(ours: Any, fn: Any, **fields: Any) -> Any:
    """A copy of a distribution as one of another class, or with other fields."""
    new = ours.__new__(ours)
    new.__dict__.update({**fn.__dict__, **fields})
    return new


def with_base(fn: Any, base: Any) -> Any:
    """The same wrapper around another distribution of the same shape."""
    return fn if base is fn.base_dist else rebuilt(type(fn), fn, base_dist=base)


def unfolded(fn: Any) -> Any:
    """What a folded distribution folds.

    NumPyro joins the fold to the transforms of a base that has some, and then takes the density
    of what those transforms were applied to.
    """
    if len(fn.transforms) == 1:
        return fn.base_dist
    return dist.TransformedDistribution(fn.base_dist, fn.transforms[:-1])


def folded_of(fn: Any, base: Any) -> Any:
    """The fold of ``base``, with its true support."""
    ends = ends_of(base.support)
    if ends is None:
        raise ModelError(
            f"folds {type(base).__name__}, whose support {_told(base.support)} is not an "
            "interval. Use a distribution on the line."
        )
    return rebuilt(
        FoldedDistribution, fn, base_dist=base, transforms=fn.transforms[-1:], _ends=folded(ends)
    )


def mixture_of(fn: Any, components: list[Any]) -> Any:
    """A mixture over the hull of its components' supports."""
    support = fn._support
    if support is None and not all(same(components[0].support, d.support) for d in components):
        many = [ends_of(d.support) for d in components]
        known = [ends for ends in many if ends is not None]
        if len(known) < len(many) or fn.event_shape:
            shown = ", ".join(str(d.support) for d in components)
            raise ModelError(
                f"mixes components with supports {shown}, whose union is not known. Pass "
                "dist.MixtureGeneral(..., support=...)."
            )
        support = between(hull(known))
    return rebuilt(MixtureGeneral, fn, _component_distributions=components, _support=support)


def transformed_of(fn: Any) -> Any:
    """A transformed distribution whose support is what its transforms make of the base's."""
    current, exact = fn.base_dist.support, True
    for transform in fn.transforms:
        if isinstance(transform, transforms.AbsTransform):
            raise ModelError(
                "takes an absolute value, which cannot be inverted. Use "
                "dist.FoldedDistribution(base)."
            )
        if exact and same(current, transform.domain):
            current = transform.codomain
            continue
        ends = ends_of(current)
        moved = None if ends is None else pushed(ends, transform)
        if moved is None:
            why = (
                "a half line turns round with the sign of a scale that is not a constant"
                if isinstance(transform, transforms.AffineTransform) and ends is not None
                else "its domain is another one"
            )
            raise ModelError(
                f"applies {type(transform).__name__} to values in {_told(current)}, and where "
                f"they then lie is not known before sampling ({why}). Sample the base with "
                "numpyro.sample, and compute its transform with numpyro.deterministic."
            )
        current, exact = between(moved), False
    if exact:
        return fn
    return rebuilt(TransformedDistribution, fn, _ends=ends_of(current))


def _told(support: Any) -> str:
    """A support without the values of its bounds, which may be traced."""
    return str(support).split("(")[0]
