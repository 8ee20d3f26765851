"""The network of a Distribution Transformer: component tokens, observation tokens, one decoder."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from probinf.amortized.heads.gaussian_mixture import GaussianMixture
from probinf.amortized.nets.attention import CrossBlock, Dense, Perceptron
from probinf.core.program import Key
from probinf.errors import StructureError

_JITTER = 1e-5
_LOG_SCALE = 8.0  # scales between e^-8 and e^8: a wild output is no overflow


class DTNetwork(eqx.Module):
    """Prior to tokens, tokens past the observations, tokens to posterior.

    Embedding and de-embedding of components are the same for priors and posteriors, so that a
    posterior can be fed back as a prior.
    """

    embed: Perceptron
    components: Dense | None
    observe: Perceptron
    blocks: tuple[CrossBlock, ...]
    decode: Perceptron
    shape: tuple[int, int, int] = eqx.field(static=True)  # parameters, components, dimension

    def __init__(self, config: dict[str, Any], key: Key) -> None:
        keys = jax.random.split(key, 4 + config["layers"])
        d, c, width = config["dimension"], config["components"], config["width"]
        token = 1 + 2 * d + d * (d - 1) // 2
        parameters = config["parameters"]
        self.shape = (parameters, c, d)
        self.embed = Perceptron(parameters or token, width, width, keys[0])
        self.components = Dense(width, c * width, keys[1]) if parameters else None
        self.observe = Perceptron(config["columns"], width, width, keys[2])
        self.blocks = tuple(
            CrossBlock(width, config["heads"], config["hidden"], k) for k in keys[4:]
        )
        self.decode = Perceptron(width, width, token, keys[3], gain=0.3)

    def tokens(self, prior: Float[Array, " p"] | GaussianMixture) -> Float[Array, "c width"]:
        """Component tokens of a prior."""
        _, c, d = self.shape
        if isinstance(prior, GaussianMixture):
            rows, columns = np.tril_indices(d, -1)
            diagonal = jnp.log(jnp.diagonal(prior.factors, axis1=-2, axis2=-1))
            raw = [prior.log_w[:, None], prior.means, diagonal, prior.factors[:, rows, columns]]
            return self.embed(jnp.concatenate(raw, -1))
        if self.components is None:
            raise StructureError(
                "this network takes a GaussianMixture as its prior, not the parameters of one."
            )
        hidden = jax.nn.gelu(self.embed(jnp.log(prior)))
        return self.components(hidden).reshape(c, -1)

    def mixture(self, tokens: Float[Array, "c width"]) -> GaussianMixture:
        """The mixture that component tokens stand for."""
        _, c, d = self.shape
        raw = self.decode(tokens)
        log_w, means = jax.nn.log_softmax(raw[:, 0]), raw[:, 1 : 1 + d]
        diagonal = jnp.exp(jnp.clip(raw[:, 1 + d : 1 + 2 * d], -_LOG_SCALE, _LOG_SCALE)) + _JITTER
        rows, columns = np.tril_indices(d, -1)
        factors = jnp.zeros((c, d, d)).at[:, rows, columns].set(raw[:, 1 + 2 * d :])
        return GaussianMixture(log_w, means, factors + diagonal[:, :, None] * jnp.eye(d))

    def update(
        self,
        tokens: Float[Array, "c width"],
        z: Float[Array, "m columns"],
        mask: Bool[Array, " m"],
    ) -> Float[Array, "c width"]:
        """Component tokens after the observations."""
        seen = self.observe(jnp.arcsinh(z))  # heavy-tailed observations stay moderate
        for block in self.blocks:
            tokens = block(tokens, seen, mask)
        return tokens

    def __call__(
        self,
        prior: Float[Array, " p"] | GaussianMixture,
        z: Float[Array, "m columns"],
        mask: Bool[Array, " m"],
    ) -> GaussianMixture:
        """The posterior of one prior and its observations."""
        return self.mixture(self.update(self.tokens(prior), z, mask))
