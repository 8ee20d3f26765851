"""as_prior: whatever describes a prior, as a Program."""

from __future__ import annotations

from typing import Any

import numpyro
from numpyro.distributions import Distribution

from probinf.core.program import Program
from probinf.errors import ModelError
from probinf.fronts.log_density import priors_by_name
from probinf.fronts.numpyro import from_numpyro


def as_prior(name: str, prior: Any) -> Program:
    """The program of a prior; a Program as it is.

    Args:
        name: of who asks, for messages.
        prior: a NumPyro model without arguments, NumPyro distributions by parameter name or a
            single one (the site ``"x"``), or a Program.

    Raises:
        ModelError: it is something else.
    """
    if isinstance(prior, Program):
        return prior
    if isinstance(prior, Distribution | dict):
        return from_numpyro(_sites, priors_by_name(prior))
    if callable(prior):
        return from_numpyro(prior)
    raise ModelError(
        f"{name}: prior must be a NumPyro model, a NumPyro distribution, a dict of them by "
        f"parameter name, or a Program, got {prior!r}."
    )


def _sites(prior: dict[str, Distribution], observed: None = None) -> None:
    # an argument that is None says that the model is meant to be its prior
    for name, distribution in prior.items():
        numpyro.sample(name, distribution)
