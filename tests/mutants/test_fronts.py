"""Broken twins of the fronts and of the doctor, each of which a test must catch."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import probinf as pi
from probinf.core import doctor, gradients, hiding
from probinf.fronts import door, numpyro
from probinf.fronts.distributions import completion
from probinf.samplers.warmup import starting
from tests.core import test_gradients
from tests.fronts import test_door, test_supports


def test_supports_left_to_the_switch_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "enforced", lambda fn: fn)
    jax.clear_caches()
    with pytest.raises(AssertionError):
        test_supports.test_the_likelihood_is_zero_where_data_are_impossible(
            test_supports.unvalidated
        )
    jax.clear_caches()


def test_a_look_at_infinite_gradients_only_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    look = gradients._look

    def blind(*args: Any) -> Any:
        value, broken = look(*args)
        return value, jax.tree.map(jax.numpy.zeros_like, broken)

    monkeypatch.setattr(gradients, "_look", blind)
    with pytest.raises(AssertionError):
        test_gradients.test_a_nan_that_hides_from_the_value_is_found(
            test_gradients.clipped_root, "x"
        )


def test_a_trace_read_without_bends_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hiding, "_BENDS", set())
    monkeypatch.setattr(gradients, "may_hide", hiding._may_hide.__wrapped__)  # not remembered
    with pytest.raises(AssertionError):
        test_gradients.test_a_nan_that_hides_from_the_value_is_found(
            test_gradients.clipped_root, "x"
        )


def test_a_refusal_after_the_first_starts_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_places", lambda program: [])
    with pytest.raises(pi.errors.ObservationError):
        test_door.test_supports_far_from_every_start_are_legal()


def test_starts_that_never_go_out_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "_FARTHEST", 0.0)
    jax.clear_caches()
    with pytest.raises(pi.errors.ZeroLikelihoodError):
        test_door.test_chains_begin_in_a_support_far_from_every_start()
    jax.clear_caches()


def test_missing_values_that_pass_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpyro, "refuse_missing", lambda *args: None)
    with pytest.raises(pytest.fail.Exception):
        test_door.test_the_argument_is_named(
            test_door.normal, (test_door.Y3, test_door.HOLE), pi.errors.ModelError, ""
        )


def test_masks_that_are_forgotten_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_unmasked", lambda name, leaf: np.asarray(leaf))
    with pytest.raises(pytest.fail.Exception):
        test_door.test_the_argument_is_named(
            test_door.normal, (test_door.MASKED,), pi.errors.ModelError, ""
        )
