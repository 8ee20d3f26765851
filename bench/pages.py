"""Whether pages and examples hold what they check for any key, on one device and on several.

Run from the project's root::

    python -m bench.pages                                  # 20 keys, 1 and 2 devices
    python -m bench.pages docs/tour.md --keys 5 --devices 4
    python -m bench.pages --table

Every page's cells and every example is run with its keys moved, ``key=0`` to ``key=1000`` and so
on, in a copy of its folder and in one process for each number of devices, so that most is compiled
once; one without keys runs once for all. What failed is told with its line. Keys that the file of
results holds already are not run again, so that several short passes (``--seconds``) make a long
one.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Any

RESULTS = pathlib.Path("docs/measured/pages.json")
ROOT = pathlib.Path(__file__).resolve().parent.parent
_CELL = re.compile(r"```\{code-cell\} python\n(.*?)```", re.DOTALL)
_KEY = re.compile(r"\bkey=(\d+)\b")
_SEEDED = re.compile(r"random\.key\((\d+)\)")
_APART = 1000  # between the keys of two runs


def source(page: pathlib.Path) -> str:
    """The code of a page or an example."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".py":
        return text
    return "\n".join(re.sub(r"(?m)^:tags:.*\n", "", cell) for cell in _CELL.findall(text))


def moved(code: str, by: int) -> str:
    """The code with all its keys moved."""
    code = _KEY.sub(lambda m: f"key={int(m[1]) + by}", code)
    return _SEEDED.sub(lambda m: f"random.key({int(m[1]) + by})", code)


def run(page: pathlib.Path, first: int, keys: int, seconds: float) -> dict[str, Any]:
    """One page under the keys from ``first`` to ``keys``, in this process."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    code, began, failed, done = source(page), time.perf_counter(), [], first
    without = moved(code, _APART) == code  # no key in it: one run tells for all
    os.chdir(page.parent)
    sys.argv = [str(page)]  # an example's arguments are its own
    for k in range(first, keys):
        if done > first and time.perf_counter() - began > seconds:
            break
        text, said = moved(code, _APART * k), io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                names = {"__name__": "__main__", "__file__": str(page)}
                exec(compile(text, str(page), "exec"), names)
        except BaseException as error:
            if not isinstance(error, SystemExit) or error.code:
                failed.append({"moved_by": _APART * k, "why": _why(error, page, text)})
        done = keys if without else done + 1
        plt.close("all")
        _room()
        if without:
            break
    return {
        "keys": done,
        "failed": failed,
        "seconds": round(time.perf_counter() - began, 1),
        "date": datetime.date.today().isoformat(),
    }


def _room() -> None:
    """Forget compiled code before the process runs out of memory maps (65,530 on Linux)."""
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_text().count("\n") > 40_000:
        import jax

        jax.clear_caches()


def _why(error: BaseException, page: pathlib.Path, text: str) -> str:
    lines = [x.lineno for x in traceback.extract_tb(error.__traceback__) if x.filename == str(page)]
    line = text.splitlines()[lines[-1] - 1].strip() if lines and lines[-1] else ""
    return f"{type(error).__name__}: {str(error)[:200]} in: {line[:120]}"


def measured(
    page: pathlib.Path, devices: int, before: dict[str, Any], keys: int, seconds: float
) -> dict[str, Any]:
    """The same in a process of its own, with so many devices; ``before`` is what is known."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    part = page.relative_to(ROOT)
    with tempfile.TemporaryDirectory() as folder:  # pages write files beside themselves
        copied = pathlib.Path(folder) / part.parts[0]
        shutil.copytree(ROOT / part.parts[0], copied, ignore=shutil.ignore_patterns("_build"))
        command = [sys.executable, "-m", "bench.pages", str(pathlib.Path(folder) / part)]
        found = subprocess.run(
            [*command, "--inside", str(before["keys"]), "--keys", str(keys)]
            + ["--seconds", str(seconds)],
            env={**os.environ, "XLA_FLAGS": flags.strip(), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
    if found.returncode:
        last = (found.stderr.strip().splitlines() or ["no message"])[-1]
        return {**before, "failed": [*before["failed"], {"moved_by": 0, "why": last}]}
    row: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return {
        **row,
        "failed": before["failed"] + row["failed"],
        "seconds": round(before["seconds"] + row["seconds"], 1),
    }


def line(name: str, row: dict[str, Any]) -> str:
    """A row of the table."""
    start = f"{name:44} {row['keys']:4} keys {len(row['failed']):3} failed {row['seconds']:7.0f} s"
    return "\n".join([start, *(f"    +{f['moved_by']}: {f['why']}" for f in row["failed"])])


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pages", nargs="*", help="all by default")
    parser.add_argument("--keys", type=int, default=20)
    parser.add_argument("--devices", type=int, nargs="*", default=[1, 2])
    parser.add_argument(
        "--seconds", type=float, default=1200.0, help="most for a page in this pass"
    )
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the file, run nothing")
    parser.add_argument("--inside", type=int, default=None, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside is not None:
        page = pathlib.Path(chosen.pages[0])
        print(json.dumps(run(page, chosen.inside, chosen.keys, chosen.seconds)))
        return
    rows = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    pages = [ROOT / page for page in chosen.pages] or sorted(
        page
        for page in [*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.py")]
        if "_build" not in page.parts and source(page).strip()
    )
    for page in [] if chosen.table else pages:
        for devices in chosen.devices:
            name = f"{page.relative_to(ROOT)} | {devices}"
            before = rows.get(name, {"keys": 0, "failed": [], "seconds": 0.0})
            if before["keys"] < chosen.keys:
                rows[name] = measured(page, devices, before, chosen.keys, chosen.seconds)
                chosen.out.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
                print(line(name, rows[name]), flush=True)
    if chosen.table:
        print("\n".join(line(name, row) for name, row in sorted(rows.items())))
    bad = sum(bool(row["failed"]) for row in rows.values())
    print(f"{len(rows)} runs of pages, {bad} with a failure")


if __name__ == "__main__":
    main()
