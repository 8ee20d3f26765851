"""python -m probinf.launch: processes that die take others with them only where they must."""

import argparse
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from probinf.launch import processes

_PARTS = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
sys.path.insert(0, os.getcwd())
from probinf.launch import job
(folder / f"pid-{job()}").write_text(str(os.getpid()))
def first_time():
    mark = folder / f"begun-{job()}"
    begun, _ = mark.exists(), mark.touch()
    return not begun
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def launch(tmp_path):
    """Start a launch of a script in a folder."""

    def start(script, *options):
        (tmp_path / "script.py").write_text(_PARTS + script)
        command = [sys.executable, "-m", "probinf.launch", *options, str(tmp_path / "script.py")]
        return subprocess.Popen(
            [*command, str(tmp_path)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    return start


def gone(pid):
    """Whether a process has ended, within some seconds."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
            stat = pathlib.Path(f"/proc/{pid}/stat")  # a zombie has ended too
            if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_a_process_that_dies_apart_is_started_again_alone(launch, tmp_path):
    begun = launch(
        "if first_time() and job() == 1: die()\n(folder / f'done-{job()}').touch()",
        *("-n", "3", "--apart", "--restarts", "1"),
    )
    said = begun.communicate()[1]
    assert begun.returncode == 0, said
    assert said.count("started again") == 1 and "process 1 of 3 was ended by SIGKILL" in said
    assert len(list(tmp_path.glob("done-*"))) == 3


def test_a_lost_process_apart_takes_nothing_with_it(launch, tmp_path):
    begun = launch(
        "if job() == 0: sys.exit(3)\ntime.sleep(.3); (folder / f'done-{job()}').touch()",
        *("-n", "2", "--apart"),
    )
    said = begun.communicate()[1]
    assert begun.returncode == 3
    assert "process 0 of 2 failed (exit code 3); the others go on without it" in said
    assert [path.name for path in tmp_path.glob("done-*")] == ["done-1"]


def test_processes_that_work_together_end_together(launch, tmp_path):
    begun = launch("die() if job() == 1 else time.sleep(600)", "-n", "2")
    said = begun.communicate()[1]
    assert begun.returncode == 128 + signal.SIGKILL
    assert "the others were ended" in said and "--restarts 1" in said
    assert all(gone(int(path.read_text())) for path in tmp_path.glob("pid-*"))


@pytest.mark.skipif(sys.platform != "linux", reason="ports are kept where gRPC shares them")
def test_the_port_of_the_meeting_is_given_to_nobody_else():
    begun = processes._Launch(argparse.Namespace(n=2, restarts=0))
    with begun._nobody_left(), socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", begun._free_port()))


def test_nobody_outlives_a_launcher_that_was_killed(launch, tmp_path):
    begun = launch("(folder / f'ready-{job()}').touch(); time.sleep(600)", "-n", "2", "--apart")
    while len(list(tmp_path.glob("ready-*"))) < 2:
        assert begun.poll() is None
        time.sleep(0.05)
    begun.kill()
    begun.communicate()
    assert all(gone(int(path.read_text())) for path in tmp_path.glob("pid-*"))


_POOL = """
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    (folder / f"pid-{job()}-worker").write_text(str(pool.submit(os.getpid).result()))
    (folder / f"ready-{job()}").touch()
    time.sleep(600)
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="groups of processes are POSIX's")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nor_does_what_the_script_itself_has_started(launch, tmp_path, how):
    begun = launch(_POOL, "-n", "1", "--apart")
    while not list(tmp_path.glob("ready-*")):
        assert begun.poll() is None
        time.sleep(0.05)
    begun.send_signal(how)
    begun.communicate()
    pids = [int(path.read_text()) for path in tmp_path.glob("pid-*")]
    assert len(pids) == 2 and all(gone(pid) for pid in pids)


@pytest.mark.parametrize("options", [("-n", "0"), ("-n", "two"), ("--restarts", "1")])
def test_wrong_options(launch, options):
    begun = launch("", *options)
    assert begun.communicate()[1].startswith("usage:") and begun.returncode == 2
