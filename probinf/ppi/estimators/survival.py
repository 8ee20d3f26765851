"""Survival probabilities and restricted mean survival under censoring, helped by predictions."""

from __future__ import annotations

import dataclasses
from typing import Any, Unpack

import numpy as np

from probinf.core.inputs.frames import is_pandas, same_index, same_rows
from probinf.errors import ArrayError
from probinf.ppi.designs.resolve import resolve
from probinf.ppi.estimators.cox import follow_up
from probinf.ppi.estimators.debiased import Fitted, Settings, Shared, names_of, of_pseudo_values
from probinf.ppi.estimators.survival_result import SurvivalResult
from probinf.ppi.inference.checks import check_counts, numeric, table
from probinf.ppi.inference.result import Result


def kaplan_meier(
    time: np.ndarray, event: np.ndarray, weights: np.ndarray, points: np.ndarray, *, area: bool
) -> Fitted:
    """Survival probabilities at ``points`` (d,), or areas below the curve up to them.

    The product-limit estimate, which weights every event by the inverse probability of not being
    censored before. Influence: derivative in the weights, exact with ties.
    """
    seen = (event > 0) & (weights > 0)
    times, which = np.unique(time[seen], return_inverse=True)
    k = len(times)
    deaths = np.bincount(which, weights[seen], minlength=k)
    last = np.searchsorted(times, time, side="right")
    left = np.bincount(last, weights, minlength=k + 1)
    risk = left[::-1].cumsum()[::-1][1:]
    stay = np.where(risk - deaths > 1e-12 * risk, risk - deaths, 0.0)
    curve = np.concatenate([[1.0], np.cumprod(stay / risk)])
    upto = np.searchsorted(times, points, side="right")
    safe = np.where(stay > 0, stay, 1.0)
    theta, columns = np.zeros(len(points)), np.zeros((len(time), len(points)))
    for j, (point, m) in enumerate(zip(points, upto, strict=True)):
        if area:
            edges = np.concatenate([[0.0], times[:m], [point]])
            pieces = curve[: m + 1] * np.diff(edges)
            theta[j] = pieces.sum()
            ahead = pieces[::-1].cumsum()[::-1][1:]  # area beyond each event time
        else:
            theta[j] = curve[m]
            ahead = np.full(m, curve[m])
        gain = np.zeros(k)
        gain[:m] = np.where(stay[:m] > 0, ahead / safe[:m], 0.0)
        paid = np.concatenate([[0.0], np.cumsum(gain * deaths / risk)])
        columns[:, j] = paid[last]
        columns[seen, j] -= gain[which]
    return Fitted(theta, columns)


def _estimate(
    time: Any,
    event: Any,
    f: Any,
    f_unlabeled: Any,
    points: Any,
    given: Shared,
    *,
    area: bool,
) -> Result:
    what = "horizon" if area else "times"
    settings = Settings.of(given)
    same_index(time=time, event=event, f=f)
    rows = {"time": numeric("time", time), "event": numeric("event", event)}
    at = np.atleast_1d(numeric(what, np.atleast_1d(np.asarray(points, float))))
    F, Fu = table("f", f), table("f_unlabeled", f_unlabeled)
    n = same_rows(time=rows["time"], event=rows["event"], f=F)
    t, e = follow_up("labelled rows", rows)
    if F.shape[1] != Fu.shape[1]:
        raise ArrayError(f"f has {F.shape[1]} column(s), f_unlabeled {Fu.shape[1]}.")
    if F.shape[1] % len(at):
        raise ArrayError(
            f"f has {F.shape[1]} column(s) for {len(at)} of {what}; give one prediction for each."
        )
    if (at <= 0).any():
        raise ArrayError(f"{what} must be positive; got {at.min():g}.")
    if at.max() > t.max() and e[t == t.max()].min() == 0:
        raise ArrayError(
            f"{what} reaches {at.max():g}, but nobody was followed beyond {t.max():g}, where the "
            "last row is censored: the curve is not known there. Remedy: an earlier time."
        )
    check_counts(n, len(Fu), 5, "a survival curve")
    d = len(at)
    default = [f"RMST({p:g})" if area else f"S({p:g})" for p in at]
    scheme = resolve(settings.declared, n, len(Fu), (time, f_unlabeled))
    own = kaplan_meier(t, e, scheme.alpha / scheme.alpha.sum(), at, area=area)
    return of_pseudo_values(
        own.theta + own.influence,
        F,
        Fu,
        scheme,
        settings.options(d, predictors=F.shape[1] // d),
        estimand="restricted mean survival" if area else "survival probability",
        names=names_of({}, "", d, default if settings.names is None else settings.names),
        pandas=is_pandas(time),
        spent=1,
    )


def survival(
    time: Any,
    event: Any,
    f: Any,
    f_unlabeled: Any,
    *,
    times: Any,
    **options: Unpack[Shared],
) -> SurvivalResult:
    """Probabilities of surviving beyond given times, from few followed and many predicted rows.

    The labelled rows give the product-limit (Kaplan-Meier) estimate, that is, events weighted by
    the inverse of the probability of not being censored before; predictions are its control.

    Args:
        time: (n,) follow-up times of labelled rows.
        event: (n,) 1 if the event was seen, 0 if censored.
        f: (n, d) predicted probabilities of surviving beyond each of ``times``; for predicted
            event times t, ``t[:, None] > times``. Anything of which the difference of means
            between the samples is noise will do.
        f_unlabeled: (N, d) the same of rows that were not followed.
        times: (d,) at which to estimate.
        tune: the weight, as in `ptd`; None takes the labelled rows alone.

    Intervals and tests are made for ``log(-log(p))``, and stay in [0, 1]; see `SurvivalResult`.
    Censoring must not depend on the event time, and labelled rows are a random sample. All other
    arguments are those of `ptd`.

    Raises:
        ArrayError: times beyond the follow-up, events other than 0 and 1.
        TooFewLabelsError: no event.

    Source: Kaplan & Meier (1958); influence as in Greenwood's formula; IPCW form by Satten &
    Datta (2001).
    """
    found = _estimate(time, event, f, f_unlabeled, times, options, area=False)
    return SurvivalResult(**{a.name: getattr(found, a.name) for a in dataclasses.fields(Result)})


def rmst(
    time: Any,
    event: Any,
    f: Any,
    f_unlabeled: Any,
    *,
    horizon: Any,
    **options: Unpack[Shared],
) -> Result:
    """Restricted mean survival time: expected time to the event or the horizon, the earlier.

    The area below the product-limit curve up to the horizon. All arguments are those of
    `survival`, but that ``f`` predicts the time up to the horizon (``np.minimum(t, horizon)``)
    and ``horizon`` is a number, or several (d,).
    """
    return _estimate(time, event, f, f_unlabeled, horizon, options, area=True)
