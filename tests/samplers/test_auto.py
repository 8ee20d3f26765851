"""method="auto": what is chosen for which program, and that it is said."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import MethodError
from probinf.samplers.auto import choose
from tests.cases.eight_schools import eight_schools


def bowl(x: Any) -> Any:
    return -0.5 * jnp.sum((x - 1) ** 2)


def two(x: Any) -> Any:
    shift = 4.0
    low = -0.5 * jnp.sum((x + shift) ** 2)
    return jnp.logaddexp(low, -0.5 * jnp.sum((x - shift) ** 2))


def stairs(x: Any) -> Any:
    return -jnp.sum(jnp.floor(jnp.abs(x)))


def prior(d: int = 2) -> dist.Distribution:
    return dist.Normal(0, 5).expand([d]).to_event(1)


CASES = {
    "one mode": (lambda: pi.from_log_likelihood(bowl, prior()), pi.NUTS, "one mode"),
    "model": (eight_schools, pi.NUTS, "10 differentiable coordinates"),
    "two modes": (lambda: pi.from_log_likelihood(two, prior()), pi.ParallelTempering, "2 maxima"),
    "two modes, improper": (
        lambda: pi.from_log_density(two, initial=np.zeros(2)), pi.NUTS, "needs a prior",
    ),
    "no gradient": (lambda: pi.from_log_likelihood(stairs, prior()), pi.SMC, "0% of 32"),
    "no gradient, improper": (
        lambda: pi.from_log_density(stairs, initial=np.zeros(2)), pi.MCMC, "cannot be drawn",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_choices(name: str) -> None:
    make, kind, says = CASES[name]
    chosen = choose(make(), jax.random.key(0))
    assert type(chosen.method) is kind and says in chosen.reason


def test_the_choice_is_said_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    program = pi.from_log_likelihood(bowl, prior())
    posterior = pi.sample(program, "auto", key=0)
    printed = capsys.readouterr().out
    assert printed.count("method='auto' chose NUTS(") == 1 and "one mode" in printed
    assert "one mode" in posterior.provenance["chosen"]
    assert posterior.provenance["method"].startswith("NUTS(")
    with pytest.raises(MethodError, match="got 'best'"):
        pi.sample(program, "best", key=0)


def test_discrete_coordinates_are_moved_in_blocks() -> None:
    def model():
        z = numpyro.sample("z", dist.Bernoulli(0.3))
        count = numpyro.sample("count", dist.Poisson(2.0))
        numpyro.sample("mu", dist.Normal(z + count, 1))
        numpyro.factor("data", 0.0)

    found = choose(pi.from_numpyro(model, allow_discrete=True), jax.random.key(0))
    blocks = {b.sites: type(b.kernel).__name__ for b in found.method.kernel.kernels}
    assert blocks == {("z",): "Enumerate", ("count",): "IntegerWalk", ("mu",): "NUTS"}
    assert "discrete" in found.reason
