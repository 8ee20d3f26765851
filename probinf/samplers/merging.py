"""merge: posteriors of the same program put together."""

from __future__ import annotations

import dataclasses
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np

from probinf.core.estimate import Estimate
from probinf.core.precision import precisely
from probinf.errors import SavedFileError, StructureError
from probinf.results.belonging import close, densities, same_coordinates
from probinf.results.posterior import Posterior
from probinf.results.saving import MANIFEST
from probinf.results.storage import load
from probinf.samplers.nested.joining import joined_runs, keys_of, told_of
from probinf.samplers.populations.base import padded


def merge(posteriors: Sequence[Posterior] | str | pathlib.Path) -> Posterior:
    """One posterior from several runs of one engine on the same program, with different keys.

    Runs of nested sampling merge point by point: how many were alive at each contour is counted
    anew, so that the evidence is that of a run with as many live points as they had together.
    Islands of populations and draws by importance count by the evidence that they found. Chains
    are put side by side.

    Args:
        posteriors: two or more; or a folder with a subfolder for each job, in which that has saved
            its posterior. A job that has not is left out with a warning: its loss biases nothing
            as long as it does not hang on what the job would have found.

    Returns:
        A Posterior; ``provenance["merged"]`` says of how many.

    Raises:
        SavedFileError: the folder holds fewer than two posteriors, or several of one job.
        StructureError: there are fewer than two, they are of different engines or programs, two
            have a key in common, or draws of chains or islands differ in number.
    """
    if isinstance(posteriors, str | pathlib.Path):
        posteriors = _saved(pathlib.Path(posteriors))
    runs = list(posteriors)
    _check(runs)
    if "birth_log_likelihood" in runs[0].stats:
        return joined_runs(runs)
    return _side_by_side(runs)


def _saved(folder: pathlib.Path) -> list[Posterior]:
    """The posteriors of all jobs that have saved one."""
    jobs = sorted(path for path in folder.glob("*") if path.is_dir())
    found = {job: sorted(path.parent for path in job.rglob(MANIFEST)) for job in jobs}
    lost = [job.name for job, saved in found.items() if not saved]
    twice = {job.name: len(paths) for job, paths in found.items() if len(paths) > 1}
    if twice:
        raise SavedFileError(
            f"merge: one posterior for each job is wanted, these folders hold more: {twice}. Move "
            "older ones away, or merge a list."
        )
    saved = [path for paths in found.values() for path in paths]
    if len(saved) < 2:
        raise SavedFileError(
            f"merge: {folder} holds {len(saved)} saved posteriors in {len(jobs)} subfolders, two "
            "at least are needed. Each job ends with posterior.save(folder / job)."
        )
    if lost:
        warnings.warn(
            f"merge: left out are {lost}, which have saved no posterior. Start these jobs again "
            "(with resume=True they go on from their checkpoints) to have them all.",
            stacklevel=3,
        )
    return [load(path) for path in saved]


def _check(runs: list[Posterior]) -> None:
    if len(runs) < 2 or not all(isinstance(run, Posterior) for run in runs):
        raise StructureError("merge: give a list of two or more posteriors.")
    first = runs[0]
    for k, run in enumerate(runs[1:], 1):
        if run.kind != first.kind or run.engine != first.engine:
            raise StructureError(
                f"merge: run {k} is from {run.engine}, the first from {first.engine}. Runs of "
                "different engines weigh their draws differently; compare them instead."
            )
        if run.streamed is not None or first.streamed is not None:
            raise StructureError("merge: runs with summaries_only=True kept no draws to merge.")
        if any(_keys(run) & _keys(other) for other in runs[:k]):
            raise StructureError(
                f"merge: run {k} was made with a key of those before it, alone or in what "
                "was merged; counted twice it would only look like more. Give each run a key of "
                "its own."
            )
        _same_program(first, run, k)


def _keys(run: Posterior) -> set[tuple[int, ...]]:
    """Keys of all runs in it; none where it was put together by hand."""
    known = run.provenance.get("key")
    return set() if known is None else {tuple(np.ravel(key).tolist()) for key in keys_of(known)}


def _same_program(first: Posterior, run: Posterior, k: int) -> None:
    """Sites and shapes must agree, and densities where both runs know their program."""
    shapes = [{n: v.shape[2:] for n, v in p.draws.items()} for p in (first, run)]
    if shapes[0] != shapes[1]:
        raise StructureError(
            f"merge: run {k} has sites {shapes[1]}, the first {shapes[0]}; runs of different "
            "programs cannot be put together."
        )
    if first.program is None or run.program is None or first.unconstrained.shape[-1] == 0:
        return
    with precisely(first.provenance.get("precision")):
        same_coordinates(first, run.program, "merge")
        ours, theirs = densities(first, first.program), densities(first, run.program)
    for part, said in (("log_base", "prior"), ("log_weight", "likelihood")):
        if not close(np.array(ours[part]), np.array(theirs[part])).all():
            raise StructureError(
                f"merge: run {k} has another {said} than the first at the same draws: other data, "
                "or another model."
            )


def _side_by_side(runs: list[Posterior]) -> Posterior:
    """Chains, islands and weighted draws: each run by its evidence where it has one."""
    sizes = np.array([run.log_weights.size for run in runs], float)
    lengths = [run.log_weights.shape[1] for run in runs]
    axis = 0 if len(set(lengths)) == 1 else 1
    if axis == 1 and not runs[0].weighted:
        raise StructureError(
            f"merge: the runs have {lengths} draws per chain. Chains side by side must be of one "
            "length."
        )
    if axis == 1:
        runs = [_as_one_row(run) for run in runs]
    shares = sizes / sizes.sum()

    def joined(parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(parts, axis=axis)

    labels, first = [], 0
    for run in runs:
        if run.clusters is not None:
            labels.append(run.clusters + first)
            first += int(run.clusters.max()) + 1
    log_w = joined([_weighed(run, share) for run, share in zip(runs, shares, strict=True)])
    told = told_of(runs)
    if "superchains" in told:
        told["superchains"] = sum(run.provenance["superchains"] for run in runs)
    stats = sorted(set.intersection(*(set(run.stats) for run in runs)))
    shared = sorted(set.intersection(*(set(run.history) for run in runs)))
    rows = {n: [row for run in runs for row in run.history[n]] for n in shared}
    return dataclasses.replace(
        runs[0],
        draws={n: joined([run.draws[n] for run in runs]) for n in runs[0].draws},
        log_weights=log_w - log_w.max(),
        stats={n: joined([run.stats[n] for run in runs]) for n in stats},
        history={n: padded(found) for n, found in rows.items()},
        unconstrained=joined([run.unconstrained for run in runs]),
        keys=tuple(joined(list(parts)) for parts in zip(*(r.keys for r in runs), strict=True)),
        clusters=joined(labels) if labels else None,
        evidence=_pooled([run.evidence for run in runs], shares),
        findings=tuple(dict.fromkeys(finding for run in runs for finding in run.findings)),
        provenance=told,
    )


def _weighed(run: Posterior, share: float) -> np.ndarray:
    """Log weights whose sum is the run's share of the evidence."""
    if not run.weighted:
        return run.log_weights
    mass = np.logaddexp.reduce(run.log_weights, axis=None)
    return np.asarray(run.log_weights - mass + np.log(share) + run.log_evidence.value)


def _as_one_row(run: Posterior) -> Posterior:
    def flat(value: np.ndarray) -> np.ndarray:
        return value.reshape(1, -1, *value.shape[2:])

    return dataclasses.replace(
        run,
        draws={n: flat(v) for n, v in run.draws.items()},
        log_weights=flat(run.log_weights),
        stats={n: flat(v) for n, v in run.stats.items()},
        unconstrained=flat(run.unconstrained),
        keys=tuple(flat(v) for v in run.keys),
        clusters=None if run.clusters is None else flat(run.clusters),
    )


def _pooled(found: list[Estimate | None], shares: np.ndarray) -> Estimate | None:
    """Mean of evidences by shares, with the error of a mean of independent numbers."""
    known = [e for e in found if e is not None]
    if len(known) < len(found):
        return None
    values = np.array([e.value for e in known])
    errors = np.array([e.error for e in known])
    top = values.max()
    parts = shares * np.exp(values - top)
    return Estimate(
        float(top + np.log(parts.sum())),
        float(np.sqrt(np.sum((parts * errors) ** 2)) / parts.sum()),
    )
