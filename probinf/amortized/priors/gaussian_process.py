"""GaussianProcess: noisy values of a Gaussian or Student-t process as a task prior."""

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
_KERNELS = ("rbf", "matern52", "linear")


def _value(key: Key, law: Any) -> Array:
    """A number as it is, a distribution by one draw."""
    return law.sample(key) if isinstance(law, dist.Distribution) else jnp.asarray(law, float)


def kernel_matrix(
    name: str,
    x1: Float[Array, "a inputs"],
    x2: Float[Array, "b inputs"],
    lengthscale: Float[Array, ""],
    outputscale: Float[Array, ""],
) -> Float[Array, "a b"]:
    """Covariances of a Gaussian process between two sets of inputs.

    Args:
        name: "rbf", "matern52" or "linear" (``outputscale * x1 · x2``, the lengthscale unused).
        x1: inputs.
        x2: inputs.
        lengthscale: of all columns.
        outputscale: variance of the process (of a coefficient, for "linear").
    """
    if name == "linear":
        return outputscale * x1 @ x2.T
    square = jnp.sum((x1[:, None] - x2[None]) ** 2, -1) / lengthscale**2
    if name == "rbf":
        return outputscale * jnp.exp(-0.5 * square)
    r = jnp.sqrt(5 * square + 1e-12)
    return outputscale * (1 + r + r**2 / 3) * jnp.exp(-r)


class GaussianProcess(TaskPrior):
    """Noisy values of a Gaussian process; each parameter a number or a NumPyro distribution.

    With ``variance ~ InverseGamma(a, b)`` all values share a random scale: a Student-t process,
    and with the linear kernel the conjugate Bayesian regression.

    Args:
        inputs: number of columns of x.
        kernel: "rbf", "matern52" or "linear".
        lengthscale: in units of x.
        outputscale: variance of the process.
        noise: variance of the noise.
        variance: multiplies process and noise.
        design: law of each entry of x; uniform on [0, 1] unless given.

    Raises:
        TrainingError: the kernel is unknown or a number is not positive.
    """

    columns: int = eqx.field(static=True)
    kernel: Literal["rbf", "matern52", "linear"] = eqx.field(static=True)
    lengthscale: Any
    outputscale: Any
    noise: Any
    variance: Any
    design: Any

    def __init__(
        self,
        inputs: int = 1,
        *,
        kernel: Literal["rbf", "matern52", "linear"] = "rbf",
        lengthscale: Any = 0.2,
        outputscale: Any = 1.0,
        noise: Any = 0.01,
        variance: Any = 1.0,
        design: Any = None,
    ) -> None:
        if kernel not in _KERNELS or inputs < 1:
            raise TrainingError(
                f"GaussianProcess: kernel must be one of {_KERNELS} and inputs positive, got "
                f"{kernel!r} and {inputs}."
            )
        numbers = {"lengthscale": lengthscale, "outputscale": outputscale,
                   "noise": noise, "variance": variance}  # fmt: skip
        for name, value in numbers.items():
            if isinstance(value, int | float) and not value > 0:
                raise TrainingError(f"GaussianProcess: {name} must be positive, got {value}.")
        self.columns, self.kernel = inputs, kernel
        self.lengthscale, self.outputscale = lengthscale, outputscale
        self.noise, self.variance = noise, variance
        self.design = dist.Uniform(0.0, 1.0) if design is None else design

    @property
    def inputs(self) -> int:
        """Number of columns of x."""
        return self.columns

    def draw(self, key: Key, visible: Int[Array, ""], context: int, queries: int) -> Draw:
        """One data set; a query's law given any prefix of the context costs one Cholesky factor."""
        keys = jax.random.split(key, 7)
        x = self.design.sample(keys[0], (context + queries, self.inputs))
        lengthscale = _value(keys[1], self.lengthscale)
        outputscale = _value(keys[2], self.outputscale)
        noise, scale = _value(keys[3], self.noise), jnp.sqrt(_value(keys[4], self.variance))
        cross = kernel_matrix(self.kernel, x[:context], x, lengthscale, outputscale)
        own = kernel_matrix(self.kernel, x[:1], x[:1], lengthscale, outputscale)[0, 0]
        if self.kernel == "linear":
            own = outputscale * jnp.sum(x[context:] ** 2, -1)
        ridge = noise + _JITTER * (outputscale + noise)
        factor = jnp.linalg.cholesky(cross[:, :context] + ridge * jnp.eye(context))
        white = jax.random.normal(keys[5], (context,))
        # Rows of the factor are prefixes' factors too: sums over visible rows condition on them.
        explained = jax.scipy.linalg.solve_triangular(factor, cross[:, context:], lower=True)
        seen = (jnp.arange(context) < visible)[:, None]
        mean = jnp.sum(jnp.where(seen, explained * white[:, None], 0.0), 0)
        left = own - jnp.sum(jnp.where(seen, explained**2, 0.0), 0)
        sd = jnp.sqrt(jnp.maximum(left, 0.0) + noise)
        y_query = mean + sd * jax.random.normal(keys[6], (queries,))
        y = jnp.concatenate([factor @ white, y_query])
        return Draw(x, scale * y, scale * mean, scale * sd)
