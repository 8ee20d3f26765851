"""The joint variance of scores and controls, and what follows from it: tuning and covariance.

Every estimator here solves ``g(theta) + M c(theta) = 0``: g is the mean score of the labelled
rows, c the *control*, the mean score under predictions of the unlabelled rows minus that of the
labelled ones, which has expectation zero, and M says how far to trust it. Designs differ only in
how the joint variance of (g, c) is estimated. The functions take NumPy or JAX arrays alike.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Array: TypeAlias = Any  # a NumPy or JAX array
Tune: TypeAlias = str | float | int | np.number | None


_BLOCK = 2048


class Parts(NamedTuple):
    """Means, variances and derivatives of the score g (d,) and the control c (q,).

    Attributes:
        score: (d,) mean score of labelled rows.
        control: (q,) mean control.
        gg, gc, cc: (d, d), (d, q), (q, q): variance of the two means that is due to labelled
            rows, with divisor n squared.
        cu: (q, q) variance of the control that is due to unlabelled rows.
        pooled: (q, q) variance of the control if both samples share one law, as ppi_py tunes.
        jac_g, jac_c: (d, d), (q, d) derivatives with respect to the parameters.
    """

    score: Array
    control: Array
    gg: Array
    gc: Array
    cc: Array
    cu: Array
    pooled: Array
    jac_g: Array
    jac_c: Array


def namespace(a: Array) -> Any:
    """`jax.numpy` for JAX arrays, NumPy for all others."""
    return jnp if isinstance(a, jax.Array) else np


class Unlabeled(NamedTuple):
    """What `parts` needs of the unlabelled scores u (N, q) with weights beta.

    Attributes:
        mean: (q,) weighted mean.
        spread: (q, q) sum of the outer products of ``beta * (u - mean)``; of ``beta * u`` where
            rows are one sample.
    """

    mean: Array
    spread: Array


def unlabeled_moments(u: Array, beta: Array, *, joint: bool = False) -> Unlabeled:
    """`Unlabeled` of scores that are at hand."""
    mean = beta @ u
    return Unlabeled(mean, spread(u, beta, None if joint else mean))


class Totals(NamedTuple):
    """Sums over rows of scores u (N, d) with weights beta, from one pass.

    Attributes:
        mean: (d,) sum of ``beta u``.
        jac: (d, d) its derivative.
        twice: (d,) sum of ``beta^2 u``.
        raw: (d, d) sum of ``beta^2 u u'``.
    """

    mean: jax.Array
    jac: jax.Array
    twice: jax.Array
    raw: jax.Array

    def centred(self, squares: Array) -> jax.Array:
        """(d, d) sum of ``beta^2 (u - mean) (u - mean)'``, ``squares`` being the sum of beta^2.

        Where it is within rounding of a constant score it is zero.
        """
        cross = jnp.outer(self.twice, self.mean)
        found = self.raw - cross - cross.T + squares * jnp.outer(self.mean, self.mean)
        varies = jnp.diagonal(found) > 1e-13 * jnp.diagonal(self.raw)
        return jnp.where(jnp.outer(varies, varies), found, 0.0)


def spread(rows: Array, weights: Array, mean: Array | None) -> Array:
    """Sum of the outer products of ``weights * (rows - mean)``; mean zero if None."""
    v = weights[:, None] * (rows if mean is None else _centred(rows, mean))
    return v.T @ v


def parts(
    g: Array,
    h: Array,
    theirs: Unlabeled,
    alpha: Array,
    gamma: Array,
    beta: Array,
    jac_g: Array,
    jac_c: Array,
    *,
    joint: bool = False,
) -> Parts:
    """`Parts` of independent rows.

    Args:
        g: (n, d) scores of labelled rows.
        h: (n, q) scores of labelled rows under predictions.
        theirs: moments of unlabelled rows under predictions.
        alpha: (n,) weights of g; they sum to one.
        gamma: (n,) weights of h in the control.
        beta: (N,) weights of u in the control.
        jac_g: (d, d) derivative of the weighted score.
        jac_c: (q, d) derivative of the weighted control.
        joint: rows are one sample with known labelling probabilities: centre on the joint mean
            instead of each sample on its own.
    """
    xp = namespace(g)
    score, minus = alpha @ g, gamma @ h
    control = theirs.mean - minus
    if joint:
        rows = (alpha > 0).sum() + (beta > 0).sum()
        a, b = alpha[:, None] * g, -gamma[:, None] * h
        gg = a.T @ a - xp.outer(score, score) / rows
        gc = a.T @ b - xp.outer(score, control) / rows
        cc = b.T @ b + theirs.spread - xp.outer(control, control) / rows
        return Parts(score, control, gg, gc, cc, xp.zeros_like(cc), cc, jac_g, jac_c)
    a = alpha[:, None] * (g - score)
    b = -gamma[:, None] * _centred(h, minus)
    gg, gc, cc, cu = a.T @ a, a.T @ b, b.T @ b, theirs.spread
    one, two = 1 / (alpha @ alpha), 1 / (beta @ beta)
    between = one * two / (one + two) * xp.outer(control, control)
    pooled = (one**2 * cc + two**2 * cu + between) / (one + two - 1) * (1 / one + 1 / two)
    return Parts(score, control, gg, gc, cc, cu, pooled, jac_g, jac_c)


def over_blocks(function: Callable[[Any, jax.Array], Any], rows: Any, weights: jax.Array) -> Any:
    """Sum of ``function(rows, weights)``, itself a sum over rows, in blocks that fit the cache."""
    count = weights.shape[0] // _BLOCK
    if count < 8:
        return function(rows, weights)

    def add(i: jax.Array, total: Any) -> Any:
        cut = partial(jax.lax.dynamic_slice_in_dim, start_index=i * _BLOCK, slice_size=_BLOCK)
        return jax.tree.map(jnp.add, total, function(*jax.tree.map(cut, (rows, weights))))

    rest = function(*jax.tree.map(lambda a: a[count * _BLOCK :], (rows, weights)))
    return jax.lax.fori_loop(0, count, add, rest)


def _centred(rows: Array, mean: Array) -> Array:
    """``rows - mean``, where the rounding of constant columns counts as zero."""
    gap = rows - mean
    xp = namespace(gap)
    return xp.where(xp.abs(gap) <= 1e-14 * xp.abs(mean), 0.0, gap)


def jacobian(p: Parts, M: Array) -> Array:
    """Derivative of ``g + M c``."""
    return p.jac_g + M @ p.jac_c


def _pinv(a: Array) -> Array:
    """Pseudo-inverse of a variance whose units may differ by column."""
    xp = namespace(a)
    sd = xp.sqrt(xp.diagonal(a))
    inverse_sd = xp.where(sd > 0, 1 / xp.where(sd > 0, sd, 1.0), 0.0)
    scale = xp.outer(inverse_sd, inverse_sd)
    return xp.linalg.pinv(a * scale, rcond=1e-9, hermitian=True) * scale


def _ratio(top: Array, bottom: Array) -> Array:
    xp = namespace(bottom)
    return xp.where(bottom > 0, top / xp.where(bottom > 0, bottom, 1.0), 0.0)


def tuned(
    p: Parts, tune: Tune, *, clip: bool, pooled: bool = False, hessian: Array | None = None
) -> Array:
    """The (d, q) tuning matrix M that minimises a variance.

    Args:
        p: parts at a first estimate.
        tune: None: M = 0. A float: that multiple of the identity. ``"trace"``: the multiple
            that minimises the sum of all variances; an integer j, that of parameter j.
            ``"element"``: every parameter its own. ``"diagonal"``: a diagonal weight per score.
            ``"matrix"``: the best linear one.
        clip: keep multiples within [0, 1].
        pooled: use the pooled variance of the control, as ppi_py does. The variance that goes with
            the labelled covariance is better: errors of the two cancel, as in a regression.
        hessian: (d, d) derivative of the scores; that of ``p`` by default.

    Source: PPI++ (arXiv 2311.01453), proposition 2; the matrix is the regression of g on -c.
    """
    xp = namespace(p.gg)
    d, q = p.gc.shape
    if tune is None:
        return xp.zeros((d, q))
    spread = p.pooled if pooled else p.cc + p.cu
    if tune == "matrix":
        return -p.gc @ _pinv(spread)
    eye = xp.eye(d)
    if isinstance(tune, float):
        return tune * eye
    J = jacobian(p, eye) if hessian is None else hessian
    inverse = xp.linalg.inv(J)
    top = -xp.diagonal(inverse @ (p.gc + p.gc.T) @ inverse.T) / 2
    bottom = xp.diagonal(inverse @ spread @ inverse.T)
    if tune == "trace":
        lam = _ratio(top.sum(), bottom.sum())
    elif tune in ("element", "diagonal"):
        lam = _ratio(top, bottom)
    else:
        lam = _ratio(top[tune], bottom[tune])
    if clip:
        lam = xp.clip(lam, 0.0, 1.0)
    if tune == "element":  # parameter j is then moved by lam[j] times its own control
        return J @ (lam[:, None] * inverse)
    return lam * eye


def covariance(p: Parts, M: Array, labeled: Array, unlabeled: Array) -> tuple[Array, Array]:
    """Covariances (d, d) of the estimate that are due to labelled and to unlabelled rows.

    ``labeled`` and ``unlabeled`` are the small-sample factors, n / (n - k) say.
    """
    inverse = namespace(p.gg).linalg.inv(jacobian(p, M))
    cross = M @ p.gc.T
    mine = p.gg + cross + cross.T + M @ p.cc @ M.T
    return inverse @ mine @ inverse.T * labeled, inverse @ M @ p.cu @ M.T @ inverse.T * unlabeled


def correlation(p: Parts, M: Array) -> Array:
    """(d,) correlation of each parameter's influence with its best use of the controls."""
    xp = namespace(p.gg)
    inverse = xp.linalg.inv(jacobian(p, M))
    total = xp.diagonal(inverse @ p.gg @ inverse.T)
    d, q = p.gc.shape
    if d == q:
        top = -xp.diagonal(inverse @ p.gc @ inverse.T)
        return _ratio(top, xp.sqrt(total * xp.diagonal(inverse @ p.cc @ inverse.T)))
    explained = xp.diagonal(inverse @ p.gc @ _pinv(p.cc) @ p.gc.T @ inverse.T)
    return xp.sqrt(_ratio(explained, total))


def welch(mine: Array, theirs: Array, df_mine: Array, df_theirs: Array) -> Array:
    """Welch's degrees of freedom of a sum of two independent variances (d,)."""
    xp = namespace(mine)
    total = mine + theirs
    bottom = mine**2 / df_mine + theirs**2 / df_theirs
    return xp.where(bottom > 0, total**2 / xp.where(bottom > 0, bottom, 1.0), df_mine)
