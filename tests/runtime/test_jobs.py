"""Jobs that are started again go on from their folder; a folder of jobs is merged."""

import contextlib

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import MethodError, SavedFileError


def line(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, 1), obs=y)


QUIET = {"progress": False, "check": False, "precision": "single"}
HMC = pi.MCMC(pi.kernels.HMC(steps=2), chains=1, warmup=20, draws=80)


@pytest.fixture(scope="module")
def program():
    return pi.from_numpyro(line, np.array([0.3, 1.2]))


def test_a_job_that_is_started_again_goes_on(program, tmp_path):
    given = {**QUIET, "checkpoint": tmp_path / "job", "resume": True}
    with contextlib.suppress(MethodError):  # ended after its first chunk, within the warm-up
        pi.sample(program, HMC, key=3, max_seconds=0.0, **given)
    begun = pi.sample(program, HMC, key=3, **given)
    unbroken = pi.sample(program, HMC, key=3, **QUIET)
    again = pi.sample(program, HMC, key=3, **given)
    for other in (unbroken, again):
        np.testing.assert_array_equal(begun.draws["mu"], other.draws["mu"])
    with pytest.raises(SavedFileError, match="another key"):
        pi.sample(program, HMC, key=4, **given)
    with pytest.raises(SavedFileError, match="was run with"):
        pi.sample(program, pi.Importance(draws=10), key=3, **given)
    with pytest.raises(SavedFileError, match="holds a run already"):
        pi.sample(program, HMC, key=3, **{**given, "resume": False})
    with pytest.raises(MethodError, match="checkpoint="):
        pi.sample(program, HMC, key=3, resume=True, **QUIET)


def test_a_folder_of_jobs_is_merged_by_evidence(program, tmp_path):
    fits = [
        pi.sample(program, pi.Importance(draws=200), key=jax.random.key(job), **QUIET)
        for job in range(3)
    ]
    with pytest.raises(SavedFileError, match="0 saved posteriors in 0 subfolders"):
        pi.merge(tmp_path)
    for job, fit in enumerate(fits):
        fit.save(tmp_path / f"job-{job}" / "fit")
    merged, expected = pi.merge(tmp_path), pi.merge(fits)
    assert merged.log_evidence == expected.log_evidence
    np.testing.assert_array_equal(merged.draws["mu"], expected.draws["mu"])
    (tmp_path / "job-3" / "run").mkdir(parents=True)
    with pytest.warns(UserWarning, match=r"left out are \['job-3'\]"):
        assert pi.merge(str(tmp_path)).provenance["merged"] == 3
