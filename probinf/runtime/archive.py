"""Archives: folders with a signed manifest and checked arrays, for runs, posteriors, networks."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from probinf.errors import SavedFileError

_SIGNATURE = "manifest_sha256"
_WAITS = (0.01, 0.1, 1.0)  # seconds before a file is renamed once more


def own_folder(path: str | pathlib.Path, manifest: str) -> pathlib.Path:
    """The folder, made where it is missing.

    Args:
        path: of the folder.
        manifest: name of the file by which an archive of this kind is known.

    Raises:
        SavedFileError: it holds something else.
    """
    folder = pathlib.Path(path)
    if folder.exists() and any(folder.iterdir()) and not (folder / manifest).exists():
        raise SavedFileError(f"{folder} holds something else; choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_arrays(arrays: dict[str, np.ndarray], file: pathlib.Path) -> str:
    """Write named arrays as safetensors, and return the checksum of the file."""
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    atomically(file, lambda partial: save_file(contiguous, partial))
    return digest(file)


def read_arrays(file: pathlib.Path, checksum: str) -> dict[str, np.ndarray]:
    """The arrays of a file.

    Raises:
        SavedFileError: it is not what was written.
    """
    from safetensors.numpy import load_file

    if not file.exists() or digest(file) != checksum:
        raise SavedFileError(f"{file} is missing, truncated or edited; its checksum differs.")
    return load_file(file)


def write_manifest(
    file: pathlib.Path, schema: int, entries: dict[str, Any], indent: int | None = None
) -> None:
    """Write entries as JSON, with schema and version, signed with their own checksum."""
    version = importlib.metadata.version("probinf")
    entries = {"schema": schema, "probinf": version, **entries}
    text = json.dumps(signed(entries), indent=indent)
    atomically(file, lambda partial: partial.write_text(text, encoding="utf-8"))


def read_manifest(
    file: pathlib.Path, schemas: Sequence[int], *, missing: str, remedy: str
) -> dict[str, Any]:
    """The entries of a manifest.

    Args:
        file: the manifest.
        schemas: that can be read.
        missing: what to say where there is no manifest.
        remedy: what to do about one with another schema.

    Raises:
        SavedFileError: it is missing, damaged, edited, or of another schema.
    """
    try:
        manifest = parsed(file.read_bytes(), str(file))
    except FileNotFoundError:
        raise SavedFileError(missing) from None
    header = manifest.get("header", manifest)  # where the schema of older files is
    schema = manifest.get("schema", header.get("schema"))
    if schema not in schemas:
        version = manifest.get("probinf", header.get("probinf"))
        raise SavedFileError(
            f"{file.parent} has schema {schema}, this version of probinf reads "
            f"{' and '.join(map(str, schemas))}; it was written by probinf {version}. {remedy}"
        )
    check_signature(manifest, str(file))
    return manifest


def parsed(text: str | bytes, name: str) -> dict[str, Any]:
    """A record from its JSON.

    Raises:
        SavedFileError: it is none; ``name`` says which.
    """
    try:
        record = json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SavedFileError(f"{name} is damaged: {error}.") from None
    if not isinstance(record, dict):
        raise SavedFileError(f"{name} is damaged: it holds no record.")
    return record


def signed(entries: dict[str, Any], field: str = _SIGNATURE) -> dict[str, Any]:
    """Entries with their own checksum in this field, as they read after a round trip in JSON."""
    return {**entries, field: _own_digest(entries, field)}


def check_signature(entries: dict[str, Any], name: str, field: str = _SIGNATURE) -> None:
    """Refuse entries that are not as they were signed.

    Raises:
        SavedFileError: naming ``name``.
    """
    if entries.get(field) != _own_digest(entries, field):
        raise SavedFileError(f"{name} was edited; its checksum differs.")


def atomically(file: pathlib.Path, write: Callable[[pathlib.Path], Any]) -> None:
    """Write a file under another name, then rename it into place."""
    partial = file.with_name(file.name + ".partial")
    write(partial)
    for wait in (*_WAITS, None):
        try:
            os.replace(partial, file)
            return
        except PermissionError:  # on Windows, while somebody (a virus scanner) reads the old one
            if wait is None:
                raise
            time.sleep(wait)


def digest(file: pathlib.Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _own_digest(entries: dict[str, Any], field: str) -> str:
    content = {name: value for name, value in entries.items() if name != field}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
