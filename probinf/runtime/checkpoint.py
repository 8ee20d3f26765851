"""Checkpoints: a run on disk, chunk by chunk, from where it continues bit for bit."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.program import Key, Program
from probinf.errors import SavedFileError
from probinf.results.storage import atomically, digest, own_digest, write_arrays

_SCHEMA = 1
_MANIFEST = "checkpoint.json"


@dataclasses.dataclass
class Checkpoint:
    """The folder of one run: a manifest, the lanes' states, and the records of every chunk.

    A chunk is on disk before the manifest names it, and every file is renamed into place, so
    that a run can be killed at any instant.

    Attributes:
        folder: where.
        header: what was run, on which data, with which key.
        chunks: checksum of each chunk's records.
        seconds: running time so far.
    """

    folder: pathlib.Path
    header: dict[str, Any]
    chunks: list[str]
    seconds: float = 0.0

    @classmethod
    def create(
        cls, path: str | pathlib.Path, method: Any, program: Program, key: Key
    ) -> Checkpoint:
        """A new folder for a run.

        Raises:
            SavedFileError: the folder holds something already.
        """
        folder = pathlib.Path(path)
        if (folder / _MANIFEST).exists():
            raise SavedFileError(
                f"{folder} holds a run already. Continue it with pi.resume({str(path)!r}, program) "
                "or choose another folder."
            )
        if folder.exists() and any(folder.iterdir()):
            raise SavedFileError(f"{folder} holds something else; choose another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        header = {
            "schema": _SCHEMA,
            "probinf": importlib.metadata.version("probinf"),
            "method": encoded(method),
            "method_text": repr(method),
            "key": np.asarray(jax.random.key_data(key)).tolist(),
            "key_kind": str(jax.random.key_impl(key)),
            "data": data_digest(program),
        }
        store = cls(folder, header, [])
        store._write_manifest("")
        return store

    @classmethod
    def open(cls, path: str | pathlib.Path, program: Program) -> Checkpoint:
        """The run in a folder.

        Raises:
            SavedFileError: there is none, it was edited or truncated, or it belongs to other
                data.
        """
        folder = pathlib.Path(path)
        try:
            manifest = json.loads((folder / _MANIFEST).read_text())
        except FileNotFoundError:
            raise SavedFileError(f"{folder} holds no run: {_MANIFEST} is missing.") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise SavedFileError(f"{folder / _MANIFEST} is damaged: {error}.") from None
        if not isinstance(manifest, dict) or manifest.get("manifest_sha256") != own_digest(
            manifest
        ):
            raise SavedFileError(f"{folder / _MANIFEST} was edited; its checksum differs.")
        header = manifest["header"]
        if header["schema"] != _SCHEMA:
            raise SavedFileError(
                f"{folder} was written by probinf {header['probinf']} with schema "
                f"{header['schema']}; this version continues {_SCHEMA}."
            )
        if header["data"] != data_digest(program):
            raise SavedFileError(
                f"{folder} was run on other data than this program holds. Resume with the same "
                "model, data, shapes and precision."
            )
        return cls(folder, header, manifest["chunks"], manifest["seconds"])

    @property
    def key(self) -> Key:
        """The key of the run."""
        data = jnp.asarray(np.asarray(self.header["key"], np.uint32))
        return jax.random.wrap_key_data(data, impl=self.header["key_kind"])

    def append(self, lanes: Any, pieces: list[Any], seconds: float) -> None:
        """Put one more chunk and the states after it on disk."""
        index = len(self.chunks)
        records = {
            f"{lane}:{k}": leaf
            for lane, piece in enumerate(pieces)
            for k, leaf in enumerate(jax.tree.leaves(piece))
        }
        states = {str(k): _to_numpy(leaf) for k, leaf in enumerate(jax.tree.leaves(lanes))}
        chunk, state = self._file("chunk", index), self._file("state", index)
        atomically(chunk, lambda f: write_arrays(records, f))
        atomically(state, lambda f: write_arrays(states, f))
        self.chunks.append(digest(chunk))
        self.seconds = seconds
        self._write_manifest(digest(state))
        self._file("state", index - 1).unlink(missing_ok=True)

    def _write_manifest(self, state: str) -> None:
        manifest: dict[str, Any] = {
            "header": self.header,
            "chunks": self.chunks,
            "seconds": round(self.seconds, 3),
            "state": state,
        }
        manifest["manifest_sha256"] = own_digest(manifest)
        atomically(self.folder / _MANIFEST, lambda f: f.write_text(json.dumps(manifest)))

    def lanes(self, example: Any) -> Any:
        """The lanes after the last chunk, shaped like the example."""
        manifest = json.loads((self.folder / _MANIFEST).read_text())
        stored = self._read(self._file("state", len(self.chunks) - 1), manifest["state"])
        leaves, treedef = jax.tree.flatten(example)
        found = [self._restored(leaf, stored.get(str(k))) for k, leaf in enumerate(leaves)]
        return jax.tree.unflatten(treedef, found)

    def stored(self, record: Any, count: int) -> Iterator[list[Any]]:
        """Chunk after chunk: the records of every lane, with the structure of ``record``."""
        width, shape = len(jax.tree.leaves(record)), jax.tree.structure(record)
        for index, checksum in enumerate(self.chunks):
            arrays = self._read(self._file("chunk", index), checksum)
            yield [
                jax.tree.unflatten(shape, [arrays[f"{lane}:{k}"] for k in range(width)])
                for lane in range(count)
            ]

    def _restored(self, example: Any, value: np.ndarray | None) -> Any:
        is_key = jnp.issubdtype(example.dtype, jax.dtypes.prng_key)
        found = None if value is None else jnp.asarray(value)
        if is_key and found is not None:
            found = jax.random.wrap_key_data(found, impl=self.header["key_kind"])
        if found is None or found.shape != example.shape or found.dtype != example.dtype:
            raise SavedFileError(
                f"{self.folder}: the stored state does not fit this program and method. Resume "
                "with the same model, data, shapes and precision."
            )
        return found

    def _file(self, kind: str, index: int) -> pathlib.Path:
        return self.folder / f"{kind}-{index:06d}.safetensors"

    def _read(self, file: pathlib.Path, checksum: str) -> dict[str, np.ndarray]:
        from safetensors.numpy import load_file

        if not file.exists() or digest(file) != checksum:
            raise SavedFileError(f"{file} is missing, truncated or edited; its checksum differs.")
        return load_file(file)


def data_digest(program: Program) -> str:
    """Checksum of a program's data: structure, types and every value."""
    leaves, treedef = jax.tree.flatten(program.data)
    total = hashlib.sha256(str(treedef).encode())
    for leaf in leaves:
        value = _to_numpy(jnp.asarray(leaf))
        total.update(f"{value.dtype}{value.shape}".encode())
        total.update(np.ascontiguousarray(value).tobytes())
    return total.hexdigest()


def encoded(value: Any) -> Any:
    """A method and its options as JSON; what is not probinf's own is only named."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        options = {f.name: encoded(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": f"{type(value).__module__}:{type(value).__qualname__}", "options": options}
    if isinstance(value, tuple):
        return {"tuple": [encoded(v) for v in value]}
    if callable(value):
        return {"function": f"{value.__module__}:{value.__qualname__}"}
    return value


def decoded(text: Any) -> Any:
    """The inverse of ``encoded``, for names inside probinf only.

    Raises:
        SavedFileError: a name lies outside probinf.
    """
    if not isinstance(text, dict):
        return text
    if "tuple" in text:
        return tuple(decoded(v) for v in text["tuple"])
    name = text.get("type") or text.get("function") or ""
    module, _, attribute = name.partition(":")
    if module.split(".")[0] != "probinf" or not attribute.isidentifier():
        raise SavedFileError(
            f"the run used {name or text!r}, which is not part of probinf. Pass the same method: "
            "pi.resume(path, program, method=...)."
        )
    found = getattr(importlib.import_module(module), attribute)
    if "function" in text:
        return found
    if not (inspect.isclass(found) and dataclasses.is_dataclass(found)):
        raise SavedFileError(f"{name} is not a method or kernel.")
    return found(**{k: decoded(v) for k, v in text["options"].items()})


def _to_numpy(leaf: Any) -> np.ndarray:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf))
    return np.asarray(leaf)
