"""Synthetic scores class by class: few real points of a class, many made-up ones."""

from __future__ import annotations

import numpy as np

from probinf.conformal.calibration.synthetic import SpiThreshold, spi
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.classes import as_labels
from probinf.core.inputs.limits import at_least, check_choice
from probinf.errors import ArrayError


def spi_by_class(
    real: ArrayLike,
    labels: ArrayLike,
    synthetic: ArrayLike,
    synthetic_labels: ArrayLike,
    *,
    classes: int,
    alpha: Number = 0.1,
    beta: Number = 0.4,
    use: str = "own",
    nearest: int = 3,
    reference: tuple[ArrayLike, ArrayLike] | None = None,
) -> tuple[SpiThreshold, ...]:
    """A threshold per class, with limits of the coverage within the class for any synthetic scores.

    Args:
        real: (m,) scores of real calibration points under their true labels.
        labels: (m,) these labels, 0..classes-1.
        synthetic: (n,) scores of synthetic points under their labels.
        synthetic_labels: (n,) these.
        classes: how many there are.
        alpha, beta: as in :func:`spi`.
        use: synthetic points of each class: its ``"own"``, ``"all"``, or those of the classes
            whose synthetic scores are ``"nearest"`` to its real scores.
        nearest: how many classes, with ``"nearest"``.
        reference: real scores and labels that find the nearest classes (Cramér-von Mises), and are
            not among ``real``: choosing by the calibration scores themselves would void the limits.

    Returns:
        One :class:`SpiThreshold` per class.

    Raises:
        ArrayError: a class without real scores, or without synthetic ones; no reference.

    Source: Bashari, Lotan, Lee, Dobriban & Romano (2025), sections 3.3 and 4.
    """
    check_choice("use", use, ("own", "all", "nearest"))
    at_least(1, nearest=nearest)
    at_least(2, classes=classes)
    s = np.asarray(as_float("real", real, ndim=1), float)
    t = np.asarray(as_float("synthetic", synthetic, ndim=1), float)
    y = np.asarray(as_labels("labels", labels, classes, size=s.size))
    z = np.asarray(as_labels("synthetic_labels", synthetic_labels, classes, size=t.size))
    others = {}
    if use == "nearest":
        if reference is None:
            raise ArrayError("use='nearest' needs reference=(scores, labels) of other real points.")
        r = np.asarray(as_float("reference[0]", reference[0], ndim=1), float)
        w = np.asarray(as_labels("reference[1]", reference[1], classes, size=r.size))
        others = {k: _nearest(k, r[w == k], t, z, classes, nearest) for k in range(classes)}
    found = []
    for k in range(classes):
        pick = np.full(t.size, True) if use == "all" else z == k
        pick = np.isin(z, others[k]) if use == "nearest" else pick
        if not (y == k).any() or not pick.any():
            what = "real" if not (y == k).any() else "synthetic"
            raise ArrayError(f"class {k} has no {what} scores; use 'all', or leave the class out.")
        found.append(spi(s[y == k], t[pick], alpha=alpha, beta=beta))
    return tuple(found)


def _nearest(
    k: int, own: np.ndarray, synthetic: np.ndarray, labels: np.ndarray, classes: int, count: int
) -> np.ndarray:
    """The classes whose synthetic scores are distributed most like these real ones."""
    from scipy.stats import cramervonmises_2samp

    if own.size < 2:
        raise ArrayError(f"reference holds {own.size} scores of class {k}; two or more are needed.")
    gaps = np.full(classes, np.inf)
    for other in range(classes):
        theirs = synthetic[labels == other]
        if theirs.size > 1:
            statistic = cramervonmises_2samp(own, theirs, method="asymptotic").statistic
            gaps[other] = statistic * (own.size + theirs.size) / (own.size * theirs.size)
    return np.argsort(gaps, kind="stable")[:count]
