"""FAB-PPI: intervals that are shorter when the predictions are good, and valid when not."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.special import ndtri

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.levels import as_level, fraction
from probinf.core.inputs.limits import check_choice
from probinf.errors import LevelError
from probinf.ppi.estimators.mean import mean
from probinf.ppi.estimators.pratt import horseshoe_slope, region
from probinf.ppi.inference.checks import numeric
from probinf.ppi.inference.labelled import frame
from probinf.ppi.inference.result import Result


@dataclasses.dataclass(frozen=True)
class FabResult:
    """A Bayes-assisted confidence region of a mean.

    Attributes:
        params: (1,) point estimate.
        pieces: (k, 2) the region, which may fall apart.
        hull: (2,) its hull.
        ppi: the PPI or PPI++ result that it is compared with.
        prior, m_error, alpha: settings.
        notes: what to know about it.
    """

    params: np.ndarray
    pieces: np.ndarray
    hull: np.ndarray
    ppi: Result
    prior: str | tuple[Any, ...]
    m_error: str
    alpha: Number
    notes: tuple[str, ...]

    def conf_int(self) -> np.ndarray:
        """Hull (1, 2) of the region."""
        return self.hull[None]

    @property
    def width(self) -> float:
        """Total length of the pieces."""
        return float(np.sum(self.pieces[:, 1] - self.pieces[:, 0]))

    def summary(self) -> str:
        """A few lines to read."""
        low, high = np.asarray(self.ppi.conf_int(self.alpha, "two-sided"))[0]
        pieces = " and ".join(f"[{a:.5g}, {b:.5g}]" for a, b in self.pieces)
        lines = [
            f"FAB-PPI, prior {self.prior}, error of the mean prediction: {self.m_error}",
            f"mean {self.params[0]:.5g}, {100 * (1 - self.alpha):.6g}% region {pieces}, "
            f"width {self.width:.4g}",
            f"{self.ppi.method}: [{low:.5g}, {high:.5g}], width {high - low:.4g}",
        ]
        return "\n".join([*lines, *(f"Note: {note}." for note in self.notes)])

    __repr__ = summary

    def to_dataframe(self) -> Any:
        """A DataFrame with one row per piece of the region."""
        pieces = np.column_stack([np.full(len(self.pieces), self.params[0]), self.pieces])
        return frame(pieces, tuple(map(str, range(len(pieces)))), ("coef", "lower", "upper"))


def fab(
    y: Any,
    f: Any,
    f_unlabeled: Any,
    *,
    prior: str | tuple[Any, ...] = "horseshoe",
    method: str = "ppi++",
    m_error: str = "minkowski",
    split: Number = 0.9,
    alpha: Number = 0.1,
) -> FabResult:
    """Mean of an outcome, assisted by the prior belief that the predictions are hardly biased.

    The prior sits on the rectifier, the bias of the predictions, in units of its standard error,
    so that nothing has to be tuned. Coverage is exact in the normal limit whatever the prior.

    Args:
        y: (n,) labels.
        f: (n,) predictions on labelled rows.
        f_unlabeled: (N,) predictions on unlabelled rows.
        prior: ``"horseshoe"`` falls back to PPI for bad predictions; ``("normal", tau)`` does not.
        method: ``"ppi++"`` tunes the weight, ``"ppi"`` fixes it at 1.
        m_error: error of the mean prediction: ``"minkowski"`` splits alpha and is proved;
            ``"quadrature"`` adds variances, a heuristic; ``"ignore"`` is for N far above n.
        split: share of alpha for the rectifier under ``"minkowski"``.
        alpha: error rate.

    Source: Cortinovis & Caron (arXiv 2502.02363), sections 3 and 4.
    """
    check_choice("m_error", m_error, ("minkowski", "quadrature", "ignore"))
    check_choice("method", method, ("ppi", "ppi++"))
    alpha, split = as_level(alpha), fraction("split", split)
    for name, a in (("y", y), ("f", f), ("f_unlabeled", f_unlabeled)):
        numeric(name, a)  # one outcome, one predictor
    plain = mean(y, f, f_unlabeled, method=method, alpha=alpha, small_sample=False)
    Y, F, Fu = (np.asarray(a, float) for a in (y, f, f_unlabeled))
    n, N, lam = len(Y), len(Fu), float(plain.lam)
    centre = Fu.mean()
    rectifier = centre - plain.theta[0]
    se_m = Fu.std(ddof=1) / np.sqrt(N)
    se = float(np.sqrt((Y - lam * F).var(ddof=1) / n + (lam - 1) ** 2 * se_m**2))
    notes = list(plain.notes)
    delta = alpha * split if m_error == "minkowski" else alpha
    if se == 0:
        raise LevelError("labels and weighted predictions do not differ: there is no error to see.")
    ratio = rectifier / se
    pieces = centre - se * region(ratio, prior, delta)[::-1, ::-1]
    if prior == "horseshoe":
        slope = float(horseshoe_slope(ratio))
    else:
        slope = -ratio / (1 + float(prior[1]) ** 2)
    point = plain.theta[0] - se * slope
    if m_error == "minkowski":
        wider = -ndtri(alpha * (1 - split) / 2) * se_m
        pieces = pieces + np.array([-wider, wider])
    elif m_error == "quadrature":
        noise = -ndtri(alpha / 2) * se_m
        away = pieces - point
        grown = np.sign(away) * np.sqrt(away**2 + noise**2)
        pieces = point + np.where(np.array([[True, False]]), np.minimum(grown, away), grown)
        notes.append("m_error='quadrature' is a heuristic without proof of coverage")
    else:
        notes.append(f"the error of the mean prediction over N={N} rows is ignored")
    pieces = _merged(pieces)
    hull = np.array([pieces[0, 0], pieces[-1, 1]])
    limits = np.asarray(plain.conf_int())[0]
    if hull[1] - hull[0] > limits[1] - limits[0]:
        notes.append(f"this interval is wider than that of {method}; see m_error and N")
    return FabResult(np.array([point]), pieces, hull, plain, prior, m_error, alpha, tuple(notes))


def _merged(pieces: np.ndarray) -> np.ndarray:
    """Overlapping pieces joined, in order."""
    found: list[list[float]] = []
    for low, high in pieces[np.argsort(pieces[:, 0])]:
        if found and low <= found[-1][1]:
            found[-1][1] = max(found[-1][1], high)
        else:
            found.append([low, high])
    return np.array(found)
