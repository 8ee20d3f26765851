"""Families of outcomes: what is drawn around the mean, by which link, with which nuisances."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import ndtr
from jax.scipy.stats import norm
from jaxtyping import Array

from probinf.errors import ModelError

Priors = dict[str, Any]


def _logit(m: Any) -> Any:
    return jnp.log(m) - jnp.log1p(-m)


LINKS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "identity": (lambda m: m, lambda eta: eta),
    "log": (jnp.log, jnp.exp),
    "logit": (_logit, jax.nn.sigmoid),
    "probit": (norm.ppf, ndtr),
    "cloglog": (lambda m: jnp.log(-jnp.log1p(-m)), lambda eta: -jnp.expm1(-jnp.exp(eta))),
}
"""Links by name: from the mean to the linear predictor, and back."""

_COMPLEMENT: dict[str, Callable[[Any], Any]] = {
    "logit": lambda eta: jax.nn.sigmoid(-eta),
    "probit": lambda eta: ndtr(-eta),
    "cloglog": lambda eta: jnp.exp(-jnp.exp(eta)),
}


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of outcomes.

    Attributes:
        name: of the family.
        links: that it takes, the default first.
        nuisances: default priors of what it needs beside the mean, from the spread of outcomes.
        around: ``(mean, linear predictor, link, nuisances, trials) -> distribution``.
        low, high: means lie between them.
        what: outcomes it takes, for messages.
        takes: whether outcomes are such.
    """

    name: str
    links: tuple[str, ...]
    nuisances: Callable[[float], Priors]
    around: Callable[[Array, Array, str, dict[str, Array], Any], dist.Distribution]
    low: float
    high: float
    what: str
    takes: Callable[[np.ndarray], bool]

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Family) and other.name == self.name


def _none(spread: float) -> Priors:
    return {}


def _sigma(spread: float) -> Priors:
    return {"sigma": dist.Exponential(1 / spread)}


def _student(spread: float) -> Priors:
    return _sigma(spread) | {"nu": dist.Gamma(2.0, 0.1)}


def _overdispersion(spread: float) -> Priors:
    return {"overdispersion": dist.Exponential(1.0)}


def _variation(spread: float) -> Priors:
    return {"variation": dist.Exponential(1.0)}


def _precision(spread: float) -> Priors:
    return {"precision": dist.LogNormal(np.log(10.0), 1.5)}


def _bernoulli(mean: Any, eta: Any, link: str, own: Any, trials: Any) -> dist.Distribution:
    if link == "logit":
        return dist.Bernoulli(logits=eta)
    return dist.Bernoulli(probs=mean)


def _binomial(mean: Any, eta: Any, link: str, own: Any, trials: Any) -> dist.Distribution:
    if link == "logit":
        return dist.Binomial(trials, logits=eta)
    return dist.Binomial(trials, probs=mean)


def _gaussian(mean: Any, eta: Any, link: str, own: Any, trials: Any) -> dist.Distribution:
    return dist.Normal(mean, own["sigma"])


def _t(mean: Any, eta: Any, link: str, own: Any, trials: Any) -> dist.Distribution:
    return dist.StudentT(own["nu"], mean, own["sigma"])


def _poisson(mean: Any, eta: Any, link: str, own: Any, trials: Any) -> dist.Distribution:
    return dist.Poisson(mean)


def _negative_binomial(mean: Any, eta: Any, link: str, own: Any, trials: Any) -> dist.Distribution:
    return dist.NegativeBinomial2(mean, own["overdispersion"] ** -2)


def _gamma(mean: Any, eta: Any, link: str, own: Any, trials: Any) -> dist.Distribution:
    shape = own["variation"] ** -2
    return dist.Gamma(shape, shape / mean)


def _beta(mean: Any, eta: Any, link: str, own: Any, trials: Any) -> dist.Distribution:
    rest = _COMPLEMENT[link](eta)  # 1 - mean would be 0 where the mean rounds to 1
    least = jnp.finfo(rest.dtype).tiny
    one, other = (jnp.maximum(m * own["precision"], least) for m in (mean, rest))
    return dist.Beta(one, other)


def _whole(y: np.ndarray) -> bool:
    return bool((y >= 0).all() and (y == np.floor(y)).all())


_SHARES = ("logit", "probit", "cloglog")
_FAMILIES = (
    Family(
        "gaussian",
        ("identity", "log"),
        _sigma,
        _gaussian,
        -np.inf,
        np.inf,
        "numbers",
        lambda y: True,
    ),
    Family(
        "student_t",
        ("identity", "log"),
        _student,
        _t,
        -np.inf,
        np.inf,
        "numbers",
        lambda y: True,
    ),
    Family(
        "bernoulli",
        _SHARES,
        _none,
        _bernoulli,
        0.0,
        1.0,
        "0 and 1, or two categories",
        lambda y: bool(np.isin(y, (0, 1)).all()),
    ),
    Family(
        "binomial",
        _SHARES,
        _none,
        _binomial,
        0.0,
        1.0,
        "successes of trials, written prop(successes, trials)",
        _whole,
    ),
    Family("poisson", ("log",), _none, _poisson, 0.0, np.inf, "counts", _whole),
    Family(
        "negative_binomial",
        ("log",),
        _overdispersion,
        _negative_binomial,
        0.0,
        np.inf,
        "counts",
        _whole,
    ),
    Family(
        "gamma",
        ("log",),
        _variation,
        _gamma,
        0.0,
        np.inf,
        "positive numbers",
        lambda y: bool((y > 0).all()),
    ),
    Family(
        "beta",
        _SHARES,
        _precision,
        _beta,
        0.0,
        1.0,
        "numbers strictly between 0 and 1",
        lambda y: bool(((y > 0) & (y < 1)).all()),
    ),
)
FAMILIES = {family.name: family for family in _FAMILIES}
_OTHER_NAMES = {
    "normal": "gaussian",
    "t": "student_t",
    "studentt": "student_t",
    "student": "student_t",
    "logistic": "bernoulli",
    "negativebinomial": "negative_binomial",
    "negbinomial": "negative_binomial",
    "nbinom": "negative_binomial",
}


def family_of(name: str, link: str | None) -> tuple[Family, str]:
    """A family by name, and its link.

    Raises:
        ModelError: there is no such family, or it does not take the link.
    """
    family = FAMILIES.get(_OTHER_NAMES.get(str(name), str(name)))
    if family is None:
        raise ModelError(f"formula: no family {name!r}; there are {', '.join(FAMILIES)}.")
    chosen = family.links[0] if link is None else link
    if chosen not in family.links:
        raise ModelError(
            f"formula: family '{family.name}' takes the links {', '.join(family.links)}, "
            f"got {link!r}."
        )
    return family, chosen
