"""Call: a Python function that is asked, and how."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

Executor = Any
"""None, a number of processes, an executor of ``concurrent.futures``' kind, or what makes one."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A function of the user's, and how it is evaluated.

    Attributes:
        function: of one set of parameters, or of many where ``vectorized``.
        before: applied to the parameters first, in this process; None for nothing.
        shape: of its value.
        vectorized: it takes arrays with a leading axis.
        executor: who evaluates it.
        timeout: seconds of one evaluation; None for no limit.
        rows: of one evaluation, where ``vectorized``.
        max_failures: share of the evaluations that may fail.
        counted: whether its evaluations are the run's.
    """

    function: Callable[..., Any]
    before: Callable[..., Any] | None = None
    shape: tuple[int, ...] = ()
    vectorized: bool = False
    executor: Executor = None
    timeout: float | None = None
    rows: int = 100
    max_failures: float = 0.01
    counted: bool = True

    @property
    def name(self) -> str:
        """Of the function, for messages."""
        return str(getattr(self.function, "__qualname__", None) or repr(self.function))

    def parts(self) -> dict[str, Any]:
        """What a checkpoint knows it by: not by who evaluates it."""
        return {
            "callback": self.function,
            "prior_transform": self.before,
            "vectorized": self.vectorized,
        }
