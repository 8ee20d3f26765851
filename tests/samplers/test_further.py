"""more(live=): a nested run with more live points has the volumes, and the evidence, of one run."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest

import probinf as pi
from probinf.errors import MethodError, StructureError
from probinf.results.findings import Finding
from probinf.samplers.nested import joining
from tests.cases import targets

TARGET = targets.half_space()
METHOD = pi.Nested(live=40, moves=5)
OPTIONS = {"progress": False, "precision": "single", "check": False}


@pytest.fixture(scope="module")
def runs() -> list[pi.Posterior]:
    return [pi.sample(TARGET.program, METHOD, key=k, **OPTIONS) for k in range(8)]


def evidences_are_right(runs: list[pi.Posterior]) -> None:
    """Squared z-scores are a chi-square of eight degrees, errors shrink by the root of two."""
    longer = [run.more(live=40, progress=False) for run in runs]
    z = np.array([run.log_evidence.z(TARGET.log_evidence) for run in longer])
    assert (z**2).sum() < 36  # p = 2e-5
    shrunk = [
        b.log_evidence.error / a.log_evidence.error for a, b in zip(runs, longer, strict=True)
    ]
    assert np.mean(shrunk) == pytest.approx(2**-0.5, abs=0.1)
    for run in longer:
        alive = run.stats["live_points"][0]
        assert alive[0] == 80 and alive[-1] == 1
        # expected volumes of one run: shells add up to the whole prior
        with np.errstate(invalid="ignore"):  # half of the prior has no likelihood
            shells = run.log_weights[0] - run.stats["log_likelihood"][0]
        expected = np.concatenate([[0.0], np.cumsum(np.log1p(-1 / alive[:-1]))]) - np.log(alive)
        finite = np.isfinite(shells)
        np.testing.assert_allclose(np.diff(shells[finite]), np.diff(expected[finite]), atol=1e-4)


def test_more_live_points_have_the_evidence_of_one_run(runs: list[pi.Posterior]) -> None:
    evidences_are_right(runs)


def test_points_whose_births_are_forgotten_fail(
    runs: list[pi.Posterior], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken twin counts every point of the second run as a draw from the prior."""

    def forgetful(lanes, rng):
        last = lanes[-1]._replace(birth=np.full_like(lanes[-1].birth, np.nan))
        return right([*lanes[:-1], last], rng)

    right = joining.merge_points
    monkeypatch.setattr(joining, "merge_points", forgetful)
    with pytest.raises(AssertionError):
        evidences_are_right(runs)


def test_a_goal_is_reached_and_a_loaded_run_goes_on_alike(
    runs: list[pi.Posterior], tmp_path: pathlib.Path
) -> None:
    found = runs[0].more(min_ess=200, progress=False)
    weights = np.exp(found.log_weights)
    assert weights.sum() ** 2 / (weights**2).sum() >= 200
    goal = 0.9 * found.log_evidence.error
    assert found.more(max_error=goal, progress=False).log_evidence.error <= goal
    assert found.more(min_ess=100, progress=False) is found
    runs[1].save(tmp_path / "run")
    loaded = pi.load(tmp_path / "run", program=TARGET.program)
    again, more = (run.more(live=40, progress=False) for run in (loaded, runs[1]))
    np.testing.assert_array_equal(again.log_weights, more.log_weights)
    third = more.more(live=40, progress=False)  # another key each time
    assert third.provenance["merged"] == 3 and len(third.provenance["key"]) == 3
    assert len(np.unique(third.unconstrained[0], axis=0)) == third.log_weights.size


def test_what_few_ancestors_leave_unknown_is_shared_out(runs: list[pi.Posterior]) -> None:
    found = Finding("few_ancestors", "a mode descends from few live points")
    own = runs[0].log_evidence
    doubtful = dataclasses.replace(
        runs[0], evidence=own._replace(error=float(np.hypot(own.error, 1.0))), findings=(found,)
    )
    plain = joining.joined_runs([runs[0], runs[1]])
    both = joining.joined_runs([doubtful, runs[1]])
    assert both.log_evidence.error == pytest.approx(
        np.hypot(plain.log_evidence.error, 0.5), abs=0.05
    )
    assert found in both.findings and found not in plain.findings


def test_what_cannot_go_on_is_said(runs: list[pi.Posterior], tmp_path: pathlib.Path) -> None:
    with pytest.raises(MethodError, match=r"either live=, .* or what is to be reached"):
        runs[0].more()
    with pytest.raises(MethodError, match="either live="):
        runs[0].more(live=10, max_error=0.1)
    with pytest.raises(MethodError, match=r"Nested weighs all draws .* more\(live=500\)"):
        runs[0].more(100)
    runs[0].save(tmp_path / "run")
    with pytest.raises(StructureError, match="no program"):
        pi.load(tmp_path / "run").more(live=40)
    chains = pi.sample(TARGET.program, pi.Importance(draws=100), key=0, **OPTIONS)
    with pytest.raises(MethodError, match=r"live is of nested runs, and .* from Importance"):
        chains.more(live=40)
