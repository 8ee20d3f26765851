"""filter: a Distribution Transformer run forward in time, posterior to prior to posterior."""

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.heads.gaussian_mixture import GaussianMixture
from probinf.amortized.transformer.fitted import FittedDT, prior_ranges
from probinf.amortized.transformer.network import DTNetwork
from probinf.core.inputs.arrays import ArrayLike
from probinf.errors import ArrayError, RangeError, RangeWarning, StructureError

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
    model: FittedDT,
    motion: LinearMotion,
    start: GaussianMixture,
    observations: ArrayLike,
    *,
    sensor: ArrayLike | None = None,
    out_of_range: Literal["raise", "warn", "ignore"] = "warn",
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
        sensor: the matrix of a sensor that sees ``sensor @ x`` plus noise of one law, whatever x.
            Each step then works in coordinates centred on its prior, and a target that leaves
            the region of the training is followed.
        out_of_range: what to do about steps whose prior or observation lies outside the training
            range.

    Raises:
        StructureError: the network was not trained on mixtures.
        ArrayError: shapes do not fit, or a value is not finite.
        RangeError: a step is outside the training range and ``out_of_range`` is "raise".
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
    view = None if sensor is None else jnp.asarray(sensor, float)
    if view is not None and view.shape != (z.shape[1], d):
        raise ArrayError(f"filter: sensor {view.shape} must be ({z.shape[1]}, {d}).")
    after, before, used, shown = _scan(model.network, motion, start, z, view)
    seen = {name: np.asarray(value) for name, value in prior_ranges(used).items()}
    seen["z"] = np.asarray(shown)
    outside = [
        model.ranges.outside(**{name: value[k] for name, value in seen.items()})
        for k in range(len(z))
    ]
    _report(outside, out_of_range, centred=view is not None)
    return Filtered(after, before, outside)


@eqx.filter_jit
def _scan(
    network: DTNetwork,
    motion: LinearMotion,
    start: GaussianMixture,
    z: ArrayLike,
    sensor: Array | None,
) -> tuple[GaussianMixture, GaussianMixture, GaussianMixture, Array]:
    """Posteriors and priors, and the priors and observations as the network saw them."""

    def step(prior: GaussianMixture, z: Array) -> tuple[GaussianMixture, Any]:
        centre = jnp.zeros_like(prior.mean) if sensor is None else prior.mean
        shown = z if sensor is None else z - sensor @ centre
        used = _shifted(prior, -centre)
        after = _shifted(network(used, shown[None], jnp.ones(1, bool)), centre)
        return _revived(after).moved(*motion), (after, prior, used, shown)

    found: tuple[GaussianMixture, GaussianMixture, GaussianMixture, Array]
    found = jax.lax.scan(step, start, jnp.asarray(z))[1]
    return found


def _shifted(law: GaussianMixture, by: Array) -> GaussianMixture:
    return GaussianMixture(law.log_w, law.means + by, law.factors)


def _report(outside: list[list[str]], policy: str, centred: bool) -> None:
    """Refuse, or warn about, the steps that left the training range, the first by name."""
    if policy not in ("raise", "warn", "ignore"):
        raise RangeError(f"out_of_range must be 'raise', 'warn' or 'ignore', got {policy!r}.")
    steps = [k for k, found in enumerate(outside) if found]
    if not steps or policy == "ignore":
        return
    remedy = "Train on a wider range"
    if not centred:
        remedy += ", or, where the sensor sees matrix @ x plus noise, pass sensor=matrix"
    text = (
        f"filter: {len(steps)} of {len(outside)} steps are outside the training range, the first "
        f"of them step {steps[0]}: {'; '.join(outside[steps[0]])}. From there on the answer is a "
        f"guess. {remedy}."
    )
    if policy == "raise":
        raise RangeError(text)
    warnings.warn(text, RangeWarning, stacklevel=3)


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
