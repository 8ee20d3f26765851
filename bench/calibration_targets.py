"""Ten small models whose log evidence is known to ten digits, each with what makes it awkward."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import transforms
from scipy import integrate, stats
from scipy.special import betaln, expit, gammaln, log_ndtr, logsumexp, roots_jacobi

import probinf as pi
from probinf.core.program import Program


class Target(NamedTuple):
    """A program and the logarithm of its evidence, in double precision."""

    program: Program
    log_evidence: float


def _integral(
    log_density: Callable[[float], float], low: float, high: float, *peaks: float
) -> float:
    """Log of an integral over a line, broken up where the integrand is large."""
    top = max(log_density(p) for p in peaks)
    edges = [low, *sorted(peaks), high]
    parts = [
        integrate.quad(lambda x: np.exp(log_density(x) - top), a, b, epsabs=0, epsrel=1e-11)[0]
        for a, b in itertools.pairwise(edges)
    ]
    return float(top + np.log(sum(parts)))


# --- one parameter ------------------------------------------------------------------------------

_NEAR = np.array([-0.4, 0.3, 0.1])


def _truncated(y: Any = None) -> None:
    mean = numpyro.sample("mean", dist.TruncatedNormal(0.0, 1.0, low=0.0))
    numpyro.sample("y", dist.Normal(mean, 0.3).expand([3]).to_event(1), obs=y)


def truncated_normal() -> Target:
    """A prior that ends where the likelihood is large."""

    def log_density(m: float) -> float:
        prior = np.log(2) + stats.norm.logpdf(m)
        return float(prior + stats.norm.logpdf(_NEAR, m, 0.3).sum())

    value = _integral(log_density, 0.0, 10.0, 0.01, 0.3)
    return Target(pi.from_numpyro(_truncated, y=_NEAR), value)


_FAR = np.array([2.9, 3.8])


def _student(y: Any = None) -> None:
    mean = numpyro.sample("mean", dist.StudentT(3.0, 0.0, 1.0))
    numpyro.sample("y", dist.Normal(mean, 0.5).expand([2]).to_event(1), obs=y)


def student_t() -> Target:
    """Heavy tails, with the data in one of them."""

    def log_density(m: float) -> float:
        return float(stats.t.logpdf(m, 3) + stats.norm.logpdf(_FAR, m, 0.5).sum())

    value = _integral(log_density, -20.0, 40.0, 0.0, 2.8, 3.2, 4.0)
    return Target(pi.from_numpyro(_student, y=_FAR), value)


def _bernoulli(a: Any, y: Any = None) -> None:
    p = numpyro.sample("p", dist.Beta(a, a))
    numpyro.sample("y", dist.Bernoulli(p).expand([3]).to_event(1), obs=y)


def _beta(a: float) -> Target:
    program = pi.from_numpyro(_bernoulli, np.float32(a), y=np.ones(3, int))
    return Target(program, float(betaln(a + 3, a) - betaln(a, a)))


def beta_3() -> Target:
    """Beta(.3, .3): mass at both ends of the interval."""
    return _beta(0.3)


def beta_1() -> Target:
    """Beta(.1, .1): much of the mass nearer to 1 than single precision can say."""
    return _beta(0.1)


def _cauchy(y: Any = None) -> None:
    place = numpyro.sample("place", dist.Normal(0.0, 3.0))
    numpyro.sample("y", dist.Cauchy(place, 0.3), obs=y)


def cauchy_datum() -> Target:
    """One Cauchy datum far out: a spike beside most of the prior."""

    def log_density(m: float) -> float:
        return float(stats.norm.logpdf(m, 0, 3) + stats.cauchy.logpdf(6.0, m, 0.3))

    value = _integral(log_density, -30.0, 40.0, 0.0, 5.0, 6.0, 7.0)
    return Target(pi.from_numpyro(_cauchy, y=np.array(6.0)), value)


# --- several ------------------------------------------------------------------------------------

_COUNTS = np.array([7, 2, 0, 1])


def _shares(y: Any = None) -> None:
    p = numpyro.sample("p", dist.Dirichlet(jnp.array([0.5, 1.0, 1.0, 2.0])))
    numpyro.sample("y", dist.Multinomial(total_count=10, probs=p), obs=y)


def _dirichlet_multinomial(a: np.ndarray, counts: np.ndarray) -> float:
    ways = gammaln(counts.sum() + 1) - gammaln(counts + 1.0).sum()
    rest = gammaln(a + counts).sum() - gammaln(a).sum()
    return float(ways + rest + gammaln(a.sum()) - gammaln(a.sum() + counts.sum()))


def dirichlet() -> Target:
    """Shares of four kinds."""
    a = np.array([0.5, 1.0, 1.0, 2.0])
    return Target(pi.from_numpyro(_shares, y=_COUNTS), _dirichlet_multinomial(a, _COUNTS))


_KINDS = np.array([0, 0, 2, 1, 0, 0, 2])


def _gammas(y: Any = None) -> None:
    g = numpyro.sample("g", dist.Gamma(jnp.array([2.0, 1.0, 1.5]), 1.0).to_event(1))
    likelihood = dist.Categorical(probs=g / g.sum()).expand([_KINDS.size]).to_event(1)
    numpyro.sample("y", likelihood, obs=y)


def gamma_categorical() -> Target:
    """The same shares by three Gamma numbers, whose sum the data say nothing of."""
    a, counts = np.array([2.0, 1.0, 1.5]), np.bincount(_KINDS)
    ways = gammaln(counts.sum() + 1) - gammaln(counts + 1.0).sum()
    return Target(pi.from_numpyro(_gammas, y=_KINDS), _dirichlet_multinomial(a, counts) - ways)


_ROWS = np.random.default_rng(3).multivariate_normal(
    np.zeros(3), [[1.0, 0.8, 0.3], [0.8, 1.0, 0.5], [0.3, 0.5, 1.0]], size=5
)


def _correlated(y: Any = None) -> None:
    root = numpyro.sample("root", dist.LKJCholesky(3, concentration=1.5))
    likelihood = dist.MultivariateNormal(jnp.zeros(3), scale_tril=root).expand([5]).to_event(1)
    numpyro.sample("y", likelihood, obs=y)


def lkj() -> Target:
    """A 3 x 3 correlation matrix: quadrature over its partial correlations, which are Beta."""
    first, second = (roots_jacobi(80, power, power) for power in (1.0, 0.5))
    nodes = [first, first, second]  # (1 - r**2) to the power concentration - 1 + (d - 1 - k) / 2
    a, b, c = np.meshgrid(*(n[0] for n in nodes), indexing="ij")
    weight = np.einsum("i,j,k->ijk", *(n[1] / n[1].sum() for n in nodes))
    second_row = np.sqrt(1 - a**2)
    third = [b, c * np.sqrt(1 - b**2), np.sqrt((1 - b**2) * (1 - c**2))]
    log_l = np.zeros_like(a)
    for y in _ROWS:
        u = (y[1] - a * y[0]) / second_row
        v = (y[2] - third[0] * y[0] - third[1] * u) / third[2]
        log_l -= 0.5 * (y[0] ** 2 + u**2 + v**2) + np.log(second_row * third[2])
    log_l -= 1.5 * len(_ROWS) * np.log(2 * np.pi)
    return Target(pi.from_numpyro(_correlated, y=_ROWS), float(logsumexp(log_l, b=weight)))


_GRADES = np.array([0, 1, 1, 3, 2, 1, 3, 3])


def _ordered(y: Any = None) -> None:
    steps = dist.Normal(0.0, 1.0).expand([3]).to_event(1)
    cuts = dist.TransformedDistribution(steps, transforms.OrderedTransform())
    found = numpyro.sample("cuts", cuts)
    numpyro.sample("y", dist.OrderedLogistic(jnp.zeros(8), found).to_event(1), obs=y)


def ordered() -> Target:
    """Three ordered cut points of four grades: Gauss and Hermite's quadrature."""
    x, w = np.polynomial.hermite_e.hermegauss(80)
    a, b, c = np.meshgrid(x, x, x, indexing="ij")
    weight = np.einsum("i,j,k->ijk", *3 * [w / w.sum()])
    cuts = np.stack([a, a + np.exp(b), a + np.exp(b) + np.exp(c)])
    below = np.concatenate([np.zeros((1, *a.shape)), expit(cuts), np.ones((1, *a.shape))])
    with np.errstate(divide="ignore"):
        log_l = sum(np.log(below[g + 1] - below[g]) for g in _GRADES)
    return Target(pi.from_numpyro(_ordered, y=_GRADES), float(logsumexp(log_l, b=weight)))


def _positive(x: Any) -> Any:
    return jnp.where(x[0] > 0, -x[0], -jnp.inf)


def half_space() -> Target:
    """No likelihood at all on half of the space."""
    base = dist.Normal(0, 1).expand([2]).to_event(1)
    return Target(pi.from_log_likelihood(_positive, base), float(0.5 + log_ndtr(-1.0)))


TARGETS: dict[str, Callable[[], Target]] = {
    "truncated normal": truncated_normal,
    "Student t": student_t,
    "Beta(.3)": beta_3,
    "Dirichlet": dirichlet,
    "Gamma/categorical": gamma_categorical,
    "LKJ 3 x 3": lkj,
    "ordered vector": ordered,
    "Cauchy datum": cauchy_datum,
    "half space": half_space,
    "Beta(.1)": beta_1,
}
