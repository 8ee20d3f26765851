"""posteriordb: every reference by NUTS, and by SMC where the priors are proper.

Run from the project's root: ``python -m bench.posteriordb [name ...]``. Prints one row per
reference and engine; needs the reference data beside the checkout.
"""

from __future__ import annotations

import sys

import jax

import probinf as pi
from tests.cases import posteriordb


def main(names: list[str]) -> None:
    """Print the table."""
    pi.use_cpu_devices()
    jax.config.update("jax_enable_x64", True)
    folder = posteriordb.find_folder()
    if folder is None:
        raise SystemExit("the posteriordb references are not beside this checkout")
    print(f"{'reference':42} engine  max|z|  sd off  min ESS  R-hat  diverged  seconds")
    for case in posteriordb.cases(folder):
        if names and case.name not in names:
            continue
        for engine, method in posteriordb.engines(case).items():
            r = posteriordb.accuracy(folder, case, method)
            print(
                f"{case.name:42} {engine:6} {r.largest_z:7.2f} {r.sd_off:7.1%} "
                f"{r.smallest_ess:8.0f} {r.largest_rhat:6.3f} {r.divergent:9.2%} "
                f"{r.seconds:8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
