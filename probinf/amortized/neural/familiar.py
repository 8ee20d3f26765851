"""Familiar: how far a data set lies from those seen in training, with calibrated shares."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.nets.fixed import Fixed
from probinf.amortized.neural.marginals import Marginals
from probinf.amortized.neural.predictive import predictive_p
from probinf.amortized.neural.simulations import Sites
from probinf.core.inputs.tables import labels
from probinf.errors import RangeWarning
from probinf.results.findings import Finding

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior

_MOST = 999  # data sets that calibrate: shares of a thousandth can be seen
SUMMARY = ("summary of the set",)
"""The site of data that are learned statistics of others, which no program simulates."""

LEVEL = 0.005
"""Share of the data sets of a right simulator that each test of :meth:`Familiarity.findings`
calls unusual, where the calibration can resolve it."""


class Familiar(Fixed):
    """A description of the training data, and how far other data of the simulator lie from it.

    The mean and covariance come from one part of the data and the distances from another, so
    that the rank of a new data set among them is uniform whatever the description is worth.

    Attributes:
        mean: (c,) of the summaries.
        factor: (c, c) Cholesky factor of their covariance.
        low: (d,) smallest value of every entry of the data.
        high: (d,) largest value.
        distances: (m,) squared Mahalanobis distances of other data sets, in order.
        extremes: (m,) their largest absolute normal score of an entry, in order.
    """

    mean: Float[Array, " c"]
    factor: Float[Array, "c c"]
    low: Float[Array, " d"]
    high: Float[Array, " d"]
    distances: Float[Array, " m"]
    extremes: Float[Array, " m"]

    @classmethod
    def of(
        cls,
        summaries: np.ndarray,
        others: np.ndarray,
        data: np.ndarray,
        extremes: np.ndarray,
    ) -> Familiar:
        """From data of the simulator.

        Args:
            summaries: (n, c) of the data that describe.
            others: (m, c) of the data that calibrate.
            data: (..., d) all of them; NaN where an entry is missing.
            extremes: (m,) largest absolute normal score of the data that calibrate.
        """
        s = np.asarray(summaries, float)
        mean = s.mean(axis=0)
        centred = s - mean
        covariance = centred.T @ centred / max(len(s) - 1, 1)
        variances = np.diag(covariance)
        ridge = 1e-4 * np.where(variances > 0, variances, 1.0) + 1e-6 * variances.max(initial=1e-6)
        factor = np.linalg.cholesky(covariance + np.diag(ridge))
        others, extremes = np.asarray(others, float)[:_MOST], np.asarray(extremes, float)[:_MOST]
        distances = np.square(np.linalg.solve(factor, (others - mean).T)).sum(axis=0)
        flat = np.asarray(data, float).reshape(-1, data.shape[-1])
        low, high = np.nanmin(flat, axis=0), np.nanmax(flat, axis=0)
        found = mean, factor, low, high, np.sort(distances), np.sort(extremes)
        return cls(*(jnp.asarray(v, float) for v in found))

    @classmethod
    def blank(cls, size: int, entries: int, calibrated: int = 1) -> Familiar:
        """Of the right structure; to be filled from a file."""
        shapes = (size,), (size, size), (entries,), (entries,), (calibrated,), (calibrated,)
        return cls(*(jnp.zeros(shape) for shape in shapes))

    @property
    def calibrated(self) -> int:
        """How many data sets calibrate."""
        return int(self.distances.shape[0])

    def __call__(
        self,
        summary: Float[Array, " c"],
        data: Float[Array, "*n d"],
        scores: Float[Array, "*n d"],
        inputs: Marginals,
        sites: Sites,
    ) -> Familiarity:
        """How unusual one data set is.

        Args:
            summary: of it.
            data: its entries, NaN where one is missing; with a leading axis for exchangeable ones.
            scores: normal scores of the entries, 0 where one is missing.
            inputs: what the scores come from.
            sites: the observed sites.
        """
        gap = summary - self.mean
        d2 = jnp.sum(jax.scipy.linalg.solve_triangular(self.factor, gap, lower=True) ** 2)
        extreme = jnp.max(jnp.abs(scores), initial=0.0)
        return Familiarity(
            d2,
            jnp.mean(self.distances >= d2),
            jnp.mean(self.extremes >= extreme),
            extreme,
            d2 / jnp.maximum(self.distances[-1], 1e-30),
            data,
            self.low,
            self.high,
            inputs,
            sites,
            self.calibrated,
        )


def p_of_furthest(share: float, beyond: int, among: int, calibrated: int) -> float:
    """Probability that data of a right simulator are as unusual, from ranks.

    Exact, whatever the network, for data of the trained shape; for sets, whose calibration mixes
    sizes, on average over these. Of several data sets it is twice the smaller of two exact ones:
    that the furthest is as far out, and that as many lie beyond all that calibrate.

    Args:
        share: of the data that calibrate, at least as far out as the furthest.
        beyond: data sets further out than all of these.
        among: data sets.
        calibrated: data that calibrate.
    """
    m, n = among, calibrated
    if m == 1:
        return (1 + n * share) / (n + 1)
    before = np.arange(round(n * share) + 1)  # of n + m in order, none of the first is new
    furthest = 1 - float(np.prod((n - before) / (n + m - before)))
    first = np.arange(beyond)
    several = float(np.prod((m - first) / (n + m - first))) if beyond else 1.0
    return min(1.0, 2 * min(furthest, several))


class Familiarity(eqx.Module):
    """How unusual one data set is.

    Attributes:
        distance: squared Mahalanobis distance of its summary.
        share: of the data of the simulator at least as far out; 0 beyond all of them.
        share_outer: of them with an entry at least as far out in its own marginal.
        extreme: largest absolute normal score of an entry.
        excess: distance over the largest one in training.
        data: the data set.
        low: smallest simulated value of every entry.
        high: largest simulated value.
        inputs: marginals of the simulated data.
        sites: the observed sites.
        calibrated: number of data sets that the shares come from.
        among: data sets of which this is the most unusual: none, where it is about one.
        beyond: of them, those further out than all that calibrate: by distance, by an entry.
    """

    distance: Float[Array, ""]
    share: Float[Array, ""]
    share_outer: Float[Array, ""]
    extreme: Float[Array, ""]
    excess: Float[Array, ""]
    data: Float[Array, "*n d"]
    low: Float[Array, " d"]
    high: Float[Array, " d"]
    inputs: Marginals
    sites: Sites = eqx.field(static=True)
    calibrated: int = eqx.field(static=True)
    among: int = eqx.field(static=True, default=1)
    beyond: tuple[Any, Any] = (0, 0)

    @property
    def level(self) -> float:
        """Largest p-value that counts as unusual."""
        return max(LEVEL, 1 / (self.calibrated + 1))

    def p_value(self, share: Any, beyond: Any = 0) -> float:
        """Probability that data of the simulator are as unusual; see :func:`p_of_furthest`."""
        return p_of_furthest(float(share), int(beyond), self.among, self.calibrated)

    def warn(self) -> None:
        """Warn when the data lie beyond all training data; silent under a trace."""
        if isinstance(self.excess, jax.core.Tracer) or not float(self.excess) > 1:
            return
        warnings.warn(
            f"the observations lie outside the training data: the Mahalanobis distance of their "
            f"summary is {float(self.excess) ** 0.5:.3g} times the largest one in training. "
            "Check units and the simulator, and correct the answer with pi.refine.",
            RangeWarning,
            stacklevel=3,
        )

    def unusual(self) -> list[Finding]:
        """What the data alone say against the simulator."""
        found = []
        outer = self.p_value(self.share_outer, self.beyond[1])
        inner = self.p_value(self.share, self.beyond[0])
        if outer <= self.level * (1 + 1e-6):
            found.append(Finding("outside_simulations", self._entries(outer)))
        if inner <= self.level * (1 + 1e-6):
            found.append(
                Finding(
                    "unusual_data",
                    f"the summary of the observations is further from those of the simulations "
                    f"than {1 - inner:.1%} of them (Mahalanobis distance "
                    f"{float(self.distance) ** 0.5:.3g}). The simulator hardly makes such data: "
                    "check it, the prior and the units; the network answers by extrapolation.",
                )
            )
        return found

    def findings(self, posterior: Posterior) -> list[Finding]:
        """For ``diagnose``: unusual data, and data that the posterior itself does not predict.

        Each of three tests calls data of a right simulator unusual in half a percent of the cases
        (the last in one percent at most).
        """
        found = self.unusual()
        alone = self.data.ndim == 1 and self.among == 1 and self.sites.names != SUMMARY
        p = predictive_p(posterior, self) if alone else None
        if p is not None and p <= LEVEL:
            found.append(
                Finding(
                    "predictive",
                    "the observations lie further from what the posterior predicts than all of "
                    f"its predictions (p = {p:.3g}). No parameters of this simulator explain "
                    "these data, or the learned posterior is wrong: check with pi.refine.",
                )
            )
        return found

    def _entries(self, p: float) -> str:
        values = np.atleast_2d(np.asarray(self.data, float))
        low, high = np.asarray(self.low, float), np.asarray(self.high, float)
        width = np.maximum(high - low, 1e-30)
        beyond = np.nanmax(np.maximum(low - values, values - high) / width, axis=0)
        worst = int(np.nanargmax(beyond))
        row = int(np.nanargmax(np.maximum(low - values, values - high)[:, worst]))
        shapes = self.sites.shapes
        if self.data.ndim > 1:  # of one datum of a set
            shapes = tuple(shape[1:] for shape in shapes)
        name = labels(self.sites.names, shapes)[worst]
        count = int(np.sum(beyond > 0))
        told = f"{name} = {values[row, worst]:.4g}, simulated {low[worst]:.4g} to {high[worst]:.4g}"
        if not count:
            return (
                f"the observations have an entry at the end of what was simulated ({told}; "
                f"p = {p:.2g}). Check units and the simulator."
            )
        return (
            f"{count} of {len(beyond)} entries of the observations lie outside the range of all "
            f"simulations, furthest {told} (p = {p:.2g}). Check units and the simulator: the "
            "network answers by extrapolation."
        )
