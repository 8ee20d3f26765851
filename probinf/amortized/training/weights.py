"""Weights on disk: safetensors with a JSON record, from which networks are rebuilt; no pickle."""

from __future__ import annotations

import hashlib
import importlib
import json
import pathlib
import struct
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from probinf.amortized.training.ranges import Ranges
from probinf.errors import SavedFileError
from probinf.runtime.archive import atomically, check_signature, digest, parsed, signed

_FORMAT = 1
_RECORD = "probinf"
_SIGNATURE = "record_sha256"
_MAX_BYTES = 256 * 2**20
_SHIPPED = pathlib.Path(__file__).parent / "shipped"
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I32": np.dtype("<i4"),
}
_KINDS = {
    "pfn": "probinf.amortized.pfn.fitted:FittedPFN",
    "distribution_transformer": "probinf.amortized.transformer.fitted:FittedDT",
    "npe": "probinf.amortized.neural.npe:FittedNPE",
    "nle": "probinf.amortized.neural.nle:FittedNLE",
    "nre": "probinf.amortized.neural.nre:FittedNRE",
    "any_marginal": "probinf.amortized.discrete.fitted:FittedAnyMarginal",
}


class Contents(NamedTuple):
    """What a file of weights holds.

    Attributes:
        arrays: by their path in the network; bfloat16 is widened to float32.
        kind: which amortizer it belongs to.
        config: what the network is rebuilt from.
        ranges: where it was trained.
        training: seed, steps, prior and measured figures, for the reader.
    """

    arrays: dict[str, np.ndarray]
    kind: str
    config: dict[str, Any]
    ranges: Ranges
    training: dict[str, Any]


@runtime_checkable
class Loadable(Protocol):
    """What a class named in the table of kinds offers."""

    @classmethod
    def skeleton(cls, config: dict[str, Any]) -> Any:
        """A network of the right structure; only shapes are used, no array is computed."""

    @classmethod
    def assemble(cls, network: Any, contents: Contents) -> Any:
        """The fitted amortizer."""


def save(
    path: str | pathlib.Path,
    network: Any,
    *,
    kind: str,
    config: dict[str, Any],
    ranges: Ranges,
    training: dict[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write a network and what it takes to rebuild it.

    Args:
        path: the file, by convention ending in ``.safetensors``.
        network: an Equinox module; every array is stored under its path in the tree.
        kind: "pfn", "distribution_transformer", "npe", "nle", "nre" or "any_marginal".
        config: JSON values from which the class of that kind rebuilds the network.
        ranges: where it was trained.
        training: JSON values for the reader: seed, steps, measured figures.
        half: store matrices as bfloat16 (half the size, three digits); vectors stay float32.

    Raises:
        SavedFileError: the kind is unknown, an array is not finite or of an unsupported type, or
            config or training cannot be written as JSON.
    """
    from safetensors.numpy import save as to_bytes

    if kind not in _KINDS:
        raise SavedFileError(f"weights.save: unknown kind {kind!r}; known are {sorted(_KINDS)}.")
    arrays = {}
    for name, leaf in _named_arrays(network):
        value = np.asarray(leaf)
        if value.dtype not in _DTYPES.values() or not np.isfinite(value).all():
            raise SavedFileError(
                f"weights.save: {name} is {value.dtype} or not finite; only finite float32, "
                "float64 and int32 arrays can be stored."
            )
        if half and value.ndim > 1 and value.dtype == np.float32:
            value = value.astype(ml_dtypes.bfloat16)
        arrays[name] = np.array(value, order="C")
    record: dict[str, Any] = {
        "format": _FORMAT,
        "kind": kind,
        "config": config,
        "ranges": {name: [str(float(v)) for v in ends] for name, ends in ranges.limits.items()},
        "training": training or {},
        "sha256": hashlib.sha256(_body(to_bytes(arrays))).hexdigest(),
    }
    try:
        text = json.dumps(signed(record, _SIGNATURE), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SavedFileError(f"weights.save: config or training is not JSON: {error}.") from None
    content = to_bytes(arrays, metadata={_RECORD: text})
    atomically(pathlib.Path(path), lambda f: f.write_bytes(content))


def read(path: str | pathlib.Path, *, max_bytes: int = _MAX_BYTES) -> Contents:
    """Read and verify a file of weights without building anything.

    Raises:
        SavedFileError: the file is missing, too large, truncated, edited, of an unknown format or
            kind, or holds an array type that is not expected.
    """
    from safetensors import SafetensorError, deserialize

    file = pathlib.Path(path)
    if not file.is_file():
        raise SavedFileError(f"{file} does not exist or is no file.")
    if file.stat().st_size > max_bytes:
        raise SavedFileError(
            f"{file} has {file.stat().st_size} bytes, more than max_bytes={max_bytes}."
        )
    content = file.read_bytes()
    try:
        entries = deserialize(content)
    except SafetensorError as error:
        raise SavedFileError(f"{file} is not a safetensors file: {error}.") from None
    record = _record(file, content)
    if record.get("sha256") != hashlib.sha256(_body(content)).hexdigest():
        raise SavedFileError(f"{file} was edited: the checksum of its arrays differs.")
    arrays = {name: _decoded(file, name, entry) for name, entry in entries}
    ranges = {name: (float(low), float(high)) for name, (low, high) in record["ranges"].items()}
    return Contents(arrays, record["kind"], record["config"], Ranges(ranges), record["training"])


def load(path: str | pathlib.Path, *, max_bytes: int = _MAX_BYTES) -> Any:
    """The fitted amortizer in a file, or the shipped one of this name.

    The network is rebuilt from the record by probinf's own classes; a file cannot bring code.

    Args:
        path: a file that ``save`` wrote, or a name from :func:`shipped`.
        max_bytes: refuse larger files.

    Raises:
        SavedFileError: the file is missing, too large, truncated, edited or of another format.
    """
    file = pathlib.Path(path)
    catalogue = _manifest()
    if str(path) in catalogue:
        file = _SHIPPED / f"{path}.safetensors"
        if not file.is_file() or digest(file) != catalogue[str(path)]["sha256"]:
            raise SavedFileError(
                f"the shipped file {file} is missing or edited; reinstall probinf."
            )
    elif not file.exists() and len(file.parts) == 1 and not file.suffix:
        raise SavedFileError(
            f"load: no shipped weights named {path!r}; there are {sorted(catalogue)}. A path to a "
            "file works too."
        )
    contents = read(file, max_bytes=max_bytes)
    module, _, name = _KINDS[contents.kind].partition(":")
    cls: type[Loadable] = getattr(importlib.import_module(module), name)
    return cls.assemble(_filled(file, cls, contents), contents)


def shipped() -> list[dict[str, Any]]:
    """The weights that come with the package: name, kind, size, prior and measured figures."""
    return [{"name": name, **entry} for name, entry in sorted(_manifest().items())]


def _manifest() -> dict[str, Any]:
    file = _SHIPPED / "manifest.json"
    return parsed(file.read_bytes(), str(file)) if file.is_file() else {}


def _body(content: bytes) -> bytes:
    """The arrays of a safetensors file: all that follows the header."""
    (length,) = struct.unpack("<Q", content[:8])
    return content[8 + length :]


def _record(file: pathlib.Path, content: bytes) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    text = header.get("__metadata__", {}).get(_RECORD)
    if text is None:
        raise SavedFileError(f"{file} was not written by probinf: it has no record.")
    name = f"the record of {file}"
    record = parsed(text, name)
    if record.get("format") != _FORMAT:
        raise SavedFileError(f"{file} has another format; this version of probinf reads {_FORMAT}.")
    check_signature(record, name, _SIGNATURE)
    if record["kind"] not in _KINDS:
        raise SavedFileError(f"{file} holds the unknown kind {record['kind']!r}.")
    return record


def _decoded(file: pathlib.Path, name: str, entry: dict[str, Any]) -> np.ndarray:
    kind, shape, data = entry["dtype"], entry["shape"], bytes(entry["data"])
    if kind == "BF16":
        wide = np.frombuffer(data, "<u2").astype("<u4") << 16
        value = wide.view("<f4").reshape(shape)
    elif kind in _DTYPES:
        value = np.frombuffer(data, dtype=_DTYPES[kind]).reshape(shape)
    else:
        raise SavedFileError(f"{file}: array {name} has the unexpected type {kind}.")
    if not np.isfinite(value).all():
        raise SavedFileError(f"{file}: array {name} holds NaN or infinite values.")
    return value


def _named_arrays(tree: Any) -> list[tuple[str, Any]]:
    dynamic = eqx.filter(tree, lambda leaf: eqx.is_array(leaf) or _is_shape(leaf))
    return [(jax.tree_util.keystr(p), v) for p, v in jax.tree_util.tree_leaves_with_path(dynamic)]


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def _filled(file: pathlib.Path, cls: type[Loadable], contents: Contents) -> Any:
    try:
        skeleton = eqx.filter_eval_shape(cls.skeleton, contents.config)
    except (KeyError, TypeError, ValueError) as error:
        raise SavedFileError(f"{file}: no network can be built from its config: {error}.") from None
    wanted = dict(_named_arrays(skeleton))
    if wanted.keys() != contents.arrays.keys():
        odd = sorted(wanted.keys() ^ contents.arrays.keys())[:4]
        raise SavedFileError(f"{file}: its arrays are not those of its network: {odd}.")
    for name, leaf in wanted.items():
        if contents.arrays[name].shape != leaf.shape:
            raise SavedFileError(
                f"{file}: {name} has shape {contents.arrays[name].shape}, not {leaf.shape}."
            )
    dynamic, static = eqx.partition(skeleton, _is_shape)
    leaves = [jnp.asarray(contents.arrays[n], leaf.dtype) for n, leaf in wanted.items()]
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(dynamic), leaves), static)
