"""macOS and Windows, by the absence of what only Linux has."""

from __future__ import annotations

import ast
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.core.host import pools
from probinf.errors import MethodError
from probinf.launch import groups
from probinf.runtime import archive, devices, memory
from tests.cases import callbacks
from tests.fronts.test_callback import PRIOR, in_jax, same

ONLY_SOME = {
    "sched_getaffinity": "runtime/devices.py",
    "sysconf": "runtime/memory.py",
    **dict.fromkeys(("killpg", "getpgrp", "SIGKILL"), "launch/groups.py"),
    **dict.fromkeys(("fork", "getuid", "uname", "setsid", "SIGALRM", "setitimer", "mkfifo"), ""),
}
WHERE_THERE_IS_ONE = {"/proc/cpuinfo": "runtime/compilation_cache.py"}  # another name elsewhere
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "posix"}


def test_nothing_else_is_asked_of_the_system() -> None:
    root = pathlib.Path(pi.__file__).parent
    for file in root.rglob("*.py"):
        tree, name = ast.parse(file.read_text(encoding="utf-8")), file.relative_to(root).as_posix()
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner, word = node.value.id, node.attr
                if owner in ("os", "signal") and word in ONLY_SOME:
                    assert name == ONLY_SOME[word], f"{name}: {owner}.{word}"
            if isinstance(node, ast.Import):
                assert not MODULES & {alias.name for alias in node.names}, name
            if isinstance(node, ast.ImportFrom):
                assert node.module not in MODULES, name
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if WHERE_THERE_IS_ONE.get(node.value) == name:
                    continue
                assert not node.value.startswith(("/tmp", "/proc", "/dev/")), name


@pytest.mark.parametrize("end", [groups.ask_to_end, groups.kill])
def test_a_process_is_ended_where_there_are_no_groups(monkeypatch, end) -> None:
    monkeypatch.setattr(groups, "GROUPS", False)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    end(process)
    assert process.wait(60) != 0
    groups.kill(process)  # of what has ended nothing is left


@pytest.fixture
def windows(monkeypatch) -> None:
    """What Windows lacks."""
    for owner, name in (
        (os, "sysconf"),
        (os, "sched_getaffinity"),
        (os, "fork"),
        (os, "getuid"),
        (os, "killpg"),
        (os, "getpgrp"),
        (signal, "SIGKILL"),
    ):
        monkeypatch.delattr(owner, name, raising=False)
    _all_cores(monkeypatch)


def _all_cores(monkeypatch) -> None:
    """Python's own count of usable cores (3.13) asks for affinities where it has seen them."""
    monkeypatch.setattr(os, "process_cpu_count", os.cpu_count, raising=False)


@pytest.fixture
def macos(monkeypatch) -> None:
    """What macOS lacks: affinities, and the name of free memory."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    _all_cores(monkeypatch)
    known = os.sysconf

    def sysconf(name):
        if name == "SC_AVPHYS_PAGES":
            raise ValueError("unrecognized configuration name")
        return known(name)

    monkeypatch.setattr(os, "sysconf", sysconf)


@pytest.mark.parametrize("system", ["windows", "macos"])
def test_a_run_and_its_folder(system, request, tmp_path) -> None:
    request.getfixturevalue(system)
    assert devices._available_cores() >= 1
    program = pi.from_log_likelihood(in_jax, PRIOR)
    method = pi.MCMC(pi.kernels.RandomWalk(), chains=2, warmup=20, draws=30)
    whole = pi.sample(program, method, key=1, progress=False, checkpoint=tmp_path / "run")
    assert whole.provenance["memory_estimate_mb"] > 0
    same(whole, pi.resume(tmp_path / "run", program, progress=False))
    whole.save(tmp_path / "saved")
    same(whole, pi.load(tmp_path / "saved"))
    asked = pi.from_callback(callbacks.normal, PRIOR, executor=1)
    assert np.isfinite(pi.sample(asked, pi.Importance(draws=50), key=1).evidence.value)


def test_macos_still_refuses_what_does_not_fit(macos) -> None:
    wide = pi.from_log_likelihood(in_jax, dist.Normal(0, 1).expand([5]).to_event(1))
    method = pi.MCMC(pi.kernels.RandomWalk(), chains=1, warmup=1, draws=10**13)
    with pytest.raises(MethodError, match=r"this machine has [\d.]+\. Keep"):
        pi.sample(wide, method, key=0, progress=False)
    assert memory._bytes_of("SC_AVPHYS_PAGES") is None


def test_a_file_that_is_being_read_is_replaced_later(monkeypatch, tmp_path) -> None:
    real, refused = os.replace, []

    def replace(old, new):
        if len(refused) < 2:
            refused.append(new)
            raise PermissionError(13, "in use")
        real(old, new)

    monkeypatch.setattr(os, "replace", replace)
    file = tmp_path / "a.txt"
    archive.atomically(file, lambda partial: partial.write_text("x"))
    assert file.read_text() == "x" and len(refused) == 2
    monkeypatch.setattr(os, "replace", lambda old, new: (_ for _ in ()).throw(PermissionError(13)))
    monkeypatch.setattr(archive, "_WAITS", (0.0,))
    with pytest.raises(PermissionError):
        archive.atomically(file, lambda partial: partial.write_text("y"))


def test_processes_are_spawned_everywhere(monkeypatch) -> None:
    pool = pools._opened(1)
    assert pool._mp_context.get_start_method() == "spawn"
    assert "spawn" in multiprocessing.get_all_start_methods()
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(MethodError, match="at most 61"):
        pools.check_executor(100, None)
