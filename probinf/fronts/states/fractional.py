"""Fractional noise as a few exponentials that share one Brownian motion: a Markov approximation."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from probinf.core.inputs.arrays import ArrayLike, as_float, is_traced
from probinf.core.inputs.limits import inside
from probinf.core.keys import as_key
from probinf.core.program import Key
from probinf.errors import ArrayError

if TYPE_CHECKING:
    from probinf.fronts.states.fractional_law import FractionalLaw

LOWEST, HIGHEST = 0.01, 0.99  # Hurst indices between which weights are interpolated
_DEGREE = 40  # of that interpolation
_RATIO = 4.0  # between the rates of two neighbouring exponentials
_SLOWEST, _FASTEST = 0.1, 1000.0  # rates: of the whole time, and of the shortest step


@dataclasses.dataclass(frozen=True)
class Basis:
    """Exponentials on times from 0 to 1, in coordinates in which they are nearly uncorrelated.

    The processes ``dY_k = -rate_k Y_k dt + dW`` share one W and are almost the same, so that
    weights on them are huge and cancel. In ``z = into Y``, whose covariance is the identity in
    the long run, weights are of the size of the process itself and single precision is enough.
    """

    rates: np.ndarray
    into: np.ndarray
    back: np.ndarray

    @classmethod
    def of(cls, step: float) -> Basis:
        """For times whose shortest distance is ``step``."""
        count = int(np.ceil(np.log(_FASTEST / step / _SLOWEST) / np.log(_RATIO))) + 1
        rates = _SLOWEST * _RATIO ** np.arange(count)
        size, axes = np.linalg.eigh(1 / (rates[:, None] + rates))
        axes, size = axes[:, size > 1e-13 * size.max()], size[size > 1e-13 * size.max()]
        return cls(rates, (axes / np.sqrt(size)).T, (axes * np.sqrt(size)).T)

    def covariance(self, span: float) -> np.ndarray:
        """Of what a time ``span`` adds to z."""
        both = self.rates[:, None] + self.rates
        return np.asarray(self.into @ (-np.expm1(-both * span) / both) @ self.into.T)

    def kept(self, span: float) -> np.ndarray:
        """What is left of z after a time ``span``: a matrix."""
        return np.asarray(self.into * np.exp(-self.rates * span) @ self.back.T)

    def weights(self, hurst: float) -> tuple[np.ndarray, float]:
        """On z, and the variance of what they leave out.

        The weights minimise the squared error over [0, 1]. What is left out is shorter than a
        step, hence white noise on the times: with it, variances of increments are right too.
        """
        from scipy.special import gamma, gammainc

        a, rates = hurst + 0.5, self.rates
        both = rates[:, None] + rates
        area = self.into @ ((1 + np.expm1(-both) / both) / both) @ self.into.T
        with_kernel = rates**-a * (gammainc(a, rates) - a / rates * gammainc(a + 1, rates))
        v = np.linalg.lstsq(area, self.into @ with_kernel, rcond=1e-13)[0]
        shared = v @ self.into @ (rates**-a * gammainc(a, rates))
        rest = 1 / (2 * hurst * gamma(a) ** 2) - 2 * shared + v @ self.covariance(1.0) @ v
        return v, max(float(rest), 0.0)


@functools.lru_cache(maxsize=16)
def _interpolation(basis_step: float) -> np.ndarray:
    """(degree + 1, size + 1) Chebyshev coefficients of the loading in the Hurst index."""
    basis = Basis.of(basis_step)
    nodes = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
    hurst = LOWEST + (HIGHEST - LOWEST) * (nodes + 1) / 2
    found = [basis.weights(h) for h in hurst]
    values = np.array([[*v, np.sqrt(rest + 1e-10)] for v, rest in found])
    return np.asarray(np.polynomial.chebyshev.chebfit(nodes, values, _DEGREE))


def _root(covariance: np.ndarray) -> np.ndarray:
    """Lower triangular root, for matrices that are singular but for rounding too."""
    size, axes = np.linalg.eigh(covariance)
    root = np.linalg.qr((axes * np.sqrt(np.maximum(size, 1e-30))).T)[1].T
    return np.asarray(root * np.where(np.diag(root) < 0, -1.0, 1.0))


class FractionalNoise:
    """Fractional Brownian motion at given times, as a linear Gaussian state space.

    The Riemann-Liouville process ``B(t) = ∫ (t - s)^(H - 1/2) dW(s) / Γ(H + 1/2)`` from 0 to t,
    whose Hurst index H is rough below one half, Brownian at it and persistent above. It has no
    Markov property; a dozen exponentials with one Brownian motion, plus white noise for what is
    shorter than the shortest step, have the variances of its increments to within a few
    thousandths, so that ``n`` values cost O(n).

    Called, it is the law of observations, a NumPyro distribution; for a stochastic differential
    equation, :meth:`first`, :meth:`next` and :meth:`value` give its memory to
    :func:`probinf.from_state_space`.

    Args:
        times: (n,) positive and increasing; the process is 0 at time 0.
        increments: observe differences between neighbouring times, one value fewer: fractional
            Gaussian noise, stationary once time 0 is long past.

    Attributes:
        size: coordinates of the memory.

    Raises:
        ArrayError: times that are not positive, do not increase, or are too few.

    Source: Daems, Opper, Crevecoeur & Birdal (2024), "Variational inference for SDEs driven by
    fractional noise"; Harms & Stefanovits (2019).
    """

    def __init__(self, times: ArrayLike, *, increments: bool = False) -> None:
        t = np.asarray(as_float("times", times, ndim=1), float)
        if len(t) < 1 + increments:
            raise ArrayError(f"times: {1 + increments} or more are needed, got {len(t)}.")
        steps = np.diff(t, prepend=0.0)
        if not (steps > 0).all():
            worst = int(np.argmin(steps))
            raise ArrayError(
                f"times must be positive and increase; times[{worst}] is {t[worst]:g} after "
                f"{t[worst] - steps[worst]:g}. Remedy: count from the start of the process."
            )
        self.times, self.increments = t, increments
        self._step = float(f"{steps.min() / t[-1]:.6g}")
        spans, self._which = np.unique(np.round(steps / t[-1], 12), return_inverse=True)
        basis = Basis.of(self._step)
        self.size = len(basis.into) + 1
        kept, added = np.zeros((2, len(spans), self.size, self.size))
        added[:, -1, -1] = 1.0  # what the exponentials leave out is new at each time
        for k, span in enumerate(spans):
            kept[k, :-1, :-1] = basis.kept(span)
            added[k, :-1, :-1] = basis.covariance(span)
        self._kept, self._added = kept, added
        self._roots = np.array([_root(matrix) for matrix in added])
        self._coefficients = _interpolation(self._step)

    def loading(self, hurst: ArrayLike) -> Float[Array, " size"]:
        """What the memory is multiplied with to give the process; H between .01 and .99."""
        if not is_traced(hurst):
            inside(LOWEST, HIGHEST, closed=True, hurst=hurst)
        h = jnp.asarray(hurst)
        x = 2 * (h - LOWEST) / (HIGHEST - LOWEST) - 1
        x = jnp.where(abs(x) <= 1, x, jnp.nan)
        polynomials = jnp.cos(jnp.arange(_DEGREE + 1) * jnp.arccos(x))
        c = jnp.asarray(self._coefficients, x.dtype)
        return polynomials @ c * jnp.exp(h * float(np.log(self.times[-1])))

    def first(self) -> dist.Distribution:
        """Law of the memory at the first time."""
        return self._law(jnp.zeros(self.size), 0)

    def next(self, memory: Float[Array, " size"], step: Any) -> dist.Distribution:
        """Law of the memory at time ``step`` (an index), given the one at the time before."""
        kept = jnp.asarray(self._kept, memory.dtype)[jnp.asarray(self._which)[step]]
        return self._law(kept @ memory, step)

    def _law(self, mean: Float[Array, " size"], step: Any) -> dist.Distribution:
        root = jnp.asarray(self._roots, mean.dtype)[jnp.asarray(self._which)[step]]
        return dist.MultivariateNormal(mean, scale_tril=root)

    def value(self, hurst: ArrayLike, memory: Float[Array, "... size"]) -> Float[Array, "..."]:
        """The process at the time of a memory."""
        return memory @ self.loading(hurst)

    def paths(self, key: int | Key, hurst: ArrayLike, draws: int = 1) -> Float[Array, "draws n"]:
        """Draws of the process at all times, or of its increments."""
        return self(hurst).sample(as_key(key), (draws,))

    def __call__(
        self, hurst: Any, *, loc: Any = 0.0, scale: Any = 1.0, error: Any = 0.0
    ) -> FractionalLaw:
        """The law of ``loc + scale * process + error * white noise``.

        Args:
            hurst: H, between .01 and .99; a prior that reaches beyond has no likelihood there.
            loc: a number, or (n,) of each value.
            scale: a positive number.
            error: standard deviation of independent noise on each value; 0 for none.

        Raises:
            MethodError: one of them lies outside its range.
            ArrayError: ``loc`` has another length.
        """
        from probinf.fronts.states.fractional_law import FractionalLaw, Moves

        if not is_traced(scale):
            inside(0, np.inf, scale=scale)
        if not is_traced(error):
            inside(0, np.inf, closed=True, error=error)
        length = len(self.times) - self.increments
        if np.shape(loc) not in ((), (length,)):
            raise ArrayError(f"loc has shape {np.shape(loc)}; a number or ({length},) is needed.")
        return FractionalLaw(
            self.loading(hurst) * scale,
            jnp.broadcast_to(jnp.asarray(loc, float), (length,)),
            jnp.asarray(error, float),
            Moves(*map(jnp.asarray, (self._kept, self._added, self._roots, self._which))),
            self.increments,
        )
