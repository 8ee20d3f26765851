"""MAP and Laplace on posteriordb: SciPy's optimum and Hessian; what is found wrong elsewhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.optimize

import probinf as pi
from probinf.core.coordinates import flatten
from probinf.core.program import log_density
from probinf.errors import MethodError
from tests.cases import posteriordb

FOLDER = posteriordb.find_folder()
NAMES = (
    "sblrc-blr",
    "eight_schools-eight_schools_noncentered",
    "arK-arK",
    "kidiq-kidscore_interaction",
    "mesquite-logmesquite",
    "gp_pois_regr-gp_regr",
)
CASES = [] if FOLDER is None else [c for c in posteriordb.cases(FOLDER) if c.name in NAMES]


@pytest.mark.skipif(
    FOLDER is None, reason="the posteriordb references are not beside this checkout"
)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_scipys_optimum_and_hessian(case: posteriordb.Case) -> None:
    program = pi.from_numpyro(case.model, **case.kwargs)
    laplace = pi.sample(program, pi.Laplace(starts=3, draws=100), key=0, progress=False)
    law = laplace.approximation
    with jax.enable_x64(True):
        flat, _ = flatten(program)
        found = np.asarray(law.mean, float)
        factor = np.asarray(law.factor, float)
        slope = jax.jit(jax.value_and_grad(lambda x: -log_density(flat, x)))
        # SciPy climbs in whitened steps from a point nearby, and ends where it ends
        away = found + factor @ np.random.default_rng(0).normal(size=len(found))

        def down(z: np.ndarray) -> tuple[float, np.ndarray]:
            value, grad = slope(jnp.asarray(away + factor @ z))
            return float(value), factor.T @ np.asarray(grad)

        theirs = scipy.optimize.minimize(
            down, np.zeros_like(away), jac=True, method="BFGS", options={"gtol": 1e-9}
        )
        top = away + factor @ theirs.x
        step = 1e-4
        columns = []
        for k in range(len(top)):
            unit = step * factor[:, k]
            up, low = (np.asarray(slope(jnp.asarray(top + s * unit))[1]) for s in (1, -1))
            columns.append(factor.T @ (up - low) / (2 * step))
        hessian = np.stack(columns)
    np.testing.assert_allclose(np.linalg.solve(factor, found - top), 0.0, atol=1e-4)
    np.testing.assert_allclose(hessian, np.eye(len(top)), atol=1e-4)  # whitened by the law's own
    assert laplace.provenance["approximation"]["log_density"] == pytest.approx(-theirs.fun)


def centred(y: np.ndarray, sigma: np.ndarray) -> None:
    """Eight schools with effects as they are: the density rises without bound as tau falls."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    theta = numpyro.sample("theta", dist.Normal(mu, tau).expand(y.shape).to_event(1))
    numpyro.sample("y", dist.Normal(theta, sigma).to_event(1), obs=y)


SCHOOLS = (np.array([28.0, 8, -3, 7, -1, 1, 18, 12]), np.array([15.0, 10, 16, 11, 9, 11, 10, 18]))


def test_an_unbounded_density_is_a_finding_of_map_and_an_error_of_laplace() -> None:
    program = pi.from_numpyro(centred, *SCHOOLS)
    found = pi.sample(
        program, pi.MAP(starts=2, max_steps=400), key=0, progress=False, check=False
    ).diagnose()
    assert "not_converged" in found.codes and "tau" in str(found)
    with pytest.raises(MethodError, match=r"not a top: along .*curvature"):
        pi.sample(program, pi.Laplace(starts=2, max_steps=400), key=0, progress=False, check=False)


def test_vi_that_is_stopped_early_says_so() -> None:
    program = pi.from_numpyro(centred, *SCHOOLS)
    found = pi.sample(
        program, pi.VI("mean_field", max_steps=100), key=0, progress=False, precision="single"
    )
    assert "elbo_not_converged" in found.diagnose().codes
    assert found.history["elbo"].shape == (1, 2)


def test_what_has_no_density_or_no_gradient_is_refused() -> None:
    program = pi.from_numpyro(centred, *SCHOOLS)
    mode = pi.sample(program, pi.MAP(starts=1, max_steps=50), key=0, progress=False)
    with pytest.raises(pi.errors.StructureError, match=r"MAP is one point.*Laplace"):
        mode.as_program()
    with pytest.raises(MethodError, match="coordinates='user' needs a program straight from"):
        pi.sample(pi.temper(program, 0.5), pi.MAP(), key=0, progress=False)
    with pytest.raises(MethodError, match="rank is an option of family='low_rank'"):
        pi.VI("full_rank", rank=3)
    with pytest.raises(pi.errors.ModelError, match=r"no plate named \['rows'\]"):
        pi.sample(program, pi.VI(subsample={"rows": 3}), key=0, progress=False)
