"""Saved posteriors: netCDF in ArviZ's schema, every array bit for bit, JSON; no pickle."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from probinf.core.law_storage import taken_apart
from probinf.results.belonging import densities, has_positions
from probinf.results.datatree import to_datatree
from probinf.runtime.archive import atomically, own_folder, write_arrays, write_manifest

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior

SCHEMA = 2
MANIFEST = "manifest.json"
ARRAYS = "arrays.safetensors"


def save(posterior: Posterior, path: str | pathlib.Path) -> None:
    """See :meth:`probinf.Posterior.save`."""
    folder = own_folder(path, MANIFEST)
    streamed, evidence = posterior.streamed, posterior.evidence
    tree = to_datatree(posterior)
    atomically(folder / "posterior.nc", lambda f: tree.to_netcdf(f, engine="h5netcdf"))
    entries: dict[str, Any] = {
        "sha256": write_arrays(_named(posterior), folder / ARRAYS),
        "kind": posterior.kind,
        "sites": list(posterior.draws),
        "axes": posterior.axes.described() if posterior.axes else None,
        "streamed": None if streamed is None else [streamed.names, list(streamed.columns)],
        "evidence": None if evidence is None else list(evidence),
        "no_evidence": posterior.no_evidence,
        "findings": [[finding.code, finding.message] for finding in posterior.findings],
        "provenance": posterior.provenance,
        "densities": _densities(posterior),
        "approximation": None
        if posterior.approximation is None
        else taken_apart(posterior.approximation)[0],
    }
    write_manifest(folder / MANIFEST, SCHEMA, entries, indent=1)


def _densities(posterior: Posterior) -> dict[str, list[float]] | None:
    """By which ``load`` knows the program again."""
    if posterior.program is None or not has_positions(posterior):
        return None
    return densities(posterior, posterior.program)


def _named(posterior: Posterior) -> dict[str, np.ndarray]:
    arrays = {"log_weights": posterior.log_weights, "unconstrained": posterior.unconstrained}
    for prefix in ("draws", "stats", "history"):
        arrays |= {f"{prefix}:{k}": v for k, v in getattr(posterior, prefix).items()}
    arrays |= {f"keys:{k}": v for k, v in enumerate(posterior.keys)}
    if posterior.streamed is not None:
        arrays |= {f"summary:{k}": v for k, v in posterior.streamed.columns.items()}
    if posterior.approximation is not None:
        law = taken_apart(posterior.approximation)[1]
        arrays |= {f"approximation:{k}": v for k, v in enumerate(law)}
    if posterior.clusters is not None:
        arrays["clusters"] = posterior.clusters
    return arrays
