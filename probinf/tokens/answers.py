"""Which answer many tries give: votes, best of N, and what the model's own probability adds."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from scipy.special import logsumexp

from probinf.core.inputs.limits import check_choice
from probinf.errors import ArrayError
from probinf.tokens.pruning import likely

Prune = Literal["weibull"]


class Answers(NamedTuple):
    """Distinct answers and their shares, the largest first.

    Attributes:
        answers: distinct, in decreasing order of share; ties in order of appearance.
        shares: of each, sums to one.
    """

    answers: tuple[Any, ...]
    shares: np.ndarray

    @property
    def best(self) -> Any:
        """The answer of the largest share."""
        return self.answers[0]


def self_consistency(answers: Iterable[Hashable], log_weights: Any = None) -> Answers:
    """The share of each answer among tries, which count equally or by weight.

    With the draws and log weights of a filter it is the posterior probability of each answer.

    Args:
        answers: (n,) one per try; None for a try without an answer, which counts as one.
        log_weights: (n,) of any total.

    Raises:
        ArrayError: there are no answers, or the weights are not one per answer.

    Source: Wang et al. (2023), arXiv 2203.11171.
    """
    given = _answers(answers)
    log_w = np.zeros(len(given)) if log_weights is None else _numbers("log_weights", log_weights)
    return _tallied(given, _same_length("log_weights", log_w, given))


def best_of_n(answers: Iterable[Hashable], scores: Any) -> Any:
    """The answer of the try with the highest score; the first of equals.

    Args:
        answers: (n,) one per try.
        scores: (n,) of a verifier, larger is better.
    """
    given = _answers(answers)
    found = _same_length("scores", _numbers("scores", scores), given)
    return given[int(np.argmax(found))]


def weighted_best_of_n(answers: Iterable[Hashable], scores: Any) -> Answers:
    """Shares by the sum of the scores of all tries with the same answer.

    Args:
        answers: (n,) one per try.
        scores: (n,) in [0, 1].

    Source: Li et al. (2023), arXiv 2206.02336.
    """
    given = _answers(answers)
    found = _same_length("scores", _numbers("scores", scores), given)
    outside = np.flatnonzero((found < 0) | (found > 1))
    if outside.size:
        raise ArrayError(
            f"scores[{outside[0]}] is {found[outside[0]]:g}; a score that is summed must lie in "
            "[0, 1]."
        )
    if not found.any():
        raise ArrayError("scores: all are zero, so that no answer has a share.")
    with np.errstate(divide="ignore"):
        return _tallied(given, np.log(found))


def internal_probability(
    answers: Iterable[Hashable],
    texts: Iterable[Hashable],
    log_prob: Any,
    *,
    prune: Prune | None = None,
) -> Answers:
    """Shares by the model's own probability of each distinct text, as published for RPC.

    Among few tries it forgets what was not drawn: where no text is likely it is far from the
    truth, and further than votes are. ``horvitz_thompson`` makes up for that.

    With ``prune="weibull"`` improbable texts have no say. Two Weibull laws are fitted to the
    probabilities of all tries; a text is left out that rather belongs to the law of the smaller
    mean and is less probable than the mean of all tries. Answers that only such texts give have
    share zero.

    Args:
        answers: (n,) one per try.
        texts: (n,) that gave them; equal ones count once.
        log_prob: (n,) of the texts under the model. (The published program takes the mean over
            the tokens of a text, the log of its inverse perplexity, in its place.)
        prune: ``"weibull"``, or None to count every text.

    Raises:
        ArrayError: an array has another length, or there are fewer than five tries to prune.
        MethodError: ``prune`` is another word.

    Source: Zhou et al. (2025), arXiv 2510.15444.
    """
    given, found, first, _ = _distinct(answers, texts, log_prob)
    if prune is not None:
        check_choice("prune", prune, get_args(Prune))
        kept = likely(_numbers("log_prob", log_prob))[first]
        found = np.where(kept, found, -np.inf)
    return _tallied(given, found)


def horvitz_thompson(
    answers: Iterable[Hashable],
    texts: Iterable[Hashable],
    log_prob: Any,
    *,
    log_proposal: Any = None,
) -> Answers:
    """Shares by each distinct text's probability over its chance to be among the tries.

    The sum over texts with an answer of p / (1 - (1 - q)^n) is unbiased for the probability of
    the answer (before it is divided by the total). Where texts repeat it knows p exactly, where
    none does it is a vote.

    Args:
        answers: (n,) one per try.
        texts: (n,) that gave them; equal ones count once.
        log_prob: (n,) of the texts under the law whose answers are asked for (a power of the
            model's, say; of any total).
        log_proposal: (n,) of the texts under the law that they were drawn from independently; by
            default the same, normalised.

    Raises:
        ArrayError: an array has another length, or log probabilities that are NaN or (of the
            proposal) positive, or differ for equal texts.

    Source: Horvitz & Thompson (1952).
    """
    seen = _answers(texts)
    given, found, first, n = _distinct(answers, seen, log_prob)
    seen = [seen[k] for k in first]
    law = found
    if log_proposal is not None:
        law = _numbers("log_proposal", log_proposal)
        law = _same_length("log_proposal", law, _answers(answers))[first]
    if np.isneginf(law).any():
        raise ArrayError(
            f"text {seen[int(np.argmax(np.isneginf(law)))]!r} is among the tries, and its log "
            "probability is -inf under the law that they were drawn from; give the law that they "
            "come from (log_proposal=)."
        )
    if (law > 1e-4).any():
        raise ArrayError(
            f"the log probability {law.max():g} of a text is positive; texts must come with the "
            "normalised law that they were drawn from (log_proposal=)."
        )
    law = np.minimum(law, 0.0)
    with np.errstate(divide="ignore"):
        never = n * np.log1p(-np.exp(law))  # log of the chance that the text is not among them
        included = np.log(-np.expm1(never))
    tiny = law < -30  # where 1 - q is 1
    included = np.where(tiny, law + np.log(n), included)
    return _tallied(given, found - included)


def _distinct(answers: Any, texts: Any, log_prob: Any) -> tuple[list[Any], np.ndarray, Any, int]:
    """Answer and log probability of each distinct text, where it comes first, and all tries."""
    given = _answers(answers)
    seen = _same_length("texts", _answers(texts), given)
    found = _same_length("log_prob", _numbers("log_prob", log_prob), given)
    first: dict[Any, int] = {}
    for k, text in enumerate(seen):
        j = first.setdefault(text, k)
        least = min(abs(found[j]), abs(found[k]))
        far = found[j] != found[k] and abs(found[j] - found[k]) > 1e-3 * (1 + least)
        if far or given[j] != given[k]:
            raise ArrayError(
                f"texts[{j}] and texts[{k}] are equal, but their log probabilities are "
                f"{found[j]:g} and {found[k]:g}, and their answers {given[j]!r} and {given[k]!r}."
            )
    index = np.fromiter(first.values(), int)
    return [given[k] for k in index], found[index], index, len(given)


def _tallied(answers: list[Any], log_w: np.ndarray) -> Answers:
    places: dict[Any, list[int]] = {}
    for k, answer in enumerate(answers):
        places.setdefault(answer, []).append(k)
    total = logsumexp(log_w)
    if not np.isfinite(total):
        raise ArrayError(f"the weights of the answers add up to {np.exp(total):g}.")
    shares = np.array([np.exp(logsumexp(log_w[index]) - total) for index in places.values()])
    order = np.argsort(-shares, kind="stable")
    names = list(places)
    return Answers(tuple(names[k] for k in order), shares[order])


def _answers(given: Any) -> list[Any]:
    """Hashable entries; rows of an array are tuples."""
    if hasattr(given, "tolist"):
        given = given.tolist()
    found = [tuple(v) if isinstance(v, list) else v for v in given]
    if not found:
        raise ArrayError("answers: there are none; give at least one try.")
    return found


def _numbers(name: str, given: Any) -> np.ndarray:
    found = np.asarray(given, float)
    if found.ndim != 1 or np.isnan(found).any() or np.isposinf(found).any():
        raise ArrayError(
            f"{name} must be one number per try, without NaN or +inf, got shape {found.shape}, "
            f"{int(np.isnan(found).sum())} of them NaN."
        )
    return found


def _same_length(name: str, found: Any, answers: list[Any]) -> Any:
    if len(found) != len(answers):
        raise ArrayError(f"{name} has {len(found)} entries for {len(answers)} answers.")
    return found
