"""TableNetwork: a network of labels that sees each row through regressions on the others."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.amortized.nets.attention import Perceptron
from probinf.amortized.pfn.encoding import encoded
from probinf.amortized.pfn.fits import Fit, fit
from probinf.core.program import Key

ABSENT = -1e9  # logit of a class that no visible row bears
_INTERCEPT = 4.0  # prior variance of a class's logit where all columns are at their means
_WORST = -4.0  # a row's log score counts to here: one wrong label must not decide


class Kernel(NamedTuple):
    """Prior covariance of a class's logits: linear without a length, else squared exponential."""

    variance: float
    length: float | None = None
    weighted: bool = False  # columns by how much of their variance lies between the classes


KERNELS = (
    Kernel(0.5), Kernel(4.0), Kernel(30.0), Kernel(10.0, weighted=True),
    Kernel(8.0, 1.0), Kernel(8.0, 0.5), Kernel(10.0, 0.7, weighted=True),
)  # fmt: skip


class TableNetwork(eqx.Module):
    """Probabilities of labels: a mixture of logistic regressions that a set network weighs.

    Each of ``KERNELS`` gives a penalised multinomial regression. A token is one row and one class:
    what the regressions say of it (of a context row, what those without that row say), with
    their standard deviations and leave-one-out scores. Tokens of the context are averaged, over a
    class and over all; with these means in sight, the head weighs the logits of the regressions
    for a new row and adds to them. The result does not depend on the order of rows or columns,
    and follows the names of the classes wherever they go; the number of columns is free.
    """

    encode: Perceptron
    head: Perceptron
    trust: Float[Array, " kernels"]
    favour: Float[Array, " kernels"]
    classes: int = eqx.field(static=True)

    def __init__(self, config: dict[str, Any], key: Key) -> None:
        one, two = jax.random.split(key)
        width, count = config["width"], len(KERNELS) + 1
        features = 4 * count + 5
        self.encode = Perceptron(features, 2 * width, width, one)
        self.head = Perceptron(features + 2 * width, 2 * width, count + 1, two, gain=0.1)
        self.trust, self.favour = jnp.full(count, -1.0), jnp.zeros(count)
        self.classes = config["classes"]

    def __call__(
        self,
        x: Float[Array, "n columns"],
        y: Int[Array, " n"],
        mask: Bool[Array, " n"],
        x_query: Float[Array, "m columns"],
        classes: int | None = None,
    ) -> Float[Array, "m classes"]:
        """Logits of the new rows; ``classes`` of them where labels are known to be below it."""
        m = x_query.shape[0]
        labels = jax.nn.one_hot(y, classes or self.classes) * mask[:, None]
        count = labels.sum(0)
        present = count > 0
        share = jnp.log((count + 0.5) / (jnp.sum(count) + 0.5 * jnp.sum(present)))
        offset = jnp.where(present, share, ABSENT)
        rows, new = encoded(x, mask, x_query)
        fits, dimension = regressions(rows, labels, mask, new, offset)

        def logits(mean: Array, sd: Array) -> Array:  # averaged over the posterior, nearly
            kept = jnp.where(present, mean / jnp.sqrt(1 + jnp.pi / 4 * sd[..., None] ** 2), 0.0)
            return jnp.where(present, kept - kept.sum(-1, keepdims=True) / present.sum(), 0.0)

        known = logits(fits.context, fits.context_sd)
        asked = logits(fits.queries, fits.queries_sd)
        scores = jnp.sum(labels * jax.nn.log_softmax(known + offset), -1)
        scores = jnp.sum(jnp.maximum(scores, _WORST), -1)  # of each regression
        relative = scores - jnp.mean(scores)
        visible = jnp.maximum(mask.sum(), 1.0)

        def tokens(f: Array, sd: Array, bears: Array) -> Array:
            """(classes, rows, features)"""
            p = jnp.where(present, jax.nn.softmax(f + offset), 0.0)
            own = jnp.concatenate([jnp.tanh(f / 4), p], 0)  # (2 kernels, rows, classes)
            rowwise = jnp.broadcast_to(sd.T[None], (f.shape[2], f.shape[1], f.shape[0]))
            table = jnp.concatenate([
                4 * relative / visible,
                jnp.stack([jnp.log(visible) - 4, jnp.log(present.sum()) - 1, dimension - 1.5]),
            ])  # fmt: skip
            table = jnp.broadcast_to(table, (*rowwise.shape[:2], table.shape[0]))
            shares = jnp.broadcast_to(jnp.where(present, share, 0.0)[:, None], rowwise.shape[:2])
            parts = [jnp.moveaxis(own, 0, -1).swapaxes(0, 1), jnp.log(rowwise), table]
            return jnp.concatenate([*parts, shares[..., None], bears.T[..., None]], -1)

        context = self.encode(tokens(known, fits.context_sd, labels - share_of(labels, mask)))
        of_class = jnp.sum(jnp.where(mask[:, None], context, 0.0), 1) / visible
        of_all = jnp.sum(jnp.where(present[:, None], of_class, 0.0), 0) / present.sum()
        asking = tokens(asked, fits.queries_sd, jnp.zeros((m, labels.shape[1])))
        seen = jnp.concatenate([of_class, jnp.broadcast_to(of_all, of_class.shape)], -1)
        seen = jnp.broadcast_to(seen[:, None], (*asking.shape[:2], seen.shape[-1]))
        out = self.head(jnp.concatenate([asking, seen], -1))  # (classes, rows, kernels + 1)
        # one weight of a regression for all classes of a row: the mean over those present
        gate = jnp.sum(jnp.where(present[:, None, None], out[..., :-1], 0.0), 0) / present.sum()
        weights = jax.nn.softmax(gate + jax.nn.softplus(self.trust) * relative + self.favour)
        mixed = jnp.einsum("ms,smc->mc", weights, asked) + out[..., -1].T
        return jnp.where(present, mixed + offset, ABSENT)


def share_of(labels: Float[Array, "n classes"], mask: Bool[Array, " n"]) -> Array:
    """Share of each class, in the visible rows."""
    return jnp.where(mask[:, None], labels.sum(0) / jnp.maximum(mask.sum(), 1), 0.0)


def regressions(
    x: Float[Array, "n wide"],
    labels: Float[Array, "n classes"],
    mask: Bool[Array, " n"],
    new: Float[Array, "m wide"],
    offset: Float[Array, " classes"],
) -> tuple[Fit, Float[Array, ""]]:
    """A fit for no column at all and each of ``KERNELS``, on the first axis; and the logarithm of
    the number of directions in which the rows spread (participation ratio)."""
    n = mask.shape[0]
    weights = _between(x, labels, mask)
    grams = [_gram(x, new, mask), _gram(x * weights, new * weights, mask)]
    kernels, across, variances = [], [], []
    for kernel in KERNELS:
        inner, cross, own = grams[kernel.weighted]
        if kernel.length is None:
            k, c, v = inner, cross, own
        else:
            squared = jnp.diag(inner)
            scale = 2 * kernel.length**2
            k = jnp.exp(-jnp.maximum(squared[:, None] + squared - 2 * inner, 0.0) / scale)
            c = jnp.exp(-jnp.maximum(own[:, None] + squared - 2 * cross, 0.0) / scale)
            v = jnp.ones_like(own)
        kernels.append(kernel.variance * k + _INTERCEPT)
        across.append(kernel.variance * c + _INTERCEPT)
        variances.append(kernel.variance * v + _INTERCEPT)
    one = jax.vmap(fit, (0, 0, 0, None, None, None))
    fits = one(jnp.stack(kernels), jnp.stack(across), jnp.stack(variances), labels, offset, mask)
    none = Fit(jnp.zeros_like(labels), jnp.full(n, 0.1), jnp.zeros((len(new), labels.shape[1])),
               jnp.full(len(new), 0.1))  # fmt: skip
    fits = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), none, fits)
    inner = grams[0][0] * mask * mask[:, None]
    ratio = jnp.trace(inner) ** 2 / jnp.maximum(jnp.sum(inner**2), 1e-6)
    return fits, jnp.log1p(ratio)


def _gram(
    x: Float[Array, "n wide"], new: Float[Array, "m wide"], mask: Bool[Array, " n"]
) -> tuple[Array, Array, Array]:
    """Inner products, such that a visible row has squared length 1 on average."""
    total = jnp.sum(jnp.where(mask[:, None], x, 0.0) ** 2) / jnp.maximum(mask.sum(), 1)
    scale = 1 / jnp.maximum(total, 1e-6)
    return scale * x @ x.T, scale * new @ x.T, scale * jnp.sum(new**2, -1)


def _between(
    x: Float[Array, "n wide"], labels: Float[Array, "n classes"], mask: Bool[Array, " n"]
) -> Float[Array, " wide"]:
    """Weight of a column: root of the share of its variance between classes, above chance."""
    count = labels.sum(0)
    means = labels.T @ x / jnp.maximum(count, 1.0)[:, None]
    total = jnp.maximum(jnp.sum(x**2, 0), 1e-6)
    centre = jnp.sum(x, 0) / jnp.maximum(mask.sum(), 1)
    share = jnp.sum(count[:, None] * (means - centre) ** 2 * (count > 0)[:, None], 0) / total
    chance = (jnp.sum(count > 0) - 1) / jnp.maximum(mask.sum() - 1, 1)
    return jnp.sqrt(jnp.maximum(share - chance, 0.02))


def answered(
    network: TableNetwork, x: np.ndarray, y: np.ndarray, mask: np.ndarray, new: np.ndarray
) -> Float[Array, "m classes"]:
    """Logits of new rows, computed for few sizes only: columns of zeros are added, and classes
    above the largest label left out."""
    wide, most = x.shape[1], int(y.max(initial=1)) + 1
    classes = min(network.classes, max(2, 1 << (most - 1).bit_length()))
    columns = ((0, 0), (0, max(4, 1 << (wide - 1).bit_length()) - wide))
    found = _answer(network, np.pad(x, columns), y, mask, np.pad(new, columns), classes)
    return jnp.pad(found, ((0, 0), (0, network.classes - classes)), constant_values=ABSENT)


@eqx.filter_jit
def _answer(network: TableNetwork, x: Any, y: Any, mask: Any, new: Any, classes: int) -> Array:
    return network(jnp.asarray(x), jnp.asarray(y), jnp.asarray(mask), jnp.asarray(new), classes)
