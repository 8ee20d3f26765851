"""Several models of the same data by their evidences: a table of their probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from probinf.core.estimate import Estimate
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.errors import EvidenceError, MethodError, StructureError
from probinf.evidence.bridge import bridge
from probinf.results.posterior import Posterior

_SIMULATED = 4_000


@dataclasses.dataclass(frozen=True)
class ModelProbabilities:
    """Models by their probability given the data, the most probable first.

    Attributes:
        evidences: by model, the log evidence.
        log_bayes_factors: by model, against the most probable one.
        prior: by model, its probability before the data.
        probabilities: by model, that after them, with the standard error that those of the
            evidences make.
        intervals: by model, ends between which the probability lies in nine of ten cases, as
            evidences vary by their errors.
    """

    evidences: dict[str, Estimate]
    log_bayes_factors: dict[str, Estimate]
    prior: dict[str, float]
    probabilities: dict[str, Estimate]
    intervals: dict[str, tuple[float, float]]

    def __str__(self) -> str:
        width = max(5, *(len(name) for name in self.evidences))
        head = (
            f"{'log evidence':>22}  {'log Bayes factor':>18}  prior  probability      5 % to 95 %"
        )
        lines = [f"{'':{width}}  {head}"]
        for name, found in self.evidences.items():
            factor, p = self.log_bayes_factors[name], self.probabilities[name]
            low, high = self.intervals[name]
            lines.append(
                f"{name:{width}}  {found!s:>22}  {factor!s:>18}  {self.prior[name]:5.3f}  "
                f"{p.value:11.4f}  {low:7.4f}  {high:7.4f}"
            )
        return "\n".join(lines)

    __repr__ = __str__

    def to_dataframe(self) -> Any:
        """The table as a pandas DataFrame, a row per model."""
        import pandas

        columns = {
            "log_evidence": [e.value for e in self.evidences.values()],
            "log_evidence_error": [e.error for e in self.evidences.values()],
            "log_bayes_factor": [e.value for e in self.log_bayes_factors.values()],
            "prior": list(self.prior.values()),
            "probability": [p.value for p in self.probabilities.values()],
            "probability_error": [p.error for p in self.probabilities.values()],
            "q5": [low for low, _ in self.intervals.values()],
            "q95": [high for _, high in self.intervals.values()],
        }
        return pandas.DataFrame(columns, index=list(self.evidences))


def model_probabilities(
    posteriors: Mapping[str, Posterior | Estimate],
    key: int | Key | None,
    prior: Mapping[str, float] | None,
) -> ModelProbabilities:
    """See :func:`probinf.compare_evidence`."""
    if len(posteriors) < 2:
        raise StructureError("compare_evidence: give at least two models, {'a': p1, 'b': p2}.")
    _check_same_data(posteriors)
    before = _prior(list(posteriors), prior)
    keys = [None] * len(posteriors) if key is None else jax.random.split(as_key(key), len(before))
    found = {
        name: _evidence(name, given, own)
        for (name, given), own in zip(posteriors.items(), keys, strict=True)
    }
    values = np.array([e.value for e in found.values()])
    errors = np.array([e.error for e in found.values()])
    for name, e in found.items():
        if np.isnan(e.value) or e.value == np.inf:
            raise EvidenceError(
                f"compare_evidence: the log evidence of model '{name}' is {e.value}; there is "
                "nothing to compare. Look at what its posterior's diagnose() says."
            )
    p = _softmax(values + np.log(before))
    # of p_i = softmax_i, whose derivatives are p_i (1[i = j] - p_j)
    slopes = p[:, None] * (np.eye(len(p)) - p)
    if np.isfinite(errors).all():
        spread = np.sqrt((slopes**2) @ errors**2)
        noise = np.random.default_rng(0).normal(size=(_SIMULATED, len(p))) * errors
        low, high = np.quantile(_softmax(values + np.log(before) + noise), [0.05, 0.95], axis=0)
    else:  # of an unknown error nothing follows
        spread, low, high = np.full(len(p), np.nan), np.zeros(len(p)), np.ones(len(p))
    names, best = list(found), int(np.argmax(p))
    order = np.argsort(-p, kind="stable")

    def ranked(values: list[Any]) -> dict[str, Any]:
        return {names[i]: values[i] for i in order}

    factors = [
        Estimate(
            e.value - values[best], 0.0 if i == best else float(np.hypot(e.error, errors[best]))
        )
        for i, e in enumerate(found.values())
    ]
    return ModelProbabilities(
        ranked(list(found.values())),
        ranked(factors),
        ranked(before.tolist()),
        ranked([Estimate(float(a), float(b)) for a, b in zip(p, spread, strict=True)]),
        ranked([(float(a), float(b)) for a, b in zip(low, high, strict=True)]),
    )


def _softmax(log_p: np.ndarray) -> np.ndarray:
    p = np.exp(log_p - log_p.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def _evidence(name: str, given: Any, key: Key | None) -> Estimate:
    if isinstance(given, Estimate):
        return given
    if not isinstance(given, Posterior):
        raise StructureError(
            f"compare_evidence: model '{name}' must be a Posterior or the Estimate of its log "
            f"evidence, got {type(given).__name__}. Run it first, pi.sample(program, pi.Nested())."
        )
    if given.evidence is not None:
        return given.evidence
    if given.weighted:
        return given.log_evidence  # which says why there is none
    if key is not None:
        return bridge(given, key=key)
    raise EvidenceError(
        f"compare_evidence: model '{name}' is from {given.engine}, which has no evidence of its "
        "own. Pass key= to have it bridged, or run it by SMC, Nested or ParallelTempering."
    )


def _prior(names: list[str], prior: Mapping[str, float] | None) -> np.ndarray:
    if prior is None:
        return np.full(len(names), 1 / len(names))
    if set(prior) != set(names):
        raise MethodError(
            f"compare_evidence: prior= needs a weight for each of {names}, got {list(prior)}."
        )
    weights = np.array([prior[name] for name in names], float)
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise MethodError(f"compare_evidence: prior weights must be positive, got {dict(prior)}.")
    return weights / weights.sum()


def _check_same_data(posteriors: Mapping[str, Any]) -> None:
    known = {
        name: values
        for name, p in posteriors.items()
        if isinstance(p, Posterior) and (values := _observed(p.program)) is not None
    }
    for name, values in known.items():
        first, own = next(iter(known.items()))
        if values.size != own.size:
            what = f"observes {values.size} values, '{first}' {own.size}"
        elif not np.allclose(values, own, rtol=1e-5, atol=0, equal_nan=True):
            k = int(np.argmax(~np.isclose(values, own, rtol=1e-5, atol=0)))
            what = f"observes other values than '{first}': {values[k]:g}, and {own[k]:g}, in order"
        else:
            continue
        raise StructureError(
            f"compare_evidence: model '{name}' {what}. Evidences of different data, or of data "
            "that are transformed or summed up, do not compare. Fit all models to the same; or, "
            "where a constant has been taken care of, give their log evidences as pi.Estimate."
        )


def _observed(program: Program | None) -> np.ndarray | None:
    """All observed values in order of size; None where there are none to see."""
    if program is None or program.observations is None:
        return None
    values = jax.jit(program.observations.get)(program.data)
    flat = [
        np.asarray(v, float).ravel() for v in values.values() if np.asarray(v).dtype.kind != "c"
    ]
    found = np.sort(np.concatenate([np.zeros(0), *flat]))
    return found if found.size else None
