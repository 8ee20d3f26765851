"""Warm-up: the kept step accepts as often as it aims at; covariances by groups of sites."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import norm

import probinf as pi
from probinf import kernels
from probinf.errors import MethodError
from probinf.kernels.base import Params
from probinf.samplers.warmup.moments import GroupedMoments
from probinf.samplers.warmup.step_size import StepSize
from probinf.validity import check_invariant

CHAINS, STEPS = 1000, 50


def kept_acceptance(kernel: pi.Kernel, order: int, settling: bool) -> float:
    """Mean acceptance at the step that fifty adaptive ones leave, where it is known exactly.

    The energy error of a trajectory is N(s^2 / 2, s^2) with s = step ** order, which makes the
    mean acceptance 2 Phi(-s / 2).
    """
    rule = StepSize(kernel)
    best = (-2 * norm.ppf(kernel.target_acceptance / 2)) ** (1 / order)

    def chain(key: jax.Array, first: jax.Array) -> jax.Array:
        def body(state: Any, key: jax.Array) -> tuple[Any, None]:
            s = rule.current(state) ** order
            error = s**2 / 2 + s * jax.random.normal(key)
            acceptance = jnp.minimum(1.0, jnp.exp(-error))
            return rule.update(state, acceptance, jnp.asarray(settling)), None

        state, _ = jax.lax.scan(body, rule.start(first), jax.random.split(key, STEPS))
        return rule.final(state)

    keys = jax.random.split(jax.random.key(0), CHAINS)
    kept = jax.jit(jax.vmap(chain))(keys, best * jnp.geomspace(0.7, 1.5, CHAINS))
    return float(np.mean(2 * norm.cdf(-(np.asarray(kept) ** order) / 2)))


@pytest.mark.parametrize(
    ("kernel", "order"), [(kernels.HMC(), 2), (kernels.MALA(), 3), (kernels.MAMS(), 2)]
)
def test_the_kept_step_accepts_as_often_as_it_aims_at(kernel: pi.Kernel, order: int) -> None:
    aim = kernel.target_acceptance
    assert abs(kept_acceptance(kernel, order, settling=True) - aim) < 0.012
    # the mutant: the average of dual averaging's jumps
    assert kept_acceptance(kernel, order, settling=False) > aim + 0.024


def test_parts_without_a_step_size_stay() -> None:
    rule = StepSize(kernels.cycle(kernels.HMC(), kernels.EllipticalSlice()))
    first, acceptance = jnp.array([0.5, 0.25]), jnp.array([0.0, 1.0])

    def kept(settling: bool) -> np.ndarray:
        state = jax.lax.fori_loop(
            0,
            30,
            lambda _, s: rule.update(s, acceptance, jnp.asarray(settling)),
            rule.start(first),
        )
        return np.asarray(rule.final(state))

    settled, found = kept(True), kept(False)
    np.testing.assert_allclose(settled[1], 0.25, rtol=1e-5)
    assert settled[0] < 0.1 and found[0] < 0.1 and 0.2 < found[1] < 5


def correlated(seed: int = 0) -> tuple[jax.Array, np.ndarray]:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(5, 5)) * np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
    return jnp.asarray(rng.normal(size=(4000, 5)) @ root.T, jnp.float32), root @ root.T


def dense(metric: Any) -> np.ndarray:
    scale, u, values = (np.asarray(v, float) for v in metric)
    return scale[:, None] * (np.eye(scale.size) + (u * (values - 1)) @ u.T) * scale


def grouped(groups: tuple[tuple[int, ...], ...]) -> Any:
    draws, _ = correlated()
    moments = GroupedMoments(groups)
    state, _ = jax.lax.scan(
        lambda state, x: (moments.update(state, x), None), moments.start(5), draws
    )
    return moments.covariance(moments.close(state), jnp.float32)


def inside(groups: tuple[tuple[int, ...], ...]) -> np.ndarray:
    same = np.eye(5, dtype=bool)
    for group in groups:
        same[np.ix_(group, group)] = True
    return same


def test_covariance_inside_groups_and_variances_elsewhere() -> None:
    groups = ((3, 0), (1, 4))
    _, truth = correlated()
    unit = np.sqrt(np.diag(truth))
    wanted = np.where(inside(groups), truth, 0) / np.outer(unit, unit)
    metric = grouped(groups)
    found = dense(metric) / np.outer(unit, unit)
    np.testing.assert_allclose(found, wanted, atol=0.08)
    gram = np.asarray(metric.directions.T @ metric.directions)
    np.testing.assert_allclose(gram, np.eye(4), atol=1e-5)
    # the mutants: all in one group, and none
    everything = dense(grouped(((3, 0, 1, 4),))) / np.outer(unit, unit)
    assert np.abs(everything - wanted).max() > 0.3 and np.abs(np.eye(5) - wanted).max() > 0.3


def skewed_pair() -> None:
    a = numpyro.sample("a", dist.Gamma(2.0, 1.0))
    numpyro.sample("b", dist.Exponential(0.5 + a))
    numpyro.sample("c", dist.Beta(2.0, 5.0))


def test_kernels_with_grouped_sites_are_invariant() -> None:
    """Whatever the covariance is: here that of other draws."""
    rng = np.random.default_rng(3)
    a, c = rng.gamma(2.0, size=4000), rng.beta(2, 5, size=4000)
    b = rng.exponential(size=4000) / (0.5 + a)
    draws = {"a": np.log(a), "b": np.log(b), "c": np.log(c / (1 - c))}
    moments = GroupedMoments(((0, 2),))
    points = rng.normal(size=(200, 3)) @ np.array([[1.0, 0.3, 0.8], [0, 0.7, 0], [0, 0, 0.6]])
    state, _ = jax.lax.scan(
        lambda s, x: (moments.update(s, x), None), moments.start(3), jnp.asarray(points)
    )
    metric = moments.covariance(moments.close(state), jnp.float32)
    params = Params(jnp.asarray(0.7), jnp.zeros(3), metric)
    program = pi.from_numpyro(skewed_pair)
    result = check_invariant(
        kernels.HMC(steps=4), program, key=2, draws=draws, params=params, steps=3
    )
    assert result, result


def pair_and_more() -> None:
    """Thirty coordinates: a and b hardly differ, the others are of many scales."""
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    numpyro.sample("b", dist.Normal(a, 0.03))
    numpyro.sample("rest", dist.Normal(0.0, jnp.geomspace(0.1, 10.0, 28)).to_event(1))


def worth(metric: Any) -> float:
    """Effective draws of the pair per gradient."""
    program = pi.from_numpyro(pair_and_more)
    posterior = pi.sample(program, pi.NUTS(metric=metric), key=0, progress=False)
    summary = posterior.summary()
    ess = min(summary[name]["ess_bulk"] for name in ("a", "b"))
    return ess / posterior.stats["evaluations"].sum()


@pytest.mark.slow
def test_a_correlated_pair_among_thirty_is_worth_what_dense_gives() -> None:
    own, everything, nothing = worth([("a", "b")]), worth("dense"), worth("diagonal")
    assert own > 0.8 * everything and own > 3 * nothing


def test_groups_that_do_not_fit_are_refused() -> None:
    program = pi.from_numpyro(pair_and_more)
    with pytest.raises(MethodError, match=r"no latent site named \['c'\].*\['a', 'b', 'rest'\]"):
        pi.sample(program, pi.NUTS(metric=[("a", "c")]), key=0, progress=False, check=False)
    with pytest.raises(MethodError, match=r"\['a'\] is named twice"):
        pi.NUTS(metric=[("a", "b"), ("a",)])
    with pytest.raises(MethodError, match=r"groups of sites such as \[\('a', 'b'\)\]"):
        pi.NUTS(metric=[()])
    with pytest.raises(MethodError, match=r"metric by groups does not serve Slice.*HMC"):
        pi.MCMC(kernels.Slice(), metric=[("a", "b")])
    bowl = pi.from_log_density(lambda x: -jnp.sum(x**2), initial=np.zeros(2))
    with pytest.raises(MethodError, match="have no names"):
        pi.sample(bowl, pi.NUTS(metric=[("x",)]), key=0, progress=False, check=False)
    assert pi.NUTS(metric=[["a", "b"]]) == pi.NUTS(metric=(("a", "b"),))
