"""Answering: questions put together, each distinct one evaluated once, failures counted by name."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import jax
import numpy as np

from probinf.core.host.asking import Question
from probinf.core.host.calls import Call
from probinf.core.host.jobs import Failure, evaluated
from probinf.errors import CallbackError

Memory = dict[bytes, np.ndarray]
"""Answers by what stands for a row."""

_FEW = 100  # evaluations below which the allowed share of failures is that of so many


@dataclasses.dataclass
class Tally:
    """What evaluations of a run have come to.

    Attributes:
        evaluations: of the function.
        failures: how many failed, by kind: the name of an exception, ``"timed out"``,
            ``"killed its worker"``, ``"NaN"`` or ``"+inf"``.
        first: what the first failure said, and of which parameters.
    """

    evaluations: int = 0
    failures: dict[str, int] = dataclasses.field(default_factory=dict)
    first: str = ""

    def failed(self) -> int:
        """All failures."""
        return sum(self.failures.values())

    def told(self) -> dict[str, Any]:
        """For the provenance; empty where nothing was asked."""
        if not self.evaluations:
            return {}
        found: dict[str, Any] = {"evaluations": self.evaluations}
        if self.failures:
            found |= {"failures": dict(self.failures), "first_failure": self.first}
        return {"callback": found}


_current: contextvars.ContextVar[Tally | None] = contextvars.ContextVar("tally", default=None)


@contextlib.contextmanager
def tallied() -> Iterator[Tally]:
    """Count what is asked inside."""
    tally = Tally()
    token = _current.set(tally)
    try:
        yield tally
    finally:
        _current.reset(token)


def answers(asked: Sequence[tuple[Question, Memory]]) -> list[np.ndarray]:
    """Answers of questions, in their order, whoever evaluates them.

    Rows that are not wanted are -inf, and failures are NaN.

    Raises:
        CallbackError: more of the evaluations failed than may.
    """
    found = []
    for wanted, _ in asked:
        blank = -np.inf if wanted.call.counted else np.nan
        found.append(np.full((len(wanted.where), *wanted.call.shape), blank))
    calls = list(dict.fromkeys(wanted.call for wanted, _ in asked))
    for call in calls:
        mine = [k for k, (wanted, _) in enumerate(asked) if wanted.call == call]
        _answer(call, [asked[k] for k in mine], [found[k] for k in mine])
    return found


def _answer(call: Call, asked: list[tuple[Question, Memory]], found: list[np.ndarray]) -> None:
    """Fill in the answers of questions to one function."""
    rows, places, owners = [], [], []
    for (wanted, memory), out in zip(asked, found, strict=True):
        new: dict[bytes, list[int]] = {}
        for row in np.flatnonzero(wanted.where):
            key = b"".join(leaf[row].tobytes() for leaf in wanted.keys)
            if key in memory:
                out[row] = memory[key]
            else:
                new.setdefault(key, []).append(int(row))
        for key, where in new.items():
            rows.append(jax.tree.map(itemgetter(where[0]), wanted.values))
            places.append((out, where))
            owners.append((memory, key))
    if not rows:
        return
    tally = _current.get() or Tally()
    values = evaluated(call, rows)
    for value, row, (out, where), (memory, key) in zip(values, rows, places, owners, strict=True):
        number = _number(call, value, row, tally)
        memory[key] = number
        out[where] = number
    if call.counted:
        tally.evaluations += len(rows)
    _refuse_many(call, tally, len(rows))


def _number(call: Call, value: Any, row: Any, tally: Tally) -> np.ndarray:
    """The value as it goes back; failures are counted."""
    if not isinstance(value, Failure):
        found = as_value(call, value, row)
        nan = np.isnan(found).any()
        if not call.counted or not (nan or np.isposinf(found).any()):
            return found
        value = Failure("NaN" if nan else "+inf", f"returned {found}")
    tally.failures[value.kind] = tally.failures.get(value.kind, 0) + 1
    tally.first = tally.first or f"{value.text}, at {shown(row)}"
    return np.full(call.shape, np.nan)


def as_value(call: Call, value: Any, row: Any) -> np.ndarray:
    """What the function returned, as an array of the right shape.

    Raises:
        CallbackError: it is something else.
    """
    try:
        found = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        found = None
    if found is not None and found.shape != call.shape and found.size == 1 and not call.shape:
        found = found.reshape(())
    if found is None or found.shape != call.shape:
        expected = "one real number" if not call.shape else f"an array of shape {call.shape}"
        seen = type(value).__name__ if found is None else f"an array of shape {found.shape}"
        raise CallbackError(
            f"{call.name} must return {expected}, got {seen} at {shown(row)}."
            + (" Sum over the data." if found is not None and not call.shape else "")
        )
    return found


def _refuse_many(call: Call, tally: Tally, latest: int) -> None:
    count = max(tally.evaluations, latest)
    failed = tally.failed()
    if failed <= call.max_failures * max(count, _FEW):
        return
    kinds = ", ".join(f"{n} {kind}" for kind, n in tally.failures.items())
    raise CallbackError(
        f"{failed} of {count} evaluations of {call.name} failed ({kinds}), more than "
        f"max_failures={call.max_failures:g}. The first: {tally.first}. Return -inf where "
        "parameters are impossible, or allow more."
    )


def shown(row: Any) -> str:
    """Parameters, for a message."""
    if isinstance(row, dict):
        return ", ".join(f"{name} = {shown(v)}" for name, v in row.items())
    return _digits(row)


def _digits(value: Any) -> str:
    return np.array2string(np.asarray(value), precision=6, threshold=8)
