"""Default priors of regressions: weakly informative, on the scale of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpyro.distributions as dist

from probinf.core.inputs.design import Design
from probinf.errors import ModelError
from probinf.fronts.formulas.families import LINKS, Family, Priors

_WIDE = 2.5  # in standard deviations of the outcome per standard deviation of a column


def default_priors(design: Design, family: Family, link: str) -> Priors:
    """A prior for every parameter, by name of its site.

    Slopes are normal around 0, with 2.5 standard deviations of the outcome per standard deviation
    of the column; the intercept, that of centred columns, is normal around the outcomes' mean;
    standard deviations are exponential. Behind a link other than the identity the outcome counts
    as one with standard deviation 1. Without an intercept nothing is centred, and root mean
    squares take the place of standard deviations.

    Source: Gabry & Goodrich, "Prior distributions for rstanarm models", after Gelman et al.
    (2008).

    Raises:
        ModelError: a column or the outcome does not vary.
    """
    y = _shares(design)
    spread = float(np.std(y)) if design.intercept else float(np.sqrt(np.mean(y**2)))
    if link == "identity" and not spread > 0:
        raise ModelError(f"formula: the outcome '{design.outcome}' is {y[0]} in all rows.")
    unit = spread if link == "identity" else 1.0
    priors: Priors = {}
    if design.intercept:
        priors[intercept_site(design)] = dist.Normal(_middle(design, y, family, link), _WIDE * unit)
    for name, column in zip(design.columns, design.x.T, strict=True):
        priors[name] = dist.Normal(0.0, _WIDE * unit / _size(name, column, design.intercept))
    for grouping in design.groupings:
        for effect, column in zip(grouping.effects, grouping.x.T, strict=True):
            size = float(np.std(column)) or float(np.sqrt(np.mean(column**2))) or 1.0
            priors[f"sd({effect_name(effect)}|{grouping.factor})"] = dist.Exponential(size / unit)
        if len(grouping.effects) > 1:
            priors[f"cholesky({grouping.factor})"] = dist.LKJCholesky(len(grouping.effects), 1.0)
    return priors | family.nuisances(spread if spread > 0 else 1.0)


def chosen_priors(defaults: Priors, given: Priors | None) -> Priors:
    """The defaults, but for what the user has given.

    Raises:
        ModelError: a name is none of a parameter, or a prior is no distribution of one number.
    """
    given = dict(given or {})
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise ModelError(
            f"formula: no parameter {', '.join(map(repr, unknown))}; the parameters are "
            f"{', '.join(map(repr, defaults))}."
        )
    for name, prior in given.items():
        if not isinstance(prior, dist.Distribution) or prior.shape() != defaults[name].shape():
            raise ModelError(
                f"formula: the prior of '{name}' must be a NumPyro distribution of shape "
                f"{defaults[name].shape()}, got {prior!r}."
            )
    return defaults | given


def intercept_site(design: Design) -> str:
    """The intercept that is sampled: that of centred columns, where there are any."""
    return "Intercept_centred" if design.columns else "Intercept"


def effect_name(effect: str) -> str:
    """An effect as formulas write it."""
    return "1" if effect == "Intercept" else effect


def described(prior: Any) -> str:
    """A prior in one line."""
    if isinstance(prior, dist.ImproperUniform):
        return "improper"
    names = [n for n in prior.arg_constraints if n in getattr(prior, "__dict__", {})]
    said = [f"{float(getattr(prior, n)):.3g}" for n in names if np.ndim(getattr(prior, n)) == 0]
    return f"{type(prior).__name__}({', '.join(said)})"


def _shares(design: Design) -> np.ndarray:
    assert design.y is not None
    y = np.asarray(design.y, float)
    return y if design.trials is None else y / np.maximum(design.trials, 1)


def _middle(design: Design, y: np.ndarray, family: Family, link: str) -> float:
    """The mean outcome behind the link, kept off the ends."""
    mean, edge = float(np.mean(y)), 0.5 / (len(y) + 1)
    if np.isfinite(family.high):
        mean = float(np.clip(mean, edge, 1 - edge))
    elif link == "log":
        mean = max(mean, edge)
    return float(LINKS[link][0](mean)) - float(np.mean(design.offset))


def _size(name: str, column: np.ndarray, centred: bool) -> float:
    size = float(np.std(column)) if centred else float(np.sqrt(np.mean(column**2)))
    if not np.isfinite(size) or size <= 1e-12 * max(1.0, float(np.abs(column).max())):
        raise ModelError(
            f"formula: column '{name}' does not vary, so that its slope cannot be told from the "
            "intercept. Leave it out."
        )
    return size
