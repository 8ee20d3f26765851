"""One of the processes of a launch: its number, its meeting with the others, its end."""

from __future__ import annotations

import os
import runpy
import sys
import threading

from probinf.launch.groups import end_own

JOB, JOBS, MEETING = "PROBINF_JOB", "PROBINF_JOBS", "PROBINF_MEETING"
"""Environment variables: its number, how many there are, and where they meet."""

_ORPHANED = 143


def job() -> int:
    """The number of this process among those of its launch; 0 where it was not launched."""
    return int(os.environ.get(JOB, 0))


def child() -> None:
    """Meet the others, and run the script as ``__main__``."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    if MEETING in os.environ:
        import jax

        jax.distributed.initialize(
            os.environ[MEETING], num_processes=int(os.environ[JOBS]), process_id=job()
        )
    runpy.run_path(sys.argv[0], run_name="__main__")


def _end_with_parent() -> None:
    """A process whose launcher is gone would wait for nobody."""
    while os.read(0, 1):
        pass
    end_own(_ORPHANED)
