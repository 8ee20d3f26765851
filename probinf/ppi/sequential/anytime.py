"""Confidence sequences: intervals that may be looked at after every label."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.inputs.arrays import Number, check_entries, is_traced
from probinf.core.inputs.frames import same_index, same_rows
from probinf.core.inputs.levels import as_level, fraction
from probinf.core.inputs.limits import at_least, check_choice
from probinf.errors import MethodError, TooFewLabelsError
from probinf.ppi.inference.checks import REMEDY, numeric
from probinf.ppi.sequential.marginals import Prior, check_prior, log_marginal


class Stream(NamedTuple):
    """Running moments of labels and predictions, and those of the unlabelled rows; a pytree.

    Attributes:
        t: labels so far.
        mean: (2,) means of (label, prediction).
        scatter: (2, 2) sums of centred products.
        mean_u, var_u, N: mean, variance and number of unlabelled predictions.
    """

    t: jax.Array
    mean: jax.Array
    scatter: jax.Array
    mean_u: jax.Array
    var_u: jax.Array
    N: jax.Array


@dataclasses.dataclass(frozen=True)
class AnytimeMean:
    """Confidence sequence of a mean, from labels that come one by one or in batches.

    With probability 1 - alpha (asymptotically in ``n_min``) the interval covers the mean after
    every label at once, so that one may stop whenever it is narrow enough. A prior on the
    standardised bias of the predictions narrows it where the predictions are good, and costs
    width where they are not; it never costs coverage. Before rare events (or rare errors of good
    predictions) have been seen a few times, the asymptotics fail: use `BettingMean` for those.

    Attributes:
        alpha: probability that the sequence ever misses.
        prior: None, ``("normal", scale)``, ``("laplace", scale)`` or ``("t", df, scale)`` on the
            mean of (label - prediction) over its standard deviation.
        t_opt: number of labels at which the sequence without prior is narrowest.
        n_min: labels before the first interval; until then it is the whole line.
        lam: weight of the predictions: ``"optimal"``, ``"paper"`` (cov / var) or a number; 0 uses
            the labels alone.
        split: with a prior and finitely many unlabelled rows, the share of alpha that pays for
            the error of their mean.

    Raises:
        MethodError: an unknown prior or weight.

    Source: Cortinovis & Caron (arXiv 2505.18000); without prior Waudby-Smith et al. (2024).
    """

    alpha: Number = 0.1
    prior: Prior = ("t", 2.0, 0.1)
    t_opt: Number = 100.0
    n_min: int = 40
    lam: str | Number = "optimal"
    split: Number = 0.1

    def __post_init__(self) -> None:
        as_level(self.alpha)
        check_prior(self.prior)
        if isinstance(self.lam, str):
            check_choice("lam", self.lam, ("optimal", "paper"))
        fraction("split", self.split)
        if self.n_min < 2 or self.t_opt <= 0:
            raise MethodError(
                f"n_min={self.n_min} and t_opt={self.t_opt}: at least 2 labels, a positive time."
            )

    def init(
        self, fu_mean: float | Any = None, fu_var: float | Any = None, N: float | Any = math.inf
    ) -> Stream:
        """The state before any label.

        Args:
            fu_mean: mean prediction over unlabelled rows; may come later, with `update`.
            fu_var: variance of those predictions; needed for finite N.
            N: how many there are; infinite if the mean is known.
        """
        if fu_var is None:
            if not (isinstance(N, float) and math.isinf(N)):
                raise MethodError("init with a finite N needs fu_var, or the error is ignored.")
            fu_var = 0.0
        if fu_mean is None:
            fu_mean = math.nan
        zero = jnp.zeros(())
        parts = (jnp.asarray(a, zero.dtype) for a in (fu_mean, fu_var, N))
        return Stream(zero, jnp.zeros(2), jnp.zeros((2, 2)), *parts)

    def update(
        self,
        state: Stream,
        y: Any,
        f: Any,
        fu_mean: Any = None,
        fu_var: Any = None,
        N: Any = None,
    ) -> Stream:
        """The state after a batch of labels.

        Args:
            state: before.
            y: label, or (batch,) labels.
            f: prediction(s) on the same rows.
            fu_mean, fu_var, N: moments of the unlabelled rows, if these have grown.

        Raises:
            ArrayError: NaN or infinite values (outside ``jit``).
            MethodError: a finite N whose ``fu_var`` was never given.
        """
        if N is not None and fu_var is None and not is_traced(state.N) and jnp.isinf(state.N):
            raise MethodError("update with a finite N needs fu_var, or the error is ignored.")
        for name, value in (("y", y), ("f", f)):
            check_entries(name, jnp.asarray(value), finite=True, remedy=REMEDY)
        rows = jnp.stack([jnp.atleast_1d(y), jnp.atleast_1d(f)], axis=1)
        count = rows.shape[0]
        mean = rows.mean(axis=0)
        centred = rows - mean
        total = state.t + count
        gap = mean - state.mean
        scatter = state.scatter + centred.T @ centred
        scatter = scatter + jnp.outer(gap, gap) * state.t * count / total
        dtype = state.mean.dtype
        return Stream(
            total,
            state.mean + gap * count / total,
            scatter,
            state.mean_u if fu_mean is None else jnp.asarray(fu_mean, dtype),
            state.var_u if fu_var is None else jnp.asarray(fu_var, dtype),
            state.N if N is None else jnp.asarray(N, dtype),
        )

    def interval(self, state: Stream) -> jax.Array:
        """Limits (2,) after the labels so far.

        The whole line before ``n_min``, and while the labels show no variation around the
        weighted predictions (rare events, predictions without an error so far). Inside ``jit``
        it is the whole line, too, as long as the mean of the unlabelled predictions is not known.

        Raises:
            MethodError: neither `init` nor `update` was given ``fu_mean``, which only labels
                alone (``lam=0, prior=None``) can do without.
        """
        alone = self.prior is None and not isinstance(self.lam, str) and self.lam == 0
        if not alone and not is_traced(state.mean_u) and bool(jnp.isnan(state.mean_u)):
            raise MethodError(
                "fu_mean is not known: give init or update the mean prediction over the unlabelled "
                "rows (fu_mean=), with fu_var= and N= if these rows are a sample. For the labels "
                "alone use AnytimeMean(prior=None, lam=0)."
            )
        state = state._replace(mean_u=jnp.where(alone, 0.0, state.mean_u))
        t = jnp.maximum(state.t, 2.0)
        var_y, var_f = state.scatter[0, 0] / (t - 1), state.scatter[1, 1] / (t - 1)
        cov = state.scatter[0, 1] / (t - 1)
        ratio = t / state.N
        if isinstance(self.lam, str):
            shrink = 1 + ratio if self.lam == "optimal" else 1.0
            lam = jnp.where(var_f > 0, cov / jnp.where(var_f > 0, var_f, 1.0) / shrink, 0.0)
        else:
            lam = jnp.asarray(float(self.lam), state.mean.dtype)
        centre = state.mean[0] - lam * (state.mean[1] - state.mean_u)
        mine = jnp.maximum(var_y - 2 * lam * cov + lam**2 * var_f, 0.0)
        if self.prior is None:
            sd = jnp.sqrt(mine + ratio * lam**2 * state.var_u)
            half = self._plain(sd, t, self.alpha)
        else:
            # The labels estimate the bias of the predictions; their mean has an error of its own.
            sd = jnp.sqrt(mine + ratio * (1 - lam) ** 2 * state.var_u)
            known = jnp.isinf(state.N)
            rest = jnp.where(known, self.alpha, self.alpha * (1 - self.split))
            bias = centre - state.mean_u
            safe = jnp.where(sd > 0, sd, 1.0)
            evidence = log_marginal(self.prior, bias / safe, t)
            growth = jnp.log(t / (2 * jnp.pi * rest**2)) - 2 * evidence
            half = sd / jnp.sqrt(t) * jnp.sqrt(jnp.maximum(growth, 0.0))
            N = jnp.where(known, 1.0, state.N)
            other = self._plain(
                jnp.sqrt(state.var_u), N, self.alpha * self.split, self.t_opt * N / t
            )
            half = half + jnp.where(known, 0.0, other)
        # Labels that the predictions hit exactly, or that never vary, show no error to go by.
        varies = mine > 1e-12 * (var_y + lam**2 * var_f)
        known_mean = ~jnp.isnan(state.mean_u)
        half = jnp.where((state.t >= self.n_min) & varies & known_mean, half, jnp.inf)
        centre = jnp.where(known_mean, centre, 0.0)
        return jnp.stack([centre - half, centre + half])

    def _plain(self, sd: jax.Array, t: jax.Array, alpha: Number, t_opt: Any = None) -> jax.Array:
        """Half-width of the sequence without prior, narrowest at ``t_opt``."""
        best = -2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)
        x = t * best / (self.t_opt if t_opt is None else t_opt)
        return sd / jnp.sqrt(t) * jnp.sqrt((1 + 1 / x) * jnp.log((x + 1) / alpha**2))

    def run(
        self,
        y: Any,
        f: Any,
        f_unlabeled: Any = None,
        *,
        fu_mean: Number | None = None,
        batch: int = 1,
    ) -> np.ndarray:
        """Intervals (n / batch, 2) after every batch, by one compiled scan.

        Args:
            y: (n,) labels in their order.
            f: (n,) predictions.
            f_unlabeled: (N,) predictions of unlabelled rows.
            fu_mean: their mean, if it is known exactly, instead.
            batch: labels between two looks.

        Raises:
            TooFewLabelsError: fewer labels than ``n_min``.
        """
        same_index(y=y, f=f)
        Y, F = numeric("y", y), numeric("f", f)
        n = same_rows(y=Y, f=F)
        if n < self.n_min:
            raise TooFewLabelsError(f"{n} labels, but the sequence starts at n_min={self.n_min}.")
        if n % batch:
            raise MethodError(f"{n} labels do not divide into batches of {batch}.")
        if (f_unlabeled is None) == (fu_mean is None):
            raise MethodError("give either f_unlabeled or fu_mean.")
        at_least(1, batch=batch)
        with jax.enable_x64(True):
            if f_unlabeled is None:
                state = self.init(fu_mean)
            else:
                Fu = numeric("f_unlabeled", f_unlabeled)
                state = self.init(Fu.mean(), Fu.var(ddof=1), len(Fu))
            return np.asarray(_run(self, state, Y.reshape(-1, batch), F.reshape(-1, batch)))


@partial(jax.jit, static_argnames=("sequence",))
def _run(sequence: AnytimeMean, state: Stream, y: jax.Array, f: jax.Array) -> jax.Array:
    def step(state: Stream, rows: tuple[jax.Array, jax.Array]) -> tuple[Stream, jax.Array]:
        state = sequence.update(state, *rows)
        return state, sequence.interval(state)

    return jax.lax.scan(step, state, (y, f))[1]
