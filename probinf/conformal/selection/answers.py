"""Many questions to one sample, asked in the light of earlier answers: honest by noise."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.conformal.selection.privacy import failure_grid, transferred
from probinf.core.inputs.arrays import ArrayLike, Number, as_float, nonnegative
from probinf.core.inputs.levels import fraction
from probinf.core.inputs.limits import at_least, check_choice, positive
from probinf.core.keys import as_generator
from probinf.core.program import Key
from probinf.errors import ArrayError, CalibrationError


def seed_words(key: int | Key) -> tuple[int, ...]:
    """A key as numbers, to which the number of a query is added."""
    return tuple(int(w) for w in as_generator(key).integers(0, 2**32, 4))


def _unit(name: str, values: ArrayLike, ndim: Any, rows: int | None = None) -> np.ndarray:
    found = np.asarray(as_float(name, values, ndim=ndim, size=rows), float)
    if found.size == 0 or found.min() < 0 or found.max() > 1:
        raise ArrayError(
            f"{name} must lie in [0, 1], the range for which the noise is made; rescale the query."
        )
    return found


@dataclasses.dataclass(frozen=True)
class NoisyAnswers:
    """A sample that answers adaptively chosen questions with noise.

    Attributes:
        seed: of the noise to come.
        n: points in the sample.
        queries: how many may be asked.
        asked: how many were.
        mechanism: ``"gaussian"`` or ``"laplace"``.
        noise: standard deviation, or scale of the Laplace law.
        failure: probability that any answer is further off than ``bound``.
    """

    seed: tuple[int, ...]
    n: int
    queries: int
    asked: int
    mechanism: str
    noise: float
    failure: float

    @property
    def rho(self) -> float:
        """Concentrated differential privacy (zCDP) of all answers together."""
        step = 1 / (self.n * self.noise)  # a point moves a mean by at most 1 / n
        return self.queries * step**2 / 2

    @property
    def bound(self) -> float:
        """Error of all answers about new data, with probability ``1 - failure``; at most 1."""
        return min(self._proved(), 1.0)

    def _proved(self) -> float:
        """The bound as the theorem gives it, which may exceed 1 and then says nothing."""
        failures = failure_grid(self.failure)
        with np.errstate(over="ignore"):  # a vast privacy loss has an infinite bound
            return transferred(self._spread(failures), failures, self.rho, self.failure)

    def _spread(self, failures: np.ndarray) -> np.ndarray:
        """Absolute noise that no query exceeds but with these probabilities."""
        from scipy.special import ndtri

        if self.mechanism == "gaussian":
            return np.asarray(-self.noise * ndtri(failures / (2 * self.queries)))
        return np.asarray(self.noise * np.log(self.queries / failures))

    def query(self, values: ArrayLike) -> tuple[Any, NoisyAnswers]:
        """Answer one query, or several at once, and move on.

        Args:
            values: (n,) or (n, k) values of the queries on the sample, in [0, 1].

        Returns:
            The answer, or (k,) answers, and the next state.

        Raises:
            ArrayError: values outside [0, 1], another number of rows.
            CalibrationError: more queries than were declared.
        """
        found = _unit("values", values, (1, 2), self.n)
        count = 1 if found.ndim == 1 else found.shape[1]
        if self.asked + count > self.queries:
            raise CalibrationError(
                f"{self.asked} of {self.queries} queries are asked, {count} more are too many: "
                "declare more from the start (at the price of accuracy), or collect fresh data."
            )
        draw = np.random.default_rng((*self.seed, self.asked))
        law = draw.normal if self.mechanism == "gaussian" else draw.laplace
        answers = found.mean(axis=0) + law(scale=self.noise, size=found.shape[1:])
        after = dataclasses.replace(self, asked=self.asked + count)
        return (float(answers) if found.ndim == 1 else answers), after


def noisy_answers(
    key: int | Key,
    *,
    n: int,
    queries: int,
    mechanism: str = "gaussian",
    noise: Number | None = None,
    failure: Number = 0.05,
) -> NoisyAnswers:
    """A sample that may be asked ``queries`` questions, each in the light of all earlier answers.

    Means of the sample itself overfit as soon as questions depend on answers: an analyst can build
    a query whose mean over the sample is far from that over new data. Noise hides the sample's
    peculiarities. ``bound`` is a proved limit for all answers together; it is far from tight.

    Args:
        key: random key or seed.
        n: points in the sample.
        queries: how many questions may be asked.
        mechanism: ``"gaussian"`` or ``"laplace"`` noise.
        noise: its standard deviation, or scale; by default that of the least bound.
        failure: probability that any answer is further off than the bound.

    Raises:
        CalibrationError: no noise has a bound below 1, and none was given.

    Source: Dwork, Feldman, Hardt, Pitassi, Reingold & Roth (2015); Jung et al. (2020).
    """
    check_choice("mechanism", mechanism, ("gaussian", "laplace"))
    at_least(1, n=n, queries=queries)
    positive(noise=noise)
    fraction("failure", failure)

    def state(scale: float, rows: int = n) -> NoisyAnswers:
        return NoisyAnswers(seed, int(rows), int(queries), 0, mechanism, scale, float(failure))

    def least(rows: int) -> tuple[float, float]:
        """The least bound of so many points, and its noise."""
        return min((state(float(s), rows)._proved(), float(s)) for s in np.geomspace(1e-4, 1, 81))

    seed = seed_words(key)
    if noise is not None:
        return state(float(noise))
    bound, scale = least(n)
    if bound >= 1:
        few, enough = n, 2 * n
        while least(enough)[0] >= 1:
            few, enough = enough, 2 * enough
        while enough - few > enough // 100 + 1:
            middle = (few + enough) // 2
            few, enough = (middle, enough) if least(middle)[0] >= 1 else (few, middle)
        raise CalibrationError(
            f"n={n} points cannot answer queries={queries} adaptive questions with a proved error "
            f"below 1, whatever the noise; about {enough} points would do. Declare fewer queries, "
            "collect more data, or give noise= to be answered without such a bound."
        )
    return state(scale)


@dataclasses.dataclass(frozen=True)
class PrivateWeights:
    """A histogram that learns to answer like the sample, and looks at the sample only when it errs.

    Attributes:
        seed: of the noise to come.
        counts: (U,) points of the sample in each cell of the universe.
        weights: (U,) the public histogram, whose answers cost nothing.
        threshold: error of the histogram at which it is corrected.
        scale: of the Laplace noise.
        budget: corrections that are left.
        corrected: how many there were.
        asked: queries so far.
        gamma: noise on the threshold, redrawn after every correction.
    """

    seed: tuple[int, ...]
    counts: np.ndarray
    weights: np.ndarray
    threshold: float
    scale: float
    budget: int
    corrected: int
    asked: int
    gamma: float

    def query(self, values: ArrayLike) -> tuple[float, bool, PrivateWeights]:
        """Answer one query.

        Args:
            values: (U,) value of the query in each cell, in [0, 1].

        Returns:
            The answer, whether the histogram had to be corrected, and the next state.

        Raises:
            CalibrationError: the budget is spent; the histogram's own answers stay free.
        """
        if self.budget <= 0:
            raise CalibrationError(
                "the budget of corrections is spent, and even a comparison with the sample would "
                "tell of it: collect a fresh sample, or answer from the histogram alone, "
                "weights @ values."
            )
        q = _unit("values", values, 1, self.counts.size)
        draw = np.random.default_rng((*self.seed, self.asked))
        eta, answer, gamma = draw.laplace(size=3)
        held, mine = float(self.counts @ q) / self.counts.sum(), float(self.weights @ q)
        after = dataclasses.replace(self, asked=self.asked + 1)
        if abs(held - mine) <= self.threshold + self.gamma + 4 * self.scale * eta:
            return mine, False, after
        told = held + self.scale * answer
        step = 4 * self.threshold * np.sign(told - mine)
        logits = np.log(self.weights) + step * q
        weights = np.exp(logits - logits.max())
        after = dataclasses.replace(
            after,
            weights=weights / weights.sum(),
            budget=self.budget - 1,
            corrected=self.corrected + 1,
            gamma=2 * self.scale * float(gamma),
        )
        return told, True, after

    def bound(self, queries: int, *, failure: Number = 0.05) -> float:
        """Error of all answers about new data, with probability ``1 - failure``; at most 1.

        Args:
            queries: how many are asked.
            failure: probability that any answer is further off.
        """
        at_least(1, queries=queries)
        most = self.budget + self.corrected
        failures = failure_grid(float(failure))
        noise = 2 * np.log(3 * (most + 1) / failures) + 4 * np.log(3 * queries / failures)
        noise = np.maximum(noise, np.log(3 * (most + 1) / failures))
        step = 1 / (self.counts.sum() * self.scale)  # epsilon of one comparison, and of one answer
        rho = (most + 1) * (2 * step) ** 2 / 2
        return min(
            transferred(self.threshold + self.scale * noise, failures, rho, float(failure)), 1.0
        )


def private_weights(
    key: int | Key,
    counts: ArrayLike,
    *,
    threshold: Number = 0.05,
    scale: Number = 0.005,
    budget: int | None = None,
) -> PrivateWeights:
    """Answers to many queries about a discrete universe, of which few touch the sample.

    A histogram over the universe answers; only where a noisy comparison finds it wrong by about the
    threshold is the sample's (noisy) answer given, and the histogram moved towards it. Without
    noise, no sequence of queries can correct it more often than ``log(U) / (2 threshold^2)`` times.

    Args:
        key: random key or seed.
        counts: (U,) points of the sample in each cell: combinations of categories, say.
        threshold: error of the histogram that may pass.
        scale: Laplace noise, a fraction of the threshold.
        budget: corrections allowed; by default ``log(U) / threshold^2``, twice what is needed
            without noise.

    Raises:
        ArrayError: negative counts, no points.
        MethodError: a threshold or scale that is not positive.

    Source: Hardt & Rothblum (2010), private multiplicative weights; the step is that of the
    potential argument with Hoeffding's lemma.
    """
    held = np.asarray(nonnegative("counts", as_float("counts", counts, ndim=1)), float)
    if held.size < 2 or held.sum() < 1:
        raise ArrayError("counts must hold two cells or more, and at least one point.")
    positive(threshold=threshold, scale=scale)
    at_least(1, budget=budget)
    most = int(np.ceil(np.log(held.size) / float(threshold) ** 2)) if budget is None else budget
    seed = seed_words(key)
    gamma = 2 * float(scale) * float(np.random.default_rng((*seed, 2**32)).laplace())
    uniform = np.full(held.size, 1 / held.size)
    return PrivateWeights(
        seed, held, uniform, float(threshold), float(scale), int(most), 0, 0, gamma
    )
