"""predictive_check: data that the model would make, against the data that were seen."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from scipy.special import logsumexp

from probinf.core.inputs.limits import at_least
from probinf.core.program import Key
from probinf.core.psis import psis
from probinf.errors import MissingPackageError, StructureError
from probinf.evidence.pointwise import Pointwise, log_likelihood, trusted_k
from probinf.results.posterior import Posterior
from probinf.results.precision import in_its_precision

Statistic = Callable[..., Any]

_BY_NAME: dict[str, Statistic] = {
    "mean": np.mean,
    "sd": np.std,
    "min": np.min,
    "max": np.max,
    "median": np.median,
}


@dataclasses.dataclass(frozen=True)
class PredictiveCheck:
    """Statistics of the data among those of data drawn from the posterior predictive.

    Attributes:
        observed: by statistic, its value for the data; for one that looks at parameters too,
            (draw,) values.
        replicated: by statistic, (draw,) values for drawn data.
        p_values: by statistic, the probability that drawn data have a larger value, ties counted
            half. Near 0 or 1 the model does not make such data. They are not uniform under a
            true model but nearer to 1/2, since the data were used to fit it.
        errors: by statistic, Monte Carlo standard errors of the p-values.
        labels: (n,) which datum, ``y[3]``.
        pointwise: (n,) the probability that a new datum is smaller than the one seen, ties
            counted half; given all data, or without this datum where ``loo`` is set.
        loo: whether each datum was left out (by Pareto-smoothed weights) for its own probability,
            which makes them uniform under a true model.
        unreliable: labels of the data for which these weights are not to be trusted.
        draws: (n,) how many draws each probability rests on, effectively.
        level: of all data together, at which one is called surprising.
    """

    observed: dict[str, np.ndarray]
    replicated: dict[str, np.ndarray]
    p_values: dict[str, float]
    errors: dict[str, float]
    labels: tuple[str, ...]
    pointwise: np.ndarray
    loo: bool
    unreliable: tuple[str, ...]
    draws: np.ndarray
    level: float = 0.05

    @property
    def surprising(self) -> list[str]:
        """Labels of data beyond ``level`` on both sides, for all data together; worst first.

        A datum beyond all of m draws counts as one of m + 1.
        """
        tail = np.minimum(self.pointwise, 1 - self.pointwise)
        two_sided = 2 * (tail * self.draws + 1) / (self.draws + 1)
        order = np.argsort(two_sided)
        return [self.labels[i] for i in order if two_sided[i] * len(self.labels) < self.level]

    def __str__(self) -> str:
        width = max(9, *(len(name) for name in self.p_values))
        lines = [f"{'':{width}}  observed  5 % to 95 % of drawn data         p"]
        for name, p in self.p_values.items():
            low, high = np.quantile(self.replicated[name], [0.05, 0.95])
            seen = float(np.mean(self.observed[name]))
            lines.append(
                f"{name:{width}} {seen:9.3g} {low:12.3g} {high:12.3g}  {p:8.3f} "
                f"± {self.errors[name]:.3f}"
            )
        if bad := self.surprising:
            shown = ", ".join(bad[:5]) + (", ..." if len(bad) > 5 else "")
            lines.append(f"surprising data: {len(bad)} of {len(self.labels)} ({shown})")
        needed = 2 * len(self.labels) / self.level
        if self.draws.size and self.draws.max() < needed:
            lines.append(
                f"no datum of {len(self.labels)} can be called surprising at the level "
                f"{self.level:g} with {self.draws.max():.0f} draws: {needed:.0f} are needed"
            )
        return "\n".join(lines)

    __repr__ = __str__

    def plot(self, columns: int = 3) -> Any:
        """Histograms of the statistics with the observed ones, and the ECDF of ``pointwise``.

        Raises:
            MissingPackageError: matplotlib is not installed.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise MissingPackageError(
                "plot needs matplotlib: pip install 'probinf[plot]'."
            ) from None
        panels = [*self.p_values, None] if self.pointwise.size > 1 else list(self.p_values)
        columns = min(columns, len(panels))
        rows = -(-len(panels) // columns)
        figure, axes = plt.subplots(rows, columns, figsize=(3 * columns, 2.2 * rows), squeeze=False)
        for axis in axes.ravel()[len(panels) :]:
            axis.set_visible(False)
        for axis, name in zip(axes.ravel(), panels, strict=False):
            if name is None:
                u = np.sort(self.pointwise)
                axis.plot(u, (np.arange(u.size) + 0.5) / u.size - u, drawstyle="steps-mid")
                band = 1.358 / np.sqrt(u.size)  # Kolmogorov's 95 % quantile
                axis.axhspan(-band, band, color="0.9")
                axis.set_title("P(new < seen), ECDF - u")
                continue
            against = self.replicated[name] - self.observed[name]
            single = np.ndim(self.observed[name]) == 0
            axis.hist(self.replicated[name] if single else against, 40, color="0.7")
            axis.axvline(float(self.observed[name]) if single else 0.0, color="C1")
            axis.set_title(f"{name}, p = {self.p_values[name]:.2f}")
            axis.set_yticks([])
        figure.tight_layout()
        return figure


@in_its_precision
def predictive_check(
    posterior: Posterior,
    statistics: Sequence[str | Statistic] | Mapping[str, Statistic] = ("mean", "sd", "min", "max"),
    *,
    key: int | Key,
    site: str | None = None,
    max_draws: int = 4000,
    loo: bool = True,
    level: float = 0.05,
) -> PredictiveCheck:
    """Posterior predictive p-values of statistics that are chosen, and of every datum.

    Args:
        posterior: with a program that simulates its observations.
        statistics: functions of the data of the site, an array of its shape, to a number, by
            name (entries that are masked are left out, and the array is flat then); or a list of
            them, ``"mean"``, ``"sd"``, ``"min"``, ``"max"`` and ``"median"``
            among them. A function of two arguments takes the data and the dict of parameters of
            the draw.
        key: random key or seed of the drawn data.
        site: whose data; needed where there are several observed sites.
        max_draws: thin to at most so many draws.
        loo: leave each datum out for its own probability, where the likelihood per datum is
            known.
        level: at which data are called surprising, all of them together.

    Raises:
        StructureError: the program does not simulate its data, which site is not clear, or a
            statistic is no number or NaN for the data.

    Source: Gelman, Meng & Stern (1996); Gelman et al. (2013), sections 6.3 and 7.
    """
    at_least(10, max_draws=max_draws)
    functions = _named(statistics)
    program = posterior.program
    if program is None or program.simulate is None or program.observations is None:
        raise StructureError(
            "predictive_check: the posterior needs a program that simulates its observations, "
            "built by from_numpyro with observed sites (pi.load(path, program=...))."
        )
    drawn = posterior.predict(key=key)
    view = posterior.resampled(key)  # the draws that these data were made of
    known = jax.jit(program.observations.get)(program.data)
    name = _site(site, [n for n in drawn if n in known])
    count = view.log_weights.size
    keep = np.unique(np.linspace(0, count - 1, min(count, max_draws)).astype(int))
    y = np.asarray(known[name])
    new = drawn[name].reshape(count, *drawn[name].shape[2:])[keep]
    params = {n: v.reshape(count, *v.shape[2:])[keep] for n, v in view.draws.items()}
    y = np.broadcast_to(y, new.shape[1:])
    seen_l = _likelihood(view, name, keep, y)
    labels = program.axes.scalars({name: y.shape})
    real = np.ones(y.size, bool) if seen_l is None else seen_l.real
    if not real.all():
        labels = [label for label, is_real in zip(labels, real, strict=True) if is_real]
        y, new = y.ravel()[real], new.reshape(len(keep), -1)[:, real]
    observed, replicated, p_values, errors = {}, {}, {}, {}
    for label, fn in functions.items():
        seen, made = _values(label, fn, y, new, params)
        larger = (made > seen) + 0.5 * (made == seen)
        if lost := int(np.isnan(made).sum() + np.isnan(seen).sum()):
            raise StructureError(
                f"predictive_check: statistic {label!r} is NaN for {lost} of the drawn data sets."
            )
        observed[label], replicated[label] = seen, made
        p_values[label] = float(larger.mean())
        errors[label] = float(larger.std() / np.sqrt(_worth(posterior, len(keep))))
    weights, unreliable = (None, ()) if seen_l is None or not loo else _left_out(seen_l)
    smaller = (new < y) + 0.5 * (new == y)
    smaller = smaller.reshape(len(keep), -1)
    pointwise = smaller.mean(axis=0) if weights is None else (weights * smaller).sum(axis=0)
    worth = np.full(len(labels), float(len(keep)))
    return PredictiveCheck(
        observed,
        replicated,
        p_values,
        errors,
        tuple(labels),
        pointwise,
        weights is not None,
        unreliable,
        worth if weights is None else 1 / (weights**2).sum(axis=0),
        level,
    )


def _worth(posterior: Posterior, draws: int) -> float:
    """Independent draws that these are worth, by the slowest scalar."""
    ess = posterior.summary().columns["ess"]
    finite = ess[np.isfinite(ess)]
    return float(np.clip(finite.min(), 1, draws)) if finite.size else float(draws)


def _likelihood(view: Posterior, site: str, keep: np.ndarray, y: np.ndarray) -> Pointwise | None:
    """The log likelihood of every datum at the draws; None where it is not known."""
    assert view.program is not None
    if view.program.pointwise is None:
        return None
    chosen = dataclasses.replace(
        view,
        draws={n: v.reshape(1, -1, *v.shape[2:])[:, keep] for n, v in view.draws.items()},
        log_weights=np.zeros((1, len(keep))),
        stats={},
        unconstrained=view.unconstrained.reshape(1, -1, view.unconstrained.shape[-1])[:, keep],
        keys=tuple(k.reshape(1, -1, *k.shape[2:])[:, keep] for k in view.keys),
        clusters=None,
    )
    try:
        seen = log_likelihood(chosen, site, max(10, len(keep)), "predictive_check")
    except StructureError:  # one number for all data
        return None
    return seen if seen.log_l.shape == (len(keep), y.size) else None


def _left_out(seen: Pointwise) -> tuple[np.ndarray, tuple[str, ...]]:
    """(draw, n) weights that leave out one datum each, and where they are not to be trusted."""
    places = np.flatnonzero(seen.real)
    weights, bad = np.empty((len(seen.log_w), places.size)), []
    for j, i in enumerate(places):
        smoothed, k = psis(-seen.log_l[:, i])
        weights[:, j] = np.exp(smoothed - logsumexp(smoothed))
        if k > trusted_k(len(seen.log_w)):
            bad.append(seen.labels[i])
    return weights, tuple(bad)


def _site(site: str | None, known: list[str]) -> str:
    if site is None and len(known) == 1:
        return known[0]
    if site is None:
        raise StructureError(
            f"predictive_check: several sites hold data, {known}; say which one with site=."
            if known
            else "predictive_check: no site holds data that can be drawn anew."
        )
    if site not in known:
        raise StructureError(
            f"predictive_check: no observed site named '{site}'; there are {sorted(known)}."
        )
    return site


def _named(statistics: Any) -> dict[str, Statistic]:
    if isinstance(statistics, Mapping):
        given = dict(statistics)
    else:
        several = (
            [statistics] if callable(statistics) or isinstance(statistics, str) else statistics
        )
        given = {}
        for fn in several:
            label = fn if isinstance(fn, str) else getattr(fn, "__name__", repr(fn))
            if isinstance(fn, str) and fn not in _BY_NAME:
                raise StructureError(
                    f"predictive_check: no statistic is called {fn!r}; there are "
                    f"{sorted(_BY_NAME)}, or give a function."
                )
            given[label] = _BY_NAME[fn] if isinstance(fn, str) else fn
    if not given or not all(callable(fn) for fn in given.values()):
        raise StructureError(
            f"predictive_check: statistics must be functions of the data, got {statistics!r}."
        )
    return given


def _values(
    label: str, fn: Statistic, y: np.ndarray, new: np.ndarray, params: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """A statistic of the data, () or (draw,), and of all drawn data, (draw,)."""
    if _takes_two(fn):
        rows = [{n: v[i] for n, v in params.items()} for i in range(len(new))]
        seen = [_number(label, fn(y, row)) for row in rows]
        made = [_number(label, fn(x, row)) for x, row in zip(new, rows, strict=True)]
        return np.asarray(seen), np.asarray(made)
    seen_once = _number(label, fn(y))
    if np.isnan(seen_once):
        raise StructureError(f"predictive_check: statistic {label!r} is NaN for the data.")
    return np.asarray(seen_once), np.asarray([_number(label, fn(x)) for x in new])


def _number(label: str, value: Any) -> float:
    found = np.asarray(value)
    if found.size != 1:
        raise StructureError(
            f"predictive_check: statistic {label!r} must be a number, got an array of shape "
            f"{found.shape}."
        )
    return float(found.ravel()[0])


def _takes_two(fn: Statistic) -> bool:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [
        p
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return len(needed) == 2
