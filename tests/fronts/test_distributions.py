"""Every continuous distribution of NumPyro in every form: it works as a prior, or is refused."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import ModelError
from probinf.fronts.catalogue import ARGUMENTS, FORMS, Use, example, verdict
from probinf.fronts.distributions.completion import completed
from probinf.validity import check_base

SYMMETRIC = {"Cauchy", "Laplace", "Logistic", "Normal", "SoftLaplace", "StudentT"}
WRAPPERS = {
    "Distribution",
    "ExpandedDistribution",
    "FoldedDistribution",
    "Independent",
    "LeftTruncatedDistribution",
    "MaskedDistribution",
    "MixtureGeneral",
    "MixtureSameFamily",
    "RightTruncatedDistribution",
    "TransformedDistribution",
    "TwoSidedTruncatedDistribution",
    "Unit",
}
# draws of their exponential leave the range of single precision
OVERFLOW = {"Cauchy", "HalfCauchy", "Levy", "StudentT", "InverseGamma", "Dagum", "Pareto"}
OVERFLOW |= {"MultivariateStudentT", "LowerTruncatedPowerLaw", "InverseWishart"}


def test_the_catalogue_has_every_continuous_distribution() -> None:
    found = set()
    for name in dist.__all__:
        kind = getattr(dist, name)
        if inspect.isclass(kind) and issubclass(kind, dist.Distribution):
            support = getattr(kind, "support", None)
            found.add(name) if not _discrete(support) else None
    assert found - WRAPPERS == set(ARGUMENTS)


def _discrete(support: Any) -> bool:
    try:
        return bool(support.is_discrete)
    except (NotImplementedError, AttributeError):
        return False


QUICK = ("plain", "low")
TIERS = [form if form in QUICK else pytest.param(form, marks=pytest.mark.slow) for form in FORMS]


@pytest.mark.parametrize("form", TIERS)
def test_every_distribution_works_or_is_refused_by_name(form: str) -> None:
    for name in ARGUMENTS:
        kind, message = verdict(name, form)
        assert kind in ("works", "no draws", "refused")
        if kind == "refused":
            assert "site 'x'" in message
            assert name in message or name in MADE_OF, message
            assert any(verb in message for verb in REMEDIES), message
        if form in ("low", "high", "both"):
            assert (kind == "works") == (name in SYMMETRIC)
        if form == "mask" and kind != "refused":
            assert kind == "no draws"


REMEDIES = ("Use ", " use ", "Pass ", "Sample ", "Wrap ", "Fold ")
# their names are those of what they are made of
MADE_OF = {"Pareto": "Exponential", "ZeroSumNormal": "Normal", "Wishart": "WishartCholesky"}
MADE_OF |= {"InverseWishart": "InverseWishartCholesky", "LKJ": "LKJCholesky"}


@partial(jax.jit, static_argnames="count")
def _drawn(program: pi.Program, count: int) -> Any:
    keys = jax.random.split(jax.random.key(1), count)

    def one(key: Any) -> Any:
        x = program.draw(key, program.data)
        value, slope = jax.value_and_grad(lambda x: program.score(x, program.data).log_base)(x)
        return x, program.constrain(x, program.data)["x"], value, slope

    return jax.lax.map(one, keys)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARGUMENTS)
def test_draws_lie_in_the_support_and_follow_the_density(name: str) -> None:
    for form in FORMS:
        if form in ("expand", "to_event", "mask") or verdict(name, form)[0] != "works":
            continue
        failures = faults(name, form)
        assert not failures, f"{name} {form}: {failures}"


def faults(name: str, form: str) -> list[str]:
    """What is wrong with draws of a prior, and with its density and gradient there."""
    program = pi.from_numpyro(Use(name, form))
    x, values, log_base, slopes = jax.tree.map(np.asarray, _drawn(program, 2000))
    found = []
    lost = 0.1 if form == "exp" and name in OVERFLOW else 0.0
    for what, of in {"draw": x, "density": log_base, "gradient": slopes}.items():
        finite = np.mean([np.isfinite(leaf).all() for leaf in jax.tree.leaves(of)])
        shares = [np.isfinite(leaf).reshape(2000, -1).all(1).mean() for leaf in jax.tree.leaves(of)]
        if finite < 1 and min(shares) < 1 - lost:
            found.append(f"{what} finite at {min(shares):.4f} of the draws")
    support = example(name, form).support
    inside = np.asarray(support(jnp.asarray(values)))
    if inside.mean() < 1 - lost:
        found.append(f"inside {inside.mean():.4f}")
    if not found and not lost:
        result = check_base(program, key=2, draws=4000, level=1e-6)
        if not result:
            found.append(str(result))
    return found


# its observed values are intervals, its draws are not
SIMULATED = [name for name in ARGUMENTS if name != "IntervalCensoredDistribution"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SIMULATED)
def test_observed_sites_are_simulated(name: str) -> None:
    for form in ("plain", "low", "expand", "folded", "general", "exp"):
        if name in ("Delta", "ImproperUniform") or "NumPyro does not make it" in made(name, form):
            continue
        value = completed(example(name, form), latent=False).sample(jax.random.key(0))
        try:
            program = pi.from_numpyro(Use(name, form), value)
        except ModelError as error:
            assert "site 'x'" in str(error)
            continue
        assert program.simulate is not None
        seen = program.simulate(jax.random.key(1), {"mu": jnp.zeros(())}, program.data)["x"]
        assert seen.shape == value.shape
        assert np.isfinite(seen).all()


def made(name: str, form: str) -> str:
    """Why NumPyro does not make a distribution; empty where it does."""
    try:
        example(name, form)
    except (AssertionError, ValueError) as error:
        return f"NumPyro does not make it: {error}"
    return ""
