"""Law 6: simulation-based calibration, vectorised over data sets."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.coordinates import flatten, restored
from probinf.errors import MethodError, StructureError
from probinf.population import normalise
from probinf.posterior import as_key
from probinf.program import Key, Program, condition
from probinf.resampling import multinomial
from probinf.run import Method, advance_lane, over_lanes, start_lane
from probinf.samplers import MCMC, NUTS, SMC
from probinf.summary import scalars


@dataclasses.dataclass(frozen=True)
class SbcResult:
    """Ranks of the true parameters among posterior draws, uniform when all is right.

    Attributes:
        ranks: (replication, scalar), integers from 0 to ``draws``.
        draws: posterior draws that each truth was ranked among.
        names: scalar names.
        level: probability of a false alarm over all scalars.
    """

    ranks: np.ndarray
    draws: int
    names: list[str]
    level: float

    @property
    def p_values(self) -> dict[str, float]:
        """Chi-square p-value of uniform ranks per scalar."""
        from scipy.stats import chisquare

        found = {}
        for name, column in zip(self.names, self.ranks.T, strict=True):
            counts = np.bincount(column, minlength=self.draws + 1)
            bins = _bins(self.draws + 1, len(column))
            groups = np.array_split(counts, bins)
            expected = np.array([len(g) for g in groups]) / (self.draws + 1) * len(column)
            found[name] = float(chisquare([g.sum() for g in groups], expected).pvalue)
        return found

    @property
    def passed(self) -> bool:
        """Whether no scalar's ranks depart from uniform, after Bonferroni."""
        return min(self.p_values.values()) * len(self.names) > self.level

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        p = self.p_values
        worst = min(p, key=lambda k: p[k])
        verdict = "uniform" if self.passed else "NOT uniform"
        return (
            f"SBC, {len(self.ranks)} replications: ranks {verdict}; smallest p = {p[worst]:.3g} "
            f"({worst}) of {len(p)} scalars"
        )

    __repr__ = __str__

    def plot(self, names: list[str] | None = None, columns: int = 4) -> Any:
        """ECDF of the ranks minus the uniform one, with a 99 % simultaneous band."""
        import matplotlib.pyplot as plt

        names = self.names if names is None else names
        rows = -(-len(names) // columns)
        figure, axes = plt.subplots(
            rows, columns, figsize=(3 * columns, 2 * rows), squeeze=False, sharey=True
        )
        count = len(self.ranks)
        band = 1.628 / np.sqrt(count)  # Kolmogorov's 99 % quantile
        for axis in axes.ravel()[len(names) :]:
            axis.set_visible(False)
        for axis, name in zip(axes.ravel(), names, strict=False):
            column = (self.ranks[:, self.names.index(name)] + 0.5) / (self.draws + 1)
            u = np.sort(column)
            axis.plot(u, np.arange(1, count + 1) / count - u, drawstyle="steps-post")
            axis.axhspan(-band, band, color="0.9")
            axis.set_title(name)
        figure.tight_layout()
        return figure


def _bins(values: int, replications: int) -> int:
    return int(np.clip(min(values, replications // 25), 2, 20))


@partial(jax.jit, static_argnames=("method", "count"))
def _ranks(method: Method, flat: Program, keys: Key, count: int) -> Any:
    """Per key: the true draws and ``count`` posterior draws, in the user's coordinates."""

    def one(key: Key) -> Any:
        prior_key, data_key, run_key = jax.random.split(key, 3)
        truth = flat.draw(prior_key, flat.data)
        assert flat.simulate is not None
        given = condition(flat, flat.simulate(data_key, truth, flat.data))
        found = _posterior_draws(method, given, run_key, count)
        return jax.vmap(flat.constrain, (0, None))(found, flat.data), flat.constrain(
            truth, flat.data
        )

    # on a CPU one data set after the other: under vmap every chain would wait for the slowest
    return over_lanes(one, keys, keys.shape[0])


def _posterior_draws(method: Method, given: Program, key: Key, count: int) -> Any:
    if isinstance(method, MCMC):
        total = method.warmup + method.draws
        lane = start_lane(method, given, key)
        _, records, _ = advance_lane(method, given, lane, total, total)
        thin = method.draws // count
        kept = jax.tree.map(lambda r: r[method.warmup + thin - 1 :: thin][:count], records.position)
        return restored(kept)
    population = method.populate(key, given)
    ancestors = multinomial(jax.random.fold_in(key, 1), jnp.exp(normalise(population.log_w)))
    order = jax.random.permutation(jax.random.fold_in(key, 2), ancestors)[:count]
    return jax.tree.map(lambda leaf: leaf[order], population.x)


def sbc(
    program: Program,
    method: Method | None = None,
    *,
    key: int | Key,
    replications: int = 1000,
    draws: int = 63,
    batch: int = 250,
    level: float = 1e-3,
) -> SbcResult:
    """Simulation-based calibration of an engine on a model, vectorised over data sets.

    Each replication draws parameters from the prior, simulates data, fits them and ranks the
    true parameters among ``draws`` posterior draws; ranks are uniform if model, simulator
    and engine agree.

    Args:
        program: a model with proper priors that simulates its observations.
        method: the engine; one chain or island per data set. By default NUTS with 200
            warm-up and ``5 * draws`` draws, thinned.
        key: random key or seed.
        replications: data sets.
        draws: posterior draws kept per data set, at most the engine's.
        batch: data sets fitted at once.
        level: probability of a false alarm over all scalars.

    Raises:
        StructureError: the program cannot simulate its observations.
        MethodError: the engine makes fewer than ``draws`` draws.

    Source: Talts, Betancourt, Simpson, Vehtari & Gelman (2018).
    """
    method = NUTS(chains=1, warmup=200, draws=5 * draws) if method is None else method
    if program.simulate is None or program.observations is None:
        raise StructureError("sbc: the program cannot simulate its observations.")
    available = method.draws if isinstance(method, MCMC) else getattr(method, "particles", 0)
    if available < draws:
        raise MethodError(f"sbc: the engine makes {available} draws, fewer than draws={draws}.")
    if isinstance(method, SMC):
        method = dataclasses.replace(method, islands=1)
    flat, _ = flatten(program)
    keys = jax.random.split(as_key(key), replications)
    ranks: list[np.ndarray] = []
    names: list[str] = []
    rng = np.random.default_rng(0)
    size = min(batch, replications)
    for first in range(0, replications, size):
        start = min(first, replications - size)
        found, truth = _ranks(method, flat, keys[start : start + size], draws)
        names, values = scalars({k: np.asarray(v) for k, v in found.items()})
        _, true = scalars({k: np.asarray(v)[:, None] for k, v in truth.items()})
        below = (values < true).sum(axis=1)
        ties = (values == true).sum(axis=1)
        ranks.append((below + rng.integers(0, ties + 1))[first - start :])
    return SbcResult(np.concatenate(ranks), draws, names, level)
