"""Posteriors to and from xarray and disk: netCDF in the ArviZ schema, JSON, no pickle."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import pathlib
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from probinf.core.estimate import Estimate
from probinf.core.program import Program
from probinf.errors import SavedFileError
from probinf.results.summary import Summary

if TYPE_CHECKING:
    import xarray

    from probinf.results.posterior import Posterior

_SCHEMA = 1
_ARVIZ_NAMES = {"log_density": "lp", "acceptance": "acceptance_rate", "divergent": "diverging",
                "evaluations": "n_steps", "depth": "tree_depth"}  # fmt: skip


def _group(values: dict[str, np.ndarray], lead: tuple[str, ...], attrs: Any = None) -> Any:
    """Arrays as a Dataset: leading dimensions named, the others ``site_dim_0``, ...

    A slash in a site's name (NumPyro's scope) is not allowed in a file and becomes a dot.
    """
    import xarray

    variables = {}
    for name, value in values.items():
        safe = name.replace("/", ".")
        dims = [*lead, *(f"{safe}_dim_{k}" for k in range(np.ndim(value) - len(lead)))]
        variables[safe] = (dims, np.asarray(value))
    sizes: dict[str, int] = {}
    for dims, value in variables.values():
        sizes |= dict(zip(dims, value.shape, strict=True))
    coords = {d: np.arange(n) for d, n in sizes.items()}
    return xarray.Dataset(variables, coords=coords, attrs=attrs or {})


def to_datatree(posterior: Posterior) -> xarray.DataTree:
    """See :meth:`probinf.Posterior.to_datatree`."""
    import xarray

    view = posterior.resampled()
    attrs = {
        "inference_library": "probinf",
        "inference_library_version": importlib.metadata.version("probinf"),
        "sampler": posterior.provenance.get("method", ""),
        "resampled": int(posterior.weighted),
    }
    if posterior.evidence is not None:
        attrs["log_evidence"] = posterior.evidence.value
        attrs["log_evidence_error"] = posterior.evidence.error
    lead = ("chain", "draw")
    stats = {_ARVIZ_NAMES.get(name, name): value for name, value in view.stats.items()}
    groups = {
        "posterior": _group(view.draws, lead, attrs),
        "sample_stats": _group(stats, lead, attrs),
    }
    if view.unconstrained.shape[-1]:
        groups["unconstrained_posterior"] = _group({"position": view.unconstrained}, lead)
    if posterior.streamed is not None:
        table = posterior.streamed
        groups["summary"] = _group({"name": np.asarray(table.names), **table.columns}, ("scalar",))
    if posterior.weighted:
        groups["weighted_posterior"] = _group(
            {**posterior.draws, "log_weight": posterior.log_weights}, lead, attrs
        )
    if posterior.history:
        groups["history"] = _group(posterior.history, ("chain", "stage"))
    observed = _observed(posterior.program)
    if observed:
        groups["observed_data"] = _group(observed, ())
    return xarray.DataTree.from_dict({f"/{name}": data for name, data in groups.items()})


def _observed(program: Program | None) -> dict[str, np.ndarray]:
    if program is None or program.observations is None:
        return {}
    values = jax.jit(program.observations.get)(program.data)
    return {name: np.asarray(value) for name, value in values.items()}


def save(posterior: Posterior, path: str | pathlib.Path) -> None:
    """See :meth:`probinf.Posterior.save`."""
    folder = pathlib.Path(path)
    if folder.exists() and any(folder.iterdir()) and not (folder / "manifest.json").exists():
        raise FileExistsError(f"{folder} exists and holds something else; choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    arrays = _flat_arrays(posterior)
    atomically(folder / "posterior.nc", lambda f: to_datatree(posterior).to_netcdf(f))
    atomically(folder / "arrays.safetensors", lambda f: write_arrays(arrays, f))
    manifest: dict[str, Any] = {
        "schema": _SCHEMA,
        "probinf": importlib.metadata.version("probinf"),
        "sha256": digest(folder / "arrays.safetensors"),
        "sites": list(posterior.draws),
        "streamed": None
        if posterior.streamed is None
        else [posterior.streamed.names, list(posterior.streamed.columns)],
        "evidence": None if posterior.evidence is None else list(posterior.evidence),
        "no_evidence": posterior.no_evidence,
        "provenance": posterior.provenance,
    }
    manifest["manifest_sha256"] = own_digest(manifest)
    atomically(folder / "manifest.json", lambda f: f.write_text(json.dumps(manifest, indent=1)))


def _flat_arrays(posterior: Posterior) -> dict[str, np.ndarray]:
    arrays = {"log_weights": posterior.log_weights, "unconstrained": posterior.unconstrained}
    for prefix in ("draws", "stats", "history"):
        arrays |= {f"{prefix}:{k}": v for k, v in getattr(posterior, prefix).items()}
    arrays |= {f"keys:{k}": v for k, v in enumerate(posterior.keys)}
    if posterior.streamed is not None:
        arrays |= {f"summary:{k}": v for k, v in posterior.streamed.columns.items()}
    if posterior.clusters is not None:
        arrays["clusters"] = posterior.clusters
    return arrays


def write_arrays(arrays: dict[str, np.ndarray], path: pathlib.Path) -> None:
    """Write named arrays as safetensors."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, path)


def atomically(path: pathlib.Path, write: Any) -> None:
    """Write a file under another name, then rename it into place."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    os.replace(partial, path)


def digest(path: pathlib.Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def own_digest(manifest: dict[str, Any]) -> str:
    """Checksum of all other entries, as they read after a round trip through JSON."""
    content = {name: value for name, value in manifest.items() if name != "manifest_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load(path: str | pathlib.Path, program: Program | None = None) -> Posterior:
    """Read a posterior that ``save`` wrote; every array as it was, bit for bit.

    Args:
        path: the folder.
        program: the program of the fit, needed for ``predict`` only.

    Raises:
        SavedFileError: the folder is not a saved posterior, is from a newer version, or was
            truncated or edited.
    """
    from safetensors.numpy import load_file

    from probinf.results.posterior import Posterior

    folder = pathlib.Path(path)
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except FileNotFoundError:
        raise SavedFileError(
            f"{folder} is not a saved posterior: manifest.json is missing."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SavedFileError(f"{folder / 'manifest.json'} is damaged: {error}.") from None
    if not isinstance(manifest, dict):
        raise SavedFileError(f"{folder / 'manifest.json'} is damaged: it holds no record.")
    if manifest.get("schema") != _SCHEMA:
        raise SavedFileError(
            f"{folder} has schema {manifest.get('schema')}, this version of probinf reads "
            f"{_SCHEMA}; it was written by probinf {manifest.get('probinf')}."
        )
    if manifest.get("manifest_sha256") != own_digest(manifest):
        raise SavedFileError(f"{folder / 'manifest.json'} was edited; its checksum differs.")
    file = folder / "arrays.safetensors"
    if not file.exists() or digest(file) != manifest["sha256"]:
        raise SavedFileError(f"{file} is missing, truncated or edited; its checksum differs.")
    arrays = load_file(file)

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {k.split(":", 1)[1]: v for k, v in arrays.items() if k.startswith(f"{prefix}:")}

    keys, draws = part("keys"), part("draws")
    evidence, streamed = manifest["evidence"], manifest.get("streamed")
    return Posterior(
        draws={site: draws[site] for site in manifest["sites"]},
        log_weights=arrays["log_weights"],
        stats=part("stats"),
        history=part("history"),
        unconstrained=arrays["unconstrained"],
        keys=tuple(keys[str(k)] for k in range(len(keys))),
        clusters=arrays.get("clusters"),
        evidence=None if evidence is None else Estimate(*evidence),
        no_evidence=manifest["no_evidence"],
        provenance=manifest["provenance"],
        program=program,
        streamed=None if streamed is None else _table(part("summary"), *streamed),
    )


def _table(columns: dict[str, np.ndarray], names: list[str], order: list[str]) -> Summary:
    return Summary({column: columns[column] for column in order}, names)
