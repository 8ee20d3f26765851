"""Launched runs whose processes are killed: the answer of the unbroken run, to the last bit."""

import subprocess
import sys

import pytest

import probinf as pi
from tests.cases.device_hashes import _EFFECTS, _ERRORS, ENGINES, hashed, schools
from tests.runtime.test_spreading import hashes

pytestmark = pytest.mark.slow

_SCRIPT = """
import os, pathlib, random, signal, sys, threading, time
sys.path.insert(0, os.getcwd())
import jax
import probinf as pi
from probinf.launch import job
from probinf.runtime.checkpoint import Checkpoint
from tests.cases.device_hashes import hashed
from tests.runtime.test_kills import sampled

folder, kills, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
apart = sys.argv[4] == "apart"
tried = len(list(folder.glob(f"tried-{job()}-*")))
(folder / f"tried-{job()}-{tried}").touch()
chance = random.Random(1000 * seed + 100 * job() + tried)
append = Checkpoint.append

def killed_soon():
    time.sleep(chance.uniform(0, 0.5))
    os.kill(os.getpid(), signal.SIGKILL)

def then_killed(self, *args):
    append(self, *args)
    if tried < kills and (apart or job() == tried % 2):
        threading.Thread(target=killed_soon, daemon=True).start()

Checkpoint.append = then_killed
name = f"job-{job()}" if apart else "job"
posterior = sampled(job() if apart else 0, checkpoint=folder / name, resume=True)
(folder / f"hash-{job()}").write_text(hashed(posterior))
"""


def sampled(key, **options):
    """A run of many chunks."""
    program = pi.from_numpyro(schools, _ERRORS, effects=_EFFECTS)
    method = pi.MCMC(pi.kernels.HMC(steps=8), chains=2, warmup=1000, draws=20_000)
    told = {"progress": False, "check": False, "precision": "single", **options}
    return pi.sample(program, method, key=key, **told)


@pytest.fixture(scope="module")
def unbroken():
    """Hashes of runs in this process that nobody kills."""
    return [hashed(sampled(key)) for key in range(2)]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("how", "kills", "seed"), [("together", 5, 0), ("together", 5, 1), ("apart", 5, 2)]
)
def test_kills_leave_no_trace(tmp_path, unbroken, how, kills, seed):
    """Twenty of them in all: apart, each of two processes is killed five times."""
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    options = ["-n", "2", "--restarts", "40", *(["--apart"] if how == "apart" else [])]
    done = subprocess.run(
        [sys.executable, "-m", "probinf.launch", *options, script, tmp_path, str(kills), str(seed)]
        + [how],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [(tmp_path / f"hash-{job}").read_text() for job in range(2)]
    assert found == (unbroken if how == "apart" else 2 * unbroken[:1])
    assert done.stderr.count("started again") == (10 if how == "apart" else 5)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ENGINES)
def test_two_processes_of_two_devices_are_as_one_process(tmp_path, name):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\nsys.path.insert(0, os.getcwd())\n"
        "from tests.cases.device_hashes import main\nmain(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-m", "probinf.launch", "-n", "2", "--devices", "2", script, name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = hashes(1, name)  # JAX's own transport prints to the same stream
    assert done.stdout.count(line) == 2, (line, done.stdout)
