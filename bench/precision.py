"""The precision check: what it costs, its false alarms, and what it says where precision is lost.

Run from the project's root: ``python -m bench.precision [cost losses alarms]``. The false alarms
need the posteriordb reference data beside the checkout.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable

import jax

import probinf as pi
from probinf.core.precision import lost, scattered
from probinf.results.precision import loss_at_draws
from tests.cases import posteriordb, precision
from tests.cases.eight_schools import eight_schools


def seconds(fn: Callable[[], object]) -> float:
    """Of the processor in one call, which other work on the machine does not change."""
    began = time.process_time()
    fn()
    return time.process_time() - began


def cost() -> None:
    """Seconds of the check, cold and warm, beside a run."""
    jax.config.update("jax_enable_compilation_cache", False)

    program = eight_schools()
    run = seconds(lambda: pi.sample(program, key=0, precision="single", progress=False))
    rows = scattered(program)
    cold = seconds(lambda: lost(program, rows, forgiving=True))
    warm = seconds(lambda: lost(program, rows, forgiving=True))
    print(f"eight schools: check cold {cold:.3f} s, warm {warm:.4f} s; run cold {run:.2f} s")


def false_alarms() -> None:
    """The check before a run, and at the reference draws' neighbours, on posteriordb."""
    folder = posteriordb.find_folder()
    if folder is None:
        print("the posteriordb references are not beside this checkout")
        return
    for case in posteriordb.cases(folder):
        program = pi.from_numpyro(case.model, **case.kwargs)
        before = lost(program, scattered(program), forgiving=True)
        took = seconds(lambda p=program: lost(p, scattered(p), forgiving=True))
        method = pi.NUTS(chains=2, warmup=200, draws=100)
        posterior = pi.sample(program, method, key=0, precision="single", progress=False)
        after = loss_at_draws(posterior)
        print(f"{case.name:42} before: {before}; after: {after}; warm {took:.3f} s", flush=True)


def losses() -> None:
    """Where single precision is wrong, and what is said and done."""
    for name, program in precision.programs().items():
        posterior = pi.sample(program, pi.SMC(), key=0, progress=False)
        reason = posterior.provenance.get("precision_reason", "single is enough")
        print(f"{name:24} {posterior.evidence}  {reason}", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parts = {"cost": cost, "losses": losses, "alarms": false_alarms}
    for part in sys.argv[1:] or parts:
        parts[part]()
