"""Gradients that are NaN where the density is finite, and densities without any in reverse mode."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf import kernels
from probinf.core.gradients import hidden_nan, no_gradient
from probinf.core.hiding import may_hide
from probinf.errors import MethodError
from probinf.samplers.auto import choose

Y = np.array([0.1, -0.2])


def masked_root(y):
    x = numpyro.sample("x", dist.Normal(0, 1))
    z = numpyro.sample("z", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(jnp.where(x > 0, jnp.sqrt(x), 0.0) + z, 1), obs=y)


def clipped_root(y):
    x = numpyro.sample("x", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(jnp.sqrt(jnp.maximum(x, 0.0)), 1), obs=y)


def scanned_root(y):
    x = numpyro.sample("x", dist.Normal(0, 1))

    def step(total, _):
        return total + jnp.where(x > 0, x**0.4, 0.0), None

    numpyro.sample("y", dist.Normal(jax.lax.scan(step, 0.0, jnp.zeros(3))[0], 1), obs=y)


def far_root(y):
    x = numpyro.sample("x", dist.Normal(0, 10))  # starts are above -2
    numpyro.sample("y", dist.Normal(jnp.where(x > -5, jnp.sqrt(x + 5), 0.0), 1), obs=y)


def twice_guarded(y):
    x = numpyro.sample("x", dist.Normal(0, 1))
    root = jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)
    numpyro.sample("y", dist.Normal(root, 1), obs=y)


def kinked(y):
    x = numpyro.sample("x", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(jnp.where(x > 0, 2 * x, 0.0), jnp.exp(jnp.abs(x))), obs=y)


def walled(y):
    x = numpyro.sample("x", dist.Normal(0, 1))
    numpyro.factor("wall", jnp.where(x > 0, jnp.log(x), -jnp.inf))
    numpyro.sample("y", dist.Uniform(-x - 1, x + 1), obs=y)


def simple(y):
    s = numpyro.sample("s", dist.HalfCauchy(1))
    numpyro.sample("y", dist.StudentT(3, numpyro.sample("x", dist.Normal(0, s)), s), obs=y)


HIDING = [(masked_root, "x"), (clipped_root, "x"), (scanned_root, "x"), (far_root, "x")]


@pytest.mark.parametrize(("model", "site"), HIDING, ids=lambda m: getattr(m, "__name__", ""))
def test_a_nan_that_hides_from_the_value_is_found(model: Any, site: str) -> None:
    program = pi.from_numpyro(model, Y)
    found = hidden_nan(program)
    assert found is not None and found.share > 0.2 and found.sites == (site,)
    says = r"gradient with respect to 'x' is NaN at \d+% .*jnp\.where\(x > 0, x, 1\.0\).*Slice"
    methods = [pi.NUTS(), pi.MCMC(kernels.MALA()), pi.ChEES(), pi.SMC(), pi.PersistentSMC()]
    for method in [*methods, pi.ParallelTempering()] if model is masked_root else methods[:1]:
        with pytest.raises(MethodError, match=says):
            pi.sample(program, method, key=0, progress=False)


@pytest.mark.parametrize("model", [twice_guarded, kinked, walled, simple])
def test_densities_with_honest_gradients_pass(model: Any) -> None:
    assert hidden_nan(pi.from_numpyro(model, Y)) is None


def test_most_densities_show_by_their_trace_that_nothing_hides() -> None:
    assert not may_hide(pi.from_numpyro(simple, Y))
    assert not may_hide(pi.from_numpyro(walled, Y))
    assert may_hide(pi.from_numpyro(kinked, Y))  # it could: so its gradients are looked at


@pytest.mark.slow
def test_it_is_told_by_the_doctor_and_by_the_diagnosis() -> None:
    program = pi.from_numpyro(masked_root, Y)
    assert "Not for NUTS: the gradient with respect to 'x'" in str(pi.check(program))
    method = pi.NUTS(chains=1, warmup=20, draws=20)
    posterior = pi.sample(program, method, key=0, progress=False, check=False)
    assert posterior.diagnose().codes[0] == "nan_gradient"


def looped(y):
    x = numpyro.sample("x", dist.Normal(0, 1))
    _, total = jax.lax.while_loop(
        lambda c: c[0] < 3 + 0 * x, lambda c: (c[0] + 1, c[1] + x / 3), (0.0, 0.0)
    )
    numpyro.sample("y", dist.Normal(total, 1), obs=y)


def called_back(y):
    x = numpyro.sample("x", dist.Normal(0, 1))
    shape = jax.ShapeDtypeStruct((), jnp.float32)
    same = jax.pure_callback(np.asarray, shape, x, vmap_method="sequential")
    numpyro.sample("y", dist.Normal(same, 1), obs=y)


@pytest.mark.parametrize("model", [looped, called_back])
@pytest.mark.parametrize(
    "method",
    [
        pi.NUTS(),
        pi.ChEES(),
        pi.SMC(),
        pi.PersistentSMC(),
        pi.ParallelTempering(),
        pi.SMC(kernel=kernels.MALA()),
        pi.MCMC(kernels.cycle(kernels.Slice(), kernels.HMC())),
        pi.MCMC(kernels.Slice(), start="pathfinder"),
    ],
    ids=["NUTS", "ChEES", "SMC", "PersistentSMC", "PT", "MALA", "cycle", "pathfinder"],
)
def test_engines_that_need_a_gradient_say_so(model: Any, method: Any) -> None:
    program = pi.from_numpyro(model, Y)
    with pytest.raises(MethodError, match=r"needs gradients, but .*none in reverse mode.*Slice"):
        pi.sample(program, method, key=0, progress=False)


@pytest.mark.parametrize("model", [looped, called_back])
def test_an_engine_is_chosen_that_does_without(model: Any) -> None:
    program = pi.from_numpyro(model, Y)
    assert no_gradient(program)
    method, reason = choose(program, jax.random.key(0))
    assert method == pi.SMC(kernel=kernels.Slice())
    assert "no gradient in reverse mode" in reason


def test_everything_else_does_without() -> None:
    program = pi.from_numpyro(looped, Y)
    assert "no gradient in reverse mode" in str(pi.check(program))
    method = pi.MCMC(kernels.Slice(), chains=2, warmup=200, draws=300)
    posterior = pi.sample(program, method, key=0, progress=False)
    # y ~ N(x, 1) twice, x ~ N(0, 1): mean -1/30
    summary = posterior.summary()
    assert abs(summary.columns["mean"][0] + 0.1 / 3) < 5 * summary.columns["mcse"][0]
    assert "missed_mode" not in posterior.diagnose().codes
