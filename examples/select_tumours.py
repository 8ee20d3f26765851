"""Tumours: choose those to be called benign, with a promise about the mistakes among them.

569 biopsies (Wolberg et al., 1995; bundled with scikit-learn). Which of the new tumours are benign,
so that at most one in twenty of those chosen is not? Conformal selection keeps that false discovery
rate whatever the model; taking every tumour that the model calls benign does not.

Needs scikit-learn, the extra `sklearn`.

    python examples/select_tumours.py [folder for the picture]
"""

import sys

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.naive_bayes import GaussianNB

import probinf.conformal as pc

FDR, TRAIN, CALIBRATION, DIVISIONS = 0.05, 100, 230, 60


def one_division(x, benign, seed):
    """False discovery proportion and share found, of conformal selection and of a cut-off."""
    order = np.random.default_rng(seed).permutation(len(benign))
    train, cal = order[:TRAIN], order[TRAIN : TRAIN + CALIBRATION]
    test = order[TRAIN + CALIBRATION :]
    p = GaussianNB().fit(x[train], benign[train]).predict_log_proba(x)
    score = p[:, 1] - p[:, 0]  # a naive model: wildly overconfident, but it ranks
    # the outcome 1 is to exceed 0.5: scores of the labelled ones know theirs
    v = pc.selection.clipped_scores(score[cal], benign[cal], 0.5)
    t = pc.selection.clipped_scores(score[test])
    careful = pc.cfbh(v, t, q=FDR).selected
    rash = np.flatnonzero(score[test] > 0)  # more probably benign than not
    truth = benign[test] == 1
    out = []
    for chosen in (careful, rash):
        false = (~truth[chosen]).mean() if len(chosen) else 0.0
        out.append((false, truth[chosen].sum() / truth.sum()))
    return np.array(out)


def draw(found, folder):
    """False discoveries in every division."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
    bins = np.linspace(0, 0.2, 21)
    for k, name in enumerate(("conformal selection", "all called benign")):
        axis.hist(found[:, k, 0], bins, alpha=0.6, label=f"{name}: {found[:, k, 0].mean():.3f}")
    axis.axvline(FDR, color="k", lw=0.8)
    axis.set(xlabel="malignant among those chosen", ylabel="divisions")
    axis.legend(frameon=False)
    figure.savefig(f"{folder}/select_tumours.png")


def main(folder=None, key=0):
    """Divide, choose, count, draw, check."""
    data = load_breast_cancer()
    x, benign = data.data[:, :10], data.target
    found = np.array([one_division(x, benign, 1000 * key + k) for k in range(DIVISIONS)])
    for k, name in enumerate(("conformal selection", "all called benign")):
        false, power = found[:, k].mean(0)
        print(f"{name:20} false discoveries {false:.3f}, finds {power:.0%} of the benign")
    if folder:
        draw(found, folder)

    # divisions share patients: allow for four times the error of ten independent ones
    spread = found[:, :, 0].std(0) / np.sqrt(10)
    assert found[:, 0, 0].mean() < FDR + 4 * spread[0], found[:, 0, 0].mean()
    assert found[:, 1, 0].mean() > FDR, "the model's own probabilities are not to be believed"
    assert found[:, 0, 1].mean() > 0.6
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
