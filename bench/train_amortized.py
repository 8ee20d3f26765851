"""Make the shipped weights from their seeds: ``python -m bench.train_amortized [NAME ...]``.

Each recipe trains on one core, with a checkpoint folder under ``--work``, so that a second call
continues an interrupted training, and writes ``NAME.safetensors`` into ``--out``. ``--manifest``
then lists what is in the folder, with checksums, for the package.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpyro.distributions as dist

from probinf.amortized.distribution_transformer import DistributionTransformer
from probinf.amortized.metapriors import (
    BetaBernoulli,
    InverseGammaNormal,
    LinearSensor,
    RandomMixtures,
)
from probinf.amortized.mixture import Mixture
from probinf.amortized.pfn import PFN
from probinf.amortized.priors import GaussianProcess
from probinf.amortized.tabular import Tabular

SHIPPED = pathlib.Path(__file__).parents[1] / "probinf" / "amortized" / "shipped"


def gp_rbf(checkpoint: pathlib.Path, steps: int = 9_000) -> Any:
    """A Gaussian process with fixed parameters: the exact predictive is known."""
    network = PFN(head=Mixture(10), context=20, queries=12, batch=16, fourier=8)
    prior = GaussianProcess(1, lengthscale=0.2, noise=0.01)
    return network.fit(prior, key=0, steps=steps, learning_rate=1.5e-3, checkpoint=checkpoint)


def gp_hyper_prior() -> GaussianProcess:
    """Matérn-5/2 on [0, 1] for outcomes of about unit variance, all parameters unknown."""
    return GaussianProcess(
        1,
        kernel="matern52",
        lengthscale=dist.Gamma(3.0, 6.0),
        outputscale=dist.Gamma(2.0, 2.0),
        noise=dist.LogNormal(-3.0, 0.8),
    )


def gp_hyper(checkpoint: pathlib.Path, steps: int = 4_500) -> Any:
    """A Gaussian process with unknown length scale, output scale and noise."""
    network = PFN(head=Mixture(10), context=40, queries=12, batch=12, fourier=8)
    return network.fit(
        gp_hyper_prior(), key=0, steps=steps, learning_rate=1.5e-3, checkpoint=checkpoint
    )


def tabular(checkpoint: pathlib.Path, steps: int = 5_000) -> Any:
    """Two balanced classes, up to 16 columns, 10 to 40 rows."""
    network = PFN(
        context=40, smallest=10, queries=24, batch=16, width=64, layers=4, standardise=True
    )
    return network.fit(Tabular(16), key=0, steps=steps, learning_rate=1.5e-3, checkpoint=checkpoint)


def dt_inverse_gamma(checkpoint: pathlib.Path, steps: int = 5_000) -> Any:
    """A variance with any inverse-gamma prior, one normal observation."""
    network = DistributionTransformer(components=5, consistency=0.0)
    return network.fit(
        InverseGammaNormal(), key=0, steps=steps, learning_rate=2e-3, checkpoint=checkpoint
    )


def dt_beta(checkpoint: pathlib.Path, steps: int = 2_000) -> Any:
    """A probability with any beta prior, one to ten tosses."""
    network = DistributionTransformer(components=5, consistency=0.0)
    return network.fit(
        BetaBernoulli(), key=0, steps=steps, learning_rate=2e-3, checkpoint=checkpoint
    )


def dt_position(checkpoint: pathlib.Path, steps: int = 3_500) -> Any:
    """Position and velocity with any mixture of three normals as prior; the position is seen."""
    network = DistributionTransformer(components=3)
    sensor = LinearSensor([[1.0, 0.0]], [[0.25]])
    return network.fit(
        RandomMixtures(2, sensor, 1), key=0, steps=steps, learning_rate=2e-3, checkpoint=checkpoint
    )


RECIPES: dict[str, Callable[..., Any]] = {
    "gp-rbf": gp_rbf,
    "gp-hyper": gp_hyper,
    "tabular": tabular,
    "dt-inverse-gamma": dt_inverse_gamma,
    "dt-beta": dt_beta,
    "dt-position": dt_position,
}


def manifest(folder: pathlib.Path) -> dict[str, Any]:
    """What is in a folder of weights, with checksums."""
    from probinf.amortized import weights

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


def main() -> None:
    """Train what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *RECIPES], default=list(RECIPES))
    parser.add_argument("--out", type=pathlib.Path, default=SHIPPED)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/amortized"))
    parser.add_argument("--manifest", action="store_true", help="only rewrite the manifest")
    parser.add_argument("--steps", type=int, help="in place of the recipe's")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in [] if options.manifest else options.names:
        extra = {} if options.steps is None else {"steps": options.steps}
        fitted = RECIPES[name](options.work / name, **extra)
        fitted.save(options.out / f"{name}.safetensors", half=True)
        print(name, fitted.training, flush=True)
    text = json.dumps(manifest(options.out), indent=1, sort_keys=True)
    (options.out / "manifest.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
