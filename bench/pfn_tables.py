"""PFNClassifier on ten real tables of several classes: ``python -m bench.pfn_tables [METHOD ...]``.

``--network`` is the name of a shipped network, or a file that ``bench.train_amortized`` made.

The tables come with scikit-learn and statsmodels. None of them was seen in training, and no
option of network, prior or training was chosen by them: the prior is written down in
``probinf.amortized.priors.tables``, and the network's size and its steps were settled beforehand.

Of each table 100 rows, classes in their shares, are seen and at most 300 others are predicted, in
five divisions. Macro AUC is one class against the rest, averaged over the classes of the test rows;
the calibration error is that of the most probable class in ten bins, over all divisions. The
methods: ``network``; ``logistic``, scikit-learn's with a penalty of cross-validation; ``nuts``, a
multinomial regression with unknown scale of its coefficients by NumPyro, of which the second run of
compiled code is timed (500 draws after 500), on the first two divisions.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd

from bench.recording import record

SEEN, ASKED, DIVISIONS, BINS = 100, 300, 5, 10
FILE = "pfn_tables.json"
PACKAGES = ("jax", "numpyro", "scikit-learn", "statsmodels")


def _thirds(values: Any) -> np.ndarray:
    return np.asarray(pd.qcut(values, 3, labels=False))


def tables() -> dict[str, tuple[pd.DataFrame, np.ndarray]]:
    """Columns and classes by name; real outcomes are cut into thirds."""
    import statsmodels.api as sm
    from sklearn import datasets

    found: dict[str, tuple[pd.DataFrame, Any]] = {}
    for name in ("iris", "wine", "digits"):
        data = getattr(datasets, f"load_{name}")(as_frame=True)
        found[name] = data.data, data.target
    busiest = found["digits"][0].var().nlargest(20).index  # of the pixels
    found["digits"] = found["digits"][0][busiest], found["digits"][1]
    data = datasets.load_diabetes(as_frame=True)
    found["diabetes"] = data.data, _thirds(data.target)
    anes = sm.datasets.anes96.load_pandas().data
    found["party"] = anes.drop(columns=["PID", "logpopul"]), anes["PID"]
    fair = sm.datasets.fair.load_pandas().data
    jobs = {name: fair[name].astype("category") for name in ("occupation", "occupation_husb")}
    found["marriage"] = fair.assign(**jobs).drop(columns="rate_marriage"), fair["rate_marriage"]
    star = sm.datasets.star98.load_pandas().data
    passed = star["NABOVE"] / (star["NABOVE"] + star["NBELOW"])
    found["star98"] = star.drop(columns=["NABOVE", "NBELOW"]), _thirds(passed)
    visits = sm.datasets.randhie.load_pandas().data
    cut = np.digitize(visits["mdvis"], [1, 4])
    found["doctor"] = visits.drop(columns="mdvis"), cut
    trips = sm.datasets.modechoice.load_pandas().data
    wide = trips.pivot(index="individual", columns="mode", values=["ttme", "invc", "invt", "gc"])
    wide.columns = [f"{a}{int(b)}" for a, b in wide.columns]
    wide["hinc"] = trips.groupby("individual")["hinc"].first()
    wide["size"] = trips.groupby("individual")["psize"].first()
    taken = trips[trips["choice"] == 1].set_index("individual")["mode"]
    found["travel"] = wide, taken.loc[wide.index]
    macro = sm.datasets.macrodata.load_pandas().data
    found["unemployment"] = macro.drop(columns=["unemp", "year"]), _thirds(macro["unemp"])
    return {
        name: (x.reset_index(drop=True), np.unique(np.asarray(y), return_inverse=True)[1])
        for name, (x, y) in found.items()
    }


def division(y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to see and rows to predict, the classes in their shares among the former."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(y))
    asked = min(ASKED, len(y) - SEEN)
    seen, rest = train_test_split(
        rows, train_size=SEEN, test_size=asked, stratify=y, random_state=seed
    )
    return seen, rest


def prepared(x: pd.DataFrame, seen: np.ndarray) -> np.ndarray:
    """Scaled numbers, categories one-hot: what both regressions see."""
    wide = pd.get_dummies(x, dtype=float).to_numpy(float)
    mean, sd = wide[seen].mean(0), wide[seen].std(0)
    return (wide - mean) / np.where(sd > 0, sd, 1.0)


def network(
    x: pd.DataFrame, y: np.ndarray, seen: np.ndarray, rest: np.ndarray, network: Any = "tables"
) -> np.ndarray:
    """Probabilities of the network."""
    from probinf.amortized.estimators import PFNClassifier

    return PFNClassifier(network).fit(x.iloc[seen], y[seen]).predict_proba(x.iloc[rest])


def logistic(x: pd.DataFrame, y: np.ndarray, seen: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Probabilities of a regression whose penalty was chosen among ten, in five folds."""
    from sklearn.linear_model import LogisticRegressionCV

    z = prepared(x, seen)
    model = LogisticRegressionCV(Cs=10, cv=5, scoring="neg_log_loss", max_iter=300)
    return np.asarray(model.fit(z[seen], y[seen]).predict_proba(z[rest]))


_compiled: dict[tuple[int, ...], Any] = {}


def nuts(x: pd.DataFrame, y: np.ndarray, seen: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Posterior predictive probabilities of a multinomial regression."""
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS

    z, classes = prepared(x, seen), int(y.max()) + 1

    def model(z: Any, y: Any) -> None:
        scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        raw = numpyro.sample("raw", dist.Normal().expand([z.shape[1], classes]).to_event(2))
        bias = numpyro.sample("bias", dist.Normal(0, 2).expand([classes]).to_event(1))
        numpyro.sample("y", dist.Categorical(logits=scale * z @ raw + bias), obs=y)

    shape = (*z[seen].shape, classes)
    if shape not in _compiled:
        kernel = NUTS(model)
        _compiled[shape] = MCMC(
            kernel, num_warmup=500, num_samples=500, progress_bar=False, jit_model_args=True
        )
    mcmc = _compiled[shape]
    mcmc.run(jax.random.key(0), jnp.asarray(z[seen]), jnp.asarray(y[seen]))
    draws = mcmc.get_samples()
    logits = jnp.einsum("mp,spc->smc", z[rest], draws["scale"][:, None, None] * draws["raw"])
    p = jax.nn.softmax(logits + draws["bias"][:, None], -1).mean(0)
    return np.asarray(p, float)


METHODS = {"network": network, "logistic": logistic, "nuts": nuts}


def figures(p: list[np.ndarray], y: list[np.ndarray]) -> dict[str, float]:
    """AUC, negative log score and calibration error of several divisions."""
    from sklearn.metrics import roc_auc_score

    areas = [
        np.mean([roc_auc_score(v == k, q[:, k]) for k in np.unique(v)])
        for q, v in zip(p, y, strict=True)
    ]
    every, truth = np.concatenate(p), np.concatenate(y)
    sure, right = every.max(1), every.argmax(1) == truth
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gap = sum(abs(np.sum(sure[bins == b]) - np.sum(right[bins == b])) for b in range(BINS))
    own = np.clip(every[np.arange(len(truth)), truth], 1e-6, 1)
    return {
        "auc": round(float(np.mean(areas)), 4),
        "nll": round(float(-np.log(own).mean()), 4),
        "ece": round(float(gap / len(truth)), 4),
    }


def measured(
    method: str, x: pd.DataFrame, y: np.ndarray, network: Any = "tables"
) -> dict[str, float]:
    """The figures of one method on one table, and seconds of its last division."""
    options = {"network": network} if method == "network" else {}
    answers, truths, seconds = [], [], 0.0
    for seed in range(2 if method == "nuts" else DIVISIONS):
        seen, rest = division(y, seed)
        began = time.perf_counter()
        answers.append(METHODS[method](x, y, seen, rest, **options))
        seconds = time.perf_counter() - began  # compiled by then
        truths.append(y[rest])
    first = figures(answers[:2], truths[:2])["nll"]
    return figures(answers, truths) | {"nll of two": first, "seconds": round(seconds, 4)}


def main() -> None:
    """Measure the methods asked for and show the means over tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("methods", nargs="*", default=list(METHODS), help=f"of {list(METHODS)}")
    parser.add_argument("--network", default="tables", help="a shipped one or a file")
    chosen = parser.parse_args()
    for method in chosen.methods:
        rows = []
        for name, (x, y) in tables().items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                row = measured(method, x, y, chosen.network)
            size = {"columns": x.shape[1], "classes": int(y.max()) + 1}
            record(FILE, f"{name} | {method}", size | row, packages=PACKAGES)
            print(name, method, row, flush=True)
            rows.append(row)
        print(method, pd.DataFrame(rows).mean().round(4).to_dict(), flush=True)


if __name__ == "__main__":
    main()
