"""A folder of compiled programs: the next process finds them there and compiles nothing."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import sys

import jax
from jax.experimental.compilation_cache import compilation_cache

from probinf.core.inputs.limits import at_least
from probinf.errors import SavedFileError

_ENTRIES = "*-cache"  # as JAX names them


def use_compilation_cache(
    folder: str | os.PathLike[str] | None = None, *, max_bytes: int | None = 2**30
) -> pathlib.Path:
    """Keep compiled programs on disk, so that a second process of the same script compiles none.

    To be called before anything is computed with JAX, since only what is compiled afterwards is
    kept. Several processes may share the folder: an entry is written once, and one that cannot
    be read is compiled anew. Whoever can write there can run code as you, so that the folder
    must not be shared with people who are not trusted.

    Args:
        folder: made where it is missing. By default the one that JAX has been given already
            (``JAX_COMPILATION_CACHE_DIR``), or else one per version of JAX and probinf and kind
            of processor, in the user's cache directory.
        max_bytes: when the call finds more than this, the entries that were not used for the
            longest time are removed, of all versions; in a folder that JAX had already, none.
            None for no bound.

    Returns:
        The folder.

    Raises:
        MethodError: ``max_bytes`` is not positive.
        SavedFileError: the folder cannot be made or written.
    """
    at_least(1, max_bytes=max_bytes)
    given = getattr(jax.config, "jax_compilation_cache_dir", None) if folder is None else None
    path = pathlib.Path(folder or given or _user_folder() / _version()).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SavedFileError(f"use_compilation_cache: {path} cannot be made: {error}.") from error
    if not os.access(path, os.W_OK):
        raise SavedFileError(
            f"use_compilation_cache: {path} is not writable. Pass a folder that is."
        )
    if given is None and max_bytes is not None:
        _prune(path if folder is not None else path.parent, max_bytes)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()  # JAX looks at the folder once, at its first compilation
    return path


def _user_folder() -> pathlib.Path:
    """Where this user's platform keeps what can be made again."""
    home = pathlib.Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "probinf"
    if sys.platform == "win32":
        return pathlib.Path(os.environ.get("LOCALAPPDATA") or home / "AppData/Local") / "probinf"
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "probinf"


def _version() -> str:
    """Versions and processor: compiled code uses the instructions of the machine it was made on."""
    names = (f"{name}-{importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "probinf"))
    kind = platform.processor() + platform.machine()
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        kind += next((x for x in lines if x.startswith(("flags", "Features"))), "")
    return "_".join([*names, platform.machine(), hashlib.sha256(kind.encode()).hexdigest()[:8]])


def _prune(folder: pathlib.Path, max_bytes: int) -> None:
    """Remove the entries that were not used for the longest time, down to so many bytes."""
    found = []
    for entry in folder.rglob(_ENTRIES):
        with contextlib.suppress(OSError):  # another process may remove it at the same moment
            status = entry.stat()
            found.append((max(status.st_atime, status.st_mtime), status.st_size, entry))
    total = sum(size for _, size, _ in found)
    for _, size, entry in sorted(found):
        if total <= max_bytes:
            return
        with contextlib.suppress(OSError):
            entry.unlink()
        total -= size
