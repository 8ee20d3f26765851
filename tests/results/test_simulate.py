"""simulate: data at parameters of one's choice."""

from __future__ import annotations

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import StructureError


def model(y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    sd = numpyro.sample("sd", dist.HalfNormal(1.0))
    numpyro.deterministic("double", 2 * mu)
    with numpyro.plate("rows", 3):
        numpyro.sample("y", dist.Normal(mu, sd), obs=y)


PROGRAM = pi.from_numpyro(model, np.zeros(3))


def test_data_follow_the_given_values() -> None:
    found = pi.simulate(PROGRAM, {"mu": 5.0, "sd": 0.1}, key=0, draws=2000)
    assert found["y"].shape == (1, 2000, 3)
    assert found["y"].mean() == pytest.approx(5.0, abs=0.01)
    assert found["y"].std() == pytest.approx(0.1, rel=0.05)
    partly = pi.simulate(PROGRAM, {"sd": 0.1}, key=0, draws=2000)
    assert partly["mu"].std() == pytest.approx(2.0, rel=0.1)
    np.testing.assert_allclose(partly["y"].mean(-1), partly["mu"], atol=0.4)
    assert partly.to_dataset()["y"].dims == ("chain", "draw", "rows")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"nu": 1.0}, r"no site named 'nu'; there are \['double', 'mu', 'sd'\]"),
        ({"mu": np.zeros(2)}, r"'mu' has shape \(\), got \(2,\)"),
        ({"sd": -1.0}, r"'sd' is -1.0, outside its support"),
        ({"double": 1.0}, r"'double' follows from others, \['mu', 'sd'\]"),
    ],
)
def test_bad_values_are_refused_by_name(values, said) -> None:
    with pytest.raises(StructureError, match=said):
        pi.simulate(PROGRAM, values, key=0)
