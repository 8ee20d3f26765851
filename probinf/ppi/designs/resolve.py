"""From a declared design and the numbers of rows to its scheme."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from probinf.core.inputs.frames import same_index
from probinf.errors import LevelError, TooFewLabelsError
from probinf.ppi.designs.design import Design, spelt
from probinf.ppi.inference.checks import positive
from probinf.ppi.inference.ids import shared_numbers
from probinf.ppi.inference.scheme import Scheme
from probinf.ppi.inference.sums import clusters_per
from probinf.ppi.inference.suspicions import warn

Numbers = tuple[np.ndarray, np.ndarray]


def resolve(design: Design, n: int, N: int, like: tuple[Any, Any] = (None, None)) -> Scheme:
    """The scheme of n labelled and N unlabelled rows that were sampled by ``design``.

    ``like`` are the rows as the user gave them, whose index that of a pandas field must equal.

    Raises:
        ArrayError: weights or labels that do not fit the rows.
        LevelError: propensities outside (0, 1].
        TooFewLabelsError: clusters or strata with too few rows for a variance.
    """
    _check_index(design, like)
    clusters = None
    if design.clusters is not None:
        clusters = shared_numbers(spelt("clusters"), design.clusters, n, N)
        if len(np.unique(clusters[0])) < 2:
            raise TooFewLabelsError(
                f"{spelt('clusters')} holds a single labelled cluster; a variance needs two."
            )
    if design.propensity is not None:
        return _known(design.propensity, n, N, clusters)
    first, second = (None, None) if design.weights is None else design.weights
    w = np.ones(n) if first is None else positive("weights[0]", first, n)
    v = np.ones(N) if second is None else positive("weights[1]", second, N)
    if design.strata is not None:
        strata = shared_numbers("strata", design.strata, n, N)
        return _stratified(w, v, strata, clusters, finite=design.finite_population)
    fraction = np.full(n, n / (n + N)) if design.finite_population else None
    alpha = w / w.sum()
    return Scheme(alpha, alpha, v / v.sum(), clusters=clusters, fraction=fraction)


def _check_index(design: Design, like: tuple[Any, Any]) -> None:
    """Raise where a pandas field of the design is in another order than the rows."""
    for field in ("weights", "clusters", "strata"):
        pair = getattr(design, field) or (None, None)
        for k, rows in enumerate(("the labelled rows", "the unlabelled rows")):
            same_index(**{rows: like[k], f"{spelt(field)}[{k}]": pair[k]})
    same_index(**{"the labelled rows": like[0], "propensity": design.propensity})


def _known(propensity: Any, n: int, N: int, clusters: Numbers | None) -> Scheme:
    """All rows are one sample, labelled with known probabilities."""
    p = positive("propensity", propensity, n)
    if (p <= 0).any() or (p > 1).any():
        raise LevelError(
            f"propensity must lie in (0, 1]; it ranges from {p.min():.3g} to {p.max():.3g}. It "
            "holds the probabilities with which the labelled rows were labelled."
        )
    rows = n + N
    notes = [*_doubts(p, rows)]
    for note in notes:
        warn(note, depth=3)
    alpha, gamma = 1 / (p * rows), (1 / p - 1) / rows
    beta = np.full(N, 1 / rows)
    return Scheme(alpha, gamma, beta, joint=True, clusters=clusters, notes=tuple(notes))


def _doubts(p: np.ndarray, rows: int) -> Iterator[str]:
    """What is suspicious about the propensities (n,) of the labelled among all rows."""
    if p.min() * rows < 5:
        yield (
            f"the smallest labelling probability, {p.min():.2g}, lets a single row dominate; the "
            "normal approximation may fail"
        )
    # The sum of 1 / p over labelled rows estimates the number of all rows.
    total = (1 / p).sum()
    error = np.sqrt(((1 - p) / p**2).sum())
    if abs(total - rows) > 5 * error + 1e-6 * rows:
        yield (
            f"the propensities cannot be right: the sum of 1 / propensity over the {len(p)} "
            f"labelled rows is {total:.6g} (standard error {error:.3g}), but there are {rows} rows "
            "in all. They must be the probabilities with which these rows were chosen among all "
            "labelled and unlabelled ones, or the estimate is biased; weights= takes relative ones"
        )


def _stratified(
    w: np.ndarray, v: np.ndarray, strata: Numbers, clusters: Numbers | None, *, finite: bool
) -> Scheme:
    """Labels were drawn within strata, whose shares among all rows are known."""
    n, N = len(w), len(v)
    size = max(s.max() for s in strata) + 1
    labeled, other = (np.bincount(s, minlength=size) for s in strata)
    if labeled.min() < 2 or other.min() < 2:
        raise TooFewLabelsError(
            "strata: every stratum needs at least 2 labelled and 2 unlabelled rows; the smallest "
            f"counts are {labeled.min()} and {other.min()}. Merge strata."
        )
    if clusters is not None:
        fewest = min(clusters_per(c, s).min() for c, s in zip(clusters, strata, strict=True))
        if fewest < 2:
            raise TooFewLabelsError(
                "strata: every stratum needs at least 2 labelled and 2 unlabelled clusters. Merge "
                "strata."
            )
    share = (labeled + other) / (n + N)
    alpha = w * (share / np.bincount(strata[0], w))[strata[0]]
    beta = v * (share / np.bincount(strata[1], v))[strata[1]]
    fraction = (labeled / (labeled + other))[strata[0]] if finite else None
    return Scheme(alpha, alpha, beta, clusters=clusters, strata=strata, fraction=fraction)
