"""A process together with what it has started: a group, where the system has groups."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

GROUPS = hasattr(os, "killpg")
"""Whether it has; elsewhere only the process itself can be ended."""


def ask_to_end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM for a process that leads a group, and for the group."""
    with contextlib.suppress(ProcessLookupError):
        if GROUPS:
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()


def kill(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the group, whether or not its leader has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if GROUPS:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def end_own(code: int) -> None:
    """End this process and all that it has started; it does not return."""
    if GROUPS and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(code)
