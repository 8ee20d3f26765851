"""An example of every continuous distribution of NumPyro in every form, for tests and the docs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints, transforms

from probinf.core.program import Program
from probinf.errors import ModelError
from probinf.fronts.numpyro import from_numpyro

_EYE = np.eye(3, dtype=np.float32)
_CHAIN = np.eye(3, k=1) + np.eye(3, k=-1)


def _drift(x: Any, t: Any) -> tuple[Any, Any]:
    return -x, jnp.ones_like(x)


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "AsymmetricLaplace": (0.0, 1.0, 2.0),
    "AsymmetricLaplaceQuantile": (0.0, 1.0, 0.3),
    "Beta": (2.0, 3.0),
    "BetaProportion": (0.4, 5.0),
    "CAR": (np.zeros(3, np.float32), 0.3, 1.0, _CHAIN),
    "Cauchy": (0.0, 1.0),
    "Chi2": (4.0,),
    "CirculantNormal": (np.zeros(3, np.float32), np.array([1.0, 0.2, 0.2], np.float32)),
    "Dagum": (2.0, 3.0, 1.0),
    "Delta": (1.0,),
    "Dirichlet": (np.array([2.0, 3.0, 4.0], np.float32),),
    "DoublyTruncatedPowerLaw": (-2.0, 1.0, 3.0),
    "EulerMaruyama": (np.array([0.0, 0.5, 1.0]), _drift, dist.Normal(0.0, 1.0)),
    "Exponential": (1.0,),
    "Gamma": (2.0, 1.0),
    "GaussianCopula": (dist.Gamma(jnp.full(3, 2.0), 1.0), _EYE),
    "GaussianCopulaBeta": (np.full(3, 2.0, np.float32), 3.0, _EYE),
    "GaussianRandomWalk": (1.0, 3),
    "GaussianStateSpace": (3, 0.5 * np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)),
    "Gompertz": (1.0, 1.0),
    "Gumbel": (0.0, 1.0),
    "HalfCauchy": (1.0,),
    "HalfNormal": (1.0,),
    "HurdleGamma": (0.2, 2.0, 1.0),
    "HurdleLogNormal": (0.2, 0.0, 1.0),
    "HurdleLogits": (dist.Gamma(2.0, 1.0), 0.2),
    "HurdleProbs": (dist.Gamma(2.0, 1.0), 0.2),
    "ImproperUniform": (constraints.real, (), ()),
    "IntervalCensoredDistribution": (dist.Normal(0.0, 1.0), False, False),
    "InverseGamma": (3.0, 2.0),
    "InverseWishart": (6.0, _EYE),
    "InverseWishartCholesky": (6.0, _EYE),
    "Kumaraswamy": (2.0, 3.0),
    "LKJ": (3, 2.0),
    "LKJCholesky": (3, 2.0),
    "Laplace": (0.0, 1.0),
    "LeftCensoredDistribution": (dist.Normal(0.0, 1.0),),
    "LeftTruncatedGamma": (dist.Gamma(2.0, 1.0), 1.0),
    "Levy": (0.0, 1.0),
    "LogNormal": (0.0, 1.0),
    "LogUniform": (1.0, 3.0),
    "Logistic": (0.0, 1.0),
    "LowRankMultivariateNormal": (np.zeros(3), np.ones((3, 1)), np.ones(3)),
    "LowerTruncatedPowerLaw": (-3.0, 1.0),
    "MatrixNormal": (np.zeros((2, 2)), np.eye(2), np.eye(2)),
    "MultivariateNormal": (np.zeros(3, np.float32), _EYE),
    "MultivariateStudentT": (4.0, np.zeros(3, np.float32), _EYE),
    "Normal": (0.0, 1.0),
    "Pareto": (1.0, 3.0),
    "ProjectedNormal": (np.array([0.5, 0.0, 0.0], np.float32),),
    "RelaxedBernoulliLogits": (1.0, 0.3),
    "RightCensoredDistribution": (dist.Normal(0.0, 1.0),),
    "RightTruncatedGamma": (dist.Gamma(2.0, 1.0), 1.0),
    "SineBivariateVonMises": (0.0, 0.0, 2.0, 2.0, 0.5),
    "SineSkewed": (dist.VonMises(np.zeros(2), 1.0).to_event(1), np.array([0.2, 0.3])),
    "SoftLaplace": (0.0, 1.0),
    "StudentT": (3.0, 0.0, 1.0),
    "TruncatedPolyaGamma": (),
    "TwoSidedTruncatedGamma": (dist.Gamma(2.0, 1.0), 1.0, 3.0),
    "Uniform": (-1.0, 2.0),
    "VonMises": (0.0, 2.0),
    "Weibull": (1.0, 2.0),
    "Wishart": (6.0, _EYE),
    "WishartCholesky": (6.0, _EYE),
    "ZeroSumNormal": (1.0, (3,)),
}
SHAPES = ("plain", "low", "high", "both", "expand", "to_event", "mask")
FORMS = (*SHAPES, "folded", "mixture", "general", "affine", "exp", "sigmoid")


def example(name: str, form: str) -> Any:
    """The distribution in that form; raises what NumPyro raises where it does not make it."""
    base = getattr(dist, name)(*ARGUMENTS[name])
    even = dist.Categorical(probs=jnp.array([0.3, 0.7]))
    made: dict[str, Callable[[], Any]] = {
        "plain": lambda: base,
        "low": lambda: dist.TruncatedDistribution(base, low=0.5),
        "high": lambda: dist.TruncatedDistribution(base, high=1.5),
        "both": lambda: dist.TruncatedDistribution(base, low=0.5, high=1.5),
        "expand": lambda: base.expand((2, *base.batch_shape)),
        "to_event": lambda: base.expand((2, *base.batch_shape)).to_event(),
        "mask": lambda: base.mask(jnp.array(True)),
        "folded": lambda: dist.FoldedDistribution(base),
        "mixture": lambda: dist.MixtureSameFamily(even, base.expand((*base.batch_shape, 2))),
        "general": lambda: dist.MixtureGeneral(even, [base, base]),
        "affine": lambda: _moved(base, transforms.AffineTransform(1.0, -2.0)),
        "exp": lambda: _moved(base, transforms.ExpTransform()),
        "sigmoid": lambda: _moved(base, transforms.SigmoidTransform()),
    }
    return made[form]()


def _moved(base: Any, transform: Any) -> Any:
    return dist.TransformedDistribution(base, transform)


@dataclasses.dataclass(frozen=True)
class Use:
    """A model with the distribution at a latent site, or at an observed one."""

    name: str
    form: str

    def __call__(self, value: Any = None) -> None:
        """The distribution at site x, and one datum at site y."""
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0)) if value is not None else 0.0
        numpyro.sample("x", example(self.name, self.form), obs=value)
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=jnp.array(0.0))


def verdict(name: str, form: str) -> tuple[str, str]:
    """Whether it can be a prior: 'works', 'no draws' or 'refused', and the message if any."""
    try:
        program = from_numpyro(Use(name, form))
        drawn = jax.eval_shape(program.draw, jax.random.key(0), program.data)
    except ModelError as error:
        return ("no draws" if type(error) is not ModelError else "refused"), str(error)
    jax.eval_shape(jax.grad(_total), drawn, program)
    return "works", ""


def _total(x: Any, program: Program) -> Any:
    return sum(program.score(x, program.data))
