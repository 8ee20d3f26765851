"""Tail probabilities of symmetric families, as logarithms that are right far out, and inverses."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.custom_derivatives import SymbolicZero
from jax.scipy import special
from jaxtyping import Array, Float

_HALVINGS = 14  # after which four steps by Newton double the digits each time
_Values = Float[Array, "..."]


def log_cdf(base: Any, z: _Values) -> _Values:
    """Log of P(Z <= z), where Z is standardised by the location and scale of ``base``."""
    below = z <= 0
    tail = log_tail(base, jnp.where(below, z, -z))
    return jnp.where(below, tail, jnp.log1p(-jnp.exp(jnp.where(below, -1.0, tail))))


def log_between(base: Any, a: _Values, b: _Values) -> _Values:
    """Log of P(a < Z < b); intervals in a tail and narrow ones keep their digits."""
    turn = a + b > 0
    a, b = jnp.where(turn, -b, a), jnp.where(turn, -a, b)
    upper = log_cdf(base, b)
    fall = log_cdf(base, a) - upper
    # the difference of two close tails has no digits left; Simpson's rule has
    narrow = (b - a) * jnp.maximum(1.0, jnp.abs(a)) < 0.1
    apart = upper + jnp.log1p(-jnp.exp(jnp.where(narrow, -1.0, fall)))
    if isinstance(base, dist.Laplace):  # the rule wants a smooth density
        return jnp.where(narrow, upper + jnp.log(-jnp.expm1(jnp.minimum(fall, -1e-30))), apart)
    middle = _log_pdf(base, (a + b) / 2)
    sides = jnp.exp(_log_pdf(base, a) - middle) + jnp.exp(_log_pdf(base, b) - middle)
    rule = middle + jnp.log((sides + 4) / 6) + jnp.log(jnp.where(narrow, b - a, 1.0))
    return jnp.where(narrow, rule, apart)


def _log_pdf(base: Any, z: _Values) -> _Values:
    return base.log_prob(base.loc + base.scale * z) + jnp.log(base.scale)


def log_tail(base: Any, z: _Values) -> _Values:
    """Log of P(Z <= z) for z <= 0."""
    if isinstance(base, dist.StudentT):
        z, df = jnp.broadcast_arrays(z, jnp.asarray(base.df, z.dtype))
        return _student_log_tail(z, df)
    if isinstance(base, dist.Normal):
        return special.log_ndtr(z)
    if isinstance(base, dist.Laplace):
        return z - jnp.log(2.0)
    if isinstance(base, dist.Logistic):
        return jax.nn.log_sigmoid(z)
    if isinstance(base, dist.Cauchy):
        return jnp.log(jnp.arctan2(jnp.ones_like(z), -z) / jnp.pi)
    assert isinstance(base, dist.SoftLaplace)
    near = jnp.log(jnp.arctan(jnp.exp(jnp.maximum(z, -20.0))))
    return jnp.where(z < -20, z, near) + jnp.log(2 / jnp.pi)


@jax.custom_jvp
def _student_log_tail(z: _Values, df: _Values) -> _Values:
    square = z**2
    near = square < df  # there the other tail of the beta distribution has the digits
    half, nu = jnp.full_like(df, 0.5), df / 2
    part = special.betainc(
        jnp.where(near, half, nu),
        jnp.where(near, nu, half),
        jnp.where(near, square, df) / (df + square),
    )
    probability = jnp.where(near, (1 - part) / 2, part / 2)
    # below the smallest number the first term of the series in df / (df + z^2) is left
    log_x = -jnp.log1p(square / df)
    first = nu * log_x - jnp.log(2 * nu) - special.betaln(nu, half)
    first = first + 0.5 * jnp.log1p(-jnp.exp(jnp.minimum(log_x, -1e-6)))
    series = first - jnp.log1p(-jnp.exp(log_x) * (nu + 0.5) / (nu + 1))
    tiny = 1e6 * jnp.finfo(z.dtype).tiny
    return jnp.where(probability < tiny, series, jnp.log(jnp.maximum(probability, tiny)))


_AROUND = np.array([0.0, 1.0, -1.0, 2.0, -2.0])  # where a derivative is taken from, in steps


def _student_log_tail_jvp(primals: Any, tangents: Any) -> tuple[_Values, _Values]:
    z, df = map(jnp.asarray, primals)
    along_z, along_df = tangents
    if isinstance(along_df, SymbolicZero):
        tail, change = _student_log_tail(z, df), jnp.zeros_like(z)
    else:
        # the incomplete beta function has no derivative in its shape, but smooth values; all in
        # one call, because compiling it is dear
        step = 0.03 * df
        at = jnp.expand_dims(_AROUND.astype(z.dtype), range(1, z.ndim + 1))
        tails = _student_log_tail(jnp.broadcast_to(z, (5, *z.shape)), df + at * step)
        tail = tails[0]
        one, two = tails[1] - tails[2], tails[3] - tails[4]
        change = (8 * one - two) / (12 * step) * along_df
    if not isinstance(along_z, SymbolicZero):
        slope = jnp.exp(_log_pdf(dist.StudentT(df, validate_args=False), z) - tail)
        change = change + slope * along_z
    return tail, change


_student_log_tail.defjvp(_student_log_tail_jvp, symbolic_zeros=True)


def tail_quantile(base: Any, log_p: _Values) -> _Values:
    """The z <= 0 whose log tail probability is ``log_p``, at most log(1/2)."""
    reach = jnp.arcsinh(jnp.sqrt(jnp.finfo(log_p.dtype).max))
    first = jnp.full(log_p.shape, -reach, log_p.dtype)

    def step(i: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        lower, upper, x = state  # hyperbolic arcsines: the tails may be heavy
        z = jnp.sinh(x)
        tail = log_tail(base, z)
        lower, upper = jnp.where(tail < log_p, x, lower), jnp.where(tail < log_p, upper, x)
        slope = jnp.exp(_log_pdf(base, z) - tail) * jnp.cosh(x)
        newton = jnp.clip(x + (log_p - tail) / slope, lower, upper)
        halved = (i < _HALVINGS) | jnp.isnan(newton)
        return lower, upper, jnp.where(halved, (lower + upper) / 2, newton)

    start = (first, jnp.zeros_like(first), first / 2)
    return jnp.sinh(jax.lax.fori_loop(0, _HALVINGS + 5, step, start)[2])
