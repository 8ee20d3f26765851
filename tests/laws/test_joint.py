"""Law 6: Geweke's joint test and simulation-based calibration."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf import kernels


def two_groups(y=None):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    with numpyro.plate("group", 2):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Poisson(jnp.exp(0.5 + scale * z)), obs=y)


@pytest.fixture(scope="module")
def program():
    return pi.from_numpyro(two_groups, y=np.array([1, 3]))


@pytest.mark.parametrize(
    "kernel", [kernels.RandomWalk(), kernels.HMC(steps=3)], ids=lambda k: type(k).__name__
)
def test_geweke(program, kernel):
    result = pi.validity.geweke(kernel, program, key=1, rounds=3)
    assert result, result


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(pi.NUTS(chains=1, warmup=150, draws=155), id="NUTS", marks=pytest.mark.slow),
        pytest.param(pi.SMC(particles=500), id="SMC", marks=pytest.mark.slow),
    ],
)
def test_sbc(program, method):
    result = pi.validity.sbc(program, method, key=2, replications=400, draws=31)
    assert result, result


@pytest.mark.slow
def test_sbc_of_eight_schools_takes_all_its_replications():
    from tests.cases.eight_schools import eight_schools

    result = pi.validity.sbc(eight_schools(), key=3, replications=1000)
    assert result, result
