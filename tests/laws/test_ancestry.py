"""Laws of nested sampling's lines of descent, and of what they say about shares of modes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.samplers.nested import ancestry, sampling
from probinf.samplers.nested.ancestry import Parted, parents, parted
from probinf.samplers.nested.state import LanePoints


def shares(few: int, mixed: bool) -> list[Parted]:
    """Half of the posterior at 10 descends from ``few`` of 100 points, or from all of them."""
    random = np.random.default_rng(0)
    middle = np.concatenate([np.zeros(20), np.where(np.arange(100) < few, 10.0, 0.0)])
    middle = np.concatenate([middle, np.repeat([10.0, 0.0], 400)])
    log_l = np.concatenate([np.full(20, -10.0), np.linspace(-9, -8, 100), np.linspace(0, 1, 800)])
    points = LanePoints(
        position=middle[:, None] + random.normal(size=(920, 2)),
        log_base=np.zeros(920),
        log_likelihood=log_l,
        birth=np.concatenate([np.full(120, np.nan), np.full(800, -9.5)]),
    )
    mothers = np.concatenate([np.arange(400) % few, few + np.arange(400) % (100 - few)])
    mothers = np.arange(800) * 37 % 100 if mixed else mothers
    descent = np.concatenate([np.full(120, -1), 20 + mothers])
    weights = np.concatenate([np.full(120, -np.inf), np.zeros(800)])
    return parted([points], [descent], np.arange(920), weights, random)


@pytest.mark.parametrize("few", [1, 2, 5])
def test_the_odds_of_a_mode_are_known_as_its_lines_allow(few: int) -> None:
    mode = max(shares(few, mixed=False), key=lambda m: m.error)
    low = min(shares(few, mixed=False), key=lambda m: m.lines)
    assert abs(low.lines - few) < 0.2
    # half from `few` lines, half from 100 - few
    assert abs(mode.spread - np.sqrt(1 / few + 1 / (100 - few))) < 0.2 * mode.spread
    assert abs(mode.share - 0.5) < 0.1
    assert abs(mode.error - abs(mode.share - few / 100) * mode.spread) < 0.05


def test_lines_that_lead_everywhere_tell_nothing() -> None:
    assert max(mode.spread for mode in shares(2, mixed=True)) < 0.2


def test_draws_taken_for_independent_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def alone(lanes: Any, descents: Any, drawn: np.ndarray) -> Any:
        return np.arange(drawn.size)[None]

    monkeypatch.setattr(ancestry, "_lines", alone)
    with pytest.raises(AssertionError):
        test_the_odds_of_a_mode_are_known_as_its_lines_allow(1)


def two_bumps(x: Any) -> Any:
    square = ((x[..., None, :] - jnp.array([[2.0, 2.0], [-2.0, -2.0]])) ** 2).sum(-1)
    return jnp.logaddexp(-50 * square[..., 0], -50 * square[..., 1])


PROGRAM = pi.from_log_likelihood(two_bumps, dist.Uniform(-5, 5).expand([2]).to_event(1))


def alive_at_birth(method: pi.Nested, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Every point was moved from one that was alive at the contour of its birth."""
    seen: list[Any] = []

    def listening(lanes: Any, descents: Any, *rest: Any) -> Any:
        seen.extend(zip(lanes, descents, strict=True))
        return parted(lanes, descents, *rest)

    monkeypatch.setattr(sampling, "parted", listening)
    pi.sample(PROGRAM, method, key=1, progress=False, check=False)
    right, born = True, 0
    for points, mother in seen:
        child = mother >= 0
        birth = np.where(np.isnan(points.birth), -np.inf, points.birth)
        known = mother[child]
        right &= bool((points.log_likelihood[known] > birth[child]).all())
        right &= bool((birth[known] <= birth[child]).all())
        born += int(child.sum())
    return right and born > 2 * method.live


@pytest.mark.parametrize("goal", [None, "posterior"])
def test_mothers_are_alive_where_their_children_are_born(
    goal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = None if goal is None else 60_000
    method = pi.Nested(live=50, runs=2, goal=goal, max_evaluations=most)
    assert alive_at_birth(method, monkeypatch)


def test_slots_that_keep_their_first_point_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(record: Any, live: int, points: int) -> np.ndarray:
        mother = parents(record, live, points)
        slot = np.concatenate([record.slot.ravel(), np.arange(live)])[:points]
        firsts = {s: k for k, s in reversed(list(enumerate(slot)))}
        return np.array([-1 if m < 0 else firsts[slot[m]] for m in mother])

    monkeypatch.setattr(sampling, "parents", first)
    assert not alive_at_birth(pi.Nested(live=50, runs=2), monkeypatch)


def spiked(x: Any) -> Any:
    """Half of the evidence in a spike with a 200th of the volume where it parts."""
    square = ((x[..., None, :] - jnp.array([[0.5], [0.0]])) ** 2).sum(-1)
    slab = -0.5 * square[..., 1] / 0.09**2 - jnp.log(0.09)
    spike = -0.5 * square[..., 0] / 3e-5**2 - jnp.log(3e-5)
    return jnp.logaddexp(slab, spike)


@pytest.mark.slow
def test_errors_hold_the_doubt_about_a_spike_that_was_seen() -> None:
    program = pi.from_log_likelihood(spiked, dist.Uniform(-1, 1).expand([1]).to_event(1))
    truth = np.log(2 * np.sqrt(2 * np.pi) / 2)
    z, found = [], 0
    for key in range(40):
        fit = pi.sample(
            program, pi.Nested(live=500, moves=10), key=key, progress=False, check=False
        )
        weights = np.exp(fit.log_weights - fit.log_weights.max())
        if weights[np.abs(fit.draws["x"] - 0.5).max(-1) < 0.01].sum() < 0.05 * weights.sum():
            continue  # never seen, and nobody can tell
        found += any(f.code == "few_ancestors" for f in fit.findings)
        z.append(fit.log_evidence.z(truth))
    assert len(z) > 5 and found >= 0.8 * len(z)
    assert np.std(z) < 1.8
