"""The progress bar of a run."""

from __future__ import annotations

import functools
import importlib.util
import sys
from typing import Any, NamedTuple


class Status(NamedTuple):
    """What the progress bar shows."""

    fraction: float
    text: str


class Bar:
    """A rich progress bar, gone when the run ends; rich itself stays silent without a terminal.

    In a notebook rich needs ``ipywidgets``; without it, one line of text takes its place.
    """

    def __init__(self, title: str, enabled: bool) -> None:
        self.title, self.enabled = title, enabled
        self.progress: Any = None
        self.written = 0

    def __enter__(self) -> Bar:
        return self

    def show(self, status: Status) -> None:
        if not self.enabled:
            return
        if _lacks_widgets():
            self._write(f"{self.title} {status.fraction:4.0%} {status.text}")
            return
        if self.progress is None:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self.progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[text]}"),
                transient=True,
            )
            self.progress.start()
            self.task = self.progress.add_task(self.title, total=1.0, text="")
        if self.progress is not None:
            self.progress.update(self.task, completed=status.fraction, text=status.text)

    def __exit__(self, *exception: Any) -> None:
        if self.progress is not None:
            self.progress.stop()
        if self.written:
            self._write("")
            sys.stderr.write("\r")

    def _write(self, text: str) -> None:
        """The text in the place of the one before."""
        sys.stderr.write("\r" + text.ljust(self.written))
        sys.stderr.flush()
        self.written = max(self.written, len(text))


@functools.cache
def _lacks_widgets() -> bool:
    """Whether this is a notebook in which rich can draw nothing, and would warn at every run."""
    from rich import get_console

    return get_console().is_jupyter and importlib.util.find_spec("ipywidgets") is None
