"""Separate modes: how many, how large, and with which evidence."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import probinf as pi
from probinf.errors import MethodError
from tests.cases import targets


@pytest.fixture(scope="module")
def blank() -> pi.Posterior:
    """Draws of one coordinate that a test replaces by its own."""
    return pi.sample(
        targets.skewed().program, pi.Importance(draws=100), key=1, progress=False, check=False
    )


def holding(
    blank: pi.Posterior, x: np.ndarray, log_w: np.ndarray | None = None, weighted: bool = True
) -> pi.Posterior:
    """A posterior of draws (chain, draw, d)."""
    shape = x.shape[:2]
    return dataclasses.replace(
        blank,
        draws={"x": x},
        stats={},
        unconstrained=x,
        log_weights=np.zeros(shape) if log_w is None else log_w,
        clusters=np.arange(x[..., 0].size).reshape(shape) if weighted else None,
        evidence=pi.Estimate(-3.0, 0.1) if weighted else None,
    )


def rings(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    direction = rng.normal(size=(n, d))
    return 2 * direction / np.linalg.norm(direction, axis=1)[:, None]


@pytest.mark.parametrize("d", [1, 2, 10, 30])
def test_one_mode_stays_one(blank: pi.Posterior, d: int) -> None:
    rng = np.random.default_rng(d)
    for x in (rng.normal(size=(1, 4000, d)), np.exp(rng.normal(size=(1, 4000, d)))):
        found = pi.separate_modes(holding(blank, x))
        assert len(found) == 1
        assert found[0].share == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-9))


@pytest.mark.parametrize("d", [1, 2, 10])
def test_two_normals_with_their_shares_and_evidences(blank: pi.Posterior, d: int) -> None:
    rng = np.random.default_rng(d)
    first = rng.uniform(size=4000) < 0.3
    x = rng.normal(size=(4000, d))
    x[:, 0] += np.where(first, -5.0, 5.0)
    found = pi.separate_modes(holding(blank, x[None]))
    assert [len(found), found[1].share.value] == [2, pytest.approx(first.mean(), abs=2e-3)]
    assert found[1].share.error == pytest.approx(np.sqrt(0.21 / 4000), rel=0.1)
    evidences = [mode.log_evidence for mode in found]
    assert np.logaddexp(evidences[0].value, evidences[1].value) == pytest.approx(-3.0)
    assert evidences[1].error == pytest.approx(np.hypot(0.1, found[1].share.error / 0.3), rel=0.1)
    assert found[0].posterior.summary()["x[0]"]["mean"] == pytest.approx(5.0, abs=0.1)
    assert "share" in str(found)


def test_curved_modes_are_not_cut_up(blank: pi.Posterior) -> None:
    rng = np.random.default_rng(5)
    x = rings(rng, 4000, 2) + 0.1 * rng.normal(size=(4000, 2))
    x[2000:, 0] += 7.0
    found = pi.separate_modes(holding(blank, x[None]))
    assert [round(mode.share.value, 2) for mode in found] == [0.5, 0.5]


def test_weights_decide_the_shares(blank: pi.Posterior) -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(1, 4000, 2))
    x[:, 2000:] += 8.0
    log_w = np.where(np.arange(4000) < 2000, np.log(9.0), 0.0)[None]
    found = pi.separate_modes(holding(blank, x, log_w))
    assert found[0].share.value == pytest.approx(0.9, abs=5e-3)


def test_live_points_drift_between_modes(blank: pi.Posterior) -> None:
    """Forty runs of nested sampling on two rings: shares spread by .048, .085 is stated."""
    rng = np.random.default_rng(9)
    x = rng.normal(size=(1, 4000, 2)) + 9.0 * (rng.uniform(size=(1, 4000, 1)) < 0.5)
    plain = holding(blank, x)
    level = np.arange(4000.0)[None]

    def nested(live: np.ndarray) -> pi.Posterior:
        # the last 200 are not replaced
        birth = np.where(level < 200, np.nan, level - 200)
        stats = {"live_points": live, "log_likelihood": level, "birth_log_likelihood": birth}
        return dataclasses.replace(plain, stats=stats)

    def extra(live: np.ndarray) -> float:
        without, found = pi.separate_modes(plain), pi.separate_modes(nested(live))
        return found[0].share.error ** 2 - without[0].share.error ** 2

    few = extra(np.full((1, 4000), 200))
    assert few == pytest.approx(0.25 * 2 * (2000 - 5) / 200**2, rel=0.01)
    # a batch that was added late does not undo the drift before it
    late = extra(np.where(level < 2000, 200, 2000))
    assert few / 2 < late < few


def test_chains_that_never_cross_do_not_know_the_shares(blank: pi.Posterior) -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(4, 1000, 2))
    x[0] += 10.0
    stuck = pi.separate_modes(holding(blank, x, weighted=False))
    assert len(stuck) == 2
    assert stuck[1].share.error > 0.1
    assert stuck[1].log_evidence is None
    mixing = rng.normal(size=(4, 1000, 2)) + 10.0 * (rng.uniform(size=(4, 1000, 1)) < 0.25)
    found = pi.separate_modes(holding(blank, mixing, weighted=False))
    assert found[1].share.error < 0.02


def test_refusals(blank: pi.Posterior) -> None:
    few = holding(blank, np.random.default_rng(8).normal(size=(1, 50, 2)))
    with pytest.raises(MethodError, match="50 different draws"):
        pi.separate_modes(few)
    with pytest.raises(MethodError, match="smallest"):
        pi.separate_modes(few, smallest=0.0)
