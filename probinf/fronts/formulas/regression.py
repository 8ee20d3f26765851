"""The NumPyro model of a formula."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array

from probinf.fronts.formulas.families import LINKS, Family
from probinf.fronts.formulas.priors import effect_name


@dataclasses.dataclass(frozen=True)
class Regression:
    """A generalised linear model with effects that vary by group; equal by value.

    Attributes:
        family: of the outcomes.
        link: between their mean and the linear predictor.
        outcome: name of the observed site.
        intercept: name of the sampled intercept; empty where there is none.
        columns: names of the slopes.
        groupings: factor and effects of each.
    """

    family: Family
    link: str
    outcome: str
    intercept: str
    columns: tuple[str, ...]
    groupings: tuple[tuple[str, tuple[str, ...]], ...]

    def __call__(
        self,
        priors: dict[str, Any],
        x: Any,
        centre: Any,
        offset: Any,
        effects: Any,
        index: Any,
        sizes: Any,
        trials: Any = None,
        y: Any = None,
    ) -> None:
        """Intercept, slopes, standard deviations and effects by group, nuisances, outcome."""
        eta = offset
        slopes = [numpyro.sample(name, priors[name]) for name in self.columns]
        if slopes:
            beta = jnp.stack(slopes)
            eta = eta + (x - centre) @ beta
        if self.intercept:
            middle = numpyro.sample(self.intercept, priors[self.intercept])
            eta = eta + middle
            if slopes:
                numpyro.deterministic("Intercept", middle - centre @ beta)
        for k, (factor, names) in enumerate(self.groupings):
            varying = self._varying(factor, names, sizes[k], priors)
            eta = eta + (effects[k] * varying[index[k]]).sum(-1)
        own = {n: numpyro.sample(n, priors[n]) for n in self.family.nuisances(1.0)}
        mean = LINKS[self.link][1](eta)
        with numpyro.plate("rows", len(offset)):
            around = self.family.around(mean, eta, self.link, own, trials)
            numpyro.sample(self.outcome, around, obs=y)

    def _varying(
        self, factor: str, names: tuple[str, ...], size: int, priors: dict[str, Any]
    ) -> Array:
        """Effects of every group, (groups, effects)."""
        labels = [f"{effect_name(name)}|{factor}" for name in names]
        sd = jnp.stack([numpyro.sample(f"sd({n})", priors[f"sd({n})"]) for n in labels])
        with numpyro.plate(factor, size):
            z = numpyro.sample(f"z({factor})", dist.Normal(0, 1).expand([len(names)]).to_event(1))
        if len(names) > 1:
            cholesky = numpyro.sample(f"cholesky({factor})", priors[f"cholesky({factor})"])
            cor = cholesky @ cholesky.T
            numpyro.deterministic(f"cor({factor})", cor[0, 1] if len(names) == 2 else cor)
            z = z @ cholesky.T
        varying = z * sd
        for k, label in enumerate(labels):
            numpyro.deterministic(label, varying[:, k])
        return varying
