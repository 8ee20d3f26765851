"""The density of a NumPyro model at a position: in two parts, per datum, and site by site."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from probinf.core.program import Data, Position, Score
from probinf.fronts.latent import law_of_coordinates, refuse_begun
from probinf.fronts.model import Model, jacobian_of
from probinf.fronts.observations import on_edge, parameter_violations
from probinf.fronts.observing import is_factor


def log_prob(site: dict[str, Any]) -> Array:
    """Log probability of one site with its scale, as NumPyro counts it."""
    value, scale = site["fn"].log_prob(site["value"]), site["scale"]
    return value if scale is None else scale * value


def _unscaled(site: dict[str, Any]) -> Array:
    """Log probability without scale."""
    return jnp.sum(site["fn"].log_prob(site["value"]))


def without_mask(fn: Any) -> Any:
    """A distribution without the masks around it."""
    while type(fn).__name__ == "MaskedDistribution":
        fn = fn.base_dist
    return fn


def _unmasked(site: dict[str, Any]) -> Array:
    """Log probability without scale and mask."""
    return jnp.sum(without_mask(site["fn"]).log_prob(site["value"]))


def _free_name(name: str, trace: dict[str, Any]) -> str:
    while name in trace:
        name = f"_{name}"
    return name


@dataclasses.dataclass(frozen=True)
class _Evaluate:
    """Shared by score and pointwise: one trace, split into base terms and weight terms."""

    model: Model

    def terms(self, x: Position, data: Data) -> tuple[Array, dict[str, Array]]:
        refuse_begun(self.model.latents)
        trace = self.model.trace(data, x)
        log_base: Any = 0.0
        weights: dict[str, Array] = {}
        prior_sites = {*self.model.summed.names, *self.model.summed.touched}
        for latent in self.model.latents:
            names = [latent.name] + [n for n, s in trace.items() if jacobian_of(s) == latent.name]
            prior_sites.update(names)
            if latent.name in self.model.summed.dependent:  # its Jacobian; the rest is summed
                names = names[1:]
                log_base = log_base + sum(jnp.sum(log_prob(trace[n])) for n in names)
                continue
            counted = sum(jnp.sum(log_prob(trace[n])) for n in names)
            if latent.proper and (latent.scaled or latent.masked):
                # the base stays a normalised prior; what a scale handler adds is a weight,
                # and the masked half of an obs_mask site keeps its proper prior
                base = sum(_unmasked(trace[n]) for n in names)
                if latent.scaled:
                    added = counted - sum(_unscaled(trace[n]) for n in names)
                    weights[_free_name(f"{latent.name}_scale", trace)] = jnp.asarray(added)
            else:
                base = counted
            law = law_of_coordinates(latent, trace[latent.name])
            if law is not None:
                base = jnp.sum(law.log_prob(x[latent.name]))
            if latent.discrete:  # log_prob does not look whether the value is a possible one
                site = trace[latent.name]
                inside = jnp.all(site["fn"].support(site["value"]))
                base = jnp.where(inside, base, -jnp.inf)
            log_base = log_base + base
        for name, site in trace.items():
            if site["type"] == "sample" and site["is_observed"] and name not in prior_sites:
                weights[name] = jnp.asarray(log_prob(site))
        return jnp.asarray(log_base, float), weights


@dataclasses.dataclass(frozen=True)
class NumpyroScore(_Evaluate):
    def __call__(self, x: Position, data: Data) -> Score:
        log_base, weights = self.terms(x, data)
        total = sum((jnp.sum(w) for w in weights.values()), start=jnp.zeros((), float))
        return Score(log_base, total)


@dataclasses.dataclass(frozen=True)
class NumpyroPointwise(_Evaluate):
    def __call__(self, x: Position, data: Data) -> dict[str, Array]:
        return self.terms(x, data)[1]


@dataclasses.dataclass(frozen=True)
class NumpyroJacobian:
    """Log volume of the user's coordinates per volume of the unconstrained ones, NumPyro's way."""

    model: Model

    def __call__(self, x: Position, data: Data) -> Array:
        trace = self.model.trace(data, x)
        terms = [_unmasked(site) for site in trace.values() if jacobian_of(site) is not None]
        return jnp.asarray(sum(terms, start=jnp.zeros((), float)))


@dataclasses.dataclass(frozen=True)
class NumpyroSites:
    model: Model

    def __call__(self, x: Position, data: Data) -> dict[str, dict[str, Any]]:
        report = {}
        for name, site in self.model.trace(data, x).items():
            if site["type"] == "sample" and jacobian_of(site) is None:
                report[name] = {
                    "log_prob": jnp.sum(log_prob(site)),
                    "invalid": parameter_violations(site["fn"]),
                    "outside": ~jnp.asarray(site["fn"].support(site["value"]), bool)
                    if site["is_observed"] and not is_factor(site)
                    else jnp.asarray(False),
                    "edge": on_edge(site["fn"].support, site["value"]),
                }
        return report
