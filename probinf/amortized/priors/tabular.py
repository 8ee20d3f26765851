"""Task priors for tables: labels from random neural networks."""

from __future__ import annotations

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from probinf.amortized.priors.task_prior import Draw, TaskPrior
from probinf.core.program import Key
from probinf.errors import TrainingError

_FACTORS = 6


class BNN(TaskPrior):
    """Labels from a Bayesian neural network: standard normal inputs and weights, tanh layers.

    The class is drawn from the softmax of the outputs (arXiv 2112.10510, section 5.2; the
    published code has no nonlinearity, this one does).

    Args:
        inputs: number of columns.
        hidden: units per hidden layer.
        layers: weight layers, the last one included.
        labels: number of classes.

    Raises:
        TrainingError: a size is too small.
    """

    columns: int = eqx.field(static=True)
    hidden: int = eqx.field(static=True)
    layers: int = eqx.field(static=True)
    labels: int = eqx.field(static=True)

    def __init__(
        self, inputs: int = 3, *, hidden: int = 5, layers: int = 2, labels: int = 2
    ) -> None:
        if inputs < 1 or hidden < 1 or layers < 1 or labels < 2:
            raise TrainingError(
                f"BNN: sizes must be positive and labels at least 2, got inputs={inputs}, "
                f"hidden={hidden}, layers={layers}, labels={labels}."
            )
        self.columns, self.hidden, self.layers, self.labels = inputs, hidden, layers, labels

    @property
    def inputs(self) -> int:
        """Number of columns of x."""
        return self.columns

    @property
    def classes(self) -> int:
        """Number of labels."""
        return self.labels

    def draw(self, key: Key, visible: Int[Array, ""], context: int, queries: int) -> Draw:
        """One data set."""
        first, second, third = jax.random.split(key, 3)
        x = jax.random.normal(first, (context + queries, self.columns))
        sizes = [self.columns, *[self.hidden] * (self.layers - 1), self.labels]
        logits = _forward(second, x, sizes, jnp.ones(()))
        return Draw(x, jax.random.categorical(third, logits).astype(int))


def _forward(
    key: Key, x: Float[Array, "rows inputs"], sizes: list[int], sd: Float[Array, ""]
) -> Float[Array, "rows outputs"]:
    """A random network with tanh between its layers; weights and biases are N(0, sd²)."""
    for k, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        key, one, two = jax.random.split(key, 3)
        x = jnp.tanh(x) if k else x
        weight = sd * jax.random.normal(one, (inputs, outputs))
        x = x @ weight + sd * jax.random.normal(two, (outputs,))
    return x


class Tabular(TaskPrior):
    """Small tables with two balanced classes, as real ones look.

    A few factors drive all columns, which are redundant therefore; some are skewed and some
    coarse; their number varies and the rest are zero. The score is a sparse linear function, a
    random tanh network, or their sum, of the columns in half of the tables and of the factors
    behind them in the others, plus noise; the label says whether it lies above the median.
    After arXiv 2112.10510, section 5.2, with factors and linear parts added.

    Args:
        inputs: largest number of columns.
        hidden: units per hidden layer of the network.

    Raises:
        TrainingError: there are fewer than 2 columns or no hidden units.
    """

    columns: int = eqx.field(static=True)
    hidden: int = eqx.field(static=True)

    def __init__(self, inputs: int = 16, *, hidden: int = 32) -> None:
        if inputs < 2 or hidden < 1:
            raise TrainingError(
                f"Tabular: inputs must be at least 2 and hidden positive, got {inputs}, {hidden}."
            )
        self.columns, self.hidden = inputs, hidden

    @property
    def inputs(self) -> int:
        """Number of columns of x."""
        return self.columns

    @property
    def classes(self) -> int:
        """Two labels."""
        return 2

    @property
    def balanced(self) -> bool:
        """The label says on which side of the median a score lies."""
        return True

    def draw(self, key: Key, visible: Int[Array, ""], context: int, queries: int) -> Draw:
        """One data set."""
        keys = jax.random.split(key, 6)
        rows, columns = context + queries, self.columns
        share = 1 - (1 - jax.random.uniform(keys[0])) ** (1 / 1.6)  # Beta(1, 1.6)
        used = 2 + jnp.floor(share * (columns - 1))
        active = jax.random.randint(keys[1], (), 1, min(_FACTORS, columns) + 1)
        factors = jax.random.normal(keys[2], (rows, columns)) * (jnp.arange(columns) < active)
        x = self._columns(keys[3], factors / jnp.sqrt(active))
        x = jnp.where(jnp.arange(columns) < used, x, 0.0)
        one, two, three, four = jax.random.split(keys[4], 4)
        behind = jax.random.bernoulli(one)
        score = self._score(
            two, jnp.where(behind, factors, x), jnp.where(behind, active.astype(used.dtype), used)
        )
        noise = 0.4 * jax.random.exponential(three)
        score = score + noise * jax.random.normal(four, (rows,))
        label = score > jnp.median(score)
        return Draw(x, (label ^ jax.random.bernoulli(keys[5])).astype(int))

    def _columns(
        self, key: Key, factors: Float[Array, "rows inputs"]
    ) -> Float[Array, "rows inputs"]:
        """Loadings of the factors and own noise; a quarter skewed, a quarter coarse."""
        one, two, three, four, five = jax.random.split(key, 5)
        loadings = jax.random.normal(one, (self.columns, self.columns))
        # from columns that are copies of each other to columns of their own
        own = 2 * jax.random.uniform(two) * jax.random.uniform(three, (self.columns,))
        own = jnp.clip(own, 0.0, 1.0)
        x = jnp.sqrt(1 - own) * (factors @ loadings)
        x = x + jnp.sqrt(own) * jax.random.normal(four, factors.shape)
        x = x / (jnp.std(x, 0) + 1e-6)
        kind = jax.random.uniform(five, (self.columns,))
        return jnp.where(kind < 0.25, jnp.exp(x), jnp.where(kind > 0.75, jnp.round(x), x))

    def _score(
        self, key: Key, x: Float[Array, "rows inputs"], used: Float[Array, ""]
    ) -> Float[Array, " rows"]:
        keys = jax.random.split(key, 6)
        z = (x - x.mean(0)) / (jnp.std(x, 0) + 1e-3)
        chance = jax.random.uniform(keys[0], minval=0.3, maxval=1.0)
        z = jnp.where(jax.random.bernoulli(keys[1], chance, z.shape[1:]), z, 0.0)
        linear = _unit(z @ jax.random.normal(keys[2], z.shape[1:]))
        sd = 0.3 + 0.2 * jax.random.gamma(keys[3], 3.62)
        sizes = [self.columns, self.hidden, self.hidden, 1]
        bent = _unit(_forward(keys[4], 2 * z / jnp.sqrt(used), sizes, sd)[:, 0])
        # half of the tasks are purely one or the other
        share = jnp.clip(jax.random.uniform(keys[5], minval=-0.5, maxval=1.5), 0.0, 1.0)
        return share * linear + (1 - share) * bent


def _unit(score: Float[Array, " rows"]) -> Float[Array, " rows"]:
    centred = score - score.mean()
    return centred / (jnp.std(score) + 1e-3)
