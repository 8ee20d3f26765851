"""Tables of measurements as files, row by row, with the circumstances of each row."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import pathlib
from typing import Any


def record(path: str, row: str, figures: dict[str, Any], *, packages: tuple[str, ...]) -> None:
    """Put one row into the file, in the place of an older one of this name.

    Args:
        path: in ``docs/measured``.
        row: its name.
        figures: numbers and texts by column; a NaN becomes null.
        packages: whose versions count.
    """
    file = pathlib.Path("docs/measured", path)
    table = json.loads(file.read_text()) if file.exists() else {"rows": {}}
    kept = {k: None if isinstance(v, float) and v != v else v for k, v in figures.items()}
    kept["date"] = datetime.date.today().isoformat()
    kept["machine"] = f"{len(os.sched_getaffinity(0))} CPU cores, load {os.getloadavg()[0]:.1f}"
    kept["versions"] = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    table["rows"][row] = kept
    file.write_text(json.dumps(table, indent=1) + "\n")
