"""Every example runs, finds what it checks for, and draws its picture; all are listed and shown."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

from bench.gallery import pages as gallery_pages

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = {path.stem: path for path in sorted((ROOT / "examples").glob("*.py"))}
QUICK = {"digits_sets", "few_labels", "ranking_judge", "select_tumours"}


@pytest.mark.parametrize("name", sorted(QUICK))
def test_a_quick_example(name: str, tmp_path: pathlib.Path) -> None:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS[name])
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(str(tmp_path))
    assert (tmp_path / f"{name}.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SCRIPTS.keys() - QUICK))
def test_an_example(name: str, tmp_path: pathlib.Path) -> None:
    run = subprocess.run(
        [sys.executable, SCRIPTS[name], str(tmp_path)],
        env={**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if "this script needs:" in run.stderr:
        pytest.skip(run.stderr.strip())
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_all_are_listed_with_their_first_line() -> None:
    index, gallery = gallery_pages()
    assert (ROOT / "examples" / "README.md").read_text(encoding="utf-8") == index
    assert (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8") == gallery
    for name in SCRIPTS:
        assert f"({name}.py)" in index, f"bench/gallery.py, SECTIONS: {name} is not there"
        assert (ROOT / "docs" / "gallery" / f"{name}.png").stat().st_size <= 40_000
