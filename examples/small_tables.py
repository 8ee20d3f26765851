"""Small tables: a network that has seen thousands of them, against logistic regression.

Thirty rows of a table, two classes, and no time to tune: the shipped network `tables` learned from
random tables what labels go with what rows, and answers in one pass. On three tables of scikit-
learn (breast tumours, wines, digits) it is compared with a logistic regression whose penalty cross-
validation chose.

Needs scikit-learn, the extra `sklearn`.

    python examples/small_tables.py [folder for the picture]
"""

import sys
import warnings

import numpy as np

try:
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import log_loss, roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
except ImportError as missing:
    raise SystemExit(f'{missing}; this script needs: pip install "probinf[sklearn]"') from None

from probinf.amortized.estimators import PFNClassifier

EACH, DIVISIONS = 15, 8  # rows of each class that are seen; how often


def tables():
    """Columns and a label of two classes, by name."""
    tumours, wine, digits = load_breast_cancer(), load_wine(), load_digits()
    two = digits.target < 2
    some = digits.data[two].var(0).argsort()[::-1][:20]
    return {
        "tumours": (tumours.data, tumours.target),
        "wine": (wine.data, (wine.target == 1).astype(int)),
        "digits": (digits.data[two][:, some], digits.target[two]),
    }


def scores(x, y, seed):
    """AUC and log loss of both, on the rows that neither saw."""
    rng = np.random.default_rng(seed)
    seen = np.concatenate([rng.permutation(np.flatnonzero(y == k))[:EACH] for k in (0, 1)])
    rest = np.setdiff1d(np.arange(len(y)), seen)
    logistic = LogisticRegressionCV(cv=5, scoring="neg_log_loss", max_iter=2000)
    found = {}
    for name, model in {
        "network": PFNClassifier(out_of_range="ignore"),
        "logistic": make_pipeline(StandardScaler(), logistic),
    }.items():
        p = np.clip(model.fit(x[seen], y[seen]).predict_proba(x[rest])[:, 1], 1e-4, 1 - 1e-4)
        found[name] = roc_auc_score(y[rest], p), log_loss(y[rest], p)
    return found


def draw(results, folder):
    """Log loss of both, division by division."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(4.5, 3.6), layout="constrained")
    for name, found in results.items():
        axis.plot(found["logistic"][:, 1], found["network"][:, 1], "o", label=name, alpha=0.7)
    axis.axline((0.1, 0.1), slope=1, color="0.6", lw=0.8)
    axis.set(xlabel="log loss of the logistic regression", ylabel="of the network")
    axis.legend(frameon=False)
    figure.savefig(f"{folder}/small_tables.png")


def main(folder=None, key=0):
    """Score, print, draw, check."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.simplefilter("ignore", FutureWarning)
    results = {}
    for name, (x, y) in tables().items():
        runs = [scores(x, y, key + k) for k in range(DIVISIONS)]
        results[name] = {m: np.array([run[m] for run in runs]) for m in runs[0]}
        for model, found in results[name].items():
            auc, loss = found.mean(0)
            print(f"{name:8} {model:9} AUC {auc:.3f}, log loss {loss:.3f} (prior odds alone .693)")
    if folder:
        draw(results, folder)

    for name, found in results.items():
        assert found["network"][:, 0].mean() > 0.93, name
        assert found["network"][:, 1].mean() < 0.35, name
        behind = found["network"][:, 1] - found["logistic"][:, 1]
        assert behind.mean() < 0.15, f"{name}: {behind.mean():.3f} nats behind"
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
