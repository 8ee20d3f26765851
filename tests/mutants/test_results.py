"""Broken twins of what comes after a run: each of them some test must catch."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf.core.coordinates import flatten
from probinf.errors import StructureError
from probinf.evidence import updating
from probinf.fronts import observing
from probinf.fronts.fixing import Conditioned
from probinf.results import datasets, posterior, predicting, summary
from probinf.results.sites import by_row
from probinf.runtime import fingerprint
from tests.evidence import test_weight_zero
from tests.laws import test_updating
from tests.results import test_datatree, test_dims, test_predicting
from tests.runtime import test_fingerprint


def simulated(flat: Any, row: Any) -> Any:
    return flat.simulate(row[0], row[1], flat.data)


def by_position(fit: pi.Posterior, key: Any, program: pi.Program) -> dict[str, np.ndarray]:
    """predict as it was: positions of the fit, read by the layout of another program."""
    flat, _ = flatten(program, integers=True)
    keys = jax.random.split(jax.random.key(key), fit.log_weights.size)
    return by_row(simulated, flat, (keys, fit.rows()), fit.log_weights.shape)


def test_positions_of_another_layout_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    program = pi.from_numpyro(test_predicting.grouped, 5, test_predicting.GROUPS, test_predicting.Y)
    fit = test_predicting.fitted(
        program, mu=101.0, log_tau=np.log(6.0), theta=test_predicting.LEVELS
    )
    monkeypatch.setattr(posterior, "predict", by_position)
    with pytest.raises(AssertionError):
        test_predicting.test_fewer_groups_take_their_own_draws(fit, np.zeros(3))


def test_labels_that_are_not_looked_at_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    program = test_dims.program()
    fit = pi.sample(program, pi.Importance(draws=300), key=0, progress=False, precision="single")
    monkeypatch.setattr(predicting, "aligned", lambda draws, here, there: (draws, {"z": ["New"]}))
    with pytest.raises(AssertionError):
        test_dims.test_predictions_follow_labels(fit)


def test_parameters_drawn_anew_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_free(model: Any, data: Any) -> Conditioned:
        return Conditioned(frozenset(), frozenset({"scale", "y"}))

    monkeypatch.setattr(observing, "conditioned", all_free)
    given = test_predicting.condition(test_predicting.scaled, {"scale": 1.0})
    with pytest.raises(AssertionError):
        test_predicting.test_what_a_handler_fixes_stays_as_it_is(
            lambda: pi.from_numpyro(given, test_predicting.FIVE), 2**0.5
        )


@pytest.mark.filterwarnings("ignore:invalid value")
def test_counted_draws_of_weight_zero_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = test_weight_zero.weighted(True), test_weight_zero.weighted(False)
    monkeypatch.setattr(summary, "counted", lambda values, weights: values)
    with pytest.raises(AssertionError):
        test_weight_zero.test_summary_and_findings(pair)


def test_slashes_that_only_become_dots_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    def dots(values: dict[str, Any]) -> dict[str, str]:
        return {name: name.replace("/", ".") for name in values if name not in ("chain", "draw")}

    monkeypatch.setattr(datasets, "safe_names", dots)
    monkeypatch.setattr(test_datatree, "AWKWARD", ("a/mu", "a.mu"))
    with pytest.raises((AssertionError, KeyError)):
        test_datatree.test_every_name_is_kept(False, tmp_path)


@dataclasses.dataclass(frozen=True)
class InOrder(updating._OldFirst):
    """Terms as the trace has them."""

    def __call__(self, x: Any, data: Any) -> dict[str, jax.Array]:
        old = dict(self.counts)
        terms = {name: jnp.ravel(value) for name, value in self.pointwise(x, data).items()}
        return {
            "old": jnp.concatenate([v[: old.get(name, 0)] for name, v in terms.items()]),
            "new": jnp.concatenate([v[old.get(name, 0) :] for name, v in terms.items()]),
        }


def test_terms_in_the_order_of_the_trace_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updating, "_OldFirst", InOrder)
    with pytest.raises(StructureError, match="old data"):
        test_updating.test_sites_in_any_order()


@pytest.mark.filterwarnings("ignore:the model .* is made anew")
def test_fingerprints_without_closures_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_code(self: Any, fn: Any, path: str) -> Any:
        yield f"the code of {fn.__qualname__}", repr(fingerprint._code(fn.__code__))

    monkeypatch.setattr(fingerprint._Walk, "_function", only_code)
    with pytest.raises(AssertionError):
        test_fingerprint.test_what_changed_is_named(
            lambda: pi.from_numpyro(test_fingerprint.making(1.0), test_fingerprint.Y),
            lambda: pi.from_numpyro(test_fingerprint.making(2.0), test_fingerprint.Y),
            "scale",
        )
