"""Cox's proportional hazards with few true event times and many predicted ones."""

from __future__ import annotations

from typing import Any, NamedTuple, Unpack

import numpy as np

from probinf.core.inputs.limits import check_choice
from probinf.errors import ArrayError, ConvergenceError, TooFewLabelsError
from probinf.ppi.estimators.debiased import Fitted, Rows, Shared, column_of, debias
from probinf.ppi.inference.conclude import check_identified
from probinf.ppi.inference.result import Result


class Risk(NamedTuple):
    """Who is at risk when: event times (k,) and the places of rows and deaths among them.

    Attributes:
        dead: (deaths,) rows with an event.
        which: (deaths,) their event time.
        deaths: (k,) number of events at each time.
        last: (rows,) number of event times up to the row's own.
        first: (rows,) number of event times up to its entry.
        event: (terms,) event time of each term of the partial likelihood.
        share: (terms,) of the deaths' hazard that the term leaves out (Efron).
        mass: (terms,) weight of each term.
    """

    dead: np.ndarray
    which: np.ndarray
    deaths: np.ndarray
    last: np.ndarray
    first: np.ndarray
    event: np.ndarray
    share: np.ndarray
    mass: np.ndarray


def follow_up(where: str, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Times (rows,) and event indicators (rows,), checked.

    Raises:
        ArrayError: times that are negative, events other than 0 and 1.
        TooFewLabelsError: no event at all.
    """
    time, event = column_of(rows, "time", where), column_of(rows, "event", where)
    if (time < 0).any():
        raise ArrayError(f"{where}: time must not be negative; its minimum is {time.min():g}.")
    if not np.isin(event, (0.0, 1.0)).all():
        raise ArrayError(
            f"{where}: event must be 1 (event seen) or 0 (censored), but holds "
            f"{event[~np.isin(event, (0.0, 1.0))][0]:g}."
        )
    if not event.any():
        raise TooFewLabelsError(
            f"{where}: no event among {len(event)} rows, all are censored; follow up for longer, "
            "or label rows with events."
        )
    return time, event


def _risk(where: str, rows: Rows, weights: np.ndarray, ties: str) -> Risk:
    time, event = follow_up(where, rows)
    entry = None
    if "entry" in rows:
        entry = column_of(rows, "entry", where)
        if (entry >= time).any():
            i = int(np.argmax(entry >= time))
            raise ArrayError(
                f"{where}: entry must lie before time; row {i} enters at {entry[i]:g} and leaves "
                f"at {time[i]:g}."
            )
    dead = np.flatnonzero((event > 0) & (weights > 0))
    times, which = np.unique(time[dead], return_inverse=True)
    deaths = np.bincount(which)
    total = np.bincount(which, weights[dead])
    k = np.arange(len(times))
    terms: np.ndarray
    share: np.ndarray
    mass: np.ndarray
    if ties == "efron":
        terms = np.repeat(k, deaths)
        share = (np.arange(len(dead)) - np.repeat(np.cumsum(deaths) - deaths, deaths)) / deaths[
            terms
        ]
        mass = (total / deaths)[terms]
    else:
        terms, share, mass = k, np.zeros(len(k), float), total
    last = np.searchsorted(times, time, side="right")
    first = (
        np.zeros(len(time), int) if entry is None else np.searchsorted(times, entry, side="right")
    )
    return Risk(dead, which, deaths, last, first, terms, share, mass)


def _at_risk(risk: Risk, values: np.ndarray) -> np.ndarray:
    """Sums (k, columns) of the rows' values (rows, columns) over those at risk."""
    k = len(risk.deaths)

    def beyond(place: np.ndarray) -> np.ndarray:
        sums = np.stack([np.bincount(place, v, minlength=k + 1) for v in values.T], axis=1)
        return sums[::-1].cumsum(axis=0)[::-1][1:]

    # at risk at event time j: last > j and first <= j
    found = beyond(risk.last)
    return found - beyond(risk.first) if risk.first.any() else found


class _Point(NamedTuple):
    value: float
    slope: np.ndarray
    H: np.ndarray
    scores: np.ndarray


def _evaluate(x: np.ndarray, w: np.ndarray, risk: Risk, beta: np.ndarray) -> _Point:
    """Partial log likelihood, its gradient and curvature, and scores (rows, d)."""
    k, d = len(risk.deaths), x.shape[1]
    eta = x @ beta
    top = float(eta.max())
    hazard = np.exp(eta - top)
    r = w * hazard
    both = np.column_stack([r, r[:, None] * x])
    sums = _at_risk(risk, both)
    tied = np.stack([np.bincount(risk.which, v, minlength=k) for v in both[risk.dead].T], axis=1)
    S = sums[risk.event] - risk.share[:, None] * tied[risk.event]
    mean = S[:, 1:] / S[:, :1]
    rate = risk.mass / S[:, 0]

    def per_time(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(risk.event, v, minlength=k) for v in values.T], axis=1)

    both_rates = np.column_stack([rate, rate[:, None] * mean])
    steps = np.vstack([np.zeros(d + 1), per_time(both_rates).cumsum(axis=0)])
    exposure = steps[risk.last] - steps[risk.first]
    spared = per_time(risk.share[:, None] * both_rates)
    np.subtract.at(exposure, risk.dead, spared[risk.which])
    A, B = exposure[:, 0], exposure[:, 1:]
    terms = np.bincount(risk.event, minlength=k)[:, None]
    scores = -hazard[:, None] * (x * A[:, None] - B)
    scores[risk.dead] += x[risk.dead] - (per_time(mean) / terms)[risk.which]
    H = (x.T * (r * A)) @ x - (mean.T * risk.mass) @ mean
    value = w[risk.dead] @ eta[risk.dead] - risk.mass @ (np.log(S[:, 0]) + top)
    return _Point(float(value), w @ scores, H, scores)


def cox_fit(where: str, rows: Rows, weights: np.ndarray, ties: str) -> Fitted:
    """The maximum of the weighted partial likelihood, and the influence of every row.

    Raises:
        ConvergenceError: no finite maximum, or covariates that are collinear.
        TooFewLabelsError: fewer events than coefficients.

    Source: Breslow (1974), Efron (1977); influence after Reid & Crepeau (1985) and Lin & Wei
    (1989), exact in the weights.
    """
    x = column_of(rows, "x", where, ndim=2)
    x = x - weights @ x / weights.sum()
    risk = _risk(where, rows, weights, ties)
    d = x.shape[1]
    if len(risk.dead) <= d:
        raise TooFewLabelsError(
            f"{where}: {len(risk.dead)} event(s) for {d} coefficient(s); label rows with events, "
            "or use fewer covariates."
        )
    beta = np.zeros(d)
    at = _evaluate(x, weights, risk, beta)
    check_identified(at.H, f"Cox regression ({where})")
    start = np.diag(at.H).copy()
    for _ in range(60):
        step = np.linalg.lstsq(at.H, at.slope, rcond=None)[0]
        decrement, scale = float(step @ at.slope), 1.0
        if decrement <= 1e-22 * max(1.0, float(risk.mass.sum())):
            break
        while scale > 1e-10:
            new = _evaluate(x, weights, risk, beta + scale * step)
            if new.value >= at.value - 1e-13 * abs(at.value):
                break
            scale /= 2
        beta, at = beta + scale * step, new
        if (np.diag(at.H) < 1e-7 * start).any():
            break
    worst = int(np.argmin(np.diag(at.H) / start))
    if np.diag(at.H)[worst] < 1e-5 * start[worst]:
        raise ConvergenceError(
            f"Cox regression ({where}): no finite estimate. The likelihood rises without end in "
            f"coefficient {worst} (it reached {beta[worst]:.3g}): a covariate orders the events "
            "perfectly, or a group has none. Remedies: more labels or fewer covariates."
        )
    return Fitted(beta, np.linalg.solve(at.H, at.scores.T).T)


def cox(
    labeled: dict[str, Any],
    proxies: dict[str, Any],
    unlabeled: dict[str, Any],
    *,
    ties: str = "efron",
    **options: Unpack[Shared],
) -> Result:
    """Log hazard ratios from few true event times and many predicted ones.

    Three partial likelihoods are maximised, of the true labelled rows and of both samples as
    predicted, and combined by their influence functions: ``b + M (gamma_u - gamma_l)``. Bad
    predictions, whose hazards need not even be proportional, cost width and not validity.

    Args:
        labeled: ``x`` (n, d) covariates, ``time`` (n,), ``event`` (n,) 1 or 0 for censored, and
            where rows come under observation late, ``entry`` (n,).
        proxies: the predicted columns on labelled rows: ``time``, ``event``, or covariates.
        unlabeled: all columns (N, ...), predictions put in.
        ties: ``"efron"`` or ``"breslow"``.
        tune: the weight M, as in `ptd`; None takes the labelled rows alone.
        design: how rows were sampled; weights, clusters and strata of the sampling.

    The estimand is the one that all rows together would give, the least false log hazard ratio
    where hazards are not proportional. Censoring must not depend on the event time given the
    covariates. All other arguments and errors are those of `ptd`.

    Raises:
        ArrayError: negative times, events other than 0 and 1, entries after their time.
        TooFewLabelsError: no more events than covariates.
        ConvergenceError: no finite maximum.

    Source: Cox (1972); combined as predict-then-debias (arXiv 2501.18577).
    """
    check_choice("ties", ties, ("efron", "breslow"))
    return debias(
        lambda where, rows, weights: cox_fit(where, rows, weights, ties),
        labeled,
        proxies,
        unlabeled,
        options,
        estimand="log hazard ratios",
        need=5,
    )
