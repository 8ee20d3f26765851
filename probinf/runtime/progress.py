"""The progress bar of a run."""

from __future__ import annotations

from typing import Any, NamedTuple


class Status(NamedTuple):
    """What the progress bar shows."""

    fraction: float
    text: str


class Bar:
    """A rich progress bar, gone when the run ends; rich itself stays silent without a terminal."""

    def __init__(self, title: str, enabled: bool) -> None:
        self.title, self.enabled = title, enabled
        self.progress: Any = None

    def __enter__(self) -> Bar:
        return self

    def show(self, status: Status) -> None:
        if not self.enabled:
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
