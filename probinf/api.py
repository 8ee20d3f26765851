"""sample and resume: one program, any engine, one result."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax

from probinf.core.doctor import refuse
from probinf.core.gradients import refuse_hidden_nan
from probinf.core.keys import as_key
from probinf.core.precision import Precision, precisely
from probinf.core.program import Key, Program
from probinf.core.spreading import is_first_process
from probinf.errors import MethodError
from probinf.results.posterior import Posterior
from probinf.runtime import session
from probinf.runtime.method import Method
from probinf.runtime.records import wanted
from probinf.samplers import NUTS
from probinf.samplers.given_starts import given_starts
from probinf.samplers.precise import automatically


def sample(
    program: Program,
    method: Method[Posterior] | str | None = None,
    *,
    key: int | Key,
    progress: bool = True,
    check: bool = True,
    checkpoint: str | pathlib.Path | None = None,
    max_seconds: float | None = None,
    keep: str | Sequence[str] | None = None,
    summaries_only: bool = False,
    precision: Literal["auto", "single", "double"] = "auto",
    start: Mapping[str, Any] | Posterior | None = None,
    resume: bool = False,
) -> Posterior:
    """Run an engine on a program.

    Ctrl-C ends the run after the current chunk and returns what exists.

    Args:
        program: the measure, from one of the fronts.
        method: the engine and its options; NUTS by default. ``"auto"`` chooses one from the
            program, the device and a short pilot; the choice is printed with its reason (unless
            ``progress=False``) and kept in ``provenance["chosen"]``. ``"exact"`` is
            ``ExactFilter()``, for linear-Gaussian and finite state-space programs.
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
        precision: of the numbers that the run computes with. ``"auto"`` compares the log density
            in single and in double precision, before the run and at its draws, and runs in
            double on a CPU where single is off by more than .05 nats; elsewhere it warns. The
            reason is printed (unless ``progress=False``) and kept in
            ``provenance["precision_reason"]``. Where ``jax_enable_x64`` is on, it is double.

        resume: go on with the run that the checkpoint's folder holds, where there is one with the
            same program, method and key; so a job that was ended is simply started again.
        start: where the chains of NUTS, MCMC and ChEES begin: values by site in the user's
            coordinates, of all sites or some (the others begin where they would without): of the
            site's shape for all chains alike, with a leading axis chain, or draws (chain, draw,
            ...), of which one is picked for each chain; or a Posterior, whose draws are.

    Raises:
        ModelError: the model is wrong; the message names the site and the remedy.
        StructureError: ``start`` names an unknown site, or a value outside the support.
        MethodError: the engine cannot serve this program.
        SavedFileError: the checkpoint's folder holds something already; with ``resume``, a run of
            another program, method or key.
    """
    if not isinstance(program, Program):
        raise MethodError(
            f"sample: the first argument must be a Program, got {type(program).__name__}. Make "
            "one with pi.from_numpyro(model, data)."
        )
    if precision not in ("auto", "single", "double"):
        raise MethodError(
            f"sample: precision must be 'auto', 'single' or 'double', got {precision!r}."
        )

    if resume and checkpoint is None:
        raise MethodError("sample: resume=True goes on from a folder; name it with checkpoint=.")
    if resume and checkpoint is not None and session.holds_run(checkpoint):
        return session.resume(
            checkpoint,
            program,
            method=_settled(method, program, as_key(key)),
            key=as_key(key),
            kept=wanted(program, keep, summaries_only),
            progress=progress,
            max_seconds=max_seconds,
        )

    def tell(text: str) -> None:
        if progress and is_first_process():
            print(text)

    def once(chosen: Precision, notes: dict[str, Any]) -> Posterior:
        with precisely(chosen):
            if check:
                refuse(program)
            engine, more = _engine(method, program, as_key(key))
            if more:
                tell(f"method='auto' chose {more['chosen']}")
            engine, found = engine.settled(program, as_key(key))
            more |= found
            if check and engine.follows_gradients:
                refuse_hidden_nan(program, type(engine).__name__)
            states = None
            if start is not None:
                more["start"] = "given"
                states = given_starts(engine, program, as_key(key), start)
            return session.start(
                engine,
                program,
                as_key(key),
                kept=wanted(program, keep, summaries_only),
                progress=progress,
                checkpoint=checkpoint,
                max_seconds=max_seconds,
                states=states,
                notes={**notes, **more},
            )

    if precision != "auto":
        return once(precision, {})
    if isinstance(method, Method) and method.wants_double and jax.default_backend() == "cpu":
        return once("double", {"precision_reason": f"{type(method).__name__} climbs to a top"})
    return automatically(
        once,
        program,
        look=check,
        again=checkpoint is None,
        max_seconds=max_seconds,
        tell=tell,
    )


def _settled(method: Any, program: Program, key: Key) -> Method[Posterior] | None:
    """The engine that a run would have; None where it was chosen by a pilot."""
    if isinstance(method, str):
        return None
    return _engine(method, program, key)[0].settled(program, key)[0]


def _engine(method: Any, program: Program, key: Key) -> tuple[Method[Posterior], dict[str, Any]]:
    """The engine, and what to note where it was chosen."""
    if method == "auto":
        from probinf.samplers.auto import choose  # with the engines to choose from

        found, reason = choose(program, key)
        return found, {"chosen": f"{found!r}: {reason}"}
    if method == "exact":
        from probinf.samplers.filters.exact import ExactFilter

        return ExactFilter(), {}
    method = NUTS() if method is None else method
    if not isinstance(method, Method):
        raise MethodError(
            f'sample: method must be an engine such as pi.NUTS() or pi.SMC(), or "auto", which '
            f"chooses one; got {method!r}."
        )
    return method, {}


def resume(
    path: str | pathlib.Path,
    program: Program,
    *,
    method: Method[Posterior] | None = None,
    progress: bool = True,
    max_seconds: float | None = None,
    keep: str | Sequence[str] | None = None,
    summaries_only: bool = False,
    check: bool = True,
) -> Posterior:
    """Continue the run that ``sample(..., checkpoint=path)`` left unfinished.

    The draws are bit for bit those of the unbroken run. A run that was finished is put
    together again from its files.

    Args:
        path: the checkpoint's folder.
        program: the same program, on the same data.
        method: needed only where the method or its kernel is not part of probinf.
        progress: show a progress bar in a terminal.
        max_seconds: stop after this time, as in ``sample``.
        keep: sites whose draws are kept, as in ``sample``. All draws are in the folder, so that
            a run made with ``summaries_only=True`` gives them back by name, a few at a time.
        summaries_only: keep no draws, as in ``sample``.
        check: refuse a program that is not the one of the run: other data, other arguments of
            the model, other code (that of its functions, what they close over and the globals
            they use; not that of installed packages). False goes on all the same, which is for
            changes that do not change the measure.

    Raises:
        SavedFileError: no run is there, a file was truncated or edited, or the program is not
            the one of the run; the message says what has changed.
        MethodError: ``keep`` names an unknown site, or the draws need more memory than there is.
    """
    return session.resume(
        path,
        program,
        method=method,
        kept=wanted(program, keep, summaries_only),
        progress=progress,
        max_seconds=max_seconds,
        check=check,
    )
