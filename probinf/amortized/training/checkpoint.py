"""TrainingCheckpoint: a training on disk, chunk by chunk, from where it continues bit for bit."""

from __future__ import annotations

import hashlib
import pathlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.program import Key
from probinf.errors import SavedFileError
from probinf.runtime.archive import (
    own_folder,
    read_arrays,
    read_manifest,
    write_arrays,
    write_manifest,
)

_SCHEMA = 2
_MANIFEST = "training.json"


def fingerprint(tree: Any) -> str:
    """Checksum of a pytree: type, shape and value of every array in it, whatever their order.

    NumPyro lists the parameters of a distribution in an order that changes between processes.
    """
    leaves = jax.tree.leaves(eqx.filter(tree, eqx.is_array_like))
    leaves = [np.asarray(jnp.asarray(leaf)) for leaf in leaves]
    return hashlib.sha256("".join(sorted(map(_of_leaf, leaves))).encode()).hexdigest()


def _of_leaf(leaf: np.ndarray) -> str:
    kind = f"{leaf.shape} {leaf.dtype}".encode()
    return hashlib.sha256(kind + np.ascontiguousarray(leaf).tobytes()).hexdigest()


class TrainingCheckpoint:
    """The folder of one training.

    The arrays are on disk before the manifest names them, and every file is renamed into place,
    so that a training can be killed at any instant.

    Args:
        path: the folder, new or of the same training.
        start: initial network and data, to recognise the training by.
        key: its key.
        settings: its schedule.

    Raises:
        SavedFileError: the folder holds something else, or a training that differs.
    """

    def __init__(
        self, path: str | pathlib.Path, start: Any, key: Key, settings: dict[str, Any]
    ) -> None:
        self.folder = own_folder(path, _MANIFEST)
        self.header = {
            "start": fingerprint(start),
            "key": np.asarray(jax.random.key_data(key)).tolist(),
            "settings": {name: str(float(value)) for name, value in settings.items()},
        }

    def save(self, state: Any, history: Any, seconds: float) -> None:
        """Put state and history after a chunk on disk."""
        taken = int(state.taken)
        arrays = {f"state:{k}": leaf for k, leaf in enumerate(_arrays(state))}
        arrays |= {f"best:{k}": leaf for k, leaf in enumerate(_arrays(history.best))}
        arrays["losses"] = np.concatenate(history.losses)
        file = self._file(taken)
        entries = {
            "header": self.header,
            "taken": taken,
            "seconds": round(seconds, 3),
            "validations": history.validations,
            "sha256": write_arrays(arrays, file),
        }
        write_manifest(self.folder / _MANIFEST, _SCHEMA, entries)
        for other in self.folder.glob("step-*.safetensors"):
            if other != file:
                other.unlink(missing_ok=True)

    def load(self, state: Any, history: Any) -> tuple[Any, Any, float]:
        """The stored state and history, or those given where nothing was stored yet."""
        if not (self.folder / _MANIFEST).exists():
            return state, history, 0.0
        manifest = read_manifest(
            self.folder / _MANIFEST,
            (_SCHEMA,),
            missing=f"{self.folder} holds no training.",
            remedy="Train again in another folder.",
        )
        if manifest["header"] != self.header:
            differs = [k for k, v in self.header.items() if manifest["header"].get(k) != v]
            raise SavedFileError(
                f"{self.folder} holds another training: {', '.join(differs)} differ. Pass the "
                "same network, data, key and options, or choose another folder."
            )
        arrays = read_arrays(self._file(manifest["taken"]), manifest["sha256"])
        state = _filled(state, arrays, "state")
        if any(name.startswith("best:") for name in arrays):
            history = history._replace(best=_filled(state.model, arrays, "best"))
        validations = [(int(step), float(value)) for step, value in manifest["validations"]]
        history = history._replace(losses=[arrays["losses"]], validations=validations)
        return state, history, manifest["seconds"]

    def _file(self, taken: int) -> pathlib.Path:
        return self.folder / f"step-{taken:09d}.safetensors"


def _arrays(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def _filled(tree: Any, arrays: dict[str, np.ndarray], name: str) -> Any:
    """``tree`` with its arrays replaced by the stored ones."""
    dynamic, static = eqx.partition(tree, eqx.is_array)
    leaves, treedef = jax.tree.flatten(dynamic)
    # safetensors' writer turns scalars into vectors of one
    stored = [jnp.asarray(arrays[f"{name}:{k}"]).reshape(v.shape) for k, v in enumerate(leaves)]
    return eqx.combine(jax.tree.unflatten(treedef, stored), static)
