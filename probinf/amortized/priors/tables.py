"""Tables: a task prior of labelled tables with several classes, gaps and coded columns."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from probinf.amortized.priors.tabular import _forward, _unit
from probinf.amortized.priors.task_prior import Draw, TaskPrior
from probinf.core.program import Key
from probinf.errors import TrainingError

_FACTORS = 6
_LEVELS = 5  # of a coded column
_DEPTH = 3  # of a tree
_HIDDEN = 24


class Tables(TaskPrior):
    """Tables of up to ``classes`` labels, as real ones look.

    A few factors drive all columns, some skewed, some coarse, some one-hot codes of a category;
    their number varies and the rest are zero. Labels come about in one of five ways: from the
    logits of a linear function, of a random tanh network or of a tree, of the columns or of the
    factors behind them; as steps of one score cut at random quantiles; or first, and the columns
    have other means in each class. Logits are scaled from noise to certainty, and the classes
    differ in frequency. In a third of the tables entries are missing, at random or where the
    value is large. After arXiv 2112.10510, section 5.2, and the mixtures of arXiv 2207.01848,
    section 4.

    Args:
        inputs: largest number of columns.
        classes: largest number of classes.

    Raises:
        TrainingError: there are too few columns or classes.
    """

    columns: int = eqx.field(static=True)
    labels: int = eqx.field(static=True)

    def __init__(self, inputs: int = 24, classes: int = 10) -> None:
        if inputs < 2 * _LEVELS + 2 or classes < 2:
            raise TrainingError(
                f"Tables: inputs must be at least {2 * _LEVELS + 2} and classes 2, got {inputs} "
                f"and {classes}."
            )
        self.columns, self.labels = inputs, classes

    @property
    def inputs(self) -> int:
        """Largest number of columns of x."""
        return self.columns

    @property
    def classes(self) -> int:
        """Largest number of labels."""
        return self.labels

    def draw(self, key: Key, visible: Int[Array, ""], context: int, queries: int) -> Draw:
        """One data set; which names the classes bear is random."""
        keys = jax.random.split(key, 12)
        rows, width = context + queries, self.columns
        share = 1 - (1 - jax.random.uniform(keys[0])) ** (1 / 1.6)  # Beta(1, 1.6)
        used = jnp.arange(width) < 1 + jnp.floor(share * width)
        # 2 is as likely as 3 and 4 together, and so on
        spread = jnp.log(self.labels + 1.0) - jnp.log(2.0)
        count = jnp.floor(2 * jnp.exp(spread * jax.random.uniform(keys[1]))).astype(int)
        active = jnp.arange(width) < jax.random.randint(keys[2], (), 1, _FACTORS + 1)
        factors = jnp.where(active, jax.random.normal(keys[3], (rows, width)), 0.0)
        classes = jnp.arange(self.labels) < count

        # the way labels come about: three of logits, cuts of a score, or labels first
        way = jax.random.categorical(keys[4], jnp.log(jnp.array([0.25, 0.2, 0.15, 0.2, 0.2])))
        bias = jax.random.normal(keys[5], (self.labels,)) * jax.random.uniform(keys[6])
        first, means = _first(keys[7], classes, bias, rows, width)
        apart = jnp.where((way == 4) & active, means, 0.0)
        x = self._columns(keys[8], (factors + apart) / jnp.sqrt(active.sum()), used)
        one, two, three, four, five = jax.random.split(keys[9], 5)
        behind = jax.random.bernoulli(one, 0.4)
        z = jnp.where(behind, factors, _scaled(x))
        chosen = jnp.where(behind, active, used)
        often = jax.random.uniform(three, minval=0.3)
        z = z * (chosen & jax.random.bernoulli(two, often, (width,)))
        logits = _logits(four, z, jnp.minimum(way, 2), self.labels)
        loud = jnp.exp(jax.random.uniform(five, minval=jnp.log(0.3), maxval=jnp.log(12.0)))
        logits = jnp.where(classes, loud * logits + bias, -1e9)
        drawn = jax.random.categorical(keys[10], logits)
        six, seven, eight = jax.random.split(keys[11], 3)
        noisy = logits[:, 0] + 2 * jax.random.normal(six, (rows,))
        y = jnp.select([way == 3, way == 4], [_cut(noisy, classes, bias), first], drawn)
        names = jax.random.permutation(seven, self.labels)
        return Draw(_gaps(eight, x), names[y].astype(int))

    def _columns(
        self, key: Key, factors: Float[Array, "rows inputs"], used: Array
    ) -> Float[Array, "rows inputs"]:
        """Loadings of the factors and own noise; some skewed, coarse, or one-hot."""
        one, two, three, four, five, six = jax.random.split(key, 6)
        width = self.columns
        loadings = jax.random.normal(one, (width, width))
        own = jax.random.uniform(two) * jax.random.uniform(three, (width,), maxval=2.0)
        own = jnp.clip(own, 0.0, 1.0)
        noise = jax.random.normal(four, factors.shape)
        x = jnp.sqrt(1 - own) * (factors @ loadings) + jnp.sqrt(own) * noise
        x = x / (jnp.std(x, 0) + 1e-6)
        kind = jax.random.uniform(five, (width,))
        shaped = jnp.select(
            [kind < 0.2, kind < 0.4, kind < 0.5],
            [jnp.exp(x), jnp.round(1.5 * x), (x > 0.8).astype(x.dtype)],
            x,
        )
        for first, chance in ((0, 0.35), (_LEVELS, 0.2)):  # the first columns of some tables
            block = slice(first, first + _LEVELS)
            levels = jnp.where(used[block], x[:, block], -jnp.inf)
            code = jax.nn.one_hot(jnp.argmax(levels, 1), _LEVELS)
            coded = jax.random.bernoulli(jax.random.fold_in(six, first), chance)
            shaped = shaped.at[:, block].set(jnp.where(coded, code, shaped[:, block]))
        return jnp.where(used, shaped, 0.0)


def _scaled(x: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
    return (x - x.mean(0)) / (jnp.std(x, 0) + 1e-3)


def _first(
    key: Key, classes: Array, bias: Array, rows: int, width: int
) -> tuple[Int[Array, " rows"], Float[Array, "rows factors"]]:
    """Labels, and where their factors' means lie."""
    one, two, three = jax.random.split(key, 3)
    y = jax.random.categorical(one, jnp.where(classes, bias, -1e9), shape=(rows,))
    apart = jnp.exp(jax.random.uniform(two, minval=jnp.log(0.2), maxval=jnp.log(4.0)))
    return y, apart * jax.random.normal(three, (len(classes), width))[y]


def _logits(
    key: Key, z: Float[Array, "rows columns"], way: Array, labels: int
) -> Float[Array, "rows classes"]:
    """A linear function, a tanh network or a tree, each class of variance about 1."""
    one, two, three, four, five, six = jax.random.split(key, 6)
    width = z.shape[1]
    linear = z @ jax.random.normal(one, (width, labels))
    root = jnp.sqrt(jnp.maximum(jnp.sum(jnp.any(z != 0, 0)), 1))
    sd = 0.3 + 0.2 * jax.random.gamma(two, 3.62)
    bent = _forward(three, 2 * z / root, [width, _HIDDEN, _HIDDEN, labels], sd)
    weight = jnp.where(jnp.any(z != 0, 0), 0.0, -10.0)  # a tree cuts columns that matter
    at = jax.random.categorical(four, weight, shape=(_DEPTH,))
    cut = z[:, at] > 0.7 * jax.random.normal(five, (_DEPTH,))
    leaf = jnp.sum(cut * 2 ** jnp.arange(_DEPTH), 1)
    grown = jax.random.normal(six, (2**_DEPTH, labels))[leaf]
    return jax.vmap(_unit, 1, 1)(jnp.stack([linear, bent, grown])[way])


def _cut(score: Float[Array, " rows"], classes: Array, bias: Array) -> Int[Array, " rows"]:
    """Steps of a score, their shares by ``bias``."""
    ends = jnp.cumsum(jax.nn.softmax(jnp.where(classes, bias, -1e9)))
    rank = (jnp.argsort(jnp.argsort(score)) + 0.5) / len(score)
    return jnp.minimum(jnp.sum(rank[:, None] > ends, 1), classes.sum() - 1)


def _gaps(key: Key, x: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
    """In a third of the tables, in half of the columns: NaN at random, or where x is large."""
    one, two, three, four, five = jax.random.split(key, 5)
    rate = jnp.where(jax.random.bernoulli(one, 1 / 3), jax.random.uniform(two, maxval=0.5), 0.0)
    where = jax.random.bernoulli(three, 0.5, x.shape[1:])
    large = jax.random.bernoulli(four, 0.3, x.shape[1:])
    odds = rate * jnp.where(large, 2 * jax.nn.sigmoid(3 * _scaled(x)), 1.0)
    return jnp.where(where & (jax.random.uniform(five, x.shape) < odds), jnp.nan, x)
