"""The progress bar in a notebook that has no widgets."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import rich

from probinf.runtime import progress
from probinf.runtime.progress import Bar, Status


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(rich.get_console(), "is_jupyter", True)
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: None)
    progress._lacks_widgets.cache_clear()
    yield
    progress._lacks_widgets.cache_clear()


def shown() -> None:
    with Bar("NUTS", enabled=True) as bar:
        bar.show(Status(0.25, "warm-up"))
        bar.show(Status(1.0, "done"))


@pytest.mark.usefixtures("notebook")
def test_one_line_takes_the_place_of_a_bar_and_is_wiped(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown()
    said = capsys.readouterr().err
    lines = said.split("\r")
    assert [line.strip() for line in lines] == ["", "NUTS  25% warm-up", "NUTS 100% done", "", ""]
    assert len(lines[2]) == len(lines[3]) == len(lines[1])


def test_rich_draws_where_it_can(capsys: pytest.CaptureFixture[str]) -> None:
    progress._lacks_widgets.cache_clear()
    shown()
    assert "NUTS" not in capsys.readouterr().err
