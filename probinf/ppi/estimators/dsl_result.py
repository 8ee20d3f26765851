"""What a result of DSL knows of other numbers of expert labels: standard errors and power."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm

from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.levels import fraction
from probinf.core.inputs.limits import inside
from probinf.errors import LevelError, MethodError
from probinf.ppi.designs.plan import parameter_index
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.student import critical


class LabelErrors(NamedTuple):
    """What the estimate owes to which units were labelled.

    Attributes:
        rows: (units, d) contributions of their prediction errors to the estimate.
        chance: (units,) probability with which each was labelled.
        size: (units,) rows of each; one, but where whole clusters were labelled.
        factor: small-sample factor of the variance.
    """

    rows: np.ndarray
    chance: np.ndarray
    size: np.ndarray
    factor: float


@dataclasses.dataclass(frozen=True, repr=False)
class DSLResult(Result):
    """A `Result` of `dsl`, a pilot of studies with more expert labels, or fewer.

    The variance has a part that labels buy down, that of the errors of the predictions, and one
    that only more rows would. Predictions are taken to stay as good as they are; models that are
    trained on more labels are better, so that standard errors for many labels are upper bounds.

    Attributes:
        label_errors: the part that labels buy down.
    """

    label_errors: LabelErrors | None = None

    def _transformed(self, value: np.ndarray, slope: np.ndarray, names: Any, what: str) -> Result:
        moved = super()._transformed(value, slope, names, what)
        assert self.label_errors is not None
        errors = self.label_errors._replace(rows=self.label_errors.rows @ slope.T)
        changed: dict[str, Any] = {"label_errors": errors}
        return dataclasses.replace(moved, **changed)

    def se_at(self, labels: ArrayLike) -> np.ndarray:
        """Standard errors (..., d) to expect with so many labels (...) among the same rows.

        ``(v - e + e(labels))**0.5``: v is the variance, e what prediction errors of labelled rows
        contribute, which falls as labelling probabilities rise in proportion (up to one).

        Raises:
            LevelError: fewer than two labels, or more than there are rows.

        Source: Egami, Hinck, Stewart & Wei (2024), power analysis of the R package dsl.
        """
        assert self.label_errors is not None
        rows, chance, size, factor = self.label_errors
        wanted = np.asarray(as_float("labels", labels), float)
        total = self.n + self.N
        if wanted.size and (wanted.min() < 2 or wanted.max() > total):
            odd = wanted.min() if wanted.min() < 2 else wanted.max()
            raise LevelError(f"labels must lie in 2..{total}, the rows there are; got {odd:g}.")
        found = np.empty((wanted.size, len(self.theta)))
        now = factor * (rows**2).sum(axis=0)
        for k, n in enumerate(wanted.ravel()):
            then = np.minimum(_multiple(n / self.n, chance, size) * chance, 1.0)
            later = factor * (rows**2 * (chance / then)[:, None]).sum(axis=0)
            found[k] = np.diag(self.cov) - now + later
        if (found <= 0).any():
            raise MethodError(
                f"{self.n} labels are too few to tell how far others would take the standard "
                f"error of {self.names[int(np.argwhere(found <= 0)[0, 1])]}; label more rows."
            )
        return np.sqrt(found).reshape(*wanted.shape, -1)

    def power_at(self, labels: ArrayLike, effect: ArrayLike | None = None) -> np.ndarray:
        """Probabilities (..., d) with which a true effect would be told from zero.

        Args:
            labels: (...) numbers of labels.
            effect: a number, or (d,); the estimates by default, which flatter what is significant.

        Level and side are those of the result.
        """
        size = self.theta if effect is None else np.asarray(as_float("effect", effect), float)
        return _power(size / self.se_at(labels), float(self.alpha), self.alternative)

    def labels_for(
        self,
        *,
        target_se: Number | None = None,
        power: Number | None = None,
        effect: Number | None = None,
        parameter: int | str = 0,
    ) -> int:
        """The fewest labels with a standard error of at most ``target_se``, or with a power.

        Args:
            target_se: standard error to reach.
            power: probability to tell ``effect`` from zero, instead.
            effect: a true effect; the estimate by default.
            parameter: which parameter, by number or name.

        Raises:
            MethodError: neither or both of ``target_se`` and ``power``, or a target that is missed
                even if all rows are labelled.
        """
        if (target_se is None) == (power is None):
            raise MethodError("give either target_se or power.")
        j, total = parameter_index(self, parameter), self.n + self.N
        size = self.theta[j] if effect is None else float(effect)
        wanted = np.inf if target_se is None else float(target_se)
        inside(0, np.inf, target_se=wanted if power is None else 1.0)
        least = 0.0 if power is None else fraction("power", power)

        def reached(labels: int) -> bool:
            se = float(self.se_at(labels)[j])
            found = _power(np.asarray(size / se), float(self.alpha), self.alternative)
            return bool(se <= wanted and found >= least)

        if not reached(total):
            best = float(self.se_at(total)[j])
            what = f"target_se={target_se:g}" if power is None else f"power={power:g}"
            raise MethodError(
                f"{what} is out of reach: with all {total} rows labelled the standard error of "
                f"{self.names[j]} is still {best:.4g}. More rows are needed, not more labels."
            )
        low, high = 1, total
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if middle > 1 and reached(middle) else (middle, high)
        return high


def _multiple(share: float, chance: np.ndarray, size: np.ndarray) -> float:
    """By what to multiply labelling probabilities, capped at one, for ``share`` of the labels."""
    low, high = 0.0, float(1 / chance.min())
    if share <= 1 / chance.max():
        return share
    for _ in range(100):
        middle = (low + high) / 2
        labels = (size * np.minimum(middle * chance, 1.0) / chance).sum() / size.sum()
        low, high = (middle, high) if labels < share else (low, middle)
    return high


def _power(ratio: np.ndarray, alpha: float, alternative: str) -> np.ndarray:
    if alternative == "two-sided":
        z = critical(alpha, np.inf)
        return np.asarray(norm.cdf(ratio - z) + norm.cdf(-ratio - z))
    sign = 1 if alternative == "larger" else -1
    return np.asarray(norm.cdf(sign * ratio - norm.ppf(1 - alpha)))
