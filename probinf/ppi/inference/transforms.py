"""Functions of the parameters as results of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.errors import ArrayError
from probinf.ppi.inference.influence import Influence

if TYPE_CHECKING:
    from probinf.ppi.inference.result import Result


def linearised(function: Callable[[Any], Any], theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value (k,) and derivative (k, d) of a function of the parameters (d,)."""
    with jax.enable_x64(True):
        at = jnp.asarray(theta)
        value = np.atleast_1d(np.asarray(function(at), float))
        slope = np.asarray(jax.jacrev(lambda t: jnp.atleast_1d(function(t)))(at), float)
    return value, slope


def transformed(
    result: Result, value: np.ndarray, slope: np.ndarray, names: Any, what: str
) -> Result:
    """The result for ``value`` (k,): the errors are those of ``result`` times ``slope`` (k, d)."""
    count = len(value)
    labels = tuple(f"{what}{j}" for j in range(count)) if names is None else tuple(names)
    if len(labels) != count:
        raise ArrayError(f"{len(labels)} names for {count} values.")
    several = len(result.theta) > 1
    skewness = None  # of a sum of estimates, or of a curve, these skewnesses do not tell
    if result.skewness is not None and what == "contrast" and not several:
        skewness = result.skewness * np.sign(slope[:, 0])
    rows = result.contributions

    def moved() -> Influence:
        assert rows is not None
        mine, theirs = rows()
        return Influence(mine @ slope.T, theirs @ slope.T)

    alone = result.imputed

    def moved_imputed() -> tuple[np.ndarray, np.ndarray]:
        assert alone is not None
        bias, theirs = alone()
        return slope @ bias, theirs @ slope.T

    return dataclasses.replace(
        result,
        estimand=f"{what} of {result.estimand}",
        names=labels,
        theta=value,
        cov=slope @ result.cov @ slope.T,
        cov_labeled=slope @ result.cov_labeled @ slope.T,
        df=np.full(count, result.df.min()),
        rho=np.full(count, np.nan) if several else result.rho,
        contributions=None if rows is None else moved,
        skewness=skewness,
        imputed=None if alone is None else moved_imputed,
    )
