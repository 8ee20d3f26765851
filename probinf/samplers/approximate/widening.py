"""Widening: a law mixed with one of heavier tails, so that weights tell what the law leaves out.

A posterior with an exponential tail, as that of a log scale or of a small share, has there a few
hundredths of its mass where no draw of a normal law ever comes. The law's own weights then are all
of a size, Pareto k is low, and the evidence is too small by many of its stated errors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.batches import mapped
from probinf.core.compiling import jitted
from probinf.core.program import Key, Program, log_density
from probinf.runtime.method import Run

SHARE = 0.25
"""Of the heavier law, in the mixture."""

_DEGREES = 3.0
_LOG_C = -1.000888849  # of the density of Student's t with three degrees of freedom, at 0


class Compared(NamedTuple):
    """Draws of a law and both log densities there, on the host.

    Attributes:
        rows: (n, d).
        log_q: (n,) of the law.
        log_p: (n,) of the program, unnormalised; -inf where it is NaN.
    """

    rows: np.ndarray
    log_q: np.ndarray
    log_p: np.ndarray

    @property
    def log_ratio(self) -> np.ndarray:
        """(n,) log importance weights; -inf where nothing is known."""
        ratio = self.log_p - self.log_q
        return np.where(np.isfinite(ratio), ratio, -np.inf)


def compared(run: Run, law: Any, key: Key, count: int) -> Compared:
    """Draws of a law, with what the program says of them."""
    rows, log_q, log_p = _drawn(run.flat, law, jax.random.split(key, count))
    return Compared(np.asarray(rows), np.asarray(log_q, float), np.asarray(log_p, float))


def widened(run: Run, law: Any, seen: Compared, key: Key) -> Compared:
    """The draws of a law, joined by so many of a heavier one that they are a mixture's.

    In the coordinates in which the draws have covariance one, the heavier law has independent
    entries of Student's t with three degrees of freedom. ``log_q`` is the mixture's.

    Args:
        run: finished.
        law: in the flat coordinates.
        seen: its draws.
        key: of the draws of the other law.

    Source: Hesterberg (1995), defensive mixtures; Veach & Guibas (1995) for taking all draws as
    the mixture's.
    """
    count = round(len(seen.rows) * SHARE / (1 - SHARE))
    mean, factor = _moments(seen.rows)
    z = np.asarray(jax.random.t(key, _DEGREES, (count, mean.size)), float)
    rows = (mean + z @ factor.T).astype(seen.rows.dtype)
    log_law, log_p = (np.asarray(v, float) for v in _scored(run.flat, law, jnp.asarray(rows)))
    every = np.concatenate([seen.rows, rows])
    inner = np.concatenate([seen.log_q, log_law])
    z = np.linalg.solve(factor, (every.astype(float) - mean).T).T
    outer = (_LOG_C - 2 * np.log1p(z**2 / 3)).sum(axis=1) - np.log(np.diag(factor)).sum()
    share = count / len(every)
    inner = np.where(np.isnan(inner), -np.inf, inner)
    mixed = np.logaddexp(np.log1p(-share) + inner, np.log(share) + outer)
    return Compared(every, mixed, np.concatenate([seen.log_p, log_p]))


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of draws and Cholesky factor of their covariance; of variances, where it has none."""
    rows = rows.astype(float)
    mean = rows.mean(axis=0)
    centred = rows - mean
    if len(rows) > 10 * mean.size:
        try:
            return mean, np.linalg.cholesky(centred.T @ centred / (len(rows) - 1))
        except np.linalg.LinAlgError:
            pass
    return mean, np.diag(np.maximum(rows.std(axis=0, ddof=1), np.finfo(float).tiny))


@jitted
def _drawn(flat: Program, law: Any, keys: Key) -> Any:
    def one(key: Key) -> Any:
        if hasattr(law, "sample_and_log_density"):  # a flow's draw need not be inverted
            x, log_q = law.sample_and_log_density(key)
        else:
            x = law.sample(key)
            log_q = law.log_density(x)
        return x, log_q, log_density(flat, x)

    return mapped(one, keys, 256)


@jitted
def _scored(flat: Program, law: Any, rows: Any) -> Any:
    return mapped(lambda x: (law.log_density(x), log_density(flat, x)), rows, 256)
