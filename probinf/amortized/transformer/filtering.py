"""filter: a Distribution Transformer run forward in time, posterior to prior to posterior."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.heads.gaussian_mixture import GaussianMixture
from probinf.amortized.transformer.fitted import FittedDT, prior_ranges
from probinf.amortized.transformer.network import DTNetwork
from probinf.core.inputs.arrays import ArrayLike
from probinf.errors import ArrayError, StructureError

_NEGLIGIBLE = np.log(1e-3)


class LinearMotion(NamedTuple):
    """``x' = matrix x + shift + e``, ``e ~ N(0, noise)``.

    Attributes:
        matrix: of the step.
        noise: covariance of e.
        shift: constant part.
    """

    matrix: Float[Array, "dimension dimension"]
    noise: Float[Array, "dimension dimension"]
    shift: Float[Array, " dimension"] | Float[Array, ""] | float = 0.0


class Filtered(NamedTuple):
    """The filtering laws of T steps.

    Attributes:
        mixtures: the law of each state given the observations up to it; leading axis T.
        predicted: the law before its observation.
        outside: for each step, what of its prior or observation left the training range; empty
            where nothing did.
    """

    mixtures: GaussianMixture
    predicted: GaussianMixture
    outside: list[list[str]]

    @property
    def means(self) -> np.ndarray:
        """Expectations, (T, dimension)."""
        return np.asarray(self.mixtures.mean)

    @property
    def covariances(self) -> np.ndarray:
        """Covariances, (T, dimension, dimension)."""
        return np.asarray(self.mixtures.covariance)


def filter(
    model: FittedDT, motion: LinearMotion, start: GaussianMixture, observations: ArrayLike
) -> Filtered:
    """Filter a series: each posterior, moved one step on, is the prior of the next observation.

    One pass of the network per step, whatever the sensor; needs a network trained with
    ``consistency`` on mixture priors (arXiv 2502.02463, section 4.3). Components lighter than
    a thousandth are replaced by copies of the heaviest one before the next step.

    Args:
        model: a Distribution Transformer for mixtures, whose likelihood is the sensor.
        motion: how the state moves.
        start: the law of the first state before its observation;
            ``GaussianMixture.normal(..., components=)`` writes a normal.
        observations: shape (T, columns), or (T,) where there is one column.

    Raises:
        StructureError: the network was not trained on mixtures.
        ArrayError: shapes do not fit, or a value is not finite.
    """
    if model.config["parameters"]:
        raise StructureError(
            "filter: this network takes the parameters of a prior, so a posterior cannot be its "
            "next prior. Train one on mixtures (RandomMixtures)."
        )
    z = model._observations(observations)
    model._prior(start)  # refuses another shape
    d = model.config["dimension"]
    motion = LinearMotion(*(jnp.asarray(v, float) for v in motion))
    if motion.matrix.shape != (d, d) or motion.noise.shape != (d, d):
        raise ArrayError(
            f"filter: matrix {motion.matrix.shape} and noise {motion.noise.shape} of the motion "
            f"must both be ({d}, {d})."
        )
    after, before = _scan(model.network, motion, start, z)
    seen = {name: np.asarray(value) for name, value in prior_ranges(before).items()} | {"z": z}
    outside = [
        model.ranges.outside(**{name: value[k] for name, value in seen.items()})
        for k in range(len(z))
    ]
    return Filtered(after, before, outside)


@eqx.filter_jit
def _scan(
    network: DTNetwork, motion: LinearMotion, start: GaussianMixture, z: ArrayLike
) -> tuple[GaussianMixture, GaussianMixture]:
    def step(
        prior: GaussianMixture, z: Array
    ) -> tuple[GaussianMixture, tuple[GaussianMixture, GaussianMixture]]:
        after = network(prior, z[None], jnp.ones(1, bool))
        return _revived(after).moved(*motion), (after, prior)

    return jax.lax.scan(step, start, jnp.asarray(z))[1]


def _revived(law: GaussianMixture) -> GaussianMixture:
    """Components of negligible weight become copies of the heaviest one, which shares its weight.

    Left alone they fade and drift without end, to priors that no training has seen. The law
    moves by no more than the weight that they had; unequal shares tell the copies apart.
    """
    dead = law.log_w < _NEGLIGIBLE
    heaviest = jnp.argmax(law.log_w)
    rank = jnp.where(dead, jnp.cumsum(dead), 0)
    share = jnp.where(jnp.arange(dead.size) == heaviest, jnp.sum(dead) + 1, rank)
    copied = share > 0
    log_share = jnp.log(jnp.where(copied, share, 1) / jnp.sum(share))
    log_w = jnp.where(copied, law.log_w[heaviest] + log_share, law.log_w)
    return GaussianMixture(
        jax.nn.log_softmax(log_w),
        jnp.where(copied[:, None], law.means[heaviest], law.means),
        jnp.where(copied[:, None, None], law.factors[heaviest], law.factors),
    )
