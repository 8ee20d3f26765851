"""What importing probinf costs, counted in modules; seconds differ between machines."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from types import ModuleType

import pytest

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


NEEDED_FOR_NUTS = "pi.from_numpyro, pi.NUTS, pi.Posterior, pi.check, pi.sample"


def loaded(code: str) -> set[str]:
    """Names of the modules that a fresh interpreter has loaded after the code."""
    ask = [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    return set(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split())


def test_the_package_alone_loads_no_library():
    found = loaded("import probinf")
    assert "jax" not in found
    assert {name for name in found if name.startswith("probinf")} == {
        "probinf",
        "probinf.core",
        "probinf.core.lazy",
    }


def test_a_run_of_nuts_needs_little_beyond_jax_and_numpyro():
    found = loaded(f"import probinf as pi\n{NEEDED_FOR_NUTS}")
    assert not found.intersection(HEAVY)
    more = found - loaded("import jax, numpyro")
    assert len(more) < 200  # 181 as of now; a dozen of them are not our own
    ours = {name for name in more if name.startswith("probinf.")}
    rooms = {name.split(".")[1] for name in ours}
    assert not rooms & {"amortized", "conformal", "evidence", "ppi", "validity"}
    engines = {name.split(".")[2] for name in ours if name.startswith("probinf.samplers.")}
    assert not engines & {"chees", "nested", "parallel_tempering", "persistent", "smc"}


def for_type_checkers(package: ModuleType) -> dict[str, str]:
    """The modules from which a type checker sees the names of a package imported."""
    found = {}
    for node in ast.walk(ast.parse(inspect.getsource(package))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {alias.name: node.module for alias in node.names if alias.asname == alias.name}
    return found


@pytest.mark.parametrize("name", ["probinf", "probinf.fronts", "probinf.samplers"])
def test_type_checkers_and_the_table_agree(name):
    package = importlib.import_module(name)
    for public, module in for_type_checkers(package).items():
        where = package._WHERE.get(public)
        assert where in (module, f"{module}.{public}"), f"{public} is missing in {name}._WHERE"
    listed = [*package._WHERE]
    assert listed == sorted(listed, key=str.lower)


@pytest.mark.parametrize("name", ["probinf.fronts", "probinf.samplers"])
def test_every_name_of_the_table_is_there(name):  # those of the package are asked for above
    package = importlib.import_module(name)
    for public, where in package._WHERE.items():
        value = getattr(package, public)
        assert value is not None
        module = importlib.import_module(where)
        assert value is (module if inspect.ismodule(value) else getattr(module, public))
        assert public in dir(package)


def test_a_name_that_is_not_there_is_an_attribute_error():
    package = importlib.import_module("probinf")
    with pytest.raises(AttributeError, match="module 'probinf' has no attribute 'nuts'"):
        _ = package.nuts
