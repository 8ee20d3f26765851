"""Make the shipped weights from their seeds: ``python -m bench.train_amortized [NAME ...]``.

Each recipe trains on one core, with a checkpoint folder under ``--work``, so that a second call
continues an interrupted training, and writes ``NAME.safetensors`` into ``--out``. The figures of
``bench.amortized`` are measured and kept in the file. ``--measure`` only measures again.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import pathlib
from typing import Any, NamedTuple

import numpyro.distributions as dist

from bench.amortized import FIGURES
from probinf.amortized import (
    PFN,
    Amortizer,
    BetaBernoulli,
    Categorical,
    DistributionTransformer,
    GaussianProcess,
    InverseGammaNormal,
    LinearSensor,
    Mixture,
    RandomMixtures,
    Tables,
    Tabular,
    Trained,
    load,
    weights,
)

SHIPPED = pathlib.Path(__file__).parents[1] / "probinf" / "amortized" / "training" / "shipped"


class Recipe(NamedTuple):
    """What to train on what, and for how long."""

    amortizer: Amortizer
    source: Any
    steps: int
    learning_rate: float


RECIPES = {
    "gp-rbf": Recipe(
        PFN(head=Mixture(10), context=20, queries=12, batch=16, fourier=8),
        GaussianProcess(1, lengthscale=0.2, noise=0.01),
        9_000,
        1.5e-3,
    ),
    "gp-hyper": Recipe(
        PFN(head=Mixture(10), context=40, queries=12, batch=12, fourier=8),
        GaussianProcess(
            1,
            kernel="matern52",
            lengthscale=dist.Gamma(3.0, 6.0),
            outputscale=dist.Gamma(2.0, 2.0),
            noise=dist.LogNormal(-3.0, 0.8),
        ),
        24_000,
        1.5e-3,
    ),
    "tabular": Recipe(
        PFN(context=40, smallest=10, queries=24, batch=16, standardise=True),
        Tabular(16),
        5_000,
        1.5e-3,
    ),
    "tables": Recipe(
        PFN(
            head=Categorical(10), context=100, smallest=10, queries=32, batch=8, width=24, fits=True
        ),
        Tables(24, 10),
        3_000,
        3e-3,
    ),
    "dt-inverse-gamma": Recipe(
        DistributionTransformer(components=5, consistency=0.0), InverseGammaNormal(), 5_000, 2e-3
    ),
    "dt-beta": Recipe(
        DistributionTransformer(components=5, consistency=0.0), BetaBernoulli(), 2_000, 2e-3
    ),
    "dt-position": Recipe(
        DistributionTransformer(components=3),
        RandomMixtures(2, LinearSensor([[1.0, 0.0]], [[0.25]]), 1),
        15_000,
        2e-3,
    ),
}

SHIPPED_NAMES = [name for name in RECIPES if name in FIGURES]


def manifest(folder: pathlib.Path) -> dict[str, Any]:
    """What is in a folder of weights, with checksums."""
    entries = {}
    for file in sorted(folder.glob("*.safetensors")):
        contents = weights.read(file)
        entries[file.stem] = {
            "kind": contents.kind,
            "bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "training": contents.training,
        }
    return entries


def made(name: str, work: pathlib.Path, steps: int | None) -> Any:
    """The trained network of a recipe."""
    recipe = RECIPES[name]
    return recipe.amortizer.fit(
        recipe.source,
        key=0,
        steps=recipe.steps if steps is None else steps,
        learning_rate=recipe.learning_rate,
        checkpoint=work / name,
    )


def again(name: str, file: pathlib.Path) -> Any:
    """A trained network from its file, with ranges and record made anew."""
    old, recipe = load(file), RECIPES[name]
    record = (old.training["steps"], 0, old.training["seconds"])
    return recipe.amortizer.finish(recipe.source, Trained(old.network, None, None, *record))


def main() -> None:
    """Train, or measure, what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=SHIPPED_NAMES, help=f"of {list(RECIPES)}")
    parser.add_argument("--out", type=pathlib.Path, default=SHIPPED)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/amortized"))
    parser.add_argument("--measure", type=pathlib.Path, help="a folder of trained files")
    parser.add_argument("--steps", type=int, help="in place of the recipe's")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names:
        if options.measure is None:
            fitted = made(name, options.work, options.steps)
        else:
            fitted = again(name, options.measure / f"{name}.safetensors")
        figures = FIGURES[name](fitted) if name in FIGURES else {}
        fitted = dataclasses.replace(
            fitted, training={**fitted.training, "seed": 0, "figures": figures}
        )
        fitted.save(options.out / f"{name}.safetensors", half=True)
        print(name, json.dumps(fitted.training, indent=1), flush=True)
    text = json.dumps(manifest(options.out), indent=1, sort_keys=True)
    (options.out / "manifest.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
