"""sample: one program, any engine, one result."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence

from probinf.core.check import refuse
from probinf.core.coordinates import Layout
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.errors import MethodError
from probinf.results.draws import Kept, chain_bytes
from probinf.results.posterior import Posterior
from probinf.runtime.loop import Method, run, wanted
from probinf.runtime.loop import resume as resume
from probinf.samplers import MCMC, NUTS, ChEES, ParallelTempering
from probinf.samplers.auto import choose


def sample(
    program: Program,
    method: Method | str | None = None,
    *,
    key: int | Key,
    progress: bool = True,
    check: bool = True,
    checkpoint: str | pathlib.Path | None = None,
    max_seconds: float | None = None,
    keep: str | Sequence[str] | None = None,
    summaries_only: bool = False,
) -> Posterior:
    """Run an engine on a program.

    Ctrl-C ends the run after the current chunk and returns what exists.

    Args:
        program: the measure, from one of the fronts.
        method: the engine and its options; NUTS by default. ``"auto"`` chooses one from the
            program, the device and a short pilot; the choice is printed with its reason (unless
            ``progress=False``) and kept in ``provenance["chosen"]``.
        key: a JAX random key, or an integer seed.
        progress: show a progress bar in a terminal.
        check: look for broken distributions first, at the cost of one small compilation.
        checkpoint: a new folder into which the run is written chunk by chunk; after a crash,
            ``pi.resume(checkpoint, program)`` continues it bit for bit.
        max_seconds: stop after the chunk in which this running time is over (compilation not
            counted), as Ctrl-C would, and return what exists.
        keep: names of the sites whose draws are kept; the others, and the unconstrained
            positions that ``predict`` and the like need, are let go chunk by chunk. With a
            checkpoint they all stay on disk, and ``pi.resume(checkpoint, program, keep=...)``
            reads others later.
        summaries_only: keep no draws of a Markov chain, only what ``summary()`` needs of them
            (means, variances, batch means, R-hat, a few draws for quantiles), so that the
            memory does not grow with their number; the statistics of the sampler (some 40 bytes
            per draw) are kept.

    Raises:
        ModelError: the model is wrong; the message names the site and the remedy.
        MethodError: the engine cannot serve this program.
        SavedFileError: the checkpoint's folder holds something already.
    """
    method = NUTS() if method is None else method
    chosen = ""
    if not isinstance(program, Program):
        raise MethodError(
            f"sample: the first argument must be a Program, got {type(program).__name__}. Make "
            "one with pi.from_numpyro(model, data)."
        )
    if method == "auto":
        if check:
            refuse(program)
            check = False
        method, reason = choose(program, as_key(key))
        chosen = f"{method!r}: {reason}"
        if progress:
            print(f"method='auto' chose {chosen}")
    if not isinstance(method, Method):
        raise MethodError(
            f'sample: method must be an engine such as pi.NUTS() or pi.SMC(), or "auto", which '
            f"chooses one; got {method!r}."
        )
    if check:
        refuse(program)
    kept = wanted(program, keep, summaries_only)
    estimate = _memory(method, program, kept)
    posterior: Posterior = run(
        method,
        program,
        as_key(key),
        progress=progress,
        checkpoint=checkpoint,
        max_seconds=max_seconds,
        kept=kept,
    )
    notes = {**({"chosen": chosen} if chosen else {}), **estimate}
    if not notes:
        return posterior
    return dataclasses.replace(posterior, provenance={**posterior.provenance, **notes})


def _memory(method: Method, program: Program, kept: Kept) -> dict[str, float]:
    """What the run will need, where the method keeps chains; refuses more than there is."""
    if not isinstance(method, MCMC | ChEES | ParallelTempering):
        return {}
    layout = Layout.of(program, integers=True)
    needed = chain_bytes(program, layout, kept, chains=method.chains, draws=method.draws)
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not on every system
        return {"memory_estimate_mb": round(needed / 1e6, 3)}
    if needed > total:
        raise MethodError(
            f"the run needs at least {needed / 1e9:.1f} GB of memory, this machine has "
            f"{total / 1e9:.1f} ({free / 1e9:.1f} free). Keep fewer draws, every k-th with "
            'thin=k, some sites with keep=("tau",), or summaries_only=True with checkpoint=, '
            "which leaves the draws on disk."
        )
    return {"memory_estimate_mb": round(needed / 1e6, 3)}
