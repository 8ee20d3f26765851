"""Fits as the prior of the next batch, and draws that repeat, which populations are made of."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bench.sequential import chain
from probinf.evidence import flow_fitting

_ROWS = np.random.default_rng(0).normal(size=(500, 2))


def divergence(x: np.ndarray, weights: np.ndarray) -> float:
    """KL of the standard normal law from a flow fitted to its draws."""
    law = flow_fitting.flow_of(x, weights / weights.sum(), np.zeros(2), np.eye(2), np.float32)
    fresh = np.random.default_rng(1).normal(size=(4000, 2))
    found = jax.jit(jax.vmap(law.log_density))(jnp.asarray(fresh, jnp.float32))
    exact = -0.5 * np.square(fresh).sum(axis=1) - np.log(2 * np.pi)
    return float(np.mean(exact - np.asarray(found, float)))


def repeated() -> np.ndarray:
    times = np.random.default_rng(2).integers(1, 9, len(_ROWS))
    return np.repeat(_ROWS, times, axis=0)


def test_no_twin_of_a_draw_that_is_trained_on_is_held_out(monkeypatch: Any) -> None:
    split = []

    def kept(law: Any, rows: Any, held: Any) -> Any:
        split.append([{tuple(row) for row in np.asarray(part.z)} for part in (rows, held)])
        split.append(np.concatenate([rows.share * len(rows.z), held.share * len(held.z)]))
        return law

    monkeypatch.setattr(flow_fitting, "_trained", kept)
    x = repeated()
    divergence(x, np.ones(len(x)))
    (trained, held), shares = split
    assert not trained & held and len(trained) + len(held) == len(_ROWS)
    assert shares.max() > 4 * shares.min()  # a draw counts as often as it repeats
    monkeypatch.setattr(flow_fitting, "_once", lambda z, weights: (z, weights))  # the mutant
    divergence(x, np.ones(len(x)))
    trained, held = split[2]
    assert trained & held


def test_many_draws_are_thinned_by_their_weights(monkeypatch: Any) -> None:
    split: list[Any] = []
    monkeypatch.setattr(flow_fitting, "_trained", lambda law, *parts: split.extend(parts) or law)
    x = np.random.default_rng(3).normal(size=(60_000, 2))
    weights = np.exp(-0.5 * np.square(x[:, 0] / 0.05))  # the first one narrow, 1 of 20 counts
    divergence(x, weights)
    for part, few in zip(split, (3, 10), strict=True):
        sd = np.sqrt(np.sum(part.share * np.square(part.z[:, 0])))
        assert abs(sd / 0.05 - 1) < few * 0.02
    assert not {tuple(v) for v in np.asarray(split[0].z)} & {
        tuple(v) for v in np.asarray(split[1].z)
    }


@pytest.mark.slow
def test_draws_that_repeat_are_not_learned_by_heart(monkeypatch: Any) -> None:
    x = repeated()
    assert divergence(x, np.ones(len(x))) < 0.2
    monkeypatch.setattr(flow_fitting, "_once", lambda z, weights: (z, weights))  # the mutant
    assert divergence(x, np.ones(len(x))) > 0.4


@pytest.mark.slow
def test_five_batches_come_to_the_joint_posterior() -> None:
    assert max(chain("flow", 5, 0)) < 0.02
