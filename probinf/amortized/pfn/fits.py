"""Penalised multinomial logistic regressions on kernels, with every row left out in turn."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_STEPS = 20
_JITTER = 1e-4
_FLATTEST = 5e-3  # smallest curvature of a row's likelihood


class Fit(NamedTuple):
    """Logits of one regression, less those of the shares, on the kernel's scale.

    Attributes:
        context: logits of each context row by all other rows, classes on the last axis.
        context_sd: posterior standard deviation of such a logit.
        queries: logits of the new rows.
        queries_sd: their posterior standard deviation.
    """

    context: Float[Array, "n classes"]
    context_sd: Float[Array, " n"]
    queries: Float[Array, "m classes"]
    queries_sd: Float[Array, " m"]


def fit(
    kernel: Float[Array, "n n"],
    across: Float[Array, "m n"],
    variance: Float[Array, " m"],
    labels: Float[Array, "n classes"],
    offset: Float[Array, " classes"],
    mask: Bool[Array, " n"],
) -> Fit:
    """Mode of a multinomial logistic regression whose logits have a Gaussian process prior.

    The mode is found by accelerated proximal steps: the curvature of the log likelihood in the
    logits is at most 1/2 (Böhning, 1992, Annals of the Institute of Statistical Mathematics 44,
    197-200), so that one inverse serves all of them. A row is left out as in Laplace's
    approximation (Rasmussen and Williams, 2006, sections 3.5 and 5.4), with one curvature for all
    classes: the mean of those of its multinomial.

    Args:
        kernel: prior covariance of the context rows' logits.
        across: of new rows with them.
        variance: of the new rows.
        labels: one-hot, zero where a row is hidden.
        offset: logits of the classes before any column is seen; -1e9 for an absent class.
        mask: which rows are visible.
    """
    n = mask.shape[0]
    both = mask[:, None] & mask[None, :]
    kernel = jnp.where(both, kernel, 0.0) + _JITTER * jnp.eye(n)
    across = jnp.where(mask, across, 0.0)
    present = offset > -1e8
    classes = jnp.maximum(jnp.sum(present), 2)
    pull = jnp.linalg.inv(kernel + 2 * jnp.eye(n))

    def residual(f: Array) -> Array:
        p = jax.nn.softmax(f + offset)
        return jnp.where(mask[:, None] & present, labels - p, 0.0)

    def step(k: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        f, ahead, _ = carry
        dual = pull @ (ahead + 2 * residual(ahead))
        new = kernel @ dual
        return new, new + k / (k + 3.0) * (new - f), dual

    zero = jnp.zeros_like(labels)
    f, _, dual = jax.lax.fori_loop(0, _STEPS, step, (zero, zero, zero))
    p = jax.nn.softmax(f + offset)
    curvature = jnp.maximum((1 - jnp.sum(p**2, -1)) / (classes - 1), _FLATTEST)
    inverse = jnp.linalg.inv(kernel + jnp.diag(1 / curvature))
    # as of a Gaussian regression on f + residual / curvature with noise 1 / curvature
    without = jnp.maximum(1 / jnp.maximum(jnp.diag(inverse), 1e-12) - 1 / curvature, 0.0)
    alone = f - without[:, None] * residual(f)
    left = variance - jnp.sum((across @ inverse) * across, -1)
    return Fit(
        jnp.where(mask[:, None], alone, 0.0),
        jnp.sqrt(jnp.where(mask, without, 0.0) + _JITTER),
        across @ dual,
        jnp.sqrt(jnp.maximum(left, 0.0) + _JITTER),
    )
