"""corner: all pairs of scalars at a glance, with their weights, as astronomers draw them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probinf.errors import MethodError, MissingPackageError
from probinf.results.statistics.weighted import weighted_quantile, weights_of
from probinf.results.summary import scalars

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior

_MOST = 12
_LEVELS = (1 - math.exp(-0.5), 1 - math.exp(-2.0))  # one and two sigma in two dimensions
_ENDS = (0.001, 0.999)


def corner(
    posterior: Posterior,
    names: Sequence[str] | None,
    *,
    quantiles: tuple[float, float, float] = (0.16, 0.5, 0.84),
    levels: Sequence[float] = _LEVELS,
    truths: Mapping[str, float] | None = None,
    bins: int = 30,
    smooth: float = 1.0,
    titles: bool = True,
    color: str = "C0",
    figure: Any = None,
) -> Any:
    """A corner plot: histograms on the diagonal, mass contours below it.

    Weights are respected: those of nested sampling and importance need no resampling.

    Args:
        posterior: any.
        names: sites or scalars; all by default.
        quantiles: dashed lines, and the title ``median + upper - lower``.
        levels: mass inside each contour; by default that of one and two sigma of a normal in
            two dimensions (39 %, 86 %).
        truths: by scalar, values to mark.
        bins: of each histogram.
        smooth: standard deviation, in bins, of the smoothing of contours.
        titles: whether each column has its quantiles above.
        color: of everything but truths.
        figure: of an earlier corner plot, to draw on top of it.

    Returns:
        A matplotlib figure.

    Raises:
        MethodError: an option is out of range, there are too many scalars, or no such scalar.
        MissingPackageError: the extra ``plot`` is not installed.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise MissingPackageError("corner needs matplotlib: pip install 'probinf[plot]'.") from None

    labels, values, weights = _chosen(posterior, names)
    if len(quantiles) != 3 or not 0 < quantiles[0] < quantiles[1] < quantiles[2] < 1:
        raise MethodError(
            f"corner: quantiles must be three, rising, in (0, 1), got {tuple(quantiles)}."
        )
    wrong = [level for level in levels if not 0 < level < 1]
    if wrong or not levels or bins < 2 or smooth < 0:
        raise MethodError(
            f"corner: levels must lie in (0, 1), bins be at least 2 and smooth not negative, got "
            f"{list(levels)}, {bins} and {smooth}."
        )
    if unknown := sorted(set(truths or {}) - set(labels)):
        raise MethodError(f"corner: truths name {unknown}; the scalars shown are {labels}.")
    n, below = len(labels), figure
    if figure is None:
        size = min(2.2 * n + 0.6, 20)
        figure, axes = plt.subplots(n, n, figsize=(size, size), squeeze=False)
    elif len(figure.axes) == n * n:
        axes = np.array(figure.axes).reshape(n, n)
    else:
        raise MethodError(
            f"corner: the figure has {len(figure.axes)} panels, which is not {n} x {n}."
        )
    edges = [_edges(column, weights, bins) for column in values.T]
    for i in range(n):
        for j in range(n):
            axis = axes[i, j]
            before = axis.get_xlim() if below else None
            if j > i:
                axis.set_visible(False)
                continue
            if i == j:
                _histogram(axis, values[:, i], weights, edges[i], quantiles, color)
                if titles:
                    axis.set_title(title(labels[i], values[:, i], weights, quantiles), fontsize=9)
            else:
                below_y = axis.get_ylim() if below else None
                _contours(
                    axis, values[:, [j, i]], weights, edges[j], edges[i], levels, smooth, color
                )
                axis.set_ylim(*_ends(edges[i], below_y))
                axis.yaxis.set_major_locator(MaxNLocator(4, prune="lower"))
            axis.set_xlim(*_ends(edges[j], before))
            axis.xaxis.set_major_locator(MaxNLocator(4, prune="lower"))
            _mark(axis, labels[j], labels[i], truths or {}, i == j)
            axis.tick_params(labelbottom=i == n - 1, labelleft=j == 0 and i > 0, labelsize=8)
            if i == n - 1:
                axis.set_xlabel(labels[j])
            if j == 0 and i > 0:
                axis.set_ylabel(labels[i])
    figure.align_labels()
    figure.subplots_adjust(wspace=0.08, hspace=0.08)
    return figure


def _chosen(
    posterior: Posterior, names: Sequence[str] | None
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Labels, draws (n, k) and weights (n,) of the scalars to show."""
    if posterior.streamed is not None or not posterior.draws:
        raise MethodError("corner: no draws were kept (summaries_only=True). Run again with keep=.")
    labels, draws = scalars(posterior.draws, posterior.axes)
    if names is not None:
        wanted = [names] if isinstance(names, str) else list(names)
        rows = []
        for name in wanted:
            found = [k for k, n in enumerate(labels) if n == name or n.startswith(f"{name}[")]
            if not found:
                raise MethodError(f"corner: no site or scalar named {name!r}; there are {labels}.")
            rows += found
        labels, draws = [labels[k] for k in rows], draws[:, :, rows]
    if len(labels) > _MOST:
        raise MethodError(
            f"corner: {len(labels)} scalars make {len(labels) ** 2} panels; name at most {_MOST}, "
            f"such as names={labels[:3]}."
        )
    weights = weights_of(posterior.log_weights.ravel())
    values = draws.reshape(-1, len(labels))
    fine = (weights > 0) & np.isfinite(values).all(axis=1)
    return labels, values[fine], weights[fine] / weights[fine].sum()


def _edges(values: np.ndarray, weights: np.ndarray, bins: int) -> np.ndarray:
    low, high = (weighted_quantile(values, weights, q) for q in _ENDS)
    pad = 0.05 * (high - low) if high > low else max(abs(low), 1.0) * 1e-3
    return np.linspace(low - pad, high + pad, bins + 1)


def _ends(edges: np.ndarray, before: tuple[float, float] | None) -> tuple[float, float]:
    """Of an axis, which keeps what it showed before."""
    low, high = float(edges[0]), float(edges[-1])
    return (low, high) if before is None else (min(low, before[0]), max(high, before[1]))


def title(name: str, values: np.ndarray, weights: np.ndarray, quantiles: Sequence[float]) -> str:
    """``name = median + upper - lower``, with two digits of the smaller difference."""
    low, middle, high = (weighted_quantile(values, weights, q) for q in quantiles)
    up, down = high - middle, middle - low
    smaller = min(d for d in (up, down) if d > 0) if max(up, down) > 0 else 1.0
    if not 1e-5 < max(smaller, abs(middle) * 1e-8) < 1e6:
        return f"{name} = ${middle:.3g}^{{+{up:.2g}}}_{{-{down:.2g}}}$"
    digits = int(np.clip(1 - math.floor(math.log10(smaller)), 0, 8))
    return f"{name} = ${middle:.{digits}f}^{{+{up:.{digits}f}}}_{{-{down:.{digits}f}}}$"


def _histogram(
    axis: Any, values: np.ndarray, w: np.ndarray, edges: np.ndarray, quantiles: Any, color: str
) -> None:
    axis.hist(values, edges, weights=w, density=True, histtype="step", color=color)
    for q in quantiles:
        axis.axvline(weighted_quantile(values, w, q), color=color, ls="--", lw=0.8)
    axis.set_yticks([])


def _contours(
    axis: Any,
    pair: np.ndarray,
    w: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    levels: Sequence[float],
    smooth: float,
    color: str,
) -> None:
    from scipy.ndimage import gaussian_filter

    mass, _, _ = np.histogram2d(pair[:, 0], pair[:, 1], bins=(x, y), weights=w)
    if smooth:
        mass = gaussian_filter(mass, smooth)
    middle = [(e[1:] + e[:-1]) / 2 for e in (x, y)]
    cuts = heights(mass, levels)
    axis.contourf(*middle, mass.T, [*cuts, mass.max() * 1.01], colors=color, alpha=0.25)
    axis.contourf(*middle, mass.T, [cuts[-1], mass.max() * 1.01], colors=color, alpha=0.4)
    axis.contour(*middle, mass.T, cuts, colors=color, linewidths=1.0)


def heights(mass: np.ndarray, levels: Sequence[float]) -> list[float]:
    """The heights above which cells hold these shares of the mass, lowest first, all different."""
    cells = np.sort(mass.ravel())[::-1]
    inside = np.cumsum(cells) / cells.sum()
    found = sorted(float(cells[np.searchsorted(inside, level)]) for level in levels)
    top = float(cells[0])
    for k in range(len(found)):  # contours of matplotlib must increase
        floor = found[k - 1] if k else 0.0
        found[k] = found[k] if found[k] > floor else floor + 1e-9 * top
    return found


def _mark(axis: Any, x: str, y: str, truths: Mapping[str, float], diagonal: bool) -> None:
    if x in truths:
        axis.axvline(truths[x], color="C1", lw=1.0)
    if y in truths and not diagonal:
        axis.axhline(truths[y], color="C1", lw=1.0)
