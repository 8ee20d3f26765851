"""Coverage of the pure core over vmapped replications; the tables are in ``bench.ppi_coverage``."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from bench import ppi_coverage as study
from probinf.ppi.inference import core, losses

GAUSSIAN = losses.Linear(losses.Gaussian())


@pytest.mark.slow
def test_means_cover_with_ten_labels_and_without_correction_they_do_not():
    with jax.enable_x64(True):
        found = study.coverage(study.mean_sample, GAUSSIAN, np.zeros(1), 10, 200, "normal")
        assert 0.888 <= found[0] <= 0.925  # 5,000 replications: standard error 0.004
        keys = jax.random.split(jax.random.key(0), 2000)

        def normal(key):
            data = study.mean_sample(key, 10, 200, "normal")
            fit = core.fit(GAUSSIAN, data, np.zeros(1))
            variance = (fit.mine * 8 / 10 + fit.theirs)[0, 0]  # divisor n, normal quantile
            return fit.theta[0] ** 2 <= 1.6448536**2 * variance

        assert np.mean(jax.vmap(normal)(keys)) < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 20, 50, 200])
@pytest.mark.parametrize("noise", ["normal", "t5"])
def test_means_cover(n, noise):
    with jax.enable_x64(True):
        found = study.coverage(study.mean_sample, GAUSSIAN, np.zeros(1), n, 2000, noise)
    assert found[0] >= 0.887
    if n == 200:
        assert found[0] <= 0.913


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["normal", "exponential", "t5"])
def test_regressions_cover(noise):
    truth = np.array([0.5, 1.0])
    with jax.enable_x64(True):
        found = study.coverage(study.ols_sample, GAUSSIAN, truth, 200, 2000, noise)
    assert np.all((found >= 0.887) & (found <= 0.913))
