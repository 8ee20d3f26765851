"""fit: a posterior becomes a program that can be drawn from, to start from or to go on with."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
from jaxtyping import Array, Float

from probinf.core.coordinates import Layout
from probinf.core.normalised import normalised
from probinf.core.program import Key, Program
from probinf.errors import MethodError, StructureError
from probinf.evidence.flow_fitting import flow_of
from probinf.results.posterior import Posterior
from probinf.results.statistics.weighted import counted, weights_of

_DEGREES = 5.0
_JITTER = 1e-6


class Ellipse(NamedTuple):
    """A normal or Student t law.

    Attributes:
        mean: (d,) location.
        factor: (d, d) Cholesky factor of the scale matrix.
        degrees: degrees of freedom; inf for the normal.
    """

    mean: Float[Array, " d"]
    factor: Float[Array, "d d"]
    degrees: Float[Array, ""]

    def sample(self, key: Key) -> Float[Array, " d"]:
        """One draw."""
        normal_key, scale_key = jax.random.split(key)
        z = jax.random.normal(normal_key, self.mean.shape, self.mean.dtype)
        finite = jnp.where(jnp.isinf(self.degrees), 1.0, self.degrees)
        # a chi-square over its degrees of freedom, as a gamma
        ratio = jax.random.gamma(scale_key, finite / 2, dtype=z.dtype) / (finite / 2)
        ratio = jnp.where(jnp.isinf(self.degrees), 1.0, ratio)
        return self.mean + self.factor @ z / jnp.sqrt(ratio)

    def log_density(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """Log density at a vector."""
        z = jax.scipy.linalg.solve_triangular(self.factor, x - self.mean, lower=True)
        d, square = x.shape[0], jnp.sum(z**2)
        log_det = jnp.sum(jnp.log(jnp.diagonal(self.factor)))
        is_normal = jnp.isinf(self.degrees)
        nu = jnp.where(is_normal, 1.0, self.degrees)
        normal = -0.5 * (square + d * jnp.log(2 * jnp.pi))
        student = (
            jax.scipy.special.gammaln((nu + d) / 2)
            - jax.scipy.special.gammaln(nu / 2)
            - 0.5 * d * jnp.log(nu * jnp.pi)
            - 0.5 * (nu + d) * jnp.log1p(square / nu)
        )
        return jnp.where(is_normal, normal, student) - log_det


Family = Literal["normal", "student", "flow"]


def fit(posterior: Posterior, family: Family | None = None) -> Program:
    """A normalised approximation of a posterior, as a program in the same coordinates.

    Normal and Student t laws are fitted by moments on the unconstrained scale, weights respected;
    a spline flow then learns from the draws what these miss: skewness, curved ridges, modes.
    ``rebase(program, fit(posterior))`` starts an engine from it and stays exact;
    ``with_base(new_program, fit(posterior))`` makes it the prior of new data, which is as
    approximate as the fit is.

    Args:
        posterior: from ``pi.sample``, or loaded with its program.
        family: "normal"; "student" with 5 degrees of freedom, whose tails cover more; or "flow",
            an autoregressive spline flow, which is trained for seconds. By default the law that
            an approximate engine has fitted itself (``VI``, ``Laplace``, ``Pathfinder``), and
            "student" for all others.

    Raises:
        StructureError: the posterior has no program.
        MethodError: the family is unknown, a coordinate is a random key, or the draws are too
            few for a covariance.
    """
    if family not in (None, "normal", "student", "flow"):
        raise MethodError(f"fit: family must be 'normal', 'student' or 'flow', got {family!r}.")
    if family is None and posterior.approximation is not None:
        return posterior.as_program()
    if posterior.program is None:
        raise StructureError("fit: this posterior has no program. Load it with program=.")
    if posterior.keys:
        raise MethodError("fit: a coordinate is a random key, which has no density to fit.")
    posterior.require_positions("fit")
    program = posterior.program
    layout = Layout.of(program)
    w = weights_of(posterior.log_weights.ravel())
    x = counted(posterior.unconstrained.reshape(-1, layout.size).astype(float), w)
    size = 1 / np.sum(w**2)
    if size < 2 * layout.size + 2:
        raise MethodError(
            f"fit: {size:.0f} effective draws are too few for a covariance in {layout.size} "
            f"dimensions; at least {2 * layout.size + 2} are needed."
        )
    mean = w @ x
    covariance = ((x - mean) * w[:, None]).T @ (x - mean) * size / (size - 1)
    variances = np.diag(covariance)
    if not (np.isfinite(variances).all() and (variances > 0).all()):
        raise MethodError("fit: a coordinate never moves or is not finite; nothing can be fitted.")
    covariance = covariance + _JITTER * np.diag(variances)
    if family == "flow":
        return normalised(
            program, flow_of(x, w, mean, np.linalg.cholesky(covariance), layout.dtype)
        )
    degrees = np.inf if family == "normal" else _DEGREES
    spread = 1.0 if family == "normal" else (_DEGREES - 2) / _DEGREES
    factor = np.linalg.cholesky(covariance * spread)
    ellipse = Ellipse(*(jnp.asarray(v, layout.dtype) for v in (mean, factor, degrees)))
    return normalised(program, ellipse)
