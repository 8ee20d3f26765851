"""Gibbs sampling by blocks leaves its target invariant; stale or partial conditionals do not."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf import kernels
from probinf.core.program import Score
from probinf.errors import DiscreteLatentError, MethodError, StructureError
from probinf.kernels import composition
from probinf.kernels.base import Info
from probinf.kernels.composition import Block, Cycle, Placed
from probinf.validity import check_invariant
from tests.cases.targets import Target, exact_draws

DRAWS = 4000
MUTANT_DRAWS = 16_000  # with 4000 the mutants' p-values are 1e-5 for some keys, near the level


def pair():
    a = numpyro.sample("a", dist.Normal(0, 1))
    b = numpyro.sample("b", dist.Normal(0.9 * a, 0.45))
    numpyro.factor("data", -0.5 * (a - 1) ** 2 - 0.5 * (b + 1) ** 2)


def half_space():
    a = numpyro.sample("a", dist.Normal(0, 1))
    b = numpyro.sample("b", dist.Normal(0, 1))
    numpyro.factor("data", jnp.where(a + b > 0, -jnp.abs(a), -jnp.inf))


def switch():
    z = numpyro.sample("z", dist.Categorical(jnp.array([0.2, 0.5, 0.3])))
    count = numpyro.sample("count", dist.Poisson(jnp.array([1.0, 3.0, 6.0])[z]))
    mu = numpyro.sample("mu", dist.Normal(0.5 * count, 1.0))
    numpyro.factor("data", -0.5 * (mu - 2 * z) ** 2)


def target(model: Any) -> Target:
    return Target(model.__name__, pi.from_numpyro(model, allow_discrete=True), 0.0, float("nan"))


REAL = {
    "walk": (kernels.RandomWalk(), kernels.RandomWalk()),
    "slice and gradient": (kernels.Slice(), kernels.HMC(steps=3)),
}


@pytest.mark.parametrize(
    ("model", "moves"),
    [
        (pair, "walk"),
        (half_space, "slice and gradient"),
        pytest.param(pair, "slice and gradient", marks=pytest.mark.slow),
        pytest.param(half_space, "walk", marks=pytest.mark.slow),
    ],
)
def test_blocks_of_real_sites(model: Any, moves: str) -> None:
    first, second = REAL[moves]
    kernel = kernels.cycle(kernels.block("a", first), kernels.block("b", second))
    draws = exact_draws(target(model), DRAWS, seed=1)
    result = check_invariant(kernel, target(model).program, key=2, draws=draws, steps=3)
    assert result, result


def mixed(real: Any, discrete: Any = kernels.IntegerWalk()) -> Cycle:
    blocks = (("count", discrete), ("mu", real), ("z", kernels.Enumerate()))
    return kernels.cycle(*(kernels.block(site, kernel) for site, kernel in blocks))


def check_mixed(kernel: Any, n: int = DRAWS) -> Any:
    draws = exact_draws(target(switch), n, seed=3)
    return check_invariant(kernel, target(switch).program, key=4, draws=draws, steps=3)


def test_discrete_and_real_sites_together() -> None:
    result = check_mixed(mixed(kernels.RandomWalk()))
    assert result, result


@pytest.mark.slow
@pytest.mark.parametrize(
    "kernel",
    [
        mixed(kernels.NUTS(max_depth=4)),
        mixed(kernels.Slice(), kernels.repeat(kernels.IntegerWalk(), 2)),
        kernels.cycle(
            kernels.block(("z", "count"), kernels.IntegerWalk(coordinates=1)),
            kernels.block("mu", kernels.MALA()),
        ),
    ],
    ids=["nuts", "repeat", "some at random"],
)
def test_more_mixtures_of_blocks(kernel: Any) -> None:
    result = check_mixed(kernel)
    assert result, result


class Stale(Cycle):
    """The mutant: every block sees where the others were at the start of the cycle."""

    def step(self, key: Any, program: Any, state: Any, params: Any) -> tuple[Any, Info]:
        moved, reports = state.position, []
        for k, kernel in enumerate(self.kernels):
            own = params._replace(step_size=params.step_size[k])
            new, report = kernel.step(jax.random.fold_in(key, k), program, state, own)
            moved = jnp.where(new.position == state.position, moved, new.position)
            reports.append(report)
        return Placed(moved, composition.log_density(program, moved)), reports[0]


class Partial(Block):
    """The mutant: the conditional is taken from the prior, the likelihood forgotten."""

    def step(self, key: Any, program: Any, state: Any, params: Any) -> tuple[Any, Info]:
        prior = dataclasses.replace(program, score=_PriorOnly(program.score))
        state, report = super().step(key, prior, state, params)
        return Placed(state.position, composition.log_density(program, state.position)), report


@dataclasses.dataclass(frozen=True)
class _PriorOnly:
    inner: Any

    def __call__(self, x: Any, data: Any) -> Score:
        return Score(self.inner(x, data).log_base, jnp.zeros(()))


@pytest.mark.slow
def test_stale_blocks_are_caught() -> None:
    blocks = tuple(kernels.block(site, kernels.Slice()) for site in ("a", "b"))
    draws = exact_draws(target(pair), MUTANT_DRAWS, seed=1)
    result = check_invariant(Stale(blocks), target(pair).program, key=2, draws=draws, steps=3)
    assert not result, result


def test_a_forgotten_factor_is_caught() -> None:
    right = mixed(kernels.RandomWalk())
    wrong = Cycle((*right.kernels[:2], Partial(("z",), kernels.Enumerate())))
    result = check_mixed(wrong, MUTANT_DRAWS)
    assert not result, result


def grouped(y: Any) -> None:
    weight = numpyro.sample("weight", dist.Beta(2, 2))
    with numpyro.plate("data", y.shape[0]):
        z = numpyro.sample("z", dist.Bernoulli(weight))
        numpyro.sample("y", dist.Normal(2.0 * z, 1), obs=y)


def summed(y: Any) -> np.ndarray:
    """Exact P(z = 1 | y) by quadrature over the weight."""
    w = (np.arange(2000) + 0.5) / 2000
    likelihood = np.exp(-0.5 * (y[:, None] - 2.0 * np.array([0.0, 1.0])) ** 2)
    mixed_up = likelihood[:, :1] * (1 - w) + likelihood[:, 1:] * w
    posterior = w * (1 - w) * mixed_up.prod(axis=0)
    inside = likelihood[:, 1:] * w / mixed_up
    return (inside * posterior).sum(axis=1) / posterior.sum()


Y = np.array([-0.3, 0.6, 1.1, 1.4, 3.0])


def test_an_engine_of_blocks_gives_the_exact_shares() -> None:
    program = pi.from_numpyro(grouped, Y, allow_discrete=True)
    assert program.levels == (("z", 0, 1),)
    kernel = kernels.cycle(
        kernels.block("z", kernels.Enumerate()), kernels.block("weight", kernels.RandomWalk())
    )
    fit = pi.sample(program, pi.MCMC(kernel, warmup=500, draws=2000), key=0, progress=False)
    assert fit.draws["z"].dtype.kind == "i" and fit.stats["acceptance"].shape == (4, 2000)
    rates = fit.stats["part_acceptance"].mean(axis=(0, 1))
    assert rates[0] == 1.0 and 0.08 < rates[1] < 0.45  # tuned on its own
    rows = [fit.summary()[f"z[{k}]"] for k in range(len(Y))]
    z = [(row["mean"] - exact) / row["mcse"] for row, exact in zip(rows, summed(Y), strict=True)]
    assert np.abs(z).max() < 4, z
    assert fit.predict(key=1)["y"].shape == (4, 2000, 5)


def test_what_fits_no_block_is_refused() -> None:
    program = pi.from_numpyro(grouped, Y, allow_discrete=True)
    block, cycle = kernels.block, kernels.cycle
    z, weight = block("z", kernels.Enumerate()), block("weight", kernels.Slice())
    for kernel, says in (
        (kernels.NUTS(), "NUTS cannot move the discrete|holds floating-point"),
        (z, r"no block moves \['weight'\]"),
        (cycle(z, block("tau", kernels.Slice())), r"no latent site named \['tau'\].*'weight'"),
        (cycle(z, weight, block(("z", "weight"), kernels.Slice())), "cannot move the discrete"),
        (cycle(z, block("weight", kernels.Enumerate())), "discrete coordinates only"),
    ):
        with pytest.raises((MethodError, StructureError), match=says):
            pi.sample(program, pi.MCMC(kernel), key=0, progress=False)
    for method in (pi.SMC(), pi.ChEES(), pi.ParallelTempering(), pi.Nested()):
        with pytest.raises(StructureError, match="Discrete coordinates are moved in blocks"):
            pi.sample(program, method, key=0, progress=False)
    counts = target(switch).program
    endless = cycle(*(block(n, kernels.Enumerate()) for n in ("z", "count")), block("mu", z.kernel))
    with pytest.raises(MethodError, match=r"finite support.*'count'.*IntegerWalk"):
        pi.sample(counts, pi.MCMC(endless), key=0, progress=False)
    with pytest.raises(DiscreteLatentError, match=r"infinitely many.*allow_discrete=True"):
        pi.from_numpyro(switch)
    with pytest.raises(DiscreteLatentError, match="values are vectors"):
        pi.from_numpyro(vectors, allow_discrete=True)
    with pytest.raises(ValueError, match="at least one site"):
        block((), kernels.Slice())


def vectors() -> None:
    counts = numpyro.sample("counts", dist.Multinomial(3, jnp.array([0.5, 0.5])))
    numpyro.sample("y", dist.Normal(counts[0], 1), obs=1.0)
