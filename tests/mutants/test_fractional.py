"""Broken twins of fractional noise, which the exact law must catch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from probinf.fronts.states import fractional
from tests.fronts import test_fractional as law

Basis = fractional.Basis


def each_its_own_motion(basis: Basis, span: float) -> np.ndarray:
    own = np.diag(-np.expm1(-2 * basis.rates * span) / (2 * basis.rates))
    return np.asarray(basis.into @ own @ basis.into.T)


def without_the_rest(right: Callable[..., tuple[np.ndarray, float]]) -> Callable[..., object]:
    return lambda basis, hurst: (right(basis, hurst)[0], 0.0)


def of_another_index(right: Callable[..., tuple[np.ndarray, float]]) -> Callable[..., object]:
    return lambda basis, hurst: right(basis, min(hurst + 0.02, 0.98))


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("covariance", each_its_own_motion),
        ("weights", without_the_rest(Basis.weights)),
        ("weights", of_another_index(Basis.weights)),
    ],
)
def test_the_exact_law_catches(
    name: str, broken: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Basis, name, broken)
    fractional._interpolation.cache_clear()
    try:
        with pytest.raises(AssertionError):
            law.test_density_variance_and_draws_are_the_exact_ones(0.1, True)
    finally:
        fractional._interpolation.cache_clear()
