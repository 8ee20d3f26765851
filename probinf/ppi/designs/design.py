"""Design: how rows were sampled, declared once and passed to any estimator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypedDict

from probinf.errors import ArrayError, MethodError


class Sampling(TypedDict, total=False):
    """The fields of a `Design` as keywords of an estimator, where ``groups`` are the clusters."""

    weights: Any
    propensity: Any
    groups: Any
    strata: Any
    finite_population: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Design:
    """How rows were sampled: what the estimate targets, and which variance its interval has.

    Without any field the labelled rows are a simple random sample of all.

    Attributes:
        weights: pair of row weights (n,) and (N,), labelled and unlabelled, either may be None;
            the density ratio under covariate shift.
        propensity: (n,) known probabilities with which the labelled rows were labelled.
        clusters: pair of cluster labels (n,) and (N,); a label in both samples is one cluster.
        strata: pair of stratum labels (n,) and (N,); labels were drawn at random within strata,
            whose shares among all n + N rows count as known.
        finite_population: the target is that of these very n + N rows.

    Raises:
        ArrayError: labels that are no pair.
        MethodError: fields that exclude each other.

    Source: known propensities after active inference (arXiv 2403.03208); clusters, strata and
    finite populations by the usual variances of survey sampling (Cochran, 1977).
    """

    weights: Any = None
    propensity: Any = None
    clusters: Any = None
    strata: Any = None
    finite_population: bool = False

    def __post_init__(self) -> None:
        declared = self.declared
        for field in ("weights", "clusters", "strata"):
            pair = getattr(self, field)
            if pair is not None and not (isinstance(pair, tuple | list) and len(pair) == 2):
                raise ArrayError(f"{spelt(field)} must be a pair (labelled, unlabelled) of arrays.")
        for field, others in _EXCLUSIVE.items():
            both = [spelt(other) for other in others if other in declared]
            if field in declared and both:
                raise MethodError(f"{field} cannot be combined with {' and '.join(both)}.")

    @property
    def declared(self) -> tuple[str, ...]:
        """Names of the fields that say something."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return tuple(name for name, value in values.items() if _says(value))


_EXCLUSIVE = {
    "propensity": ("weights", "strata"),
    # a finite population describes a simple or stratified random sample of labels
    "finite_population": ("weights", "propensity", "clusters"),
}


def spelt(field: str) -> str:
    """A field as messages call it: clusters have another name as a keyword."""
    return "clusters (groups=)" if field == "clusters" else field


def _says(value: Any) -> bool:
    return bool(value) if isinstance(value, bool) else value is not None


def declare(
    design: Design | None,
    keywords: Mapping[str, Any],
    *,
    among: tuple[str, ...] = ("weights", "propensity", "clusters", "strata", "finite_population"),
) -> Design:
    """The design that an estimator was given as ``design=``, as keywords, or in part as either.

    Args:
        design: the record, or None.
        keywords: fields given one by one, see `Sampling`.
        among: fields that the estimator can serve.

    Raises:
        TypeError: a keyword that does not exist.
        MethodError: a field that is given twice, or that the estimator cannot serve.
    """
    unknown = [name for name in keywords if name not in Sampling.__annotations__]
    if unknown:
        raise TypeError(f"got an unexpected keyword argument {unknown[0]!r}")
    own = Design() if design is None else design
    if not isinstance(own, Design):
        raise MethodError(f"design is a {type(design).__name__}; pass design=ppi.Design(...).")
    found = {
        "clusters" if name == "groups" else name: value
        for name, value in keywords.items()
        if _says(value)
    }
    twice = [name for name in found if name in own.declared]
    if twice:
        names = ", ".join(map(spelt, twice))
        raise MethodError(f"{names}: given both as keyword and in design=; drop one of the two.")
    whole = dataclasses.replace(own, **found)
    unserved = [spelt(name) for name in whole.declared if name not in among]
    if unserved:
        raise MethodError(
            f"this estimator cannot serve {', '.join(unserved)}, but {', '.join(among)}; for the "
            "others use ppi.estimate."
        )
    return whole
