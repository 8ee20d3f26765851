"""load: a saved posterior, every array as it was."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from probinf.core.axes import NOTHING, Axes
from probinf.core.estimate import Estimate
from probinf.core.law_storage import put_together
from probinf.core.program import Program
from probinf.results.belonging import same_coordinates, same_density
from probinf.results.findings import Finding
from probinf.results.posterior import Kind, Posterior
from probinf.results.saving import ARRAYS, MANIFEST, SCHEMA
from probinf.results.summary import Summary
from probinf.runtime.archive import read_arrays, read_manifest

_KINDS_OF_1: dict[str, Kind] = {"SMC": "population", "PersistentSMC": "population"}
_JUDGED_LATER = ("Importance", "Nested", "ParallelTempering")


def load(path: str | pathlib.Path, program: Program | None = None) -> Posterior:
    """Read a posterior that ``save`` wrote; every array as it was, bit for bit.

    Args:
        path: the folder.
        program: the program of the fit, on the same data; needed for what evaluates it
            (``predict``, ``loo``, ``update``).

    Raises:
        StructureError: the program is not the one of the fit, judged by its sites and by prior
            and likelihood at some draws.
        SavedFileError: the folder is not a saved posterior, is from a newer version, or was
            truncated or edited.
    """
    folder = pathlib.Path(path)
    manifest = read_manifest(
        folder / MANIFEST,
        (1, SCHEMA),
        missing=f"{folder} is not a saved posterior: {MANIFEST} is missing.",
        remedy="Read it with that version.",
    )
    if manifest["schema"] == 1:
        manifest = _from_1(manifest)
    arrays = read_arrays(folder / ARRAYS, manifest["sha256"])

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {k.split(":", 1)[1]: v for k, v in arrays.items() if k.startswith(f"{prefix}:")}

    keys, draws = part("keys"), part("draws")
    evidence, streamed = manifest["evidence"], manifest["streamed"]
    kind: Kind = manifest["kind"] or ("weighted" if "clusters" in arrays else "chains")
    found = Posterior(
        draws={site: draws[site] for site in manifest["sites"]},
        log_weights=arrays["log_weights"],
        stats=part("stats"),
        history=part("history"),
        unconstrained=arrays["unconstrained"],
        keys=tuple(keys[str(k)] for k in range(len(keys))),
        kind=kind,
        findings=tuple(Finding(*found) for found in manifest["findings"]),
        clusters=arrays.get("clusters"),
        evidence=None if evidence is None else Estimate(*evidence),
        no_evidence=manifest["no_evidence"],
        provenance=manifest["provenance"],
        program=program,
        approximation=_law(manifest.get("approximation"), part("approximation")),
        streamed=None if streamed is None else _table(part("summary"), *streamed),
        axes=Axes.of(manifest.get("axes")) or (NOTHING if program is None else program.axes),
    )
    if program is not None:
        same_coordinates(found, program, "load")
        if manifest.get("densities") is not None:
            same_density(found, program, manifest["densities"])
    return found


def _law(described: dict[str, Any] | None, arrays: dict[str, np.ndarray]) -> Any:
    if described is None:
        return None
    return put_together(described, [arrays[str(k)] for k in range(len(arrays))])


def _table(columns: dict[str, np.ndarray], names: list[str], order: list[str]) -> Summary:
    return Summary({column: columns[column] for column in order}, names)


def _from_1(manifest: dict[str, Any]) -> dict[str, Any]:
    """Schema 1, which had neither kind nor findings, as schema 2."""
    provenance = manifest["provenance"]
    engine = provenance.get("method", "?").split("(")[0]
    findings = []
    if engine in _JUDGED_LATER:
        findings = [
            [
                "older_version",
                f"saved by probinf {manifest.get('probinf')}, whose files do not keep what "
                f"{engine} itself finds wrong. Run again to have it judged.",
            ]
        ]
    return {
        "streamed": None,
        **manifest,
        "kind": _KINDS_OF_1.get(engine),
        "findings": findings,
        "provenance": {"engine": engine, **provenance},
    }
