"""Tries until a verifier passes one: what that can reach, and how many are worth their cost."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import betainc

from probinf.core.inputs.arrays import ArrayLike, Number
from probinf.core.inputs.levels import fraction
from probinf.errors import ArrayError, TooFewLabelsError
from probinf.ppi import mean
from probinf.tokens.covered import band, log_none


class Ceiling(NamedTuple):
    """What resampling until a verifier passes can reach.

    Attributes:
        ceiling: mean share of right answers among those that pass, of all questions with any.
        right: (K,) probability that a right answer is returned within K tries.
        wrong: (K,) that a wrong one is.
        tries: (K,) expected tries.
    """

    ceiling: float
    right: np.ndarray
    wrong: np.ndarray
    tries: np.ndarray

    def summary(self) -> str:
        """What many tries can reach, for reading."""
        return (
            f"no number of tries gets beyond {self.ceiling:.1%} right; with the most asked for "
            f"{self.right[-1]:.1%} right, {self.wrong[-1]:.1%} wrong after {self.tries[-1]:.3g} "
            "tries on average"
        )

    def __str__(self) -> str:
        return self.summary()


class Optimum(NamedTuple):
    """How many tries are worth it.

    Attributes:
        k: (K,) numbers of tries.
        utility: (K,) expected utility of each.
        lower, upper: (K,) ends of its interval.
        best: the number with the largest utility.
        may_be_best: (K,) whether the data do not exclude that a number is as good as ``best``.
        right, wrong: (K,) probabilities of returning a right and a wrong answer.
        trust: how much the verifier's own verdicts counted, per number: 0 for gold labels alone.
    """

    k: np.ndarray
    utility: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    best: int
    may_be_best: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    trust: np.ndarray

    def summary(self) -> str:
        """The best number of tries and those as good, for reading."""
        at = int(np.flatnonzero(self.k == self.best)[0])
        also = ", ".join(str(int(k)) for k in self.k[self.may_be_best])
        return (
            f"{self.best} tries are worth most: utility {self.utility[at]:.4g} "
            f"[{self.lower[at]:.4g}, {self.upper[at]:.4g}], {self.right[at]:.1%} right, "
            f"{self.wrong[at]:.1%} wrong; not excluded as best: {also}"
        )

    def __str__(self) -> str:
        return self.summary()

    def to_dataframe(self) -> Any:
        """A DataFrame with one row per number of tries."""
        import pandas as pd

        columns = {name: value for name, value in self._asdict().items() if name != "best"}
        return pd.DataFrame(columns).set_index("k")

    def plot(self, axis: Any = None) -> Any:
        """Utility by the number of tries with its interval; returns the axis."""
        axis = band(axis, self.k, self.utility, self.lower, self.upper, "expected utility")
        axis.axvline(self.best, color="0.5", ls=":")
        return axis


def resampling_ceiling(c: ArrayLike, f: ArrayLike, k: ArrayLike = (1,)) -> Ceiling:
    """What K tries return, if each is taken until a verifier passes it.

    A try of a question is right and passes with probability c, wrong and passes with f. Then
    ``c / (c + f) * (1 - (1 - c - f)^K)`` of the runs return a right answer, and no K gets beyond
    ``c / (c + f)``: a weaker model cannot make up for itself by tries, since f / c grows.

    Args:
        c: (questions,), or one number.
        f: (questions,), or one number.
        k: (K,) tries.

    Raises:
        ArrayError: probabilities outside [0, 1], or c + f above 1.

    Source: Stroebl, Kapoor & Narayanan (2024), arXiv 2411.17501; formulas of the geometric law.
    """
    right, wrong = np.broadcast_arrays(np.atleast_1d(_share("c", c)), _share("f", f))
    passes = right + wrong
    if (passes > 1 + 1e-9).any():
        where = int(np.flatnonzero(passes > 1 + 1e-9)[0])
        raise ArrayError(f"c + f is {passes[where]:g} at question {where}; it must be at most 1.")
    ks = np.atleast_1d(np.asarray(k, float))
    if (ks < 1).any():
        raise ArrayError(f"k must be at least 1, got {ks.min():g}.")
    some = passes > 0
    safe = np.where(some, passes, 1.0)
    any_pass = 1 - (1 - np.minimum(passes, 1.0))[:, None] ** ks
    share = np.where(some, right / safe, 0.0)[:, None]
    tries = np.where(some[:, None], any_pass / safe[:, None], ks)
    ceiling = float(share[some].mean()) if some.any() else 0.0
    return Ceiling(
        ceiling,
        (share * any_pass).mean(0),
        ((1 - share) * any_pass).mean(0),
        tries.mean(0),
    )


def optimal_tries(
    passes: ArrayLike,
    gold: ArrayLike,
    k: ArrayLike,
    *,
    benefit: Number = 1.0,
    penalty: Number = 0.0,
    cost: Number = 0.0,
    alpha: Number = 0.1,
) -> Optimum:
    """The number of tries with the largest utility, from many verdicts and a few gold labels.

    The utility of a question is ``benefit`` if a right answer is returned, less ``penalty`` if a
    wrong one is, less ``cost`` for each try. Gold labels of some questions say it without bias;
    the verifier's verdicts predict it for all; prediction-powered inference combines both, with an
    interval that does not rely on the verifier.

    For every question all orders of its tries are averaged over, so that K up to the number of
    tries uses all of them.

    Args:
        passes: (questions, tries) booleans: what the verifier passes.
        gold: (questions, tries), 1 where the answer is right and 0 where it is wrong, NaN on
            questions that have no gold labels; those that have must be a random sample.
        k: (K,) numbers of tries, none above those of a question.
        benefit: of a right answer.
        penalty: of a wrong one that passed.
        cost: of a try.
        alpha: error rate of the intervals.

    Raises:
        ArrayError: shapes that do not fit, or a question that is labelled in part.
        TooFewLabelsError: gold labels of fewer than two questions, or of all of them.

    Source: Stroebl, Kapoor & Narayanan (2024), arXiv 2411.17501; PPI++, arXiv 2311.01453.
    """
    verdicts, truth, labelled = _verdicts(passes, gold)
    level = fraction("alpha", alpha)
    n = verdicts.shape[1]
    ks = np.atleast_1d(np.asarray(k))
    if ks.dtype.kind not in "iu" or ks.min() < 1 or ks.max() > n:
        raise ArrayError(f"k must be whole numbers from 1 to the {n} tries of a question, got {k}.")
    passed = verdicts.sum(1)
    any_pass = 1 - np.exp(log_none(n, passed[:, None], ks))
    taken = _expected_tries(n, passed, ks)
    share = np.where(passed > 0, (truth * verdicts).sum(1) / np.maximum(passed, 1), 0.0)

    def utility(right_share: np.ndarray) -> np.ndarray:
        gain = benefit * right_share - penalty * (1 - right_share)
        return np.asarray(gain[:, None] * any_pass - cost * taken)

    y, f = utility(share), utility(np.ones(len(passed)))  # as if all that passes were right
    options: dict[str, Any] = {"alpha": level, "tune": "element", "clip": False}
    found = mean(y[labelled], f[labelled], f[~labelled], **options)
    ends = np.asarray(found.conf_int())
    best = int(np.argmax(found.theta))
    gaps = y - y[:, [best]], f - f[:, [best]]
    may = np.ones(ks.size, bool)
    for j in range(ks.size):
        if j != best and np.ptp(gaps[0][labelled, j]) > 0:
            own, guess = gaps[0][labelled, j], gaps[1][:, j]
            gap = mean(own, guess[labelled], guess[~labelled], **options)
            may[j] = bool(np.asarray(gap.conf_int()).ravel()[1] >= 0)
    right = (share[labelled, None] * any_pass[labelled]).mean(0)
    wrong = ((1 - share[labelled, None]) * any_pass[labelled]).mean(0)
    trust = np.broadcast_to(np.asarray(found.lam, float), (ks.size,))
    return Optimum(
        ks, np.asarray(found.theta), ends[:, 0], ends[:, 1], int(ks[best]), may, right, wrong, trust
    )


def enough_votes(leader: int, second: int) -> float:
    """The posterior probability that the leading answer has more than half of both's votes.

    Take more tries while it is below .95, say, and stop then.

    Args:
        leader: votes of the leading answer.
        second: votes of the second one.

    Source: Aggarwal, Madaan, Yang & Mausam (2023), arXiv 2305.11860, the Beta criterion.
    """
    if not leader >= second >= 0:
        raise ArrayError(f"the leader has {leader} votes and the second {second}.")
    return float(betainc(second + 1, leader + 1, 0.5))


def _expected_tries(n: int, passed: np.ndarray, ks: np.ndarray) -> np.ndarray:
    """(questions, K), sum over j < k of the chance that the first j tries all fail."""
    before = np.exp(log_none(n, passed[:, None], np.arange(int(ks.max()))))
    return np.cumsum(before, 1)[:, ks - 1]


def _verdicts(passes: Any, gold: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    verdicts, labels = np.asarray(passes), np.asarray(gold, float)
    if verdicts.ndim != 2 or not np.isin(verdicts, (0, 1)).all():
        raise ArrayError("passes must be booleans of shape (questions, tries).")
    if labels.shape != verdicts.shape:
        raise ArrayError(f"gold has shape {labels.shape}, passes {verdicts.shape}.")
    missing = np.isnan(labels)
    if (missing.any(1) != missing.all(1)).any():
        where = int(np.flatnonzero(missing.any(1) & ~missing.all(1))[0])
        raise ArrayError(
            f"gold[{where}] is NaN for some tries only; label all tries of a question that the "
            "verifier passes (0 for the others), or none."
        )
    if not np.isin(labels[~missing], (0, 1)).all():
        raise ArrayError("gold must be 1 (right), 0 (wrong) or NaN (no label).")
    labelled = ~missing.any(1)
    if labelled.sum() < 2 or labelled.all():
        raise TooFewLabelsError(
            f"gold: {int(labelled.sum())} of {len(labelled)} questions have labels; at least two "
            "must, and at least one must not."
        )
    return verdicts.astype(float), np.where(missing, 0.0, labels), labelled


def _share(name: str, given: ArrayLike) -> np.ndarray:
    values = np.asarray(given, float)
    if not ((values >= 0) & (values <= 1)).all():
        raise ArrayError(f"{name} must lie in [0, 1], got {given!r}.")
    return values
