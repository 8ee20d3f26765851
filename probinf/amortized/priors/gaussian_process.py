"""GaussianProcess: noisy values, or labels, of a Gaussian or Student-t process as a task prior."""

from __future__ import annotations

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from probinf.amortized.priors.task_prior import Draw, TaskPrior
from probinf.core.program import Key
from probinf.errors import TrainingError

_JITTER = 1e-5
Kernel = Literal["rbf", "matern52", "linear", "arccosine"]
_KERNELS = ("rbf", "matern52", "linear", "arccosine")


def _value(key: Key, law: Any) -> Array:
    """A number as it is, a distribution by one draw."""
    return law.sample(key) if isinstance(law, dist.Distribution) else jnp.asarray(law, float)


def kernel_matrix(
    name: str,
    x1: Float[Array, "a inputs"],
    x2: Float[Array, "b inputs"],
    lengthscale: Float[Array, ""],
    outputscale: Float[Array, ""],
    layers: int = 1,
) -> Float[Array, "a b"]:
    """Covariances of a Gaussian process between two sets of inputs.

    Args:
        name: "rbf", "matern52", "linear" (``outputscale * x1 · x2``, the lengthscale unused) or
            "arccosine": that of a random ReLU network with infinitely many units in each layer,
            standard normal weights of the inputs over ``lengthscale`` and of a bias, whose variance
            at x is ``outputscale * (1 + x · x / lengthscale**2)``.
        x1: inputs.
        x2: inputs.
        lengthscale: of all columns.
        outputscale: variance of the process (of a coefficient, for "linear").
        layers: hidden layers of the network, for "arccosine".

    Source: Cho & Saul (2009), "Kernel methods for deep learning", order 1.
    """
    if name == "arccosine":
        return outputscale * _arccosine(x1 / lengthscale, x2 / lengthscale, layers)
    if name == "linear":
        return outputscale * x1 @ x2.T
    square = jnp.sum((x1[:, None] - x2[None]) ** 2, -1) / lengthscale**2
    if name == "rbf":
        return outputscale * jnp.exp(-0.5 * square)
    r = jnp.sqrt(5 * square + 1e-12)
    return outputscale * (1 + r + r**2 / 3) * jnp.exp(-r)


def _arccosine(
    x1: Float[Array, "a inputs"], x2: Float[Array, "b inputs"], layers: int
) -> Float[Array, "a b"]:
    """Weights of variance two keep the variance at an input through all layers, and the cosine
    of two inputs alone changes."""
    norm = jnp.sqrt((1 + jnp.sum(x1**2, -1))[:, None] * (1 + jnp.sum(x2**2, -1)))
    cosine = (1 + x1 @ x2.T) / norm
    for _ in range(layers):
        cosine = jnp.clip(cosine, -1.0, 1.0)
        angle = jnp.arccos(cosine)
        cosine = (jnp.sin(angle) + (jnp.pi - angle) * cosine) / jnp.pi
    return norm * cosine


class GaussianProcess(TaskPrior):
    """Noisy values of a Gaussian process; each parameter a number or a NumPyro distribution.

    With ``variance ~ InverseGamma(a, b)`` all values share a random scale: a Student-t process,
    with the linear kernel the conjugate Bayesian regression, and with the arc-cosine kernel a
    scale mixture of infinitely wide networks (Lee, Yun, Yang & Lee, 2022).

    With ``labels`` the values of that many independent processes, of one kernel and one scale, are
    the logits of a label; two classes thus have the logistic link of one process of twice the
    variance. ``oracles.gaussian_process_labels`` is their predictive.

    Args:
        inputs: number of columns of x.
        kernel: "rbf", "matern52", "linear" or "arccosine"; see ``kernel_matrix``.
        lengthscale: in units of x.
        outputscale: variance of the process; of "arccosine" where x is zero.
        noise: variance of the noise.
        variance: multiplies process and noise.
        design: law of each entry of x; uniform on [0, 1] unless given.
        layers: hidden layers of the infinite network, for "arccosine".
        labels: number of classes where the outcomes are labels.

    Raises:
        TrainingError: the kernel is unknown, a number is not positive, or there is one class.
    """

    columns: int = eqx.field(static=True)
    kernel: Kernel = eqx.field(static=True)
    lengthscale: Any
    outputscale: Any
    noise: Any
    variance: Any
    design: Any
    layers: int = eqx.field(static=True)
    labels: int | None = eqx.field(static=True)

    def __init__(
        self,
        inputs: int = 1,
        *,
        kernel: Kernel = "rbf",
        lengthscale: Any = 0.2,
        outputscale: Any = 1.0,
        noise: Any = 0.01,
        variance: Any = 1.0,
        design: Any = None,
        layers: int = 1,
        labels: int | None = None,
    ) -> None:
        if kernel not in _KERNELS or inputs < 1 or layers < 1:
            raise TrainingError(
                f"GaussianProcess: kernel must be one of {_KERNELS}, inputs and layers positive, "
                f"got {kernel!r}, {inputs} and {layers}."
            )
        if labels is not None and labels < 2:
            raise TrainingError(f"GaussianProcess: labels must be at least 2, got {labels}.")
        numbers = {"lengthscale": lengthscale, "outputscale": outputscale,
                   "noise": noise, "variance": variance}  # fmt: skip
        for name, value in numbers.items():
            if isinstance(value, int | float) and not value > 0:
                raise TrainingError(f"GaussianProcess: {name} must be positive, got {value}.")
        self.columns, self.kernel = inputs, kernel
        self.lengthscale, self.outputscale = lengthscale, outputscale
        self.noise, self.variance = noise, variance
        self.layers, self.labels = layers, labels
        self.design = dist.Uniform(0.0, 1.0) if design is None else design

    @property
    def inputs(self) -> int:
        """Number of columns of x."""
        return self.columns

    @property
    def classes(self) -> int | None:
        """Number of labels; None for real outcomes."""
        return self.labels

    def draw(self, key: Key, visible: Int[Array, ""], context: int, queries: int) -> Draw:
        """One data set; a query's law given any prefix of the context costs one Cholesky factor."""
        keys = jax.random.split(key, 7)
        x = self.design.sample(keys[0], (context + queries, self.inputs))
        lengthscale = _value(keys[1], self.lengthscale)
        outputscale = _value(keys[2], self.outputscale)
        noise, scale = _value(keys[3], self.noise), jnp.sqrt(_value(keys[4], self.variance))
        options = lengthscale, outputscale, self.layers
        cross = kernel_matrix(self.kernel, x[:context], x, *options)
        own = jax.vmap(lambda row: kernel_matrix(self.kernel, row, row, *options)[0, 0])(
            x[context:, None]
        )
        ridge = noise + _JITTER * (outputscale + noise)
        factor = jnp.linalg.cholesky(cross[:, :context] + ridge * jnp.eye(context))
        # Rows of the factor are prefixes' factors too: sums over visible rows condition on them.
        explained = jax.scipy.linalg.solve_triangular(factor, cross[:, context:], lower=True)
        # A label's law is known given values alone, so that all rows of values are conditions.
        known = visible if self.labels is None else context
        explained = jnp.where((jnp.arange(context) < known)[:, None], explained, 0.0)
        left = own - jnp.sum(explained**2, 0)
        sd = jnp.sqrt(jnp.maximum(left, 0.0) + noise)
        processes = () if self.labels is None else (self.labels,)
        white = jax.random.normal(keys[5], (context, *processes))
        mean = explained.T @ white
        spread = sd.reshape(-1, *[1] * len(processes))
        y_query = mean + spread * jax.random.normal(keys[6], (queries, *processes))
        y = scale * jnp.concatenate([factor @ white, y_query])
        if self.labels is None:
            return Draw(x, y, scale * mean, scale * sd)
        return Draw(x, jax.random.categorical(jax.random.fold_in(key, 7), y).astype(int))
