"""Data are kept as they were given: no digit is lost before the precision of a run is known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.core.inputs.given import as_given
from probinf.errors import ProbinfError


def counts(y: Any) -> None:
    log_rate = numpyro.sample("l", dist.Normal(20.0, 5.0))
    numpyro.sample("y", dist.Poisson(jnp.exp(log_rate)), obs=y)


BILLIONS = np.full(3, 5_000_000_000)


def closed_over() -> None:
    log_rate = numpyro.sample("l", dist.Normal(20.0, 5.0))
    numpyro.sample("y", dist.Poisson(jnp.exp(log_rate)), obs=BILLIONS)


def binomial(y: Any, n: Any = 10) -> None:
    numpyro.sample("y", dist.Binomial(n, numpyro.sample("p", dist.Beta(2, 2))), obs=y)


def uniform(y: Any) -> None:
    numpyro.sample("p", dist.Beta(2, 2))
    numpyro.sample("y", dist.DiscreteUniform(0, 10), obs=y)


def betabinomial(y: Any) -> None:
    a = numpyro.sample("a", dist.Gamma(2, 2))
    numpyro.sample("y", dist.BetaBinomial(a, 1.0, 10), obs=y)


def trend(y: Any, t: Any) -> None:
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(slope * (t - t[0]) / 1e9, 1.0), obs=y)


def weight(program: pi.Program, **x: float) -> float:
    position = {name: jnp.asarray(value) for name, value in x.items()}
    return float(program.score(position, program.data).log_weight)


@pytest.mark.parametrize(
    "program", [pi.from_numpyro(counts, BILLIONS), pi.from_numpyro(closed_over)]
)
def test_counts_that_32_bits_do_not_hold(program: pi.Program) -> None:
    at = [weight(program, l=v) for v in (20.37, 22.33)]
    assert at[1] > at[0] + 1e9  # what wraps around prefers the first


def test_replaced_counts_too() -> None:
    program = pi.from_numpyro(counts, np.full(3, 7))
    replaced = pi.condition(program, {"y": BILLIONS})
    assert weight(replaced, l=22.33) > weight(replaced, l=20.37)


def test_time_stamps_in_nanoseconds() -> None:
    t = 1_700_000_000_000_000_000 + 10**9 * np.arange(10)
    program = pi.from_numpyro(trend, np.arange(10.0), t)
    with jax.enable_x64(True):
        assert weight(program, slope=1.0) == pytest.approx(-5 * np.log(2 * np.pi))


def test_whole_numbers_that_nothing_holds_are_refused() -> None:
    with pytest.raises(ProbinfError, match=r"argument 2 .*9007199254740993.*origin"):
        pi.from_numpyro(trend, np.zeros(1), np.array([2**53 + 1]))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int64])
@pytest.mark.parametrize("model", [binomial, uniform, betabinomial])
def test_short_whole_numbers_are_in_the_support(model: Any, dtype: Any) -> None:
    y = np.array([1, 7, 3])
    x = {"a": 0.2} if model is betabinomial else {"p": 0.2}
    expected = weight(pi.from_numpyro(model, y.astype(np.int32)), **x)
    for given in (y.astype(dtype), jnp.asarray(y.astype(dtype))):
        assert weight(pi.from_numpyro(model, given), **x) == expected
    assert pi.check(pi.from_numpyro(model, y.astype(dtype)), gradients=False).sites


def test_a_number_of_trials_that_32_bits_do_not_hold() -> None:
    program = pi.from_numpyro(binomial, np.array(3_000_000_000), 6_000_000_000)
    with jax.enable_x64(True):
        at = [weight(program, p=v) for v in (-1e-4, 0.0, 1e-4)]
    assert at[1] > max(at[0], at[2]) + 5


def test_floats_keep_their_digits_until_the_run_decides() -> None:
    y = np.array([1e6 + 0.01])
    kept = as_given("y", y)
    assert kept.dtype == np.float64 and kept[0] == y[0]
    y[0] = 0.0  # what the program holds is its own
    assert kept[0] == 1e6 + 0.01 and not kept.flags.writeable
    assert as_given("y", y.astype(">f8")).dtype == np.float64
