"""Build the wheel and the sdist, and check what is in them: python .ci/package.py FOLDER.

Needs the package `build`. The wheel is unpacked into the folder and used from there, with the
libraries of the environment that runs this, so that what was forgotten in it shows.
"""

from __future__ import annotations

import email
import pathlib
import subprocess
import sys
import tarfile
import tomllib
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
LARGEST = 6_000_000  # bytes of the wheel
IN_WHEEL = ["probinf/__init__.py", "probinf/py.typed", "probinf/launch/__main__.py"]
SHIPPED = "probinf/amortized/training/shipped"
IN_SDIST = [
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CITATION.cff",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
IN_SDIST += [
    "tests/conftest.py",
    "bench/ppi_coverage.py",
    "docs/conf.py",
    "examples/eight_schools.py",
]
USE = """
import probinf as pi, pathlib, sys
import numpy as np
assert pathlib.Path(pi.__file__).is_relative_to(sys.argv[1]), pi.__file__
for entry in pi.amortized.shipped():
    pi.amortized.load(entry["name"])
x = np.linspace(0, 1, 6)[:, None]
law = pi.amortized.load("gp-rbf").predict(x, np.sin(4 * x[:, 0]), x)
assert np.isfinite(law.mean).all()
print("the wheel's package works:", pi.__version__)
"""


def require(condition: bool, message: str) -> None:
    """End with an error unless the condition holds."""
    if not condition:
        raise SystemExit(f"package: {message}")


def check_wheel(path: pathlib.Path, project: dict) -> None:
    """Contents and metadata of the wheel."""
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        (record,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        told = email.message_from_bytes(wheel.read(record))
    sources = {str(p.relative_to(ROOT)) for p in (ROOT / "probinf").rglob("*.py")}
    weights = {str(p.relative_to(ROOT)) for p in (ROOT / SHIPPED).iterdir() if p.is_file()}
    weights = {name for name in weights if "__pycache__" not in name}
    for name in [*IN_WHEEL, *sources, *weights]:
        require(name in names, f"{path.name} lacks {name}")
    others = {name for name in names if not name.startswith(("probinf/", "probinf-"))}
    require(not others, f"{path.name} holds {sorted(others)[:5]} beside the package")
    require(any(n.endswith("licenses/LICENSE") for n in names), f"{path.name} lacks the licence")
    require(path.stat().st_size < LARGEST, f"{path.name} has {path.stat().st_size:,} bytes")
    for key, value in {
        "Name": project["name"],
        "Version": project["version"],
        "License-Expression": project["license"],
        "Requires-Python": project["requires-python"],
        "Description-Content-Type": "text/markdown",
    }.items():
        require(told[key] == value, f"metadata: {key} is {told[key]!r}, not {value!r}")
    extras = set(project["optional-dependencies"])
    require(set(told.get_all("Provides-Extra")) == extras, "metadata: other extras than declared")
    needs = [line for line in told.get_all("Requires-Dist") if "extra ==" not in line]
    require(len(needs) == len(project["dependencies"]), f"metadata: dependencies {needs}")
    print(f"{path.name}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB")


def check_sdist(path: pathlib.Path) -> None:
    """Contents of the sdist: all that its own tests need, and nothing built."""
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for name in IN_SDIST:
        require(name in names, f"{path.name} lacks {name}")
    built = [n for n in names if "_build/" in n or "__pycache__" in n or n.startswith(".venv")]
    require(not built, f"{path.name} holds {built[:5]}")
    print(f"{path.name}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB")


def main(folder: str) -> None:
    """Build, check, use."""
    place = pathlib.Path(folder).resolve()
    subprocess.run([sys.executable, "-m", "build", "-o", place / "dist", ROOT], check=True)
    (wheel,) = (place / "dist").glob("*.whl")
    (sdist,) = (place / "dist").glob("*.tar.gz")
    check_wheel(wheel, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])
    check_sdist(sdist)
    site = place / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = f"import sys; sys.path.insert(0, sys.argv[1]){USE}"
    subprocess.run([sys.executable, "-I", "-c", code, site], cwd=place, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:2])
