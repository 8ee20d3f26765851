"""LabelLoss: log scores of labels, of those that a context bears."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from probinf.amortized.pfn.table_network import TableNetwork
from probinf.amortized.priors.task_prior import TaskPrior
from probinf.core.program import Key


@dataclasses.dataclass(frozen=True)
class LabelLoss:
    """Mean negative log score of queries whose label some visible context row bears.

    A network that excludes absent classes predicts a label given that it is one of those present;
    rows with other labels say nothing about that law.
    """

    smallest: int
    context: int
    queries: int
    batch: int

    def __call__(self, network: TableNetwork, prior: TaskPrior, key: Key) -> Float[Array, ""]:
        first, second = jax.random.split(key)
        visible = jax.random.randint(first, (self.batch,), self.smallest, self.context + 1)

        def one(key: Key, visible: Array) -> tuple[Array, Array]:
            draw = prior.draw(key, visible, self.context, self.queries)
            n, mask = self.context, jnp.arange(self.context) < visible
            logits = network(draw.x[:n], draw.y[:n], mask, draw.x[n:])
            labels = draw.y[n:]
            present = jnp.any(mask[:, None] & (draw.y[:n, None] == labels), 0)
            score = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]
            return jnp.sum(jnp.where(present, score, 0.0)), present.sum()

        score, count = jax.vmap(one)(jax.random.split(second, self.batch), visible)
        return -score.sum() / jnp.maximum(count.sum(), 1)
