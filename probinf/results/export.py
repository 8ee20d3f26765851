"""Draws for other libraries: pandas, and anesthetic, the post-processor of nested sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probinf.errors import MethodError, MissingPackageError

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior

_ITS_OWN = ("logL", "logL_birth", "nlive", "insertion")  # columns of anesthetic
_NEVER = -9e29  # counts in the volumes and weighs nothing; below 1e30 anesthetic drops points


def to_dataframe(posterior: Posterior, names: str | Sequence[str] | None) -> Any:
    """See :meth:`probinf.Posterior.to_dataframe`."""
    try:
        import pandas
    except ImportError as error:
        raise MissingPackageError(
            "to_dataframe needs the package pandas: pip install pandas."
        ) from error

    sites = posterior.draws if names is None else [names] if isinstance(names, str) else names
    draws = {site: posterior[site] for site in sites}
    chains, count = posterior.log_weights.shape
    index = pandas.MultiIndex.from_product([range(chains), range(count)], names=["chain", "draw"])
    columns: dict[str, np.ndarray] = {}
    for site, value in draws.items():
        flat = value.reshape(chains * count, -1)
        for k, name in enumerate(posterior.axes.scalars({site: value.shape[2:]})):
            columns[name] = flat[:, k]
    if posterior.weighted:
        columns["log_weight"] = posterior.log_weights.ravel()
    return pandas.DataFrame(columns, index=index)


def to_anesthetic(posterior: Posterior) -> Any:
    """See :meth:`probinf.Posterior.to_anesthetic`."""
    if "birth_log_likelihood" not in posterior.stats:
        raise MethodError(
            "to_anesthetic needs the birth contours of a nested-sampling run; this posterior is "
            f"from {posterior.provenance.get('method', 'another engine')}. Use Nested()."
        )
    try:
        from anesthetic import NestedSamples
    except ImportError as error:
        raise MissingPackageError(
            "to_anesthetic needs the package anesthetic: pip install anesthetic."
        ) from error

    columns: dict[str, np.ndarray] = {}
    for name, value in posterior.draws.items():
        flat = value[0].reshape(value.shape[1], -1)
        index = list(np.ndindex(value.shape[2:]))
        while name in _ITS_OWN or name in columns:
            name = f"{name}_"
        for k, at in enumerate(index):
            columns[name + (f"[{', '.join(map(str, at))}]" if at else "")] = flat[:, k]
    log_l = posterior.stats["log_likelihood"][0]
    birth = posterior.stats["birth_log_likelihood"][0]
    return NestedSamples(
        data=np.column_stack(list(columns.values())),
        columns=list(columns),
        logL=np.where(np.isneginf(log_l), _NEVER, log_l),
        logL_birth=np.where(np.isnan(birth), -np.inf, np.maximum(birth, _NEVER)),
    )
