"""Draws for other libraries: pandas, anesthetic, and the text files of GetDist and CosmoMC."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probinf.errors import MethodError, MissingPackageError, SavedFileError, StructureError
from probinf.results.summary import scalars

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


def save_getdist(posterior: Posterior, root: str | pathlib.Path) -> list[pathlib.Path]:
    """See :meth:`probinf.Posterior.save_getdist`."""
    if posterior.streamed is not None or not posterior.draws:
        raise StructureError("save_getdist: no draws were kept. Run again with keep=.")
    root = pathlib.Path(root)
    if not root.parent.is_dir():
        raise SavedFileError(f"save_getdist: there is no folder {root.parent}. Make it first.")
    chains = len(posterior.log_weights)
    older = [p.name for p in root.parent.glob(f"{root.name}_*.txt") if _number(p, root) > chains]
    if older:
        raise SavedFileError(
            f"save_getdist: {sorted(older)} are of another posterior and would be read as chains "
            "of this one. Remove them, or choose another root."
        )
    names, values = scalars(posterior.draws, posterior.axes)
    known = next((n for n in ("log_likelihood", "log_density") if n in posterior.stats), None)
    log_p = np.zeros(posterior.log_weights.shape) if known is None else posterior.stats[known]
    weights = np.exp(posterior.log_weights - posterior.log_weights.max())
    paths = []
    for k in range(len(weights)):
        alive = weights[k] > 0
        table = np.column_stack([weights[k], -log_p[k], values[k]])[alive]
        paths.append(root.with_name(f"{root.name}_{k + 1}.txt"))
        np.savetxt(paths[-1], table)
    paths.append(root.with_name(f"{root.name}.paramnames"))
    lines = ["\t".join(("_".join(name.split()), _latex(name))) for name in names]
    paths[-1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths


def _number(path: pathlib.Path, root: pathlib.Path) -> int:
    """Of a chain's file; 0 for a file of something else."""
    rest = path.stem[len(root.name) + 1 :]
    return int(rest) if rest.isdecimal() else 0


def _latex(name: str) -> str:
    return "\\mathrm{" + name.replace("_", "\\_").replace(" ", "\\ ") + "}"


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
        entries = itertools.product(*posterior.axes.labels(name, value.shape[2:]))
        while name in _ITS_OWN or name in columns:
            name = f"{name}_"
        for k, at in enumerate(entries):
            columns[name + (f"[{', '.join(at)}]" if at else "")] = flat[:, k]
    log_l = posterior.stats["log_likelihood"][0]
    birth = posterior.stats["birth_log_likelihood"][0]
    return NestedSamples(
        data=np.column_stack(list(columns.values())),
        columns=list(columns),
        logL=np.where(np.isneginf(log_l), _NEVER, log_l),
        logL_birth=np.where(np.isnan(birth), -np.inf, np.maximum(birth, _NEVER)),
    )
