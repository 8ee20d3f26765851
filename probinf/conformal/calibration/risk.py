"""Control of risks other than miscoverage: conformal risk control, RCPS, learn then test."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.levels import fraction
from probinf.errors import ArrayError, MethodError


@dataclasses.dataclass(frozen=True)
class RiskControl:
    """The parameter that controls a risk.

    Attributes:
        index: column of ``losses`` that was chosen, a tuple of columns for several thresholds;
            None when no parameter is safe.
        risk: empirical risk of every parameter, (n_lambda,), or (d1, ..., dk) for k thresholds;
            with several risks one such array for each.
        valid: (n_lambda,) or (d1, ..., dk) parameters declared safe.
        alpha: the risk that was asked for, or a tuple of them.
        guarantee: what is promised, and under which assumption.
    """

    index: Any
    risk: np.ndarray
    valid: np.ndarray
    alpha: Any
    guarantee: str

    def summary(self) -> str:
        """The choice and its empirical risk, for reading."""
        several = isinstance(self.alpha, tuple)
        targets = ", ".join(f"{a:g}" for a in (self.alpha if several else (self.alpha,)))
        if self.index is None:
            return f"no parameter controls the risk at {targets} ({self.guarantee})"
        found = [risk[self.index] for risk in (self.risk if several else (self.risk,))]
        return (
            f"parameter {self.index} of {' x '.join(map(str, self.valid.shape))}, empirical risk "
            f"{', '.join(f'{r:.4g}' for r in found)} (target {targets}): {self.guarantee}"
        )

    __str__ = summary


def checked_losses(losses: ArrayLike, bound: Number, *, ndim: Any = 2) -> np.ndarray:
    """Losses (n, parameters...) in [0, bound]."""
    values = np.asarray(as_float("losses", losses, ndim=ndim), float)
    if values.size == 0:
        raise ArrayError("losses must be (n, n_lambda) with at least one row and column.")
    if not np.isfinite(bound) or bound <= 0:
        raise ArrayError(f"bound must be the finite largest possible loss, got {bound}.")
    if values.min() < 0 or values.max() > bound * (1 + 1e-12):
        raise ArrayError(
            f"losses must lie in [0, bound = {bound:g}], got {values.min():.3g} to "
            f"{values.max():.3g}; "
            "pass the largest possible loss as bound."
        )
    return values


def crc(losses: ArrayLike, *, alpha: Number, bound: Number = 1.0) -> RiskControl:
    """Conformal risk control: the least conservative parameter with ``E loss <= alpha``.

    Args:
        losses: (n, n_lambda) losses of calibration points, every row nonincreasing: parameters
            are ordered from bold to cautious.
        alpha: the risk allowed, in the units of the loss.
        bound: largest possible loss.

    Raises:
        ArrayError: a row increases (use :func:`ltt`), losses outside [0, bound], NaN.

    Source: Angelopoulos, Bates, Fisch, Lei & Schuster (2024), theorem 1.
    """
    values = checked_losses(losses, bound)
    if (np.diff(values, axis=1) > 1e-12 * bound).any():
        raise ArrayError(
            "losses must not increase along the parameters; order them from bold to cautious, or "
            "use ltt, which needs no monotone loss."
        )
    fraction("alpha / bound", float(alpha) / float(bound))
    n = len(values)
    risk = values.mean(axis=0)
    valid = (n * risk + bound) / (n + 1) <= alpha + 1e-12
    index = int(np.argmax(valid)) if valid.any() else None
    promise = "expected loss <= alpha (conformal risk control), exchangeable data"
    return RiskControl(index, risk, valid, float(alpha), promise)


def hoeffding_bentkus(risk: ArrayLike, n: int, alpha: Number) -> np.ndarray:
    """p-values of "the true risk exceeds alpha" from mean losses in [0, 1].

    Args:
        risk: (...) empirical risks.
        n: points that were averaged.
        alpha: the risk allowed.

    Source: Bates, Angelopoulos, Lei, Malik & Jordan (2021), section 3.1.
    """
    from scipy.special import rel_entr
    from scipy.stats import binom

    r = np.asarray(as_float("risk", risk), float)
    fraction("alpha", alpha)
    low = np.minimum(r, alpha)
    hoeffding = np.exp(-n * (rel_entr(low, alpha) + rel_entr(1 - low, 1 - alpha)))
    bentkus = np.e * binom.cdf(np.ceil(n * r - 1e-9), n, alpha)
    return np.asarray(np.minimum(np.minimum(hoeffding, bentkus), 1.0))


def betting_pvalue(losses: ArrayLike, alpha: Number, *, delta: Number = 0.1) -> np.ndarray:
    """p-values of "the true risk exceeds alpha" by betting against each loss in turn.

    Tighter than :func:`hoeffding_bentkus` where losses vary little. The order of the rows must
    not depend on the losses.

    Args:
        losses: (n, n_lambda) in [0, 1].
        alpha: the risk allowed.
        delta: the error probability for which the bets are tuned; any value is valid.

    Source: Waudby-Smith & Ramdas (2024), predictable plug-in bets.
    """
    values = checked_losses(losses, 1.0)
    fraction("alpha", alpha)
    fraction("delta", delta)
    n = len(values)
    i = np.arange(1, n + 1)[:, None]
    mean = (0.5 + np.cumsum(values, axis=0)) / (i + 1)
    variance = (0.25 + np.cumsum((values - mean) ** 2, axis=0)) / (i + 1)
    before = np.vstack([np.full((1, values.shape[1]), 0.25), variance[:-1]])
    bets = np.minimum(np.sqrt(2 * np.log(1 / delta) / (n * before)), 0.75 / (1 - alpha))
    log_wealth = np.cumsum(np.log1p(-bets * (values - alpha)), axis=0)
    return np.asarray(np.exp(-np.maximum(log_wealth.max(axis=0), 0.0)))


def risk_pvalues(values: np.ndarray, alpha: Number, method: str, delta: Number) -> np.ndarray:
    """p-values (parameters,) of "the true risk exceeds alpha" from losses in [0, 1]."""
    if method == "hb":
        return hoeffding_bentkus(values.mean(axis=0), len(values), alpha)
    if method == "wsr":
        return betting_pvalue(values, alpha, delta=delta)
    raise MethodError(f"method must be 'hb' or 'wsr', got {method!r}.")


def rcps(
    losses: ArrayLike,
    *,
    alpha: Number,
    delta: Number = 0.1,
    bound: Number = 1.0,
    method: str = "hb",
) -> RiskControl:
    """Risk-controlling prediction sets: ``P(risk <= alpha) >= 1 - delta`` for monotone risks.

    Args:
        losses: (n, n_lambda), ordered from bold to cautious.
        alpha: the risk allowed, in the units of the loss.
        delta: probability that the guarantee fails.
        bound: largest possible loss.
        method: ``"hb"`` (Hoeffding-Bentkus) or ``"wsr"`` (betting).

    Source: Bates et al. (2021), theorem 2.1.
    """
    values = checked_losses(losses, bound) / bound
    fraction("delta", delta)
    p = risk_pvalues(values, alpha / bound, method, delta)
    # all more cautious parameters must be safe too
    valid = np.logical_and.accumulate((p <= delta)[::-1])[::-1]
    index = int(np.argmax(valid)) if valid.any() else None
    promise = f"risk <= alpha with probability >= {1 - delta:g} (RCPS), iid data, monotone risk"
    return RiskControl(index, values.mean(axis=0) * bound, valid, float(alpha), promise)
