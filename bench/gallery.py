"""The index of the examples and the gallery page, made from the scripts themselves.

Run from the project's root::

    python -m bench.gallery                    # run all examples (about ten minutes) and write
    python -m bench.gallery nile_change_point  # run some, write the indexes
    python -m bench.gallery --pictures FOLDER  # take the pictures from there, run nothing

Writes ``examples/README.md``, ``docs/gallery.md`` and small pictures in ``docs/gallery``.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "gallery"
LARGEST = 40_000  # bytes of a picture
SECTIONS = {
    "Regressions": ["eight_schools", "diabetes_regression", "firms_hierarchical"]
    + ["horseshoe_diabetes", "leukaemia_survival"],
    "Evidence": ["newcomb_five_laws", "galaxies_mixture", "spectral_line"],
    "Time": ["passengers_forecast", "lynx_period", "nile_change_point", "earthquakes_markov"]
    + ["sunspots_wavelet"],
    "Discrete unknowns": ["dentists_crowd"],
    "Simulators and networks": ["lynx_hare_ode", "plague_network", "lynx_filter", "small_tables"],
    "Guarantees": ["conformal_diabetes", "digits_sets", "sunspots_online", "select_tumours"]
    + ["fertility_bands"],
    "Few labels": ["few_labels", "affairs_few_answers", "ranking_judge"],
    "Long runs": ["tumours_two_devices"],
    "Language models": ["smollm2_arithmetic"],
}
HEAD = """Each script is read from top to bottom, runs on real data without a network, and ends by
checking its own numbers against something that is known: an exact answer, a published one, another
package, all the data. `python examples/NAME.py` prints its answer; with a folder it draws its
picture there."""


def told(name: str) -> tuple[str, str]:
    """First line of an example, and the extra that it needs."""
    text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    first = text.split('"""')[1].strip().split("\n\n")[0]
    extra = re.search(r"the extra `(\w+)`", text.split('"""')[1])
    known = {"eight_schools": "", "smollm2_arithmetic": "tokens"}
    needs = extra[1] if extra else known.get(name, "sklearn" if "from sklearn" in text else "")
    return first, needs


def shrink(source: pathlib.Path, target: pathlib.Path) -> None:
    """A copy of the picture, of few colours and at most so many bytes."""
    from PIL import Image

    whole: Any = Image.open(source).convert("RGB")
    for width in (640, 560, 480, 400, 320):
        size = min(width, whole.width)
        small = whole.resize((size, round(whole.height * size / whole.width)), Image.LANCZOS)
        small.quantize(64).save(target, optimize=True)
        if target.stat().st_size <= LARGEST:
            return
    raise SystemExit(f"{source.name} cannot be made smaller than {LARGEST} bytes")


def run(name: str, folder: pathlib.Path) -> None:
    """Run an example for its picture; an example that fails ends this."""
    print(name, flush=True)
    env = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    script = ROOT / "examples" / f"{name}.py"
    subprocess.run([sys.executable, script, folder], env=env, check=True, capture_output=True)


def pages() -> tuple[str, str]:
    """The folder's index and the gallery page."""
    index = ["# Examples", "", HEAD, ""]
    gallery = [
        "# Gallery",
        "",
        HEAD,
        "",
        "`python -m bench.gallery` runs all and writes this page.",
    ]
    for section, names in SECTIONS.items():
        index += [f"## {section}", "", "| script | what | extra |", "|---|---|---|"]
        gallery += ["", f"## {section}", "", "::::{grid} 1 2 2 2", ":gutter: 3"]
        for name in names:
            first, needs = told(name)
            index.append(f"| [{name}.py]({name}.py) | {first} | {f'`{needs}`' if needs else ''} |")
            gallery += ["", f":::{{grid-item-card}} {first.split(':')[0]}"]
            gallery += [f":img-bottom: gallery/{name}.png"]
            gallery += [f"`examples/{name}.py`", ""]
            gallery += [f"{first}", "", *([f"Needs the extra `{needs}`."] if needs else []), ":::"]
        index.append("")
        gallery.append("::::")
    return "\n".join(index).rstrip() + "\n", "\n".join(gallery) + "\n"


def main() -> None:
    """Run what is asked for, shrink the pictures, write the pages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="all by default")
    parser.add_argument("--pictures", type=pathlib.Path, help="take them from this folder")
    chosen = parser.parse_args()
    listed = [name for names in SECTIONS.values() for name in names]
    missing = {path.stem for path in (ROOT / "examples").glob("*.py")} ^ set(listed)
    if missing:
        raise SystemExit(f"bench/gallery.py, SECTIONS: {', '.join(sorted(missing))} do not match.")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = chosen.pictures or pathlib.Path(place)
        for name in chosen.names or listed:
            if chosen.pictures is None:
                run(name, folder)
            shrink(folder / f"{name}.png", PICTURES / f"{name}.png")
    index, gallery = pages()
    (ROOT / "examples" / "README.md").write_text(index, encoding="utf-8")
    (ROOT / "docs" / "gallery.md").write_text(gallery, encoding="utf-8")


if __name__ == "__main__":
    main()
