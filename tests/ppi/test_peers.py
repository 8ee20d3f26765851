"""Agreement with ppi_py 0.2.3 and statsmodels 0.15: frozen numbers, and live ones if installed."""

from __future__ import annotations

import numpy as np
import pytest

from probinf import ppi
from tests.cases.ppi_samples import galaxies, regression

# ppi_py 0.2.3: `ppi_*_ci(*regression(kind), alpha=0.1)`; (low, high) per coefficient.
PPI_PY = {
    "gaussian": [
        [0.13924526302837698, 0.2451812513490645],
        [0.4079341602602199, 0.516616133782773],
        [-0.44787120906112027, -0.34326443206603435],
    ],
    "binomial": [
        [0.0690020533560621, 0.30566011573127305],
        [0.24274561413587445, 0.4916333077126347],
        [-0.5210389260587172, -0.26433665478810386],
    ],
    "poisson": [
        [0.11430318984870978, 0.2519711928356497],
        [0.2956541630581948, 0.4238796387795277],
        [-0.36247178288248877, -0.1947716408905476],
    ],
}
# statsmodels 0.15.0, `fit(cov_type="HC0")` on the labelled rows: coefficients, standard errors.
HC0 = {
    "gaussian": [
        [0.21534854431359526, 0.4982292896218074, -0.4640814089700617],
        [0.05318707369196927, 0.05177380966516489, 0.05750287446187563],
    ],
    "binomial": [
        [0.21124987786745217, 0.41297779874949336, -0.48351306173624664],
        [0.0942247978643367, 0.09745855690586208, 0.1020164352235188],
    ],
    "poisson": [
        [0.1921901379993308, 0.37263190911536437, -0.3027993721712082],
        [0.04593881432282239, 0.04182044784244978, 0.054419118491572],
    ],
}
KINDS = ["gaussian", "binomial", "poisson"]


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_numbers_of_ppi_py(kind):
    found = ppi.glm(*regression(kind), family=kind, compat="ppi_py")
    atol = {"gaussian": 1e-10, "binomial": 1e-6, "poisson": 1e-6}[kind]
    np.testing.assert_allclose(found.conf_int(), PPI_PY[kind], rtol=0, atol=atol)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_numbers_of_statsmodels(kind):
    found = ppi.glm(*regression(kind), family=kind, method="classical", small_sample=False)
    np.testing.assert_allclose([found.params, found.bse], HC0[kind], rtol=0, atol=1e-8)


def test_frozen_mean_and_quantile():
    _, y, f, _, fu = regression("gaussian")
    found = ppi.mean(y, f, fu, compat="ppi_py").conf_int()
    np.testing.assert_allclose(found, [[0.1401931371568369, 0.24924782128319262]], atol=1e-12)
    found = ppi.quantile(y, f, fu, 0.75, compat="ppi_py").conf_int()  # exact_grid=True
    np.testing.assert_array_equal(found, [[0.9561292173445461, 1.1740207624384746]])


def test_defects_of_ppi_py_are_not_reproduced():
    """One-sided intervals are one-sided; interval and p-value use one weight; keys decide."""
    rng = np.random.default_rng(3)
    y = rng.normal(0.3, 1, 50)
    fu = -rng.normal(0.3, 1, 2000)
    for options in ({"compat": "ppi_py"}, {}):
        found = ppi.mean(y, -y, fu, **options)
        assert found.lam == 0.0
        level = float(found.test(0.0)[0])
        for alpha in (level * 0.999, level * 1.001):
            low, high = found.conf_int(alpha)[0]
            assert (low <= 0 <= high) == (alpha < level)
        assert found.conf_int(alternative="larger")[0, 1] == np.inf
        assert found.conf_int(alternative="larger")[0, 0] < found.theta[0]
        assert found.conf_int(alternative="smaller")[0, 0] == -np.inf
    boot = [
        ppi.ppboot(
            lambda rows: rows["y"].mean(),
            {"y": y},
            {"y": -y},
            {"y": fu},
            alternative="larger",
            draws=200,
            key=1,
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(boot[0].draws, boot[1].draws)
    assert boot[0].limits[0, 1] == np.inf and boot[0].limits[0, 0] < y.mean()
    free = ppi.mean(y, -y, fu, clip=False)
    assert free.lam < -0.9 and free.bse[0] < 0.4 * found.bse[0]


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


@pytest.mark.filterwarnings("ignore:'penalty' was deprecated:FutureWarning")  # ppi_py's call
@pytest.mark.parametrize("kind", KINDS)
def test_glm_agrees_with_ppi_py(kind):
    peer = pytest.importorskip("ppi_py", reason="ppi_py is not installed")
    name = {"gaussian": "ols", "binomial": "logistic", "poisson": "poisson"}[kind]
    arrays = regression(kind)
    found = ppi.glm(*arrays, family=kind, compat="ppi_py")
    low, high = getattr(peer, f"ppi_{name}_ci")(*arrays)
    atol = 1e-10 if kind == "gaussian" else 1e-6
    np.testing.assert_allclose(found.conf_int(), np.stack([low, high], 1), rtol=0, atol=atol)


@pytest.mark.parametrize("kind", KINDS)
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
