"""kfold and reloo: predictive accuracy for data that a fit has not seen."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.special import logsumexp

from probinf.core.estimate import Estimate
from probinf.core.inputs.limits import at_least
from probinf.core.program import Key
from probinf.errors import MethodError, StructureError
from probinf.evidence.loo import Loo, loo
from probinf.evidence.pointwise import Pointwise, log_likelihood
from probinf.evidence.refitting import refits_of, told
from probinf.results.posterior import Posterior
from probinf.results.precision import in_its_precision
from probinf.runtime.method import Method


@dataclasses.dataclass(frozen=True)
class KFold(Loo):
    """Expected log predictive density of new data, from fits without a fold of them each.

    Attributes:
        folds: (n,) number of the fold in which each datum was left out.
        findings: by fold, codes of what ``diagnose`` found wrong with its fit.
    """

    folds: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, int))
    findings: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        count = len(np.unique(self.folds))
        first = (
            f"elpd_kfold {self.elpd.value:.1f} ± {self.elpd.error:.1f} over {len(self.labels)} "
            f"data in {count} folds, p_kfold {self.p_loo:.1f}"
        )
        return "\n".join([first, *told(self.findings)])

    __repr__ = __str__


@in_its_precision
def kfold(
    posterior: Posterior,
    method: Method[Any] | None = None,
    *,
    key: int | Key,
    folds: int | Any = None,
    groups: Any = None,
    site: str | None = None,
    max_draws: int = 4000,
    progress: bool = True,
) -> KFold:
    """K-fold cross-validation: the model is fitted without each fold, which it then predicts.

    Nothing is compiled again for a fold: a datum is left out by the weight of its likelihood.

    Args:
        posterior: given all data, with a program that knows its likelihood per datum.
        method: of the fits; by default that of the posterior's chains, else NUTS.
        key: random key or seed, of the folds and the fits.
        folds: how many, of equal size and at random (ten by default, or as many as there are data
            or groups); or (n,) labels, which datum belongs to which.
        groups: (n,) labels of data that are left out together (patients, schools); with as many
            folds as groups, one group at a time.
        site: whose data are left out; needed where there are several observed sites.
        max_draws: thin to at most this many draws; memory is draws times data.
        progress: show a progress bar for every fit.

    Returns:
        A ``KFold``, which ``compare`` takes as well.

    Raises:
        StructureError: there is no likelihood per datum, labels do not match the data, or there
            are more folds than data or groups.

    Source: Vehtari, Gelman & Gabry (2017), section 2.3; Geisser (1975).
    """
    seen = log_likelihood(posterior, site, max_draws, "kfold")
    refits = refits_of(posterior, seen, method, key, max_draws, progress)
    label = _folds(folds, groups, len(seen.labels), np.random.default_rng(_seed(refits.key)))
    pointwise = np.empty(len(seen.labels))
    for k in range(label.max() + 1):
        out = label == k
        found = refits.without(out, k, f"fold {k}")
        pointwise[out] = _predictive(found)[out]
    full = logsumexp(seen.log_l + seen.log_w[:, None], axis=0) - logsumexp(seen.log_w)
    real = seen.real
    pointwise, full, label = pointwise[real], full[real], label[real]
    labels = tuple(np.asarray(seen.labels)[real].tolist())
    error = float(np.sqrt(pointwise.size * pointwise.var(ddof=1)))
    return KFold(
        Estimate(float(pointwise.sum()), error),
        float((full - pointwise).sum()),
        pointwise,
        np.zeros(pointwise.size),
        0.7,
        labels,
        labels,
        label,
        refits.findings,
    )


@in_its_precision
def reloo(
    posterior: Posterior,
    method: Method[Any] | None = None,
    *,
    key: int | Key,
    site: str | None = None,
    max_draws: int = 4000,
    max_refits: int = 20,
    progress: bool = True,
) -> Loo:
    """PSIS-LOO, with a fit without each datum whose Pareto k says that weights will not do.

    Args:
        posterior: as for ``loo``.
        method: of the fits; by default that of the posterior's chains, else NUTS.
        key: random key or seed of the fits.
        site: as for ``loo``.
        max_draws: as for ``loo``.
        max_refits: data that may need a fit of their own.
        progress: show a progress bar for every fit.

    Returns:
        As ``loo``; ``refitted`` names the data that were left out in earnest.

    Raises:
        StructureError: as for ``loo``.
        MethodError: more than ``max_refits`` fits are needed.

    Source: Vehtari, Gelman & Gabry (2017), section 2.1.
    """
    at_least(0, max_refits=max_refits)
    found: Loo = loo(posterior, site=site, max_draws=max_draws)
    bad = found.unreliable
    if not bad:
        return found
    if len(bad) > max_refits:
        raise MethodError(
            f"reloo: {len(bad)} of {len(found.labels)} data need a fit of their own, more than "
            f"max_refits={max_refits}. pi.kfold(posterior, key=...) takes ten fits for all of "
            "them; or look for what the model gets wrong."
        )
    seen = log_likelihood(posterior, site, max_draws, "reloo")
    refits = refits_of(posterior, seen, method, key, max_draws, progress)
    pointwise, pareto_k = found.pointwise.copy(), found.pareto_k.copy()
    for label in bad:
        i, place = found.labels.index(label), seen.labels.index(label)
        fitted = refits.without(np.arange(len(seen.labels)) == place, place, label)
        pointwise[i], pareto_k[i] = _predictive(fitted)[place], 0.0
    error = float(np.sqrt(pointwise.size * pointwise.var(ddof=1)))
    gained = float(found.pointwise.sum() - pointwise.sum())
    return dataclasses.replace(
        found,
        elpd=Estimate(float(pointwise.sum()), error),
        p_loo=found.p_loo + gained,
        pointwise=pointwise,
        pareto_k=pareto_k,
        refitted=tuple(bad),
    )


def _predictive(found: Pointwise) -> np.ndarray:
    """(n,) log predictive density of every datum given a fit."""
    total = logsumexp(found.log_l + found.log_w[:, None], axis=0) - logsumexp(found.log_w)
    return np.asarray(total)


def _seed(key: Key) -> list[int]:
    import jax

    data = np.asarray(jax.random.key_data(key)).astype(np.uint64).ravel().tolist()
    return [int(v) for v in data]


def _folds(folds: Any, groups: Any, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) numbers of folds from 0."""
    if groups is not None:
        label = _labels(groups, n, "groups")
        units = int(label.max()) + 1
    else:
        label, units = np.arange(n), n
    if folds is not None and np.ndim(folds) > 0:
        if groups is not None:
            raise StructureError("kfold: folds= as labels say it all; leave groups= out.")
        found = _labels(folds, n, "folds")
        if found.max() < 1:
            raise StructureError("kfold: the labels name one fold, so that nothing is left to fit.")
        return found
    folds = min(10, units) if folds is None else folds
    at_least(2, folds=folds)
    if folds > units:
        what = "groups" if groups is not None else "data"
        raise StructureError(f"kfold: {folds} folds of only {units} {what}. Use folds={units}.")
    return np.asarray(rng.permutation(np.arange(units) % folds)[label])


def _labels(values: Any, n: int, name: str) -> np.ndarray:
    given = np.asarray(values)
    if given.size != n:
        raise StructureError(f"kfold: {name} has {given.size} labels, there are {n} data.")
    flat = given.ravel()
    lost = [i for i, v in enumerate(flat.tolist()) if v is None or v != v]
    if lost:
        raise StructureError(
            f"kfold: {name} has {len(lost)} missing labels, the first at [{lost[0]}]; give each "
            "datum one."
        )
    return np.asarray(np.unique(flat, return_inverse=True)[1]).ravel()
