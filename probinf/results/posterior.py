"""Posterior: weighted draws, evidence, statistics and provenance; the one result type."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.axes import NOTHING, Axes
from probinf.core.coordinates import Mixed, restored
from probinf.core.estimate import Estimate
from probinf.core.inputs.limits import inside
from probinf.core.keys import as_key
from probinf.core.normalised import normalised
from probinf.core.program import Key, Program
from probinf.core.resampling import systematic
from probinf.core.transformations.labelling import Coords, Dims, renamed, site_shapes
from probinf.errors import EvidenceError, StructureError
from probinf.results.circular import circles_of
from probinf.results.continuing import Ended, more
from probinf.results.datasets import Predictions
from probinf.results.datatree import to_datatree
from probinf.results.diagnosis import diagnose
from probinf.results.discrete import infer_discrete, responsibilities
from probinf.results.findings import Diagnosis, Finding
from probinf.results.forecasting import forecast
from probinf.results.precision import in_its_precision
from probinf.results.predicting import given_arguments, predict
from probinf.results.summary import Interval, Summary, summarise

if TYPE_CHECKING:
    import xarray

Kind = Literal["chains", "weighted", "population"]
"""Markov chains; independent weighted draws; particles, some of which have a common ancestor."""


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
        kind: ``"chains"``, ``"weighted"`` (independent draws with weights) or ``"population"``
            (particles, some of which have a common ancestor).
        findings: what the engine itself found wrong; ``diagnose()`` adds what any draws show.
        program: the program; None after loading without it.
        streamed: the summary of draws that were not kept (``summaries_only=True``), else None.
        approximation: the law that an approximate engine fitted, on flat positions; None of the
            exact ones. :meth:`as_program` makes a program of it.
        ended: where Markov chains ended, for :meth:`more`; None of other draws, and after loading.
        axes: names of the dimensions of sites and labels along them, those of the program; see
            :func:`probinf.with_dims`.
    """

    draws: dict[str, np.ndarray]
    log_weights: np.ndarray
    stats: dict[str, np.ndarray]
    history: dict[str, np.ndarray]
    unconstrained: np.ndarray
    provenance: dict[str, Any]
    kind: Kind
    findings: tuple[Finding, ...] = ()
    clusters: np.ndarray | None = None
    keys: tuple[np.ndarray, ...] = ()
    evidence: Estimate | None = None
    no_evidence: str = ""
    program: Program | None = None
    streamed: Summary | None = None
    approximation: Any = None
    ended: Ended | None = None
    axes: Axes = NOTHING

    @property
    def engine(self) -> str:
        """Name of the engine that found it."""
        return str(self.provenance.get("engine", "?"))

    @property
    def weighted(self) -> bool:
        """Whether the draws mean nothing without their weights."""
        return self.kind != "chains"

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
        return self._summarised(())

    def _summarised(
        self, circular: Mapping[str, float] | Sequence[str], interval: Interval = Interval()
    ) -> Summary:
        circles = circles_of(self, circular)
        if self.streamed is not None:
            if interval != Interval():
                raise StructureError(
                    "summary: no draws were kept (summaries_only=True), so that there is no other "
                    "interval than that of 90 %. Run again with keep=."
                )
            return self.streamed
        superchains = self.provenance.get("superchains")
        live = self.stats.get("live_points")
        return summarise(
            self.draws,
            self.log_weights,
            self.clusters,
            superchains,
            live,
            circles,
            self.provenance.get("ensembles"),
            interval,
            self.axes,
        )

    def summary(
        self,
        names: str | Sequence[str] | None = None,
        *,
        prob: float = 0.9,
        hdi: bool = False,
        circular: Mapping[str, float] | Sequence[str] = (),
    ) -> Summary:
        """Mean, sd, an interval, Monte Carlo errors and effective sizes per scalar.

        Weights are respected; the columns are the same from every engine, R-hat is NaN where
        there are no Markov chains.

        Args:
            names: sites, or scalars such as ``"theta[0]"`` (``"theta[Choate]"`` where dimensions
                are labelled); all by default.
            prob: of the interval, whose ends are the columns ``q5`` and ``q95`` for 0.9.
            hdi: tell the shortest interval of that probability, as ``hdi_low`` and ``hdi_high``.
            circular: sites whose values go round, with their periods, ``{"hour": 24.0}``; or
                their names alone where the period is 2 pi. Those that ``Nested(periodic=...)``
                was told are circular without being named.

        Raises:
            StructureError: there is no such site, or a period is not positive.
            MethodError: ``prob`` is not inside (0, 1).
        """
        inside(0, 1, prob=prob)
        interval = Interval(float(prob), bool(hdi))
        plain = not circular and interval == Interval()
        found = self._summary if plain else self._summarised(circular, interval)
        if names is None:
            return found
        return found.of((names,) if isinstance(names, str) else names)

    def __getitem__(self, site: str) -> np.ndarray:
        """The draws of one site, (chain, draw, ...); weighted ones go with ``log_weights``.

        Raises:
            StructureError: there are none of that name.
        """
        if site not in self.draws:
            known = sorted(self.draws) or "none (summaries only)"
            raise StructureError(f"posterior[{site!r}]: no such site; there are draws of {known}.")
        return self.draws[site]

    def more(
        self,
        draws: int | None = None,
        *,
        live: int | None = None,
        max_error: float | None = None,
        min_ess: int | None = None,
        progress: bool = True,
        max_seconds: float | None = None,
    ) -> Posterior:
        """The same chains with so many further draws, or a nested run with more live points.

        Chains go on without another warm-up, bit for bit what one run with all these draws would
        have given on this machine. A nested run, loaded or not, is merged with a further one of so
        many live points and a key of its own: the evidence is that of a run with all of them.

        Args:
            draws: kept transitions per chain, beside those that are there.
            live: of a nested run, live points beside those that it had.
            max_error: or as many as bring the standard error of the log evidence down to this.
            min_ess: or as many as bring Kish's effective size of the weights up to this.
            progress: show a progress bar in a terminal.
            max_seconds: stop after this time and return what exists.

        Raises:
            MethodError: the draws are neither those of Markov chains, whose ends are at hand, nor
                of a nested run; or what is asked for is of the other.
        """
        return more(self, draws, live, max_error, min_ess, progress, max_seconds)

    def with_dims(self, dims: Dims | None = None, coords: Coords | None = None) -> Posterior:
        """The same posterior with other names and labels of dimensions.

        Arguments and errors are those of :func:`probinf.with_dims`.
        """
        shapes = {site: value.shape[2:] for site, value in self.draws.items()}
        if self.program is not None:
            shapes = {**site_shapes(self.program), **shapes}
        return dataclasses.replace(self, axes=renamed(self.axes, shapes, dims, coords))

    def to_dataframe(self, names: str | Sequence[str] | None = None) -> Any:
        """All draws as a pandas DataFrame: a row per draw, a column per scalar.

        The index is (chain, draw). Weighted draws have a column ``log_weight``.

        Args:
            names: sites; all by default.

        Raises:
            StructureError: there is no such site.
            MissingPackageError: pandas is not installed.
        """
        from probinf.results.export import to_dataframe

        return to_dataframe(self, names)

    def as_program(self) -> Program:
        """The law that an approximate engine fitted, as a normalised program of its own.

        ``pi.rebase(program, posterior.as_program())`` is the exact measure started from it, and
        ``pi.refine(program, posterior)`` corrects it and says how far off it was.

        Raises:
            StructureError: the engine has no such law, or there is no program.
        """
        if self.approximation is None:
            raise StructureError(
                f"as_program: a posterior from {self.engine} has no density of its own. "
                "pi.fit(posterior) fits one to its draws."
                if self.engine != "MAP"
                else "as_program: MAP is one point, which has no density. Use pi.Laplace()."
            )
        if self.program is None:
            raise StructureError("as_program: this posterior has no program; load it with one.")
        return normalised(self.program, self.approximation)

    @in_its_precision
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
            flat = value.reshape(chains * draws, *value.shape[2:])[index]
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

    @in_its_precision
    def predict(
        self,
        *args: Any,
        key: int | Key,
        program: Program | None = None,
        steps: int | None = None,
        covariates: Any = None,
        times: Any = None,
        **kwargs: Any,
    ) -> Predictions:
        """Posterior predictive draws of every observed site, (chain, draw, ...).

        A dict by site, which ``to_dataset()`` gives names and labels of dimensions.

        Weighted draws are resampled first, so the result is equally weighted. Sites that
        ``numpyro.handlers.condition`` fixes and on which others depend stay as they are. Discrete
        sites that are summed out are drawn given the others, and given the first steps of a scan
        where a condition handler gives its data, from which the rest is then forecast.

        Args:
            *args: new arguments of the model, ``predict(x_new, key=0)``, or the new rows of a
                formula. What is not given stays as it was; observations are left out.
            key: random key or seed.
            program: in their place, the same model with other data (new covariates, other groups,
                more steps), or a model that shares sites with it; by default the program of the
                fit. Latent
                sites take their draws by name. What the fit lacks is drawn from its prior given
                the rest, and returned too: new sites, new entries of a plate or steps of a scan
                (after those of the fit), observed sites whose data are left out (``y=None``). Of a
                site with fewer entries the first are taken.
            steps: of a state-space model, how many steps after the last one to forecast: its
                states and observations, (chain, draw, step, ...).
            covariates: of these steps, where the model has some.
            times: of these steps, where those of the fit are not evenly spaced.
            **kwargs: new keyword arguments of the model, ``predict(x=x_new, key=0)``.

        Raises:
            StructureError: there is no program, it has nothing observed, or a site does not
                match: its shape, its support, or no name is the same. Or ``steps`` are asked of
                what is no state-space model.

        A :class:`~probinf.errors.NewSitesWarning` says what is drawn from the prior.
        """
        if steps is None:
            own = {"covariates": covariates, "times": times}
            kwargs |= {name: value for name, value in own.items() if value is not None}
        if args or kwargs:
            program = given_arguments(self.program, program, steps, args, kwargs)
        if steps is not None:
            ahead = forecast(self, key, program or self.program, steps, covariates, times)
            return Predictions(ahead)
        axes = self.axes if program is None else program.axes
        return Predictions(predict(self, key, program), axes)

    @in_its_precision
    def infer_discrete(
        self, key: int | Key | None = None, *, mode: bool = False, program: Program | None = None
    ) -> dict[str, np.ndarray]:
        """The discrete sites that the program sums out, given each draw of the others.

        Args:
            key: random key or seed to draw them with.
            mode: the jointly most probable values instead of draws: of each entry of a plate, and
                of the whole path through a ``scan`` (Viterbi).
            program: the same model with other data; by default the program of the fit.

        Returns:
            By site (chain, draw, ...), aligned with ``draws`` and their weights; deterministic
            sites that depend on discrete ones are among them.

        Raises:
            StructureError: the program sums nothing out, or does not fit the posterior.
            KeyTypeError: neither a key nor ``mode=True``.
        """
        return infer_discrete(self, key, mode, program)

    @in_its_precision
    def responsibilities(
        self, *, mean: bool = True, program: Program | None = None
    ) -> dict[str, np.ndarray]:
        """The probability of each value of the discrete sites that the program sums out.

        Args:
            mean: averaged over the draws, which makes it the posterior probability; otherwise
                given each draw.
            program: the same model with other data; by default the program of the fit.

        Returns:
            By site (..., values), or (chain, draw, ..., values); the lowest value comes first.

        Raises:
            StructureError: the program sums nothing out, or does not fit the posterior.
        """
        return responsibilities(self, mean, program)

    def require_positions(self, who: str) -> None:
        """Refuse where the unconstrained positions were not kept.

        Args:
            who: needs them, for the message.

        Raises:
            StructureError: they were left out by ``keep=`` or ``summaries_only=``, or a filter
                drew no paths.
        """
        if self.unconstrained.shape[-1] == 0 and not self.keys:
            if "smoother" in self.provenance and self.provenance["smoother"] in (None, "fixed lag"):
                raise StructureError(
                    f"{who} needs whole paths of the states, and this filter has drawn the states "
                    "of single steps. Forecast from the last ones, predict(steps=), or draw paths "
                    "with ParticleFilter(smoother='backward')."
                )
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

    @in_its_precision
    def to_datatree(
        self,
        *,
        predictive: int | Key | None = None,
        log_likelihood: bool = False,
        prior: int | Key | None = None,
    ) -> xarray.DataTree:
        """An ``xarray.DataTree`` in the ArviZ schema.

        ArviZ 1.x, ``arviz_stats`` and ``arviz_plots`` take it as it is; the functions of ArviZ
        0.23 (``az.summary``, ``az.loo``) take ``az.from_datatree(tree)``.

        Weighted draws appear twice: resampled to equal weights in ``posterior`` (flagged
        ``resampled``), and as they are with ``log_weight`` in ``weighted_posterior``. A site
        whose name cannot stand in a file (a slash, ``chain``, ``draw``) is renamed, and keeps
        its name in the attribute ``site``.

        Args:
            predictive: random key or seed; adds ``posterior_predictive``, data drawn anew.
            log_likelihood: adds that group, of every datum at every draw.
            prior: random key or seed; adds ``prior`` and ``prior_predictive``, as many draws.

        Raises:
            StructureError: what is asked for needs a program, or positions that were not kept.
        """
        return to_datatree(self, predictive, log_likelihood, prior)

    def to_anesthetic(self) -> Any:
        """An ``anesthetic.NestedSamples`` of a run of ``Nested``, birth contours included.

        Its columns are the sites, ``name`` or ``name[i, j]``.

        Raises:
            MethodError: the posterior is not from nested sampling.
            MissingPackageError: the package anesthetic is not installed.
        """
        from probinf.results.export import to_anesthetic

        return to_anesthetic(self)

    def save_getdist(self, root: str | pathlib.Path) -> list[pathlib.Path]:
        """Write text files that GetDist, anesthetic and CosmoMC's tools read.

        ``root_1.txt``, ... have a row per draw of each chain: its weight, minus its log
        likelihood (log density, of chains), then all scalars, named in ``root.paramnames``.

        Args:
            root: path and beginning of the names.

        Returns:
            The files.

        Raises:
            SavedFileError: the folder is not there.
            StructureError: no draws were kept.
        """
        from probinf.results.export import save_getdist

        return save_getdist(self, root)

    def save(self, path: str | pathlib.Path) -> None:
        """Write a folder with ``posterior.nc`` (netCDF, opens in ArviZ) and ``manifest.json``.

        Raises:
            SavedFileError: the folder exists and holds something else.
        """
        from probinf.results.saving import save

        save(self, path)

    def plot(self, kind: str = "trace", names: list[str] | None = None, **options: Any) -> Any:
        """A picture: ``"corner"``, or through ArviZ ``"trace"``, ``"rank"``, ``"forest"``, ...

        Others of ArviZ are ``"pair"``, ``"dist"``, ``"energy"`` (of NUTS and HMC) and ``"ppc"``,
        the data among those that the model predicts (``key=`` draws them).

        Args:
            kind: which picture.
            names: sites to show; all by default. ``"corner"`` takes scalars too, and respects
                weights.
            **options: passed to ArviZ, or those of :func:`probinf.results.corner.corner`
                (``quantiles``, ``levels``, ``truths``, ``bins``, ``smooth``, ...).

        Raises:
            MethodError: no such kind of picture, or not of these draws.
            MissingPackageError: the extra ``plot`` is not installed.
        """
        from probinf.results.plotting import plot

        return plot(self, kind, names, **options)

    def __repr__(self) -> str:
        chains, draws = self.log_weights.shape
        evidence = "" if self.evidence is None else f", log evidence {self.evidence}"
        sites = ", ".join(self.draws) or "no site (summaries only)"
        return f"Posterior({self.engine}, {chains} x {draws} draws of {sites}{evidence})"
