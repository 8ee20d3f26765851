"""Summary: one row per scalar, weights respected, readable by a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from probinf.core.axes import NOTHING, Axes
from probinf.errors import StructureError
from probinf.results.circular import Ends, around
from probinf.results.statistics.ensembles import (
    ensemble_ess_bulk,
    ensemble_ess_mean,
    ensemble_ess_tail,
    ensemble_rhat,
)
from probinf.results.statistics.ess import ess_bulk, ess_mean, ess_tail
from probinf.results.statistics.nested_rhat import nested_rhat
from probinf.results.statistics.rhat import rhat
from probinf.results.statistics.weighted import (
    cluster_error,
    counted,
    normal_scores,
    shortest_interval,
    volume_error,
    weighted_quantile,
    weights_of,
)

MIN_DRAWS = 8
"""Draws per chain below which no effective size or R-hat is given."""


class Interval(NamedTuple):
    """Which interval a summary tells.

    Attributes:
        prob: of it.
        hdi: whether it is the shortest one, in place of that between two quantiles.
    """

    prob: float = 0.9
    hdi: bool = False

    def columns(self, values: np.ndarray, w: np.ndarray | None) -> dict[str, np.ndarray]:
        """The ends and the median of values (n, k), ``w`` None for equal weights."""
        low, high = (1 - self.prob) / 2, (1 + self.prob) / 2
        names = ("hdi_low", "hdi_high") if self.hdi else tuple(_named(q) for q in (low, high))
        if self.hdi:
            equal = np.full(len(values), 1 / len(values)) if w is None else w
            pairs = [shortest_interval(values[:, j], equal, self.prob) for j in _each(values)]
            ends = np.array(pairs).reshape(-1, 2).T
            middle = np.quantile(values, 0.5, axis=0) if w is None else _quantiles(values, w, 0.5)
        elif w is None:
            ends = np.quantile(values, [low, high], axis=0)
            middle = np.quantile(values, 0.5, axis=0)
        else:
            ends = np.array([_quantiles(values, w, q) for q in (low, high)])
            middle = _quantiles(values, w, 0.5)
        return {names[0]: ends[0], "q50": middle, names[1]: ends[1]}


def _named(q: float) -> str:
    return f"q{100 * q:.6g}"


def _each(values: np.ndarray) -> range:
    return range(values.shape[1])


class Summary:
    """A table of posterior summaries; ``summary["tau"]["mean"]``, or print it.

    Columns, the same from every engine: ``mean``, ``sd``, ``q5``, ``q50``, ``q95`` (the ends of
    another interval are named likewise; of a shortest one ``hdi_low`` and ``hdi_high``), ``mcse``
    (standard error of the mean), ``ess`` (sd² / mcse², so that for weighted draws it counts
    ancestry, and what nested sampling does not know of its volumes, as well as weights),
    ``ess_bulk`` (the same of ranks), ``ess_tail`` (of the 5 % and 95 % quantiles, the smaller) and
    ``r_hat``, which is NaN for weighted draws; ``nested_r_hat`` too where groups of chains share
    their starts. Without the draws (``summaries_only=True``) a Markov chain has ``ess`` from batch
    means, no other effective size, and the R-hat of halves without ranks, and its quantiles come
    from about 1,000 evenly spaced draws.

    Scalars in ``circular`` go round: their mean and sd are circular, their quantiles those of
    the deviations from the mean.
    """

    def __init__(
        self, columns: dict[str, np.ndarray], names: list[str], circular: tuple[str, ...] = ()
    ) -> None:
        self.circular = circular
        self._columns = columns
        self._names = names
        self._row = {name: i for i, name in enumerate(names)}

    @property
    def names(self) -> list[str]:
        """Scalar names, ``theta[Choate]`` or ``theta[0]`` for the entries of arrays."""
        return list(self._names)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Each column as an array over scalars."""
        return dict(self._columns)

    def __getitem__(self, name: str) -> dict[str, float]:
        row = self._row[name]
        return {column: float(values[row]) for column, values in self._columns.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def of(self, sites: Sequence[str]) -> Summary:
        """The rows of some sites, or scalars, in this order.

        Raises:
            StructureError: there is no such site.
        """
        rows: list[int] = []
        for site in sites:
            found = [i for i, n in enumerate(self._names) if n == site or n.startswith(f"{site}[")]
            if not found:
                known = dict.fromkeys(name.split("[")[0] for name in self._names)
                raise StructureError(f"summary: no site named {site!r}; there are {list(known)}.")
            rows += found
        columns = {column: values[rows] for column, values in self._columns.items()}
        names = [self._names[i] for i in rows]
        return Summary(columns, names, tuple(n for n in names if n in self.circular))

    def to_dataframe(self) -> Any:
        """The table as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(self._columns, index=self._names)

    def __str__(self) -> str:
        header = ["", *self._columns]
        rows = [
            [self._told(name), *(_shown(c, v[i]) for c, v in self._columns.items())]
            for i, name in enumerate(self._names)
        ]
        widths = [max(len(r[j]) for r in [header, *rows]) for j in range(len(header))]
        lines = [
            "  ".join(
                cell.ljust(w) if j == 0 else cell.rjust(w)
                for j, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in [header, *rows]
        ]
        return "\n".join(lines)

    __repr__ = __str__

    def _told(self, name: str) -> str:
        return f"{name} (circular)" if name in self.circular else name


def _shown(column: str, value: float) -> str:
    if column.startswith("ess"):
        return f"{value:.0f}"
    if column.endswith("r_hat"):
        return f"{value:.3f}"
    return f"{value:.3g}" if abs(value) < 1e-2 and value != 0 else f"{value:.3f}"


def scalars(draws: dict[str, np.ndarray], axes: Axes = NOTHING) -> tuple[list[str], np.ndarray]:
    """Names of all scalars and their draws, (chain, draw, scalar)."""
    parts = [np.asarray(v, float).reshape(*v.shape[:2], -1) for v in draws.values()]
    names = axes.scalars({site: v.shape[2:] for site, v in draws.items()})
    return names, np.concatenate(parts, axis=2)


def summarise(
    draws: dict[str, np.ndarray],
    log_weights: np.ndarray,
    clusters: np.ndarray | None,
    superchains: int | None = None,
    live: np.ndarray | None = None,
    circles: Mapping[str, Ends] | None = None,
    ensembles: int | None = None,
    interval: Interval = Interval(),
    axes: Axes = NOTHING,
) -> Summary:
    """The table; ``clusters`` is None for Markov chains (equal weights).

    With ``superchains``, groups of chains with one start each, it has a nested R-hat. With
    ``ensembles``, groups of chains that moved each other, only these are independent. With
    ``live``, the points of nested sampling that were alive at each removal, in whose order
    ``clusters`` counts, errors count what is not known of the volumes. Sites of ``circles`` go
    round between these ends. ``interval`` says which one is told, ``axes`` what rows are called.
    """
    names, values = scalars(draws, axes)

    def table(values: np.ndarray) -> dict[str, np.ndarray]:
        if clusters is None:
            return _chains(values, superchains, ensembles, interval)
        return _weighted(values, log_weights, clusters, live, interval)

    with np.errstate(invalid="ignore", over="ignore"):  # infinite draws: their rows are NaN
        if not circles:
            return Summary(table(values), names)
        w = weights_of(log_weights.ravel())
        known = counted(values.reshape(-1, values.shape[2]), w).reshape(values.shape)
        seen = around(draws, circles, known, w)
        marked = tuple(name for name, c in zip(names, seen.circular, strict=True) if c)
        return Summary(seen.columns(table), names, marked)


def _chains(
    values: np.ndarray, superchains: int | None, ensembles: int | None, interval: Interval
) -> dict[str, np.ndarray]:
    pooled = values.reshape(-1, values.shape[2])
    enough = values.shape[1] >= MIN_DRAWS
    blank = np.full(values.shape[2], np.nan)
    sd = pooled.std(axis=0, ddof=1) if len(pooled) > 1 else blank
    sizes: Callable[[np.ndarray], np.ndarray]
    sizes, bulk, tail, agreement = ess_mean, ess_bulk, ess_tail, rhat
    if ensembles is not None:
        of_ensembles = (ensemble_ess_mean, ensemble_ess_bulk, ensemble_ess_tail, ensemble_rhat)
        sizes, bulk, tail, agreement = (partial(fn, ensembles=ensembles) for fn in of_ensembles)
    ess = sizes(values) if enough else blank
    columns = {
        "mean": pooled.mean(axis=0),
        "sd": sd,
        **interval.columns(pooled, None),
        "mcse": sd / np.sqrt(ess),
        "ess": ess,
        "ess_bulk": bulk(values) if enough else blank,
        "ess_tail": tail(values) if enough else blank,
        "r_hat": agreement(values) if enough else blank,
    }
    if superchains is not None and 1 < superchains < values.shape[0]:
        columns["nested_r_hat"] = nested_rhat(values, superchains)
    return columns


def _weighted(
    values: np.ndarray,
    log_weights: np.ndarray,
    clusters: np.ndarray,
    live: np.ndarray | None,
    interval: Interval,
) -> dict[str, np.ndarray]:
    w = weights_of(log_weights.ravel())
    pooled = counted(values.reshape(-1, values.shape[2]), w)
    mean = w @ pooled
    sd = np.sqrt(w @ (pooled - mean) ** 2)

    def errors(values: np.ndarray) -> np.ndarray:
        if live is None:
            return cluster_error(values, w, clusters.ravel())
        return volume_error(values, w, clusters.ravel(), live.ravel())

    def worth(values: np.ndarray) -> np.ndarray:
        variance = w @ (values - w @ values) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(variance > 0, variance / errors(values) ** 2, np.nan)

    ends = [_quantiles(pooled, w, q) for q in (0.05, 0.95)]
    return {
        "mean": mean,
        "sd": sd,
        **interval.columns(pooled, w),
        "mcse": errors(pooled),
        "ess": worth(pooled),
        "ess_bulk": worth(normal_scores(pooled, w)),
        "ess_tail": np.fmin(*(worth((pooled <= end).astype(float)) for end in ends)),
        "r_hat": np.full(len(mean), np.nan),
    }


def _quantiles(values: np.ndarray, w: np.ndarray, q: float) -> np.ndarray:
    return np.array([weighted_quantile(values[:, j], w, q) for j in range(values.shape[1])])
