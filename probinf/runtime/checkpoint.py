"""Checkpoints: a run on disk, chunk by chunk, from where it continues bit for bit."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.program import Key, Program
from probinf.core.spreading import is_first_process
from probinf.errors import SavedFileError
from probinf.runtime.archive import (
    own_folder,
    read_arrays,
    read_manifest,
    write_arrays,
    write_manifest,
)
from probinf.runtime.codec import described, encoded
from probinf.runtime.fingerprint import differences, fingerprint
from probinf.runtime.loop import to_host

_SCHEMA = 4
_MANIFEST = "checkpoint.json"


@dataclasses.dataclass
class Checkpoint:
    """The folder of one run: a manifest, the lanes' states, and the records of every chunk.

    A chunk is on disk before the manifest names it, and every file is renamed into place, so
    that a run can be killed at any instant. Where several processes work together, the first one
    writes.

    Attributes:
        folder: where.
        header: what was run, on which data, with which key.
        chunks: checksum of each chunk's records.
        seconds: running time so far.
        state: checksum of the states after the last chunk.
    """

    folder: pathlib.Path
    header: dict[str, Any]
    chunks: list[str]
    seconds: float = 0.0
    state: str = ""

    @classmethod
    def create(
        cls,
        path: str | pathlib.Path,
        method: Any,
        program: Program,
        key: Key,
        notes: dict[str, Any],
    ) -> Checkpoint:
        """A new folder for a run.

        Raises:
            SavedFileError: the folder holds something already.
        """
        folder = own_folder(path, _MANIFEST) if is_first_process() else pathlib.Path(path)
        if is_first_process() and (folder / _MANIFEST).exists():
            raise SavedFileError(
                f"{folder} holds a run already. Continue it with pi.resume({str(path)!r}, program) "
                "or choose another folder."
            )
        header = {
            "method": encoded(method),
            "text": described(method),
            "notes": notes,
            "key": np.asarray(jax.random.key_data(key)).tolist(),
            "key_kind": str(jax.random.key_impl(key)),
            "program_parts": fingerprint(program, "program"),
            "method_parts": fingerprint(method, "method"),
        }
        store = cls(folder, header, [])
        store._write_manifest()
        return store

    @staticmethod
    def exists(path: str | pathlib.Path) -> bool:
        """Whether a folder holds a run."""
        return (pathlib.Path(path) / _MANIFEST).exists()

    @classmethod
    def open(
        cls, path: str | pathlib.Path, program: Program, method: Any = None, check: bool = True
    ) -> Checkpoint:
        """The run in a folder.

        Args:
            path: of the folder.
            program: that shall go on.
            method: given anew; None for the one of the run.
            check: whether it must be the same program and method.

        Raises:
            SavedFileError: there is none, it was edited or truncated, or it belongs to other
                data, another model or another method; the message says what is not the same.
        """
        folder = pathlib.Path(path)
        manifest = read_manifest(
            folder / _MANIFEST,
            (_SCHEMA,),
            missing=f"{folder} holds no run: {_MANIFEST} is missing.",
            remedy="Finish the run with the version that began it, or run it again in another "
            "folder.",
        )
        header = manifest["header"]
        if check:
            same = encoded(method) == header["method"]  # or who asks will say so
            _refuse_changes(folder, header, program, method if same else None)
        return cls(folder, header, manifest["chunks"], manifest["seconds"], manifest["state"])

    @property
    def key(self) -> Key:
        """The key of the run."""
        data = jnp.asarray(np.asarray(self.header["key"], np.uint32))
        return jax.random.wrap_key_data(data, impl=self.header["key_kind"])

    def append(self, lanes: Any, pieces: list[Any], seconds: float) -> None:
        """Put one more chunk and the states after it on disk."""
        if not is_first_process():
            return
        index = len(self.chunks)
        records = {
            f"{lane}:{k}": leaf
            for lane, piece in enumerate(pieces)
            for k, leaf in enumerate(jax.tree.leaves(piece))
        }
        states = {str(k): to_host(leaf) for k, leaf in enumerate(jax.tree.leaves(lanes))}
        checksum = write_arrays(records, self._file("chunk", index))
        self.state = write_arrays(states, self._file("state", index))
        self.chunks.append(checksum)
        self.seconds = seconds
        self._write_manifest()
        self._file("state", index - 1).unlink(missing_ok=True)

    def _write_manifest(self) -> None:
        if not is_first_process():
            return
        entries = {
            "header": self.header,
            "chunks": self.chunks,
            "seconds": round(self.seconds, 3),
            "state": self.state,
        }
        write_manifest(self.folder / _MANIFEST, _SCHEMA, entries)

    def lanes(self, example: Any, grows: bool = False) -> Any:
        """The lanes after the last chunk, shaped like the example, or larger where it ``grows``."""
        stored = read_arrays(self._file("state", len(self.chunks) - 1), self.state)
        leaves, treedef = jax.tree.flatten(example)
        found = [self._restored(leaf, stored.get(str(k)), grows) for k, leaf in enumerate(leaves)]
        return jax.tree.unflatten(treedef, found)

    def stored(self, record: Any, count: int) -> Iterator[list[Any]]:
        """Chunk after chunk: the records of every lane, with the structure of ``record``."""
        width, shape = len(jax.tree.leaves(record)), jax.tree.structure(record)
        for index, checksum in enumerate(self.chunks):
            arrays = read_arrays(self._file("chunk", index), checksum)
            yield [
                jax.tree.unflatten(shape, [arrays[f"{lane}:{k}"] for k in range(width)])
                for lane in range(count)
            ]

    def _restored(self, example: Any, value: np.ndarray | None, grows: bool) -> Any:
        is_key = jnp.issubdtype(example.dtype, jax.dtypes.prng_key)
        found = None if value is None else jnp.asarray(value)
        if is_key and found is not None:
            found = jax.random.wrap_key_data(found, impl=self.header["key_kind"])
        fits = found is not None and (
            found.ndim == example.ndim if grows else found.shape == example.shape
        )
        if found is None or not fits or found.dtype != example.dtype:
            raise SavedFileError(
                f"{self.folder}: the stored state does not fit this program and method. Resume "
                "with the same model, data, shapes and precision."
            )
        return found

    def _file(self, kind: str, index: int) -> pathlib.Path:
        return self.folder / f"{kind}-{index:06d}.safetensors"


def _refuse_changes(
    folder: pathlib.Path, header: dict[str, Any], program: Program, method: Any
) -> None:
    changed = differences(header["program_parts"], fingerprint(program, "program"))
    if method is not None:
        changed += differences(header["method_parts"], fingerprint(method, "method"))
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise SavedFileError(
            f"{folder} was run on other data or with another model than this program: "
            f"{'; '.join(changed[:3])}{more}. Resume with the same model, data, shapes and "
            "precision, or pass check=False to go on with this program all the same."
        )
