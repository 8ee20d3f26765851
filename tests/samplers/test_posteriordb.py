"""Sixteen reference posteriors from posteriordb, when their data are at hand."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from numpyro.infer.util import potential_energy

import probinf as pi
from probinf.errors import ImproperPriorError
from tests.cases import posteriordb

FOLDER = posteriordb.find_folder()
CASES = [] if FOLDER is None else posteriordb.cases(FOLDER)

pytestmark = pytest.mark.skipif(
    FOLDER is None, reason="the posteriordb references are not beside this checkout"
)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def identifier(case: posteriordb.Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=identifier)
def test_density_is_numpyros(case: posteriordb.Case) -> None:
    program = pi.from_numpyro(case.model, **case.kwargs)

    @jax.jit
    def both(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = jax.tree.map(lambda v: 0.1 * v, program.start(key, program.data))
        total = sum(program.score(x, program.data))
        return total, -potential_energy(case.model, (), case.kwargs, x)

    for seed in range(3):
        ours, theirs = map(float, both(jax.random.key(seed)))
        assert ours == pytest.approx(theirs, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("case", CASES, ids=identifier)
def test_improper_priors_are_refused_by_smc(case: posteriordb.Case) -> None:
    program = pi.from_numpyro(case.model, **case.kwargs)
    if case.proper:
        x = jax.jit(program.draw)(jax.random.key(0), program.data)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(x))
    else:
        with pytest.raises(ImproperPriorError, match="site '"):
            pi.sample(program, pi.SMC(), key=0)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=identifier)
def test_means_and_sds(case: posteriordb.Case) -> None:
    for method in posteriordb.engines(case).values():
        found = posteriordb.accuracy(FOLDER, case, method)
        assert found.largest_z < 4, found
        assert found.sd_off < 0.10, found
        assert not found.largest_rhat > 1.05, found
