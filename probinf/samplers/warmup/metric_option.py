"""The option ``metric=`` of Markov chains: a name, or groups of sites that share a covariance."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, cast, get_args

from probinf.core.coordinates import Layout
from probinf.errors import MethodError

Metric = Literal["auto", "diagonal", "dense", "low_rank"]
Groups: TypeAlias = tuple[tuple[str, ...], ...]


def checked(metric: Any) -> Metric | Groups | None:
    """A metric by name, or groups of sites as tuples.

    Raises:
        MethodError: it is neither, or a site is in two groups.
    """
    if metric is None or (isinstance(metric, str) and metric in get_args(Metric)):
        return cast("Metric | None", metric)
    groups = tuple(metric) if isinstance(metric, list | tuple) else ()
    named = [
        isinstance(g, list | tuple) and g and all(isinstance(n, str) for n in g) for g in groups
    ]
    if not groups or not all(named):
        raise MethodError(
            "metric must be 'auto', 'diagonal', 'dense', 'low_rank', or groups of sites such as "
            f"[('a', 'b')], got {metric!r}."
        )
    names = [name for group in groups for name in group]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MethodError(
            f"metric: {twice} is named twice. Put sites that belong together in one group."
        )
    return tuple(tuple(group) for group in groups)


def check_sites(groups: Groups, layout: Layout) -> None:
    """Raise MethodError where a group names a site that the program does not have."""
    known = layout.places()
    unknown = [name for group in groups for name in group if name not in known]
    if unknown and not known:
        raise MethodError(
            "metric: the coordinates of this program have no names. Use 'dense' or 'low_rank'."
        )
    if unknown:
        raise MethodError(
            f"metric: no latent site named {unknown}; this program has {sorted(known)}."
        )
