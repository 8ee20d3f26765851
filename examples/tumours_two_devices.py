"""Tumours again: a run over two devices that is killed, and goes on as if nothing had happened.

A logistic regression of 569 biopsies (Wolberg et al., 1995; bundled with scikit-learn). This script
starts itself as a process of its own with two devices and a checkpoint, kills it in the middle,
resumes from the folder on one device, and compares every bit with a run that was never broken.

Needs scikit-learn, the extra `sklearn`.

    python examples/tumours_two_devices.py [folder for the picture]
"""

import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import numpyro
import numpyro.distributions as dist
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

import probinf as pi

METHOD = pi.NUTS(chains=2, warmup=300, draws=5000)
PENALTY = 1.0


def model(x, benign=None):
    """Logistic regression with standard normal coefficients."""
    level = numpyro.sample("level", dist.Normal(0.0, 5.0))
    with numpyro.plate("column", x.shape[1]):
        beta = numpyro.sample("beta", dist.Normal(0.0, PENALTY))
    with numpyro.plate("tumour", x.shape[0]):
        numpyro.sample("benign", dist.Bernoulli(logits=level + x @ beta), obs=benign)


def table():
    """Ten standardised columns, their names, and whether a tumour was benign."""
    data = load_breast_cancer()
    x = data.data[:, :10]
    return (x - x.mean(0)) / x.std(0), list(data.feature_names[:10]), data.target


def work(folder, key):
    """What the process does that will be killed."""
    x, _, benign = table()
    program = pi.from_numpyro(model, x, benign=benign)
    pi.sample(program, METHOD, key=int(key), checkpoint=folder, progress=False)


def start_and_kill(folder, key):
    """Start this script on two devices; kill it as soon as it has written some draws."""
    process = subprocess.Popen([sys.executable, __file__, "--work", str(folder), str(key)])
    while process.poll() is None and len(list(folder.glob("**/*.safetensors"))) < 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    return process.wait()


def draw(fit, names, mode, folder):
    """Coefficients with their 90 % intervals, and scikit-learn's."""
    import matplotlib.pyplot as plt

    low, middle, high = np.quantile(fit.draws["beta"], [0.05, 0.5, 0.95], axis=(0, 1))
    figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
    axis.hlines(range(len(names)), low, high)
    axis.plot(middle, range(len(names)), "o")
    axis.plot(mode, range(len(names)), "x", label="mode, by scikit-learn")
    axis.set_yticks(range(len(names)), names)
    axis.legend(frameon=False)
    figure.savefig(f"{folder}/tumours_two_devices.png")


def main(folder=None, key=0):
    """Kill, resume, compare, draw."""
    x, names, benign = table()
    program = pi.from_numpyro(model, x, benign=benign)
    with tempfile.TemporaryDirectory() as place:
        run = pathlib.Path(place) / "run"
        code = start_and_kill(run, key)
        kept = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
        print(f"the first process ended with code {code}; its folder holds {kept / 1e6:.1f} MB")
        resumed = pi.resume(run, program, progress=False)
    unbroken = pi.sample(program, METHOD, key=key, progress=False)
    same = all(np.array_equal(resumed.draws[site], unbroken.draws[site]) for site in resumed.draws)
    print("every draw is the unbroken run's, to the last bit:", same)
    print(resumed.summary())
    mode = LogisticRegression(C=PENALTY**2, max_iter=5000).fit(x, benign).coef_[0]
    if folder:
        draw(resumed, names, mode, folder)

    assert code != 0, "the process was meant to be killed before its end"
    assert same
    rows = [resumed.summary()[f"beta[{k}]"] for k in range(10)]
    assert max(row["r_hat"] for row in rows) < 1.05
    apart = [abs(row["mean"] - m) / row["sd"] for row, m in zip(rows, mode, strict=True)]
    assert max(apart) < 1, f"a mean is {max(apart):.2f} sd from the mode"
    print("all checks passed")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        pi.use_cpu_devices(2)
        work(*sys.argv[2:4])
    else:
        main(*sys.argv[1:2])
