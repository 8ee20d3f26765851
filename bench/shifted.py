"""Scale mixtures against Gaussian processes on real rows from elsewhere than the training rows.

Run from the project's root::

    python -m bench.shifted --divisions 20

Each table is divided by one of its columns: training rows are drawn from below its 0.6 quantile,
rows asked about lie above its 0.8 quantile. The kernels are that of an infinitely wide ReLU
network (arc-cosine, two layers) and the RBF kernel. Both laws take length scale, share of noise
and scale by their own marginal likelihood on the same grid; the mixture's scale multiplies an
InverseGamma(2, 2) variance: mean 2, infinite variance, four degrees of freedom, the heaviest with a
finite variance among whole shapes, chosen before anything was run. Marginal likelihoods of labels
are Laplace's, of the mixture summed over the grid of scales. Printed is the mean log predictive
density (nats per row) of the Gaussian process, and the gain of the mixture with a 95 % interval
over divisions, paired.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import numpy as np
import scipy.special
from scipy.stats import invgamma
from scipy.stats import t as student

from bench.recording import record
from probinf.amortized import oracles
from probinf.errors import MethodError

LAYERS, GAMMA = 2, (2.0, 2.0)
BELOW, ABOVE, ASKED = 0.6, 0.8, 60
LENGTHS = np.geomspace(0.5, 16.0, 6)  # in standard deviations of a column
NOISES = np.array([0.01, 0.03, 0.1, 0.3, 1.0, 3.0])
SCALES = np.geomspace(0.03, 300.0, 13)
RIDGE = 1e-2  # noise of logits, as the prior's


def tables() -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Inputs, outcomes and the column that divides them."""
    import statsmodels.api as sm
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

    star = sm.datasets.star98.load_pandas().data
    passed = (star.iloc[:, 0] / (star.iloc[:, 0] + star.iloc[:, 1])).to_numpy()
    fair = sm.datasets.fair.load_pandas().data.sample(1200, random_state=0)
    return {
        "diabetes, bmi": (*load_diabetes(return_X_y=True), 2),
        "diabetes, bp": (*load_diabetes(return_X_y=True), 3),
        "star98, income": (star.iloc[:, 2:14].to_numpy(float), passed, 0),
        "cancer, texture": (*load_breast_cancer(return_X_y=True), 1),
        "wine, magnesium": (*load_wine(return_X_y=True), 4),
        "iris, sepal width": (*load_iris(return_X_y=True), 1),
        "fair, age": (
            fair.drop(columns="affairs").to_numpy(float),
            (fair.affairs > 0).to_numpy(int),
            1,
        ),
    }


def division(
    x: np.ndarray, y: np.ndarray, column: int, rows: int, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Training and asked rows, scaled by the training rows."""
    low, high = np.quantile(x[:, column], [BELOW, ABOVE])
    fit = rng.permutation(np.flatnonzero(x[:, column] <= low))[:rows]
    asked = rng.permutation(np.flatnonzero(x[:, column] > high))[:ASKED]
    mean, sd = x[fit].mean(0), x[fit].std(0)
    # a column that is constant in the training rows has no scale of its own
    sd = np.where(sd > 0, sd, x.std(0))
    z = (x - mean) / np.where(sd > 0, sd, 1.0) / np.sqrt(x.shape[1])
    if y.dtype.kind == "i":
        return z[fit], y[fit], z[asked], y[asked]
    values = (y - y[fit].mean()) / y[fit].std()
    return z[fit], values[fit], z[asked], values[asked]


def regression(kernel: str, x: Any, y: Any, new: Any, truth: Any) -> tuple[float, float]:
    """Mean log densities of both laws, each with its own best hyperparameters."""
    n, (a, b) = len(y), GAMMA
    best: dict[str, tuple[float, Any]] = {"process": (-np.inf, ()), "mixture": (-np.inf, ())}
    for length, noise in itertools.product(LENGTHS, NOISES):
        covariance = oracles._kernel(kernel, x, x, length, 1.0, LAYERS) + noise * np.eye(n)
        factor = np.linalg.cholesky(covariance)
        square = np.sum(np.linalg.solve(factor, y) ** 2)
        half = np.log(np.diag(factor)).sum()
        for scale in SCALES:
            normal = -0.5 * square / scale - half - n / 2 * np.log(2 * np.pi * scale)
            heavy = (
                a * np.log(b * scale) - (a + n / 2) * np.log(b * scale + square / 2)
                + scipy.special.gammaln(a + n / 2) - scipy.special.gammaln(a)
                - half - n / 2 * np.log(2 * np.pi)
            )  # fmt: skip
            for name, value in (("process", normal), ("mixture", heavy)):
                best[name] = max(best[name], (value, (length, noise, scale)), key=lambda v: v[0])
    found = []
    for name, gamma in (("process", None), ("mixture", GAMMA)):
        length, noise, scale = best[name][1]
        law = oracles.gaussian_process(
            x, y, new, kernel=kernel, lengthscale=length, outputscale=scale, noise=noise * scale,
            inverse_gamma=gamma, layers=LAYERS,
        )  # fmt: skip
        found.append(float(np.mean(law.log_density(truth))))
    return found[0], found[1]


def laplace(covariance: np.ndarray, y: np.ndarray, classes: int) -> float:
    """Log marginal likelihood of labels, softmax of independent processes (Rasmussen & Williams,
    2006, section 3.5), by Newton's steps on all logits, halved until the score rises."""
    n = len(y)
    inverse = np.kron(np.eye(classes), np.linalg.inv(covariance))
    ones = np.eye(classes)[y].T.ravel()

    def score(f: np.ndarray) -> float:
        total = scipy.special.logsumexp(f.reshape(classes, n), 0).sum()
        return float(f @ ones - total - 0.5 * f @ inverse @ f)

    def curvature(f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p = scipy.special.softmax(f.reshape(classes, n), 0)
        blocks = np.einsum("ci,cd,ij->cidj", p, np.eye(classes), np.eye(n))
        outer = np.einsum("ci,di,ij->cidj", p, p, np.eye(n))
        return p.ravel(), (blocks - outer).reshape(classes * n, classes * n)

    f = np.zeros(n * classes)
    value = score(f)
    for _ in range(50):
        p, hessian = curvature(f)
        step = np.linalg.solve(hessian + inverse, ones - p - inverse @ f)
        size = 1.0
        while score(f + size * step) < value and size > 1e-4:
            size /= 2
        f = f + size * step
        value, before = score(f), value
        if value - before < 1e-6:
            break
    _, hessian = curvature(f)
    prior = np.kron(np.eye(classes), covariance)
    return value - 0.5 * float(np.linalg.slogdet(np.eye(n * classes) + prior @ hessian)[1])


def classification(
    kernel: str, x: Any, y: Any, new: Any, truth: Any, classes: int
) -> tuple[float, float]:
    """Mean log probabilities of both laws."""
    a, b = GAMMA
    values = np.empty((len(LENGTHS), len(SCALES)))
    for i, length in enumerate(LENGTHS):
        covariance = oracles._kernel(kernel, x, x, length, 1.0, LAYERS) + RIDGE * np.eye(len(y))
        values[i] = [laplace(scale * covariance, y, classes) for scale in SCALES]
    # the mixture's evidence at each scale: of that scale times a variance, summed over the grid
    steps = np.log(SCALES) - np.log(SCALES)[:, None]
    weight = invgamma(a, scale=b).logpdf(np.exp(steps)) + steps
    weight -= scipy.special.logsumexp(weight, 1, keepdims=True)
    mixed = scipy.special.logsumexp(values[:, None] + weight, -1)
    found = []
    for evidence, gamma in ((values, None), (mixed, GAMMA)):
        i, j = np.unravel_index(np.argmax(evidence), evidence.shape)
        asked = {
            "classes": classes, "kernel": kernel, "lengthscale": LENGTHS[i],
            "outputscale": SCALES[j], "noise": RIDGE * SCALES[j], "inverse_gamma": gamma,
            "layers": LAYERS, "chains": 24,
        }  # fmt: skip
        try:
            law = oracles.gaussian_process_labels(x, y, new, draws=600, **asked)
        except MethodError:  # chains too short
            law = oracles.gaussian_process_labels(x, y, new, draws=4800, **asked)
        found.append(float(np.mean(law.log_density(truth))))
    return found[0], found[1]


def main() -> None:
    """Print and record a row per table, kernel and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--divisions", type=int, default=20)
    parser.add_argument("--rows", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--kernels", nargs="+", default=["arccosine", "rbf"])
    parser.add_argument("--kind", choices=["regression", "classification"])
    options = parser.parse_args()
    print(f"{'table':20} {'kernel':9} rows  process  gain (95 %)")
    for name, (x, y, column) in tables().items():
        kind = "classification" if y.dtype.kind == "i" else "regression"
        if options.kind not in (None, kind):
            continue
        for kernel, rows in itertools.product(options.kernels, options.rows):
            found = []
            for seed in range(options.divisions):
                parts = division(x, y, column, rows, np.random.default_rng(seed))
                scores = (
                    regression(kernel, *parts)
                    if kind == "regression"
                    else classification(kernel, *parts, classes=int(y.max()) + 1)
                )
                found.append(scores)
            process, mixture = np.array(found).T
            gain = mixture - process
            half = student(len(gain) - 1).ppf(0.975) * gain.std(ddof=1) / np.sqrt(len(gain))
            gained = f"{gain.mean():+.3f} ± {half:.3f}"
            print(f"{name:20} {kernel:9} {rows:4} {process.mean():8.3f} {gained}", flush=True)
            figures = {
                "kind": kind, "process": round(float(process.mean()), 4),
                "mixture": round(float(mixture.mean()), 4),
                "gain": round(float(gain.mean()), 4), "half width, 95 %": round(float(half), 4),
                "better in": int(np.sum(gain > 0)), "divisions": options.divisions,
            }  # fmt: skip
            record("shifted.json", f"{name}, {kernel}, {rows} rows", figures,
                   packages=("probinf", "numpy", "scipy"))  # fmt: skip


if __name__ == "__main__":
    main()
