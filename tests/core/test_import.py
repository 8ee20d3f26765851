"""What importing probinf costs, counted in modules; seconds differ between machines."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json, sys
import jax, numpyro
before = set(sys.modules)
import probinf
after = set(sys.modules)
print(json.dumps(sorted(after - before)))
assert all(hasattr(probinf, name) for name in dir(probinf))
"""

HEAVY = ("scipy.stats", "scipy.optimize", "scipy.spatial", "scipy.integrate", "equinox", "optax",
         "blackjax", "xarray", "pandas", "sklearn", "matplotlib", "arviz_plots", "rich",
         "safetensors", "probinf.amortized", "probinf.conformal", "probinf.ppi",
         "probinf.validity")  # fmt: skip


def test_import_brings_nothing_that_is_not_needed_yet() -> None:
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    modules = json.loads(found.stdout.splitlines()[0])
    brought = [
        heavy for heavy in HEAVY if any(m == heavy or m.startswith(f"{heavy}.") for m in modules)
    ]
    assert not brought
    others = [m for m in modules if m.split(".")[0] not in ("probinf", "jaxtyping", "numpyro")]
    assert len(others) < 20, others
