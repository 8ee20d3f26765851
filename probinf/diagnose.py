"""diagnose: what is wrong with a posterior, where, and what to do about it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import scipy.special

from probinf.diagnostics import kish_ess, pareto_k
from probinf.geometry import divergence_place, funnels
from probinf.modes import missed_modes
from probinf.summary import MIN_DRAWS

if TYPE_CHECKING:
    from probinf.posterior import Posterior

_FAR = 10.0  # difference of log densities that no mode of similar shape makes up for


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: short name, for tests and programs.
        message: what was seen, where, and the remedy.
    """

    code: str
    message: str


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """All findings about a posterior; true when there are none.

    Attributes:
        findings: in order of severity.
    """

    findings: tuple[Finding, ...]

    def __bool__(self) -> bool:
        return not self.findings

    @property
    def codes(self) -> list[str]:
        """The codes of all findings."""
        return [f.code for f in self.findings]

    def __str__(self) -> str:
        if not self.findings:
            return "Nothing suspicious was found."
        return "\n".join(f"- {f.code}: {f.message}" for f in self.findings)

    __repr__ = __str__


def diagnose(posterior: Posterior) -> Diagnosis:
    """Findings on convergence, divergences, effective sizes, weights and lost evaluations."""
    found = _of_weights(posterior) if posterior.weighted else _of_chains(posterior)
    summary = posterior.summary()
    finite = np.isfinite(summary.columns["mean"]) & np.isfinite(summary.columns["sd"])
    if broken := [name for name, fine in zip(summary.names, finite, strict=True) if not fine]:
        found.insert(
            0,
            Finding(
                "not_finite",
                f"some draws of {', '.join(broken[:3])} are infinite or NaN, so nothing can be "
                "said about them. Rescale the quantity or work with its logarithm.",
            ),
        )
    if posterior.provenance.get("interrupted"):
        found.append(Finding("interrupted", "the run was stopped before its end; draws are few."))
    return Diagnosis(tuple(found))


def _worst(names: list[str], values: np.ndarray, low: bool) -> str:
    order = np.argsort(values if low else -values)
    return ", ".join(f"{names[i]} ({values[i]:.3g})" for i in order[:3])


def _of_chains(posterior: Posterior) -> list[Finding]:
    found = []
    summary = posterior.summary()
    names, columns = summary.names, summary.columns
    moving = columns["sd"] > 0
    chains, draws = posterior.log_weights.shape
    remedy = ""
    if "divergent" in posterior.stats and (count := int(posterior.stats["divergent"].sum())):
        remedy = _of_funnel(posterior)
        found.append(
            Finding(
                "divergences",
                f"{count} of {chains * draws} transitions diverged: the density curves too fast "
                f"for the step size, and draws miss that region.{_where(posterior, count)} "
                "Raise the target (NUTS(kernel=kernels.NUTS(target_acceptance=0.95))), or "
                f"{remedy}",
            )
        )
    # short chains cannot satisfy the plain R-hat; what remains of shared starts decides
    column = "nested_r_hat" if "nested_r_hat" in columns else "r_hat"
    if (columns[column][moving] > 1.01).any():
        high = np.where(moving, columns[column], 0)
        found.append(
            Finding(
                "r_hat",
                f"chains disagree: largest R-hat {_worst(names, high, low=False)}; it should be "
                f"below 1.01.{_lower(posterior)} Run longer; if it stays, the posterior may have "
                "several modes: try ParallelTempering or SMC.",
            )
        )
    if draws < MIN_DRAWS:
        found.append(
            Finding(
                "low_ess", f"{draws} draws per chain are too few to judge anything. Run longer."
            )
        )
    low = 100 * chains
    if posterior.streamed is not None:
        ess = columns["ess"]
    else:
        ess = np.fmin(columns["ess_bulk"], columns["ess_tail"])
    if (ess[moving] < low).any():
        found.append(
            Finding(
                "low_ess",
                f"few effective draws: {_worst(names, np.where(moving, ess, np.inf), low=True)}; "
                f"quantiles need about {low}. Run longer; strong correlations ask for "
                "metric='low_rank' or 'dense'.",
            )
        )
    if "energy" in posterior.stats and "divergent" in posterior.stats and draws > 2:
        # a divergence may leave an infinite energy, which says nothing about the others
        energy = np.ma.masked_invalid(np.asarray(posterior.stats["energy"], float))
        changes = energy[:, 1:] - energy[:, :-1]
        bfmi = np.ma.filled((changes**2).mean(axis=1) / energy.var(axis=1), np.nan)
        if (bfmi < 0.3).any():
            found.append(
                Finding(
                    "e_bfmi",
                    "energy changes too little per transition "
                    f"(E-BFMI {np.nanmin(bfmi):.2f} < 0.3): heavy tails, or hierarchical scales: "
                    f"{remedy or _of_funnel(posterior)}",
                )
            )
    if not moving.any():
        found.append(Finding("stuck", "no coordinate ever moved; the draws are useless."))
    return found + _of_modes(posterior) + _of_ladder(posterior)


def _lower(posterior: Posterior) -> str:
    """Which chains stay at a much lower density than others, and how to start elsewhere."""
    if "log_density" not in posterior.stats:
        return ""
    level = np.asarray(posterior.stats["log_density"], float)
    gap = np.median(level, axis=1).max() - np.median(level, axis=1)
    low = np.flatnonzero(gap > max(_FAR, 5 * float(np.median(level.std(axis=1)))))
    if not low.size:
        return ""
    which = ", ".join(map(str, low[:5]))
    return (
        f" The log density of chain {which} stays {gap[low].min():.0f} or more below the best, "
        "as in a minor mode: NUTS(start='pathfinder') starts in modes by their mass."
    )


def _where(posterior: Posterior, count: int) -> str:
    """At which end of which coordinate divergences lie, where they do."""
    place = divergence_place(posterior)
    if place is None:
        return ""
    side = "below" if place.below else "above"
    return (
        f" {place.inside} of the {count} lie where {place.name} is {side} {place.bound:.3g}, as "
        f"{place.share:.0%} of all draws do."
    )


def _of_funnel(posterior: Posterior) -> str:
    """How to write the funnel, with the names of its sites where they can be seen."""
    seen = funnels(posterior)
    if not seen:
        return "write hierarchical scales non-centred (theta = mu + tau * z)."
    config = ", ".join(f"'{f.site}': LocScaleReparam(0)" for f in seen[:3])
    told = ", ".join(f"the spread of {f.site} grows with {f.scale}" for f in seen[:3])
    return f"straighten the funnel ({told}): numpyro.handlers.reparam(model, config={{{config}}})."


def _of_modes(posterior: Posterior) -> list[Finding]:
    modes = missed_modes(posterior)
    if not modes:
        return []
    where = ", ".join(f"{v:.3g}" for v in modes[0].position[:4])
    more = ", ..." if modes[0].position.size > 4 else ""
    return [
        Finding(
            "missed_mode",
            f"no chain has been near {len(modes)} other maximum(s) of the density; the largest, at "
            f"({where}{more}) in unconstrained coordinates, holds about {modes[0].share:.0%} of "
            "the mass by its normal approximation. Use ParallelTempering or SMC, which give "
            "every mode its share.",
        )
    ]


def _of_ladder(posterior: Posterior) -> list[Finding]:
    """Findings about parallel tempering; none for other engines."""
    found: list[Finding] = []
    if "swap_rate" not in posterior.history:
        return found
    rate = posterior.history["swap_rate"][:, :-1]
    barrier, rungs = float(posterior.provenance["barrier"]), posterior.history["beta"].shape[1]
    if rate.min() < 0.2:
        found.append(
            Finding(
                "swaps",
                f"only {rate.min():.0%} of the swaps between inverse temperatures "
                f"{_pair(posterior, rate)} are accepted. Use more than {rungs} temperatures: about "
                f"{max(rungs + 4, round(2 * barrier) + 1)}.",
            )
        )
    trips = posterior.provenance["round_trips"]
    if min(trips) < 20:
        found.append(
            Finding(
                "round_trips",
                f"positions of the base reached the target {min(trips)} times in one ladder, so "
                "the shares of separate modes rest on few visits. Use more draws, or more "
                "temperatures.",
            )
        )
    return found


def _pair(posterior: Posterior, rate: np.ndarray) -> str:
    ladder, k = np.unravel_index(int(rate.argmin()), rate.shape)
    low, high = posterior.history["beta"][ladder, k : k + 2]
    return f"{low:.2g} and {high:.2g}"


def _of_contours(posterior: Posterior) -> list[Finding]:
    """Findings about nested sampling; none for other engines."""
    found = []
    p = posterior.provenance.get("insertion_p_value", 1.0)
    if p < 1e-3:
        found.append(
            Finding(
                "insertion",
                f"new live points were not drawn from the whole contour (insertion-rank test, "
                f"p = {p:.1e}): the evidence is biased. Use more moves, and more live points if "
                "there may be several modes.",
            )
        )
    single = posterior.history.get("log_evidence", np.zeros((1, 1)))[:, 0]
    error = posterior.history.get("log_evidence_error", np.ones((1, 1)))[:, 0]
    if len(single) > 1:
        spread = float(np.sum(((single - np.average(single, weights=error**-2)) / error) ** 2))
        if scipy.special.chdtrc(len(single) - 1, spread) < 1e-3:
            found.append(
                Finding(
                    "runs_disagree",
                    f"the runs' log evidences range from {single.min():.2f} to {single.max():.2f}, "
                    f"more than their errors of {error.mean():.2f} allow: some lost a mode. Use "
                    "more live points.",
                )
            )
    return found


def _of_weights(posterior: Posterior) -> list[Finding]:
    found = []
    method = posterior.provenance.get("method", "")
    n = posterior.log_weights.size
    kish = kish_ess(posterior.log_weights)
    if method.startswith("Importance"):
        k = pareto_k(posterior.log_weights)
        if k > 0.7:
            found.append(
                Finding(
                    "pareto_k",
                    f"the importance weights have a heavy tail (Pareto k {k:.2f} > 0.7): mean and "
                    "evidence are unreliable. Start from a better base with rebase, or use SMC.",
                )
            )
    if kish < 100:
        found.append(
            Finding(
                "low_ess",
                f"the weights are worth {kish:.0f} of {n} draws. Use more particles or live "
                "points, or SMC instead of Importance.",
            )
        )
    found += _of_contours(posterior)
    clusters = np.zeros(1) if posterior.clusters is None else posterior.clusters
    ancestors = len(np.unique(clusters))
    if method.startswith("SMC") and ancestors < 50:
        found.append(
            Finding(
                "ancestry",
                f"all particles descend from {ancestors} first particles: Monte Carlo errors are "
                "themselves uncertain. Use more particles or islands.",
            )
        )
    if "acceptance" in posterior.history:
        acceptance = posterior.history["acceptance"]
        if np.nanmin(acceptance) < 0.02:
            stage = int(np.nanargmin(np.nanmin(acceptance, axis=0)))
            found.append(
                Finding(
                    "acceptance",
                    f"only {np.nanmin(acceptance):.1%} of the moves of stage {stage} were "
                    "accepted. Use another kernel or more moves.",
                )
            )
    lost = int(posterior.provenance.get("nan_evaluations", 0))
    if lost:
        found.append(
            Finding(
                "nan",
                f"the log likelihood was NaN at {lost} particles, which were given weight zero. "
                "Find out where with pi.check(program).",
            )
        )
    return found
