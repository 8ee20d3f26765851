"""TARP: expected coverage from draws alone, by distances to random points."""

from __future__ import annotations

from typing import Literal

import numpy as np

from probinf.core.keys import as_generator
from probinf.core.program import Key
from probinf.errors import MethodError, StructureError
from probinf.validity.coverage import CoverageResult
from probinf.validity.replications import Replications, check_arrays, credibility


def _predicted(found: Replications, rng: np.random.Generator) -> np.ndarray:
    """Reference points that know the data: a ridge regression of the truth on the data, fitted on
    the other half of the replications, plus noise of its residual size."""
    if found.observed is None:
        raise StructureError(
            "tarp: references='data' needs the data of each replication; use replicate, or "
            "references='prior'."
        )
    data = np.asarray(found.observed, float)
    data = np.where(np.isfinite(data), data, 0.0)
    centred = np.arcsinh((data - np.median(data, axis=0)) / (data.std(axis=0) + 1e-30))
    design = np.concatenate([np.ones((len(data), 1)), centred, centred**2], axis=1)
    half = rng.permutation(len(data)) < len(data) // 2
    points = np.empty_like(found.truth, dtype=float)
    for fit, use in ((half, ~half), (~half, half)):
        gram = design[fit].T @ design[fit] + 1e-3 * fit.sum() * np.eye(design.shape[1])
        beta = np.linalg.solve(gram, design[fit].T @ found.truth[fit])
        spread = (found.truth[fit] - design[fit] @ beta).std(axis=0)
        noise = rng.normal(size=(use.sum(), points.shape[1])) * spread
        points[use] = design[use] @ beta + noise
    return points


def tarp(
    found: Replications,
    *,
    references: Literal["data", "prior"] | None = None,
    level: float = 1e-3,
    key: int | Key = 0,
) -> CoverageResult:
    """Tests of accuracy with random points: coverage of balls around reference points.

    The share of posterior draws nearer to a reference point than the truth is uniform when the
    posterior is right, wherever the point lies, as long as it is chosen without the truth. With
    points that depend on the data the test also sees a posterior that ignores its data,
    which every test with fixed regions passes.

    Args:
        found: from :func:`replicate`, or ``Replications(truth, draws)``; equally weighted draws,
            or weighted ones with ``log_weights``.
        references: ``"data"``, points predicted from the data by a regression on other
            replications; ``"prior"``, truths of other replications. By default ``"data"``
            where the data are there.
        level: probability of a false alarm.
        key: random key or seed of the reference points and of random tie-breaking.

    Raises:
        ArrayError: shapes differ, or a value is NaN.
        StructureError: ``references="data"`` without the data.

    Source: Lemos, Coogan, Hezaveh & Perreault-Levasseur (2023), algorithm 2.
    """
    check_arrays(found)
    if references is None:
        references = "prior" if found.observed is None else "data"
    if references not in ("data", "prior"):
        raise MethodError(f"tarp: references must be 'data' or 'prior', got {references!r}.")
    rng = as_generator(key)
    n = len(found.truth)
    if references == "data":
        points = _predicted(found, rng)
    else:
        order = rng.permutation(n)
        points = np.empty_like(found.truth)
        points[order] = found.truth[np.roll(order, 1)]  # nobody gets its own truth
    scale = found.truth.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    true = np.square((found.truth - points) / scale).sum(axis=1)
    others = np.square((found.draws - points[:, None]) / scale).sum(axis=2)
    mass = credibility(others < true[:, None], others == true[:, None], found, rng)
    return CoverageResult("coverage of random balls (TARP)", mass, level)
