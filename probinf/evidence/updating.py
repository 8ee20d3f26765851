"""update: a posterior goes on with data that arrived since, without starting again."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.compiling import jitted
from probinf.core.coordinates import Layout, flatten
from probinf.core.estimate import Estimate
from probinf.core.keys import as_key
from probinf.core.program import Data, Key, Position, Program
from probinf.errors import MethodError, StructureError
from probinf.results.posterior import Posterior
from probinf.results.precision import in_its_precision
from probinf.results.statistics.weighted import chain_blocks
from probinf.runtime import session
from probinf.runtime.loop import to_host
from probinf.samplers.populations.pooling import pooled_error
from probinf.samplers.populations.restarting import restarted
from probinf.samplers.smc import SMC

_TOLERANCE = 1e-3  # of log densities that must agree, relative to 1 + their size
_CHECKED = 64


@dataclasses.dataclass(frozen=True)
class _OldFirst:
    """Likelihood terms of the old data, then those of the new, of whatever sites."""

    pointwise: Any
    counts: tuple[tuple[str, int], ...]

    def __call__(self, x: Position, data: Data) -> dict[str, jax.Array]:
        old, found = dict(self.counts), self.pointwise(x, data)
        terms = {name: jnp.ravel(found[name]) for name in sorted(found)}  # as jit returns them
        return {
            "old": jnp.concatenate([v[: old.get(name, 0)] for name, v in terms.items()]),
            "new": jnp.concatenate([v[old.get(name, 0) :] for name, v in terms.items()]),
        }


class _Start(NamedTuple):
    """Particles that stand for the old posterior, by island.

    Attributes:
        position: flat, (island, particle, ...).
        log_w: (island, particle), each island normalised.
        eve: (island, particle), labels of draws that depend on each other.
        share: (island,) log of the island's weight, of mean one.
    """

    position: Any
    log_w: np.ndarray
    eve: np.ndarray
    share: np.ndarray


@in_its_precision
def update(
    posterior: Posterior,
    program: Program,
    method: SMC | None = None,
    *,
    key: int | Key,
    progress: bool = True,
    checkpoint: str | pathlib.Path | None = None,
    max_seconds: float | None = None,
) -> Posterior:
    """The posterior given all data, from the posterior given the first of them.

    The draws are reweighted by the new data, one after the other, resampled when their weights
    get uneven, and moved by a kernel that leaves the posterior of the data so far invariant.
    The answer is exact: it has the same limit as a run on all data, and only the new data
    are paid for, times what a move costs. Draws of any engine will do; those of ``NUTS`` have
    no evidence, but the predictive density of the new data is known all the same.

    Args:
        posterior: given the first data, with its program.
        program: the same model with the old data first in every observed site, and more.
        method: ``SMC(path="data", ...)``; by default as many particles and islands as the
            posterior has, if it is from ``SMC``.
        key: a JAX random key, or an integer seed.
        progress: show a progress bar in a terminal.
        checkpoint: a folder into which the run is written chunk by chunk; after a crash the
            same call, with the same arguments, continues it bit for bit.
        max_seconds: stop after the chunk in which this running time is over, with an error, for
            half an update is no posterior of anything; with a checkpoint the same call goes on.

    Returns:
        The posterior of all data. ``history["log_predictive"]`` holds, by island, the log
        density of the first new datum, the first two, ... given the old data, and
        ``provenance["log_predictive"]`` that of all of them with its error. Where the old
        posterior has an evidence, so has this one, and ``history["log_evidence_of_first"]``
        goes on.

    Raises:
        StructureError: a program lacks its likelihood by datum, the coordinates differ, or
            the data are not those of the posterior and more.
        MethodError: the method does not go along the data, the draws were not kept, or the run
            was stopped before its end.
        SavedFileError: the checkpoint is of another run.

    Source: Chopin (2002), iterated batch importance sampling.
    """
    old = posterior.program
    if old is None:
        raise StructureError("update: this posterior has no program. Load it with program=.")
    posterior.require_positions("update")
    extended, count = _extended(old, program)
    method = _default(posterior) if method is None else method
    typed = as_key(key)
    random_data = np.asarray(jax.random.key_data(typed))
    random = np.random.default_rng(random_data)
    start = _start(posterior, method, random)
    flat, layout = flatten(extended)
    _check_extension(flatten(old)[0], flat, start)
    method.plan(extended, layout)
    states = restarted(method, flat, start.position, start.log_w, start.eve, count)
    found = _run(
        method,
        extended,
        typed,
        checkpoint,
        progress=progress,
        max_seconds=max_seconds,
        states=states,
        notes={"update_of": _digest(start), "update_key": random_data.tolist()},
    )
    if found.evidence is None:  # interrupted
        remedy = "" if checkpoint is None else " The same call goes on from its checkpoint."
        raise MethodError(f"update: {found.no_evidence}{remedy}")
    return _joined(posterior, found, start, count, program)


def _run(
    method: SMC,
    program: Program,
    key: Key,
    checkpoint: str | pathlib.Path | None,
    **options: Any,
) -> Posterior:
    """The run along the data, from its checkpoint where that has begun."""
    if checkpoint is None or not session.holds_run(checkpoint):
        return session.start(method, program, key, checkpoint=checkpoint, **options)
    return session.resume(checkpoint, program, method=method, **options)


def _digest(start: _Start) -> str:
    """What the particles are, in sixteen digits."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(start):
        found.update(np.ascontiguousarray(to_host(leaf)).tobytes())
    return found.hexdigest()[:16]


def _default(posterior: Posterior) -> SMC:
    islands, particles = posterior.log_weights.shape
    if posterior.engine == SMC.__name__ and particles % 2 == 0:
        return SMC(path="data", islands=islands, particles=particles)
    return SMC(path="data")


def _sizes(program: Program, which: str) -> dict[str, int]:
    if program.pointwise is None:
        raise StructureError(
            f"update: the {which} program has no likelihood by datum, so data cannot be added; "
            "build it with from_numpyro."
        )
    terms = jax.eval_shape(program.pointwise, program.template(), program.data)
    return {name: leaf.size for name, leaf in terms.items()}


def _extended(old: Program, program: Program) -> tuple[Program, int]:
    """The new program with the old data first, and how many those are."""
    if not isinstance(program, Program):
        raise StructureError(
            f"update: the second argument must be a Program, got {type(program).__name__}."
        )
    before, after = _sizes(old, "posterior's"), _sizes(program, "new")
    if Layout.of(old) != Layout.of(program):
        raise StructureError(
            "update: the coordinates of the two programs differ. New data may not bring new "
            "parameters (a state per datum, say)."
        )
    if missing := [n for n, size in before.items() if after.get(n, 0) < size]:
        raise StructureError(
            f"update: the new program has {after.get(missing[0], 0)} data of {missing[0]!r}, the "
            f"posterior was made with {before[missing[0]]}. Give all data, old ones first."
        )
    if sum(after.values()) == sum(before.values()):
        raise StructureError(
            f"update: both programs have {sum(before.values())} data; nothing is new."
        )
    counts = tuple(sorted(before.items()))
    extended = dataclasses.replace(program, pointwise=_OldFirst(program.pointwise, counts))
    return extended, sum(before.values())


def _start(posterior: Posterior, method: SMC, random: np.random.Generator) -> _Start:
    """Particles from the draws; an island gets the draws of its own chains."""
    chains, draws = posterior.log_weights.shape
    islands, n = method.islands, method.particles
    log_w, count = posterior.log_weights.ravel(), chains * draws
    labels = chain_blocks(chains, draws) if posterior.clusters is None else posterior.clusters
    one_after_the_other = chains % islands == 0 or posterior.clusters is None
    chosen, weights, eves, shares = [], [], [], []
    for k in range(islands):
        if one_after_the_other:
            own = np.arange(k * count // islands, (k + 1) * count // islands)
        else:  # weighted draws come in an order that means something
            own = np.arange(k, count, islands)
        if own.size == 0:
            raise MethodError(f"update: {count} draws are too few for {islands} islands.")
        total = np.logaddexp.reduce(log_w[own])
        shares.append(total - np.log(own.size))
        if np.isneginf(total):
            raise MethodError(f"update: no draw of island {k} has a weight. Use fewer islands.")
        within = log_w[own] - total
        if own.size != n:
            points = (np.arange(n) + random.uniform()) / n
            index = np.searchsorted(np.cumsum(np.exp(within)), points).clip(max=own.size - 1)
            own, within = own[index], np.full(n, -np.log(n))
        chosen.append(own)
        weights.append(within)
        eves.append(np.unique(labels.ravel()[own], return_inverse=True)[1])
    index, relative = np.stack(chosen), np.array(shares)
    position = jax.tree.map(lambda leaf: leaf[index], posterior.rows())
    relative -= np.logaddexp.reduce(relative) - np.log(islands)
    return _Start(position, np.stack(weights), np.stack(eves), relative)


@jitted
def _densities(program: Program, x: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
    def one(x: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        assert program.pointwise is not None
        return program.score(x, program.data).log_base, program.pointwise(x, program.data)

    return jax.vmap(one)(x)


def _check_extension(old: Program, extended: Program, start: _Start) -> None:
    """The first data and the prior must be the same: judged by their densities at some draws."""
    alive = np.flatnonzero(np.isfinite(start.log_w[0]))
    some = np.resize(alive, _CHECKED)  # of one size, so that nothing is compiled again
    x = jax.tree.map(lambda leaf: leaf[0][some], start.position)
    base, terms = jax.tree.map(np.asarray, _densities(old, x))
    new_base, new_terms = jax.tree.map(np.asarray, _densities(extended, x))
    if not _close(base, new_base).all():
        raise StructureError(
            "update: the priors of the two programs differ, so the old posterior is not on the "
            "way to the new one. Use pi.sample on the new program."
        )
    first = 0
    for name in terms:
        before = terms[name].reshape(_CHECKED, -1)
        after = new_terms["old"][:, first : first + before.shape[1]]
        first += before.shape[1]
        changed = np.flatnonzero(~_close(before, after).all(axis=0))
        if changed.size:
            raise StructureError(
                f"update: the likelihood of {changed.size} of the {before.shape[1]} old data of "
                f"{name!r} has changed, first of number {changed[0]}. The new program must hold "
                "the same data first; if the model scales data by their mean or range, fix those."
            )


def _close(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= _TOLERANCE * (1 + np.abs(a))
    return near | (a == b) | (np.isnan(a) & np.isnan(b))


def _joined(
    before: Posterior, found: Posterior, start: _Start, count: int, program: Program
) -> Posterior:
    """The new posterior, its islands weighted by what they were worth before as well."""
    islands = start.share.size
    rows = np.logaddexp.reduce(found.log_weights, axis=1)
    assert found.evidence is not None
    gained = found.evidence.value + rows - np.logaddexp.reduce(rows) + np.log(islands)
    total = start.share + gained
    value = float(np.logaddexp.reduce(total) - np.log(islands))
    weights = np.exp(total - value) / islands
    # of a ratio of means over islands, which are worth about the same before and after
    ratio = np.exp(total - value) - np.exp(start.share)
    spread = ratio.std(ddof=1) / np.sqrt(islands) if islands > 1 else np.nan
    last = np.isfinite(found.history["variance"]).sum(axis=1) - 1
    squares, fourths = (found.history[n][range(islands), last] for n in ("variance", "fourth"))
    predictive = Estimate(value, pooled_error(float(spread), weights, squares, fourths))
    log_w = found.log_weights + start.share[:, None]
    passed = start.share[:, None] + found.history.pop("log_evidence_of_first")[:, count:]
    history = {**found.history, "log_predictive": passed}
    evidence, old = None, before.evidence
    if old is not None:
        evidence = Estimate(old.value + value, float(np.hypot(old.error, predictive.error)))
        known = np.full((islands, count), np.nan)
        earlier = before.history.get("log_evidence_of_first", known)
        known = earlier if earlier.shape == known.shape else known
        history["log_evidence_of_first"] = np.concatenate([known, old.value + passed], axis=1)
    return dataclasses.replace(
        found,
        log_weights=log_w - log_w.max(),
        history=history,
        evidence=evidence,
        no_evidence="" if evidence else f"the posterior before had none: {before.no_evidence}",
        provenance={
            **found.provenance,
            "log_predictive": list(predictive),
            "updated_from": before.provenance.get("method", "?"),
        },
        program=program,
    )
