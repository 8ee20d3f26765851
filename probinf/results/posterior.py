"""Posterior: weighted draws, evidence, statistics and provenance; the one result type."""

from __future__ import annotations

import dataclasses
import pathlib
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.coordinates import Layout, Mixed, flatten, restored, vector_of
from probinf.core.estimate import Estimate
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.core.resampling import systematic
from probinf.errors import EvidenceError, StructureError
from probinf.results.diagnosis import Diagnosis, diagnose
from probinf.results.draws import Chains, site_draws
from probinf.results.summary import Summary, summarise

if TYPE_CHECKING:
    import xarray

    from probinf.runtime.loop import Run

_BATCH = 2048


@dataclasses.dataclass(frozen=True)
class Posterior:
    """What an engine found out about a program.

    Attributes:
        draws: by site, (chain, draw, ...) in the user's coordinates, deterministic sites
            included. Chains are islands for SMC.
        log_weights: (chain, draw), float64; zero for MCMC.
        stats: by name, (chain, draw) statistics of the sampler.
        history: by name, (chain, stage) records of engines that move in stages, NaN-padded.
        clusters: (chain, draw) labels; draws are independent only between labels. None for
            Markov chains.
        unconstrained: (chain, draw, d) flat positions, in the order of the program's sites;
            (chain, draw, 0) where ``keep=`` or ``summaries_only=`` left them out.
        keys: key data of random-key coordinates, (chain, draw, ...) each.
        evidence: the log evidence, or None with the reason in ``no_evidence``.
        no_evidence: why there is no evidence.
        provenance: settings, key, versions, seconds.
        program: the program; None after loading without it.
        streamed: the summary of draws that were not kept (``summaries_only=True``), else None.
    """

    draws: dict[str, np.ndarray]
    log_weights: np.ndarray
    stats: dict[str, np.ndarray]
    history: dict[str, np.ndarray]
    unconstrained: np.ndarray
    provenance: dict[str, Any]
    clusters: np.ndarray | None = None
    keys: tuple[np.ndarray, ...] = ()
    evidence: Estimate | None = None
    no_evidence: str = ""
    program: Program | None = None
    streamed: Summary | None = None

    @property
    def weighted(self) -> bool:
        """Whether the draws mean nothing without their weights."""
        return self.clusters is not None

    @property
    def log_evidence(self) -> Estimate:
        """Log of the program's total mass, with its standard error.

        Raises:
            EvidenceError: this engine does not estimate it.
        """
        if self.evidence is None:
            raise EvidenceError(self.no_evidence)
        return self.evidence

    @cached_property
    def _summary(self) -> Summary:
        if self.streamed is not None:
            return self.streamed
        superchains = self.provenance.get("superchains")
        return summarise(self.draws, self.log_weights, self.clusters, superchains)

    def summary(self) -> Summary:
        """Mean, sd, quantiles, Monte Carlo errors and effective sizes per scalar.

        Weights are respected; R-hat is given for Markov chains.
        """
        return self._summary

    def diagnose(self) -> Diagnosis:
        """What is wrong, where, and what to do about it."""
        return diagnose(self)

    def resampled(self, key: int | Key = 0) -> Posterior:
        """An equally weighted view: systematic resampling of all draws by their weights.

        Markov chains are returned as they are.
        """
        if not self.weighted:
            return self
        chains, draws = self.log_weights.shape
        w = self.log_weights.ravel()
        with jax.enable_x64(True):
            weights = jnp.asarray(np.exp(w - w.max()) / np.exp(w - w.max()).sum())
            index = np.asarray(systematic(as_key(key), weights))
        # spread copies of one draw over the chains
        index = index[np.random.default_rng(0).permutation(index.size)]

        def take(value: np.ndarray) -> np.ndarray:
            flat = value.reshape(-1, *value.shape[2:])[index]
            return flat.reshape(chains, draws, *value.shape[2:])

        return dataclasses.replace(
            self,
            draws={name: take(value) for name, value in self.draws.items()},
            stats={name: take(value) for name, value in self.stats.items()},
            unconstrained=take(self.unconstrained),
            keys=tuple(take(k) for k in self.keys),
            log_weights=np.zeros_like(self.log_weights),
            clusters=None if self.clusters is None else take(self.clusters),
        )

    def predict(self, *, key: int | Key, program: Program | None = None) -> dict[str, np.ndarray]:
        """Posterior predictive draws of every observed site, (chain, draw, ...).

        Weighted draws are resampled first, so the result is equally weighted.

        Args:
            key: random key or seed.
            program: the same model with other data (new covariates, say); by default the
                program of the fit.

        Raises:
            StructureError: there is no program, or it cannot simulate.
        """
        program = self.program if program is None else program
        if program is None:
            raise StructureError(
                "predict: this posterior was loaded without its program; pass program=, or load "
                "with pi.load(path, program=program)."
            )
        if program.simulate is None:
            raise StructureError("predict: the program has no simulator of its observations.")
        flat, _ = flatten(program, integers=True)
        view = self.resampled(key)
        keys = jax.random.split(as_key(key), self.log_weights.size)
        return by_row(_simulate, flat, (keys, view.rows()), self.log_weights.shape)

    def require_positions(self, who: str) -> None:
        """Refuse where the unconstrained positions were not kept.

        Args:
            who: needs them, for the message.

        Raises:
            StructureError: they were left out by ``keep=`` or ``summaries_only=``.
        """
        if self.unconstrained.shape[-1] == 0 and not self.keys:
            raise StructureError(
                f"{who} needs the unconstrained positions of the draws, which keep= or "
                "summaries_only= left out. Run again without them, or with a checkpoint "
                "pi.resume(folder, program)."
            )

    def rows(self) -> Any:
        """Flat positions with one leading axis."""
        self.require_positions("this")
        vectors = self.unconstrained.reshape(-1, self.unconstrained.shape[-1])
        if not self.keys:
            return restored(vectors)
        return restored(Mixed(vectors, tuple(k.reshape(-1, *k.shape[2:]) for k in self.keys)))

    def to_datatree(self) -> xarray.DataTree:
        """An ``xarray.DataTree`` in the ArviZ schema; opens in ArviZ 0.23 and 1.x.

        Weighted draws appear twice: resampled to equal weights in ``posterior`` (flagged
        ``resampled``), and as they are with ``log_weight`` in ``weighted_posterior``.
        """
        from probinf.results.storage import to_datatree

        return to_datatree(self)

    def to_anesthetic(self) -> Any:
        """An ``anesthetic.NestedSamples`` of a run of ``Nested``, birth contours included.

        Its columns are the sites, ``name`` or ``name[i, j]``.

        Raises:
            MethodError: the posterior is not from nested sampling.
            ImportError: the package anesthetic is not installed.
        """
        from probinf.results.export import to_anesthetic

        return to_anesthetic(self)

    def save(self, path: str | pathlib.Path) -> None:
        """Write a folder with ``posterior.nc`` (netCDF, opens in ArviZ) and ``manifest.json``.

        Raises:
            FileExistsError: the folder exists and holds something else.
        """
        from probinf.results.storage import save

        save(self, path)

    def plot(self, kind: str = "trace", names: list[str] | None = None, **options: Any) -> Any:
        """A picture through ArviZ: ``"trace"``, ``"rank"``, ``"forest"``, ``"pair"`` or ``"dist"``.

        Args:
            kind: which picture.
            names: sites to show; all by default.
            **options: passed to ArviZ.

        Raises:
            ImportError: the extra ``plot`` is not installed.
        """
        from probinf.results.plotting import plot

        return plot(self, kind, names, **options)

    def __repr__(self) -> str:
        chains, draws = self.log_weights.shape
        method = self.provenance.get("method", "?").split("(")[0]
        evidence = "" if self.evidence is None else f", log evidence {self.evidence}"
        sites = ", ".join(self.draws) or "no site (summaries only)"
        return f"Posterior({method}, {chains} x {draws} draws of {sites}{evidence})"


def _simulate(flat: Program, rows: Any) -> dict[str, jax.Array]:
    assert flat.simulate is not None
    return flat.simulate(rows[0], rows[1], flat.data)


@partial(jax.jit, static_argnames=("fn",))
def _mapped(fn: Any, flat: Program, rows: Any) -> dict[str, jax.Array]:
    return jax.vmap(partial(fn, flat))(rows)


def by_row(fn: Any, flat: Program, rows: Any, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """``fn`` on every row in batches of one compiled size, result on the host as (chain, draw)."""
    count = jax.tree.leaves(rows)[0].shape[0]
    size = min(_BATCH, count)
    parts = []
    for first in range(0, count, size):
        start = min(first, count - size)  # the last batch overlaps instead of recompiling
        out = _mapped(fn, flat, jax.tree.map(lambda leaf, s=start: leaf[s : s + size], rows))
        parts.append({name: np.asarray(v)[first - start :] for name, v in out.items()})
    joined = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    return {name: v.reshape(*shape, *v.shape[1:]) for name, v in joined.items()}


def assemble(
    run: Run,
    positions: Any,
    *,
    log_weights: np.ndarray | None = None,
    stats: dict[str, np.ndarray] | None = None,
    history: dict[str, np.ndarray] | None = None,
    clusters: np.ndarray | None = None,
    evidence: Estimate | None = None,
    no_evidence: str = "",
    provenance: dict[str, Any] | None = None,
    draws: dict[str, np.ndarray] | None = None,
    streamed: Summary | None = None,
) -> Posterior:
    """A Posterior from flat positions with leading axes (chain, draw)."""
    positions = jax.tree.map(np.asarray, positions)
    vectors = vector_of(positions)
    shape = vectors.shape[:2]
    if draws is None:
        draws = site_draws(run.flat, run.layout, positions, run.kept.sites)
    keys = positions.keys if isinstance(positions, Mixed) else ()
    if not run.kept.everything:
        vectors, keys = vectors[:, :, :0], ()
    return Posterior(
        draws=draws,
        log_weights=np.zeros(shape) if log_weights is None else np.asarray(log_weights, float),
        stats=stats or {},
        history=history or {},
        unconstrained=vectors,
        keys=keys,
        clusters=clusters,
        evidence=evidence,
        no_evidence=no_evidence,
        provenance={**run.provenance, **(provenance or {}), "layout": _layout_text(run.layout)},
        program=run.program,
        streamed=streamed,
    )


def assemble_chains(
    run: Run,
    *,
    stats: dict[str, np.ndarray],
    provenance: dict[str, Any] | None = None,
    **options: Any,
) -> Posterior:
    """A Posterior from what ``ChainCollector`` collected; options as in ``assemble``."""
    chains: Chains = run.records
    told = {"warmup_evaluations": chains.warmup_evaluations, **(provenance or {})}
    if chains.record.position is not None:
        return assemble(run, chains.record.position, stats=stats, provenance=told, **options)
    nowhere = np.zeros((*stats["log_density"].shape, 0), run.layout.dtype)
    return assemble(
        run,
        nowhere,
        draws=chains.draws or {},
        streamed=chains.summary,
        stats=stats,
        provenance=told,
        **options,
    )


def _layout_text(layout: Layout) -> str:
    return str(layout.treedef)
