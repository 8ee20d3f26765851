"""Kernels of pages meet Sphinx at files, where the system has sockets of that kind.

The default is TCP: Jupyter asks for five free ports, closes them, and hopes that they are free when
the kernel has started. Pages start kernels side by side, and one build in many loses a page to
another that was given the same port.
"""

from __future__ import annotations

import pathlib
import socket
import tempfile
import uuid

from jupyter_client.manager import KernelManager
from jupyter_core.paths import jupyter_runtime_dir
from nbclient import NotebookClient
from sphinx.application import Sphinx

_with_ports = NotebookClient.create_kernel_manager


def sockets_are_files() -> bool:
    """Whether programs can meet at files of Jupyter's folder, whose names must not be too long."""
    folder = pathlib.Path(jupyter_runtime_dir())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as trial, socket.socket(socket.AF_UNIX) as it:
            it.bind(str(pathlib.Path(trial, f"kernel-{uuid.UUID(int=0)}")))
    except (AttributeError, OSError):
        return False
    return True


def _with_files(client: NotebookClient) -> KernelManager:
    name = pathlib.Path(jupyter_runtime_dir(), f"kernel-{uuid.uuid4()}.json")
    client.config.KernelManager.update(transport="ipc", connection_file=str(name))
    return _with_ports(client)


def setup(app: Sphinx) -> dict[str, bool]:
    """Have pages executed by such kernels."""
    if sockets_are_files():
        NotebookClient.create_kernel_manager = _with_files
    return {"parallel_read_safe": True, "parallel_write_safe": True}
