"""What a prior-data fitted network minimises: log scores of queries, given some visible rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from probinf.amortized.heads.predictive import Predictive
from probinf.amortized.pfn.network import Head, Network
from probinf.amortized.pfn.table_network import TableNetwork
from probinf.amortized.priors.task_prior import TaskPrior
from probinf.core.program import Key


@dataclasses.dataclass(frozen=True)
class Visible:
    """Batches of tasks of which a random number of context rows, ``smallest`` to all, is seen."""

    smallest: int
    context: int
    queries: int
    batch: int

    def each(
        self, score: Callable[[Any, Bool[Array, " n"], Key], Any], prior: TaskPrior, key: Key
    ) -> Any:
        """``score(draw, mask, key)`` of every task, stacked."""
        first, second = jax.random.split(key)
        visible = jax.random.randint(first, (self.batch,), self.smallest, self.context + 1)

        def one(key: Key, visible: Array) -> Any:
            draw = prior.draw(key, visible, self.context, self.queries)
            return score(draw, jnp.arange(self.context) < visible, key)

        return jax.vmap(one)(jax.random.split(second, self.batch), visible)


@dataclasses.dataclass(frozen=True)
class PredictionLoss:
    """Mean negative log score of the queries."""

    visible: Visible
    head: Head

    def __call__(self, network: Network, prior: TaskPrior, key: Key) -> Float[Array, ""]:
        n = self.visible.context

        def one(draw: Any, mask: Bool[Array, " n"], key: Key) -> Float[Array, " queries"]:
            law = self.head.distribution(network(draw.x[:n], draw.y[:n], mask, draw.x[n:]))
            if isinstance(law, Predictive) and draw.mean is not None and draw.sd is not None:
                points = jax.random.fold_in(key, 1)
                return -law.expected_log_density(draw.mean, draw.sd, points)
            return -law.log_density(draw.y[n:])

        return jnp.mean(self.visible.each(one, prior, key))


@dataclasses.dataclass(frozen=True)
class LabelLoss:
    """Mean negative log score of queries whose label some visible context row bears.

    A network that excludes absent classes predicts a label given that it is one of those present;
    rows with other labels say nothing about that law.
    """

    visible: Visible

    def __call__(self, network: TableNetwork, prior: TaskPrior, key: Key) -> Float[Array, ""]:
        n = self.visible.context

        def one(draw: Any, mask: Bool[Array, " n"], key: Key) -> tuple[Array, Array]:
            logits = network(draw.x[:n], draw.y[:n], mask, draw.x[n:])
            labels = draw.y[n:]
            present = jnp.any(mask[:, None] & (draw.y[:n, None] == labels), 0)
            score = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]
            return jnp.sum(jnp.where(present, score, 0.0)), present.sum()

        score, count = self.visible.each(one, prior, key)
        return -score.sum() / jnp.maximum(count.sum(), 1)
