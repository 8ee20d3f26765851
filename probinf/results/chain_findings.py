"""What may be wrong with Markov chains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from probinf.results.findings import Finding, worst
from probinf.results.geometry import can_show_funnels, divergence_place, funnels
from probinf.results.mode_search import missed_modes
from probinf.results.summary import MIN_DRAWS

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior

_FAR = 10.0  # difference of log densities that no mode of similar shape makes up for


def of_chains(posterior: Posterior) -> list[Finding]:
    """Divergences, chains that disagree, few effective draws, low energy, missed modes."""
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
                "Raise the target (NUTS(target_acceptance=0.95)), or "
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
                f"chains disagree: largest R-hat {worst(names, high, low=False)}; it should be "
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
    ensembles = posterior.provenance.get("ensembles")
    low = 100 * chains if ensembles is None else 100 * max(4, ensembles)
    if posterior.streamed is not None:
        ess = columns["ess"]
    else:
        ess = np.fmin(columns["ess_bulk"], columns["ess_tail"])
    if (ess[moving] < low).any():
        found.append(
            Finding(
                "low_ess",
                f"few effective draws: {worst(names, np.where(moving, ess, np.inf), low=True)}; "
                f"quantiles need about {low}. Run longer; {_of_metric(posterior)}",
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
    if draws > 1 and not moving.any():
        found.append(Finding("stuck", "no coordinate ever moved; the draws are useless."))
    return found + _of_modes(posterior)


def _of_metric(posterior: Posterior) -> str:
    """What another metric could still do for chains that move slowly."""
    method = str(posterior.provenance.get("method", ""))
    tried = str(posterior.provenance.get("metric", ""))
    if "dense" in method or "low_rank" in method or tried.startswith("low_rank"):
        return (
            "the metric follows correlations already, so that what is left is curvature: write "
            "the slow sites in other coordinates, or give scales that the data leave free "
            "tighter priors."
        )
    if tried:
        return (
            "in the warm-up's trial a low-rank metric was no better than variances, so that what "
            "is left is curvature rather than correlation: write the slow sites in other "
            "coordinates."
        )
    if "divergent" in posterior.stats:
        return "strong correlations ask for metric='low_rank' or 'dense'."
    return "strong correlations ask for metric='dense', or for NUTS where there are gradients."


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
    if not seen and can_show_funnels(posterior):
        return (
            "look where they lie (posterior.plot): no site's spread follows a scale of its own, so "
            "that a narrow ridge or a scale that the data leave free is likelier than a centred "
            "hierarchy; a tighter prior or other coordinates for these sites help."
        )
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
