"""Leave-one-out predictive accuracy by Pareto-smoothed importance sampling, and comparisons."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.special import logsumexp

from probinf.core.estimate import Estimate
from probinf.core.psis import psis
from probinf.errors import StructureError
from probinf.evidence.pointwise import log_likelihood, trusted_k
from probinf.results.posterior import Posterior
from probinf.results.precision import in_its_precision


@dataclasses.dataclass(frozen=True)
class Loo:
    """Expected log predictive density of new data, by leaving out each datum in turn.

    Attributes:
        elpd: the sum over data, with its standard error.
        p_loo: effective number of parameters.
        pointwise: (n,) contribution of every datum.
        pareto_k: (n,) reliability of every contribution; above ``threshold`` it is not.
        threshold: ``min(1 - 1 / log10(draws), 0.7)``.
        labels: (n,) which datum, ``y[3]``.
        refitted: labels of the data whose contribution is that of a fit without them, with a
            Pareto k of 0.
    """

    elpd: Estimate
    p_loo: float
    pointwise: np.ndarray
    pareto_k: np.ndarray
    threshold: float
    labels: tuple[str, ...]
    refitted: tuple[str, ...] = ()

    @property
    def unreliable(self) -> list[str]:
        """Labels of the data whose contribution is not to be trusted, worst first."""
        order = np.argsort(-self.pareto_k)
        return [self.labels[i] for i in order if self.pareto_k[i] > self.threshold]

    def __str__(self) -> str:
        lines = [
            f"elpd_loo {self.elpd.value:.1f} ± {self.elpd.error:.1f} over {len(self.labels)} data, "
            f"p_loo {self.p_loo:.1f}"
        ]
        if bad := self.unreliable:
            lines.append(
                f"Pareto k above {self.threshold:.2f} at {len(bad)} data ({', '.join(bad[:5])}"
                f"{', ...' if len(bad) > 5 else ''}): the posterior without them differs too much. "
                "Refit without them, pi.reloo(posterior, key=...), or look for outliers and a "
                "model with heavier tails."
            )
        if self.refitted:
            shown = ", ".join(self.refitted[:5]) + (", ..." if len(self.refitted) > 5 else "")
            lines.append(f"{len(self.refitted)} by fits without them: {shown}")
        return "\n".join(lines)

    __repr__ = __str__


@in_its_precision
def loo(posterior: Posterior, *, site: str | None = None, max_draws: int = 4000) -> Loo:
    """PSIS-LOO of a posterior; weights of weighted draws are respected.

    Args:
        posterior: with a program that knows its likelihood per datum (``from_numpyro``).
        site: whose data are left out; needed where there are several observed sites.
        max_draws: thin to at most this many draws; memory is draws times data.

    Raises:
        StructureError: there is no likelihood per datum, or which site is not clear.

    Source: Vehtari, Gelman & Gabry (2017), eq. 10; Vehtari et al. (2024) for the smoothing and
    the threshold.
    """
    seen = log_likelihood(posterior, site, max_draws, "loo")
    log_w, log_l = seen.log_w, seen.log_l[:, seen.real]
    labels = [label for label, real in zip(seen.labels, seen.real, strict=True) if real]
    full = logsumexp(log_l + log_w[:, None], axis=0) - logsumexp(log_w)
    pointwise, k = np.empty(len(labels)), np.empty(len(labels))
    for i in range(len(labels)):
        smoothed, k[i] = psis(log_w - log_l[:, i])
        pointwise[i] = logsumexp(smoothed + log_l[:, i])
    error = float(np.sqrt(len(labels) * pointwise.var(ddof=1)))
    return Loo(
        Estimate(float(pointwise.sum()), error),
        float((full - pointwise).sum()),
        pointwise,
        k,
        trusted_k(len(log_w)),
        tuple(labels),
    )


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Models by expected log predictive density, best first.

    Attributes:
        loos: by model, best first.
        differences: by model, its elpd minus the best one's, with the standard error of the
            paired difference.
        weights: by model, stacking weights: the mixture of predictions that would have done
            best on the left-out data.
    """

    loos: dict[str, Loo]
    differences: dict[str, Estimate]
    weights: dict[str, float]

    def __str__(self) -> str:
        width = max(5, *(len(name) for name in self.loos))
        lines = [f"{'':{width}}      elpd    diff  its se  p_loo  weight  bad k"]
        for name, found in self.loos.items():
            difference = self.differences[name]
            lines.append(
                f"{name:{width}} {found.elpd.value:9.1f} {difference.value:7.1f} "
                f"{difference.error:7.1f} {found.p_loo:6.1f} {self.weights[name]:7.2f} "
                f"{len(found.unreliable):6d}"
            )
        return "\n".join(lines)

    __repr__ = __str__


def compare(
    posteriors: Mapping[str, Posterior | Loo], *, site: str | None = None, max_draws: int = 4000
) -> Comparison:
    """Several posteriors of the same data by PSIS-LOO.

    Args:
        posteriors: by name; or what ``loo``, ``reloo`` or ``kfold`` found of them.
        site: as in ``loo``.
        max_draws: as in ``loo``.

    Raises:
        StructureError: fewer than two models, or they do not predict the same data.

    Source: Vehtari, Gelman & Gabry (2017), section 5; stacking: Yao et al. (2018), eq. 5.
    """
    if len(posteriors) < 2:
        raise StructureError("compare: give at least two posteriors, by name.")
    for name, p in posteriors.items():
        if not isinstance(p, Posterior | Loo):
            raise StructureError(
                f"compare: '{name}' must be a Posterior, or what loo, reloo or kfold found, got "
                f"{type(p).__name__}."
            )
    found = {
        name: p if isinstance(p, Loo) else loo(p, site=site, max_draws=max_draws)
        for name, p in posteriors.items()
    }
    sizes = {name: len(f.labels) for name, f in found.items()}
    if len(set(sizes.values())) > 1:
        raise StructureError(f"compare: the models do not predict the same data: {sizes}.")
    ranked = dict(sorted(found.items(), key=lambda item: -item[1].elpd.value))
    best = next(iter(ranked.values())).pointwise
    differences = {}
    for name, f in ranked.items():
        gap = f.pointwise - best
        differences[name] = Estimate(float(gap.sum()), float(np.sqrt(gap.size * gap.var(ddof=1))))
    weights = _stacking(np.stack([f.pointwise for f in ranked.values()]))
    return Comparison(ranked, differences, dict(zip(ranked, weights.tolist(), strict=True)))


def _stacking(log_p: np.ndarray) -> np.ndarray:
    """Weights that maximise the log score of the mixture, by expectation maximisation."""
    p = np.exp(log_p - log_p.max(axis=0))
    weights = np.full(len(p), 1 / len(p))
    for _ in range(10_000):
        share = weights[:, None] * p
        fresh = (share / share.sum(axis=0)).mean(axis=1)
        moved = np.abs(fresh - weights).max()
        weights = fresh
        if moved < 1e-8:
            break
    return weights
