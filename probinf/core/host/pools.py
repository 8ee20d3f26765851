"""Workers: any executor of ``concurrent.futures``' kind, renewed when it breaks or hangs."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from typing import Any, NamedTuple

from probinf.errors import CallbackError, MethodError

_STRIKES = 2  # workers that one evaluation may kill while it is alone, or let wait too long
_HOPELESS = 5  # workers that may die before anything was evaluated
_MOST_ON_WINDOWS = 61
_AHEAD = 8  # evaluations under way for each process


class Failure(NamedTuple):
    """An evaluation without a value.

    Attributes:
        kind: the name of an exception, or what happened.
        text: for messages.
    """

    kind: str
    text: str


def here(function: Callable[..., Any], jobs: Sequence[Any]) -> list[Any]:
    """Evaluate in this thread, one after the other."""
    return [_caught(function, job) for job in jobs]


def _caught(function: Callable[..., Any], job: Any) -> Any:
    try:
        return function(job)
    except Exception as error:
        return _failed(error)


def _failed(error: BaseException) -> Failure:
    return Failure(type(error).__name__, f"{type(error).__name__}: {error}")


class Workers:
    """Who evaluates: this process, so many of our own, or a user's executor.

    Args:
        executor: None, a number of processes, an executor, or a function that makes one.
        timeout: seconds of one evaluation; None for no limit.
        name: of the function, for messages.

    Raises:
        MethodError: the executor would fork this process after JAX has started, or cannot stop
            an evaluation when its time is over.
    """

    def __init__(self, executor: Any, timeout: float | None, name: str) -> None:
        self.executor, self.timeout, self.name = executor, timeout, name
        self.live: Any = None
        self.function: Any = None
        self.finished = 0
        check_executor(executor, timeout)

    def run(self, function: Callable[..., Any], jobs: Sequence[Any]) -> list[Any]:
        """Values or failures, in the order of the jobs."""
        if self.executor is None:
            return here(function, jobs)
        self.function = function
        return _Batch(self, function, jobs).done()

    def pool(self) -> Any:
        """The executor at work."""
        if self.live is None:
            self.live = _opened(self.executor)
            self._warmed()
        return self.live

    def _warmed(self) -> None:
        """Wait until new processes know the function: their start is nobody's time-out."""
        if self.timeout is not None and isinstance(self.live, ProcessPoolExecutor):
            asked = [self.live.submit(callable, self.function) for _ in range(self.width())]
            for future in asked:
                future.exception()

    def width(self) -> int:
        """Evaluations at a time."""
        return int(getattr(self.live, "_max_workers", None) or os.cpu_count() or 1)

    def renew(self, *, kill: bool = False) -> None:
        """Another executor in the place of one that is broken, or that hangs.

        Raises:
            CallbackError: nobody knows how to make another one.
        """
        old, self.live = self.live, None
        if kill:
            for process in list((getattr(old, "_processes", None) or {}).values()):
                process.kill()
        if isinstance(old, ProcessPoolExecutor):
            old.shutdown(wait=False, cancel_futures=True)
            self.live = _like(old)
            if isinstance(self.executor, int):
                _own[self.executor] = self.live
        elif isinstance(self.executor, int) or not hasattr(self.executor, "submit"):
            self.live = _opened(self.executor)
        else:
            raise CallbackError(
                f"a worker of {type(old).__name__} died, and only you can make another one. Give "
                "executor= a function that returns an executor (a new one each time), or a number "
                "of processes."
            )
        self._warmed()


_own: dict[int, ProcessPoolExecutor] = {}


def _opened(executor: Any) -> Any:
    if isinstance(executor, int):
        if executor not in _own:
            context = multiprocessing.get_context("spawn")
            _own[executor] = ProcessPoolExecutor(executor, mp_context=context)
        return _own[executor]
    if hasattr(executor, "submit"):
        return executor
    made = executor()
    if not hasattr(made, "submit"):
        raise MethodError(
            f"executor= must make something with a submit method, got {type(made).__name__}."
        )
    check_executor(made, None)
    return made


def _like(old: ProcessPoolExecutor) -> ProcessPoolExecutor:
    """A process pool with the settings of another one."""
    known: Any = old
    return ProcessPoolExecutor(
        known._max_workers,
        mp_context=known._mp_context,
        initializer=known._initializer,
        initargs=known._initargs,
    )


def check_executor(executor: Any, timeout: float | None) -> None:
    """Refuse what cannot evaluate.

    Raises:
        MethodError: the executor would fork this process after JAX has started, cannot stop an
            evaluation when its time is over, or is no executor.
    """
    if isinstance(executor, int) and not isinstance(executor, bool):
        if executor < 1:
            raise MethodError(f"executor must be at least 1 process, got {executor}.")
        if sys.platform == "win32" and executor > _MOST_ON_WINDOWS:
            raise MethodError(
                f"Windows waits for at most {_MOST_ON_WINDOWS} processes, executor={executor}."
            )
        return
    if executor is not None and not hasattr(executor, "submit") and not callable(executor):
        raise MethodError(
            "executor must be None (this process), a number of processes, an executor with a "
            f"submit method, or a function that makes one; got {executor!r}."
        )
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        raise MethodError(
            "this ProcessPoolExecutor forks the process, which may hang once JAX has started its "
            "threads. Give executor=2 (processes that are spawned), or ProcessPoolExecutor(2, "
            'mp_context=multiprocessing.get_context("spawn")).'
        )
    if timeout is not None and (executor is None or isinstance(executor, ThreadPoolExecutor)):
        where = "a thread" if executor is not None else "this process"
        raise MethodError(
            f"timeout= needs processes: an evaluation in {where} cannot be stopped. Give "
            "executor=2, or another number of processes."
        )


def check_picklable(executor: Any, function: Any, name: str) -> None:
    """Refuse a function that cannot travel to another process.

    Raises:
        CallbackError: it cannot be pickled, or lives in a notebook.
    """
    if not isinstance(executor, int | ProcessPoolExecutor):
        return
    own = getattr(function, "__module__", "") == "__main__"
    if own and not hasattr(sys.modules["__main__"], "__file__"):
        raise CallbackError(
            f"{name} was written in a notebook or a console, where other processes cannot import "
            "it. Put it into a file and import it from there, or use threads "
            "(concurrent.futures.ThreadPoolExecutor) or loky."
        )
    try:
        pickle.dumps(function)
    except Exception as error:
        raise CallbackError(
            f"{name} cannot be sent to another process ({error}). Write it as a function of a "
            "module (not inside another function, no lambda), and give it its data by "
            "functools.partial or as globals of that module."
        ) from error


class _Batch:
    """The jobs of one batch on their way."""

    def __init__(self, workers: Workers, function: Any, jobs: Sequence[Any]) -> None:
        self.workers, self.function, self.jobs = workers, function, jobs
        self.outcomes: list[Any] = [None] * len(jobs)
        self.waiting = deque(range(len(jobs)))
        self.running: dict[Future[Any], tuple[int, float]] = {}
        self.ended: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self.breaks = self.suspects = 0
        self.strikes, self.overdue = [0] * len(jobs), [0] * len(jobs)

    def done(self) -> list[Any]:
        """All outcomes."""
        try:
            while self.waiting or self.running:
                self._submit()
                self._collect()
        except BaseException:
            for future in self.running:
                future.cancel()
            raise
        return self.outcomes

    def _width(self) -> int:
        """How many may be under way: one at a time while it is sought who kills the workers."""
        if self.breaks > 1:
            return 1
        if self.workers.timeout is not None:
            return self.workers.width()
        own = isinstance(self.workers.live, ProcessPoolExecutor)
        return _AHEAD * self.workers.width() if own else len(self.jobs)

    def _submit(self) -> None:
        pool = self.workers.pool()
        while self.waiting and len(self.running) < self._width():
            job = self.waiting.popleft()
            try:
                future = pool.submit(self.function, self.jobs[job])
            except BrokenExecutor:
                self.waiting.appendleft(job)
                if not self.running:
                    self._broken([])
                return
            except RuntimeError as error:  # it has been shut down
                raise CallbackError(f"executor= takes no more work: {error}.") from error
            self.running[future] = (job, time.monotonic())
            future.add_done_callback(self.ended.put)

    def _collect(self) -> None:
        """Wait for the next one that ends, or whose time is over."""
        if not self.running:
            return
        left, timeout = None, self.workers.timeout
        if timeout is not None:
            first = min(began for _, began in self.running.values())
            left = max(0.0, first + timeout - time.monotonic())
        try:
            future = self.ended.get(timeout=left)
        except queue.Empty:
            self._overdue()
            return
        if future not in self.running:  # of a pool that is no more
            return
        job, _ = self.running.pop(future)
        try:
            error = future.exception()
        except CancelledError:
            error = BrokenExecutor("cancelled")
        if isinstance(error, BrokenExecutor):
            self._broken([job])
        elif isinstance(error, KeyboardInterrupt | SystemExit):
            raise error
        else:
            self._ended(job, future.result() if error is None else _failed(error))

    def _ended(self, job: int, outcome: Any) -> None:
        self.outcomes[job] = outcome
        self.workers.finished += 1
        self.suspects -= 1
        if self.suspects <= 0:
            self.breaks = 0

    def _broken(self, lost: list[int]) -> None:
        """A worker died: all that was under way is evaluated again by others."""
        alone = self.breaks > 1
        lost += [job for job, _ in self.running.values()]
        self.running.clear()
        self.breaks += 1
        if not alone:
            self.suspects = len(lost)
        elif lost:
            self.strikes[lost[0]] += 1
            if self.strikes[lost[0]] >= _STRIKES and self.workers.finished:
                self._ended(lost.pop(0), Failure("killed its worker", "killed its worker, twice"))
        if self.breaks > _HOPELESS and not self.workers.finished:
            raise CallbackError(
                f"the processes that should evaluate {self.workers.name} die before they have "
                "evaluated anything. A script that starts processes needs its last part under "
                'if __name__ == "__main__":, and what it imports must be importable there.'
            )
        self.waiting.extendleft(sorted(lost, reverse=True))
        self.workers.renew()

    def _overdue(self) -> None:
        """Evaluations whose time is over twice count as failed; the others are made again.

        The first time it may have been the start of a process, or something else on the machine.
        """
        timeout, now = self.workers.timeout, time.monotonic()
        assert timeout is not None
        again = []
        for future, (job, began) in self.running.items():
            future.cancel()
            self.overdue[job] += now - began >= timeout
            if self.overdue[job] >= _STRIKES:
                told = f"was not finished after {timeout:g} seconds, twice"
                self.outcomes[job] = Failure("timed out", told)
            else:
                again.append(job)
        self.running.clear()
        self.waiting.extendleft(sorted(again, reverse=True))
        if isinstance(self.workers.live, ProcessPoolExecutor):
            self.workers.renew(kill=True)
