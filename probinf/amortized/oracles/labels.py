"""Labels whose logits are values of a process: their predictive by elliptical slice sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.special

from probinf.amortized.oracles.exact import check_inverse_gamma, conditioned
from probinf.core.inputs.arrays import ArrayLike
from probinf.core.inputs.classes import as_labels
from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_generator
from probinf.errors import MethodError

_WORTH = 5  # independent draws that each chain must stand for


class LabelLaw(NamedTuple):
    """Predictive laws of labels, by Monte Carlo.

    Attributes:
        probabilities: of each class (columns) at each new row.
        error: their Monte Carlo standard errors.
    """

    probabilities: np.ndarray
    error: np.ndarray

    def log_density(self, y: ArrayLike) -> np.ndarray:
        """Log probability of the labels y."""
        labels = np.asarray(y, int)
        return np.asarray(np.log(self.probabilities[np.arange(len(labels)), labels]))


def gaussian_process_labels(
    x: ArrayLike,
    y: ArrayLike,
    x_new: ArrayLike,
    *,
    classes: int = 2,
    kernel: str = "rbf",
    lengthscale: float = 0.2,
    outputscale: float = 1.0,
    noise: float = 0.01,
    inverse_gamma: tuple[float, float] | None = None,
    layers: int = 1,
    key: Any = 0,
    chains: int = 64,
    draws: int = 400,
) -> LabelLaw:
    """Predictive of labels drawn from the softmax of independent processes, one for each class.

    For two classes that is the logistic link of one process of twice the variance, so that all
    numbers of classes follow one rule. Chains of elliptical slice sampling start at draws from
    the prior; a random scale is one more normal coordinate, its quantile. Exact up to ``error``,
    which is that of the means of independent chains.

    Args:
        x: inputs, n rows; n may be 0.
        y: labels 0 to ``classes - 1``.
        x_new: inputs to predict at.
        classes: number of labels.
        kernel: of the process; see ``gaussian_process``.
        lengthscale: in units of x.
        outputscale: variance of each process; of "arccosine" where x is zero.
        noise: variance of what each row adds to its logits.
        inverse_gamma: ``(a, b)`` where all classes' processes and noise share a variance
            ~ InverseGamma(a, b).
        layers: hidden layers of the network, for "arccosine".
        key: random key or seed.
        chains: independent chains.
        draws: of each chain, after half as many that are thrown away.

    Raises:
        ArrayError: as ``gaussian_process`` does, or the labels are not 0 to ``classes - 1``.
        MethodError: as ``gaussian_process`` does, there are fewer than 8 chains, or the chains
            are too short for these data.

    Source: Murray, Adams & MacKay (2010), "Elliptical slice sampling"; Lee, Yun, Yang & Lee
    (2022), "Scale mixtures of neural network Gaussian processes".
    """
    at_least(2, classes=classes)
    at_least(8, chains=chains)
    at_least(10, draws=draws)
    check_inverse_gamma(inverse_gamma)
    n = np.size(y)
    labels = np.asarray(as_labels("y", y if n else np.zeros(0, int), classes))
    factor, explained, variance = conditioned(
        x, x_new, n, kernel, lengthscale, outputscale, noise, layers
    )
    rng = as_generator(key)

    def scale(state: np.ndarray) -> np.ndarray:
        """Square root of the shared variance, whose normal score is the last coordinate."""
        if inverse_gamma is None:
            return np.ones((len(state), 1, 1))
        a, b = inverse_gamma
        score, tail = state[:, -1], scipy.special.ndtr(-abs(state[:, -1]))
        small, large = scipy.special.gammaincinv(a, tail), scipy.special.gammainccinv(a, tail)
        precision = np.maximum(np.where(score > 0, small, large), np.finfo(float).tiny)
        return np.asarray(np.sqrt(b / precision)[:, None, None])

    def white(state: np.ndarray) -> np.ndarray:
        return state[:, : n * classes].reshape(len(state), n, classes)

    def log_likelihood(state: np.ndarray) -> np.ndarray:
        logits = scale(state) * (factor @ white(state))
        chosen = scipy.special.log_softmax(logits, -1)[:, np.arange(n), labels]
        return np.asarray(chosen.sum(-1))

    def predicted(state: np.ndarray) -> np.ndarray:
        mean = explained.T @ white(state)
        spread = np.sqrt(variance)[:, None] * rng.normal(size=mean.shape)
        both = [scipy.special.softmax(scale(state) * (mean + e), -1) for e in (spread, -spread)]
        return np.mean(both, 0)

    state = rng.normal(size=(chains, n * classes + 1))
    value = log_likelihood(state)
    total, path = np.zeros((chains, len(variance), classes)), []
    for step in range(draws + draws // 2):
        state, value = _slice(rng, state, value, log_likelihood)
        if step >= draws // 2:
            total += predicted(state)
            path.append(value)
    _mixed(np.array(path))
    means = total / draws
    return LabelLaw(means.mean(0), means.std(0, ddof=1) / np.sqrt(chains))


def _slice(
    rng: np.random.Generator,
    state: np.ndarray,
    value: np.ndarray,
    log_likelihood: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """One step of each chain: a point of the ellipse through its state and a normal draw."""
    other = rng.normal(size=state.shape)
    level = value - rng.exponential(size=len(state))
    angle = rng.uniform(0.0, 2 * np.pi, len(state))
    low, high = angle - 2 * np.pi, angle.copy()
    new, found, todo = state.copy(), value.copy(), np.arange(len(state))
    while todo.size:
        turn = angle[todo, None]
        tried = np.cos(turn) * state[todo] + np.sin(turn) * other[todo]
        reached = log_likelihood(tried)
        inside = reached > level[todo]
        new[todo[inside]], found[todo[inside]] = tried[inside], reached[inside]
        todo = todo[~inside]
        below = angle[todo] < 0
        low[todo[below]], high[todo[~below]] = angle[todo[below]], angle[todo[~below]]
        angle[todo] = rng.uniform(low[todo], high[todo])
    return new, found


def _mixed(path: np.ndarray) -> None:
    """Refuses chains whose mean log likelihoods differ by more than a few draws' would."""
    spread = path.var()
    if spread > 0 and path.mean(0).var(ddof=1) > spread / _WORTH:
        raise MethodError(
            f"a chain of {len(path)} draws is worth fewer than {_WORTH} independent ones; "
            "increase draws."
        )
