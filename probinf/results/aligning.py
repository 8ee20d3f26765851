"""Draws of labelled dimensions, brought into the order of another program's labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.core.axes import Axes
from probinf.errors import StructureError


def aligned(
    draws: dict[str, np.ndarray], here: Axes, there: Axes
) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """The draws with the entries that another program has too, as its first ones, in its order.

    Entries are known by their labels, where both name the same dimension and label it.

    Args:
        draws: by site, (chain, draw, ...).
        here: names and labels of the draws.
        there: those of the other program.

    Returns:
        The draws, and the labels that the fit lacks by site, for sites that were matched.

    Raises:
        StructureError: labels that are new stand before others that the fit has too.
    """
    found, lacking = dict(draws), dict[str, list[str]]()
    for site, value in draws.items():
        names = zip(
            here.names(site, value.ndim - 2), there.names(site, value.ndim - 2), strict=True
        )
        for k, (ours, theirs) in enumerate(names):
            if ours is None or ours != theirs or ours not in here.coords:
                continue
            if ours in there.coords and len(here.coords[ours]) == value.shape[k + 2]:
                labels = there.coords[ours].tolist()
                order = _order(ours, here.coords[ours], labels)
                lacking.setdefault(site, []).extend(str(v) for v in labels[len(order) :])
                found[site] = np.take(found[site], order, axis=k + 2)
    return found, lacking


def _order(dim: str, ours: np.ndarray, labels: list[Any]) -> list[int]:
    place = {label: k for k, label in enumerate(ours.tolist())}
    order = [place[label] for label in labels if label in place]
    if new := [label for label in labels[: len(order)] if label not in place]:
        raise StructureError(
            f"predict: label {new[0]!r} of dimension '{dim}' is not in the fit and stands before "
            "others that are. Put new entries, which are drawn from their prior, after those of "
            "the fit."
        )
    return order
