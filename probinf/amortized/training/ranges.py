"""Ranges: where an amortizer was trained, and a guard that names what lies outside."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Literal

import numpy as np

from probinf.core.inputs.arrays import ArrayLike
from probinf.errors import RangeError, RangeWarning

_SLACK = 1e-6
_MARGIN = 0.1


@dataclasses.dataclass(frozen=True)
class Ranges:
    """Closed intervals of named quantities that training covered.

    Attributes:
        limits: ``{name: (low, high)}``; infinite ends are allowed.

    Raises:
        RangeError: an interval is empty or NaN.
    """

    limits: dict[str, tuple[float, float]]

    def __post_init__(self) -> None:
        for name, (low, high) in self.limits.items():
            if not low <= high:
                raise RangeError(f"Ranges: the interval of {name}, [{low}, {high}], is empty.")

    @classmethod
    def seen(cls, exact: dict[str, tuple[float, float]], **values: ArrayLike) -> Ranges:
        """Ranges of values seen in training, a tenth wider, beside ``exact`` ones.

        Positive values are widened by a factor, others by a share of their width.
        """
        limits = dict(exact)
        for name, value in values.items():
            low, high = float(np.min(value)), float(np.max(value))
            margin = _MARGIN * (high - low) / 2
            wide = (low - margin, high + margin)
            limits[name] = (low / (1 + _MARGIN), high * (1 + _MARGIN)) if low > 0 else wide
        return cls(limits)

    def outside(self, **values: ArrayLike) -> list[str]:
        """A sentence per quantity that leaves its interval (or is NaN); unknown names are skipped.

        Args:
            **values: numbers or arrays by name; the extremes of an array count.
        """
        found = []
        for name, value in values.items():
            array = np.asarray(value, float)
            if name not in self.limits or array.size == 0:
                continue
            low, high = self.limits[name]
            slack = _SLACK * max(abs(low), abs(high), 1.0) if np.isfinite([low, high]).all() else 0
            least, most = float(array.min()), float(array.max())
            if not (least >= low - slack and most <= high + slack):
                seen = f"{least:.4g}" if least == most else f"{least:.4g} to {most:.4g}"
                found.append(f"{name} is {seen}, trained on {low:.4g} to {high:.4g}")
        return found

    def check(
        self, policy: Literal["raise", "warn", "ignore"] = "raise", **values: ArrayLike
    ) -> None:
        """Refuse, or warn about, values outside the training range, each by name.

        Args:
            policy: what to do about them.
            **values: numbers or arrays by name.

        Raises:
            RangeError: something is outside and ``policy`` is "raise".
        """
        if policy not in ("raise", "warn", "ignore"):
            raise RangeError(f"policy must be 'raise', 'warn' or 'ignore', got {policy!r}.")
        found = self.outside(**values)
        if not found or policy == "ignore":
            return
        last = "pass out_of_range='warn' and check" if policy == "raise" else "check"
        text = (
            f"outside the training range: {'; '.join(found)}. Train on a wider range, rescale the "
            f"data, or {last} the answer."
        )
        if policy == "raise":
            raise RangeError(text)
        warnings.warn(text, RangeWarning, stacklevel=3)
