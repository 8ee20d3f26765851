"""The code of the README runs, and prints what stands below it."""

from __future__ import annotations

import contextlib
import io
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"-?\d+\.\d+|\b\d{2,}\b")


@pytest.mark.slow
def test_the_code_prints_what_is_shown() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    found = said.getvalue()
    assert NUMBER.sub("#", found) == NUMBER.sub("#", shown)
    for ours, theirs in zip(NUMBER.findall(found), NUMBER.findall(shown), strict=True):
        # another machine rounds otherwise, and chains of other draws have other errors
        assert abs(float(ours) - float(theirs)) <= 1.2 + 0.2 * abs(float(theirs)), (ours, theirs)


def test_the_links_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if "://" not in target:
            assert (ROOT / target).exists(), target
