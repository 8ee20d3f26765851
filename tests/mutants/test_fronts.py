"""Broken twins of the fronts and of the doctor, each of which a test must catch."""

from __future__ import annotations

import jax
import pytest

from probinf.fronts.distributions import completion
from tests.fronts import test_supports


def test_supports_left_to_the_switch_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "enforced", lambda fn: fn)
    jax.clear_caches()
    with pytest.raises(AssertionError):
        test_supports.test_the_likelihood_is_zero_where_data_are_impossible(
            test_supports.unvalidated
        )
    jax.clear_caches()
