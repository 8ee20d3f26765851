"""What depends on the discrete sites of a model; refuses what summing them out would get wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from jaxtyping import Array

from probinf.core.program import Data
from probinf.errors import DiscreteLatentError
from probinf.fronts.dependence import dependence
from probinf.fronts.latent import Latent
from probinf.fronts.model import Model, jacobian_of
from probinf.fronts.summed import Summed


def planned(model: Model, data: Data, sites: tuple[Latent, ...], axes: int) -> Summed:
    """How the discrete ``sites`` of a model are summed out.

    Args:
        model: with its continuous latent sites.
        data: of the program.
        sites: the discrete ones.
        axes: batch axes that the model uses.

    Raises:
        DiscreteLatentError: nothing else is latent, the support of a continuous site depends on
            a discrete one, or its prior does and is scaled or improper; a discrete site is
            under a scale handler.
    """
    if not model.latents:
        raise DiscreteLatentError(
            f"site '{sites[0].name}' ({sites[0].distribution}) is discrete, and so is every "
            "latent site, so that nothing is left to be sampled once they are summed out. Give a "
            "parameter a prior, or keep them with allow_discrete=True and move them by "
            "MCMC(kernels.cycle(...))."
        )
    model = dataclasses.replace(model, summed=Summed(sites, axes=axes))
    anywhere = {latent.name: latent.blank() for latent in model.latents}
    names = set(model.summed.names)

    order: list[str] = []

    def parts(values: dict[str, Array]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, site in model.trace(data, {**anywhere, **values}).items():
            if site["type"] == "deterministic":
                found[name] = {"value": site["value"]}
            elif site["type"] == "sample" and name not in names:
                density = site["fn"].log_prob(site["value"])
                scaled = density if site["scale"] is None else density * site["scale"]
                whose = jacobian_of(site)
                if whose is not None:
                    found.setdefault(whose, {})["jacobian"] = scaled
                else:
                    found.setdefault(name, {}).update(value=site["value"], density=scaled)
        order[:] = found
        return found

    values = {latent.name: latent.blank() for latent in sites}
    needs = dependence(parts, values)
    coordinates = {latent.name: latent for latent in model.latents}
    touched, dependent, varying = [], [], []
    for name in order:
        on = {kind: _any(found) for kind, found in needs[name].items()}
        if name in coordinates:
            _refuse_moving(name, on.get("value", ()) or on.get("jacobian", ()))
            if on["density"]:
                _refuse_changed(coordinates[name], on["density"])
                dependent.append(name)
        elif "density" not in on:
            if on["value"]:
                varying.append(name)
        elif on["density"]:
            touched.append(name)
    if odd := [s.name for s in sites if s.scaled]:
        raise DiscreteLatentError(
            f"site '{odd[0]}' is discrete and under a scale handler, so that summing it out would "
            "add powers of its probabilities, which is neither a prior nor the scaled log "
            "likelihood. Put the scale around what is observed only, or add the log likelihood "
            "yourself by numpyro.factor with the site summed out by hand."
        )
    return Summed(sites, tuple(touched), tuple(dependent), tuple(varying), axes)


def _any(found: Any) -> tuple[str, ...]:
    leaves = jax.tree.leaves(found, is_leaf=lambda v: isinstance(v, frozenset))
    return tuple(sorted(frozenset[str]().union(*leaves)))


def _refuse_moving(name: str, on: tuple[str, ...]) -> None:
    if on:
        raise DiscreteLatentError(
            f"site '{name}': its support depends on the discrete {', '.join(map(repr, on))}, so "
            "that one coordinate would stand for another value under each of theirs. Give it a "
            "fixed support and move it afterwards (u ~ Uniform(0, 1), then x = width[z] * u), or "
            "keep the discrete sites with allow_discrete=True and MCMC over blocks."
        )


def _refuse_changed(latent: Latent, on: tuple[str, ...]) -> None:
    if latent.scaled or (latent.improper and not latent.given):
        why = "is under a scale handler" if latent.scaled else f"is improper ({latent.improper})"
        raise DiscreteLatentError(
            f"site '{latent.name}': its prior depends on the discrete "
            f"{', '.join(map(repr, on))} and {why}, so that its sum over them is no prior. Give "
            "it a proper one without scale."
        )
