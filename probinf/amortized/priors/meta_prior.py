"""MetaPrior: a law of (prior, parameter, observations), from which a transformer learns Bayes."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import Array, Bool, Float

from probinf.amortized.heads.gaussian_mixture import GaussianMixture
from probinf.core.program import Key


class Situation(NamedTuple):
    """One prior, observations, and draws to learn from, on the unconstrained scale.

    Attributes:
        prior: parameters of the prior, or the prior itself as a mixture.
        z: observations, padded.
        mask: which of them are real.
        posterior: draws of the parameter given ``z`` under this prior: the one that made ``z``,
            or any number where the posterior can be drawn from.
        draws: draws from the prior.
    """

    prior: Float[Array, " parameters"] | GaussianMixture
    z: Float[Array, "observations columns"]
    mask: Bool[Array, " observations"]
    posterior: Float[Array, "draws dimension"]
    draws: Float[Array, "draws dimension"]


class MetaPrior(eqx.Module):
    """A law over priors, with one likelihood."""

    @property
    @abc.abstractmethod
    def shape(self) -> dict[str, Any]:
        """``dimension``, ``parameters`` (0: mixtures), ``columns``, ``observations``, ``support``.

        The support is "real", "positive" (coordinates are logarithms) or "unit" (logits).
        """

    @abc.abstractmethod
    def draw(self, key: Key, draws: int) -> Situation:
        """One situation with ``draws`` (static) draws from prior and posterior where possible."""
