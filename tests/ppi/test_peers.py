"""Agreement with ppi_py 0.2.3 and statsmodels 0.15: frozen numbers, and live ones if installed."""

from __future__ import annotations

import numpy as np
import pytest

from probinf import ppi
from tests.ppi.samples import galaxies, regression

# ppi_py 0.2.3, `ppi_*_ci(..., alpha=0.1)` on `regression(kind)`; statsmodels 0.15.0, HC0.


def test_published_galaxies_interval():
    """The interval in the README of ppi_py, whose unlabelled rows repeat some labelled ones."""
    y, f = galaxies()
    order = np.random.RandomState(0).permutation(len(y))
    labeled = order[:1000]
    with pytest.warns(match="repeat the labelled ones"):
        found = ppi.mean(y[labeled], f[labeled], f[1000:], compat="ppi_py")
    np.testing.assert_allclose(
        found.conf_int()[0], [0.2322466630315982, 0.2626038799812829], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("kind", ["gaussian", "binomial", "poisson"])
def test_glm_agrees_with_ppi_py(kind):
    peer = pytest.importorskip("ppi_py", reason="ppi_py is not installed")
    name = {"gaussian": "ols", "binomial": "logistic", "poisson": "poisson"}[kind]
    arrays = regression(kind)
    found = ppi.glm(*arrays, family=kind, compat="ppi_py")
    low, high = getattr(peer, f"ppi_{name}_ci")(*arrays)
    atol = 1e-10 if kind == "gaussian" else 1e-6
    np.testing.assert_allclose(found.conf_int(), np.stack([low, high], 1), rtol=0, atol=atol)


@pytest.mark.parametrize("kind", ["gaussian", "binomial", "poisson"])
def test_labels_alone_are_statsmodels_hc0(kind):
    sm = pytest.importorskip("statsmodels.api", reason="statsmodels is not installed")
    arrays = regression(kind)
    found = ppi.glm(*arrays, family=kind, method="classical", small_sample=False)
    if kind == "gaussian":
        peer = sm.OLS(arrays[1], arrays[0]).fit(cov_type="HC0")
    else:
        family = {"binomial": sm.families.Binomial, "poisson": sm.families.Poisson}[kind]()
        peer = sm.GLM(arrays[1], arrays[0], family=family).fit(cov_type="HC0", tol=1e-13)
    np.testing.assert_allclose(found.params, peer.params, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.bse, peer.bse, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.pvalues, peer.pvalues, rtol=0, atol=1e-8)
