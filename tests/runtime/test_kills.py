"""Launched runs whose processes are killed: the answer of the unbroken run, to the last bit."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.cases.device_hashes import ENGINES
from tests.runtime.test_spreading import hashes

pytestmark = pytest.mark.slow

_SCRIPT = """
import os, pathlib, random, signal, sys, threading, time
sys.path.insert(0, os.getcwd())
import jax
import probinf as pi
from probinf.launch import job
from probinf.runtime.checkpoint import Checkpoint
from tests.cases.device_hashes import _EFFECTS, _ERRORS, hashed, schools

folder, kills, apart = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "apart"
tried = len(list(folder.glob(f"tried-{job()}-*")))
(folder / f"tried-{job()}-{tried}").touch()
chance = random.Random(100 * job() + tried)
append = Checkpoint.append

def killed_soon():
    time.sleep(chance.uniform(0, 0.5))
    os.kill(os.getpid(), signal.SIGKILL)

def then_killed(self, *args):
    append(self, *args)
    if tried < kills and (apart or job() == tried % 2):
        threading.Thread(target=killed_soon, daemon=True).start()

Checkpoint.append = then_killed
program = pi.from_numpyro(schools, _ERRORS, effects=_EFFECTS)
method = pi.MCMC(pi.kernels.HMC(steps=8), chains=2, warmup=1000, draws=20_000)
name = f"job-{job()}" if apart else "job"
posterior = pi.sample(program, method, key=job() if apart else 0, progress=False, check=False,
                      precision="single", checkpoint=folder / name, resume=True)
(folder / f"hash-{job()}").write_text(hashed(posterior))
"""


def launched(folder, kills, how):
    """The hashes of two processes, and how often one of them was started again."""
    folder.mkdir()
    (folder / "script.py").write_text(_SCRIPT)
    options = ["--apart"] if how == "apart" else []
    command = [sys.executable, "-m", "probinf.launch", "-n", "2", "--restarts", "40", *options]
    done = subprocess.run(
        [*command, str(folder / "script.py"), str(folder), str(kills), how],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])},
    )
    assert done.returncode == 0, done.stderr
    found = [pathlib.Path(folder / f"hash-{job}").read_text() for job in range(2)]
    return found, done.stderr.count("started again")


@pytest.mark.parametrize(("how", "each"), [("together", 10), ("apart", 5)])
def test_twenty_kills_leave_no_trace(tmp_path, how, each):
    unbroken, none = launched(tmp_path / "unbroken", 0, how)
    killed, restarts = launched(tmp_path / "killed", each, how)
    assert none == 0 and restarts == 10
    assert killed == unbroken
    assert (unbroken[0] == unbroken[1]) == (how == "together")


def test_two_processes_of_two_devices_are_as_one_process(tmp_path):
    names = [name for name in ENGINES if name != "random walk"]
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\nsys.path.insert(0, os.getcwd())\n"
        "from tests.cases.device_hashes import main\nmain(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-m", "probinf.launch", "-n", "2", "--devices", "2", script, *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if ": " in line and "Gloo" not in line]
    assert sorted(lines) == sorted(2 * hashes(1, *names))
