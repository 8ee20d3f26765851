"""DistributionTransformer: a prior and observations in, the posterior out, for any prior."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from probinf.amortized.priors.meta_prior import MetaPrior
from probinf.amortized.priors.task_prior import described
from probinf.amortized.training.amortizer import Amortizer, Task
from probinf.amortized.training.loop import Trained
from probinf.amortized.training.ranges import Ranges
from probinf.amortized.transformer.fitted import FittedDT, prior_ranges
from probinf.amortized.transformer.network import DTNetwork
from probinf.core.program import Key
from probinf.errors import TrainingError

_PROBE = 4096
_LARGEST = 20.0  # a draw further out than this, in logs or logits, is cut off in the loss


@dataclasses.dataclass(frozen=True)
class BayesLoss:
    """``E[-log q(x | z, prior)] + consistency * E[-log q(x | prior)]``, arXiv 2502.02463."""

    batch: int
    draws: int
    consistency: float

    def __call__(self, network: DTNetwork, meta: MetaPrior, key: Key) -> Float[Array, ""]:
        bounded = meta.shape["support"] != "real"

        def one(key: Key) -> Float[Array, ""]:
            situation = meta.draw(key, self.draws)
            tokens = network.tokens(situation.prior)
            after = network.mixture(network.update(tokens, situation.z, situation.mask))
            x, first = situation.posterior, situation.draws
            if bounded:
                x, first = (jnp.clip(v, -_LARGEST, _LARGEST) for v in (x, first))
            loss = -jnp.mean(jax.vmap(after.log_density)(x))
            if self.consistency > 0:
                before = network.mixture(tokens)
                loss -= self.consistency * jnp.mean(jax.vmap(before.log_density)(first))
            return loss

        return jnp.mean(jax.vmap(one)(jax.random.split(key, self.batch)))


@dataclasses.dataclass(frozen=True)
class DistributionTransformer(Amortizer):
    """Learns Bayes' rule for one likelihood and every prior of a family.

    The prior enters at run time; the posterior is a mixture of normals on the unconstrained
    scale, and can be the prior of the next observation (arXiv 2502.02463).

    Args:
        components: of the posterior; of a mixture prior as well.
        width: of a token.
        layers: of the decoder.
        heads: of its attention; divides ``width``.
        hidden: of its perceptrons.
        batch: situations per step.
        draws: draws per situation.
        consistency: weight of the second term of the loss, which makes tokens of the prior stand
            for the prior. The paper needs it where tokens of a posterior are fed back; ``filter``
            feeds back mixtures, and is as good without it.

    Raises:
        TrainingError: a size is not positive, or the sizes do not fit together.
    """

    components: int = 5
    width: int = 64
    layers: int = 3
    heads: int = 4
    hidden: int = 256
    batch: int = 128
    draws: int = 16
    consistency: float = 1.0

    def __post_init__(self) -> None:
        for name in ("components", "width", "layers", "heads", "hidden", "batch", "draws"):
            if getattr(self, name) < 1:
                raise TrainingError(
                    f"DistributionTransformer: {name} must be positive, got {getattr(self, name)}."
                )
        if self.width % self.heads or not self.consistency >= 0:
            raise TrainingError(
                f"DistributionTransformer: heads={self.heads} must divide width={self.width} and "
                f"consistency={self.consistency} not be negative."
            )

    def prepare(self, key: Key, source: MetaPrior) -> Task:
        """The untrained network and its loss."""
        if not isinstance(source, MetaPrior):
            raise TrainingError(
                f"DistributionTransformer.fit: the source must be a meta-prior, got "
                f"{type(source).__name__}."
            )
        loss = BayesLoss(self.batch, self.draws, self.consistency)
        return Task(DTNetwork(self._config(source), key), loss, source)

    def finish(self, source: MetaPrior, trained: Trained) -> FittedDT:
        """The network with its training ranges."""
        keys = jax.random.split(jax.random.key(0), _PROBE)
        probe = _draws(source, keys)
        values = {"z": probe.z, **prior_ranges(probe.prior)}
        ranges = Ranges.seen({"observations": (1.0, float(source.shape["observations"]))}, **values)
        training = {"prior": described(source), "steps": trained.steps,
                    "seconds": round(trained.seconds, 1)}  # fmt: skip
        return FittedDT(trained.model, self._config(source), ranges, training)

    def _config(self, source: MetaPrior) -> dict[str, Any]:
        shape = source.shape
        own = getattr(source, "components", self.components)
        if own != self.components:
            raise TrainingError(
                f"DistributionTransformer: components={self.components}, but the priors have "
                f"{own}. Make them equal."
            )
        options = ("components", "width", "layers", "heads", "hidden")
        return {**shape, **{name: getattr(self, name) for name in options}}


@eqx.filter_jit
def _draws(source: MetaPrior, keys: Key) -> Any:
    return jax.vmap(lambda key: source.draw(key, 1))(keys)
