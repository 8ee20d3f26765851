"""How many handwritten digits have a loop, from a hundred labels and a classifier's predictions.

A classifier trained on a few images predicts every image of scikit-learn's digits. A
hundred labels correct it: shares, a regression, and a sequence that may be watched while labels
come in. All labels exist in truth, so that the script can check its own answers.

    python examples/few_labels.py [folder for the picture]
"""

import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from probinf import ppi


def main(folder=None):
    """Estimate, compare with the truth, and draw."""
    digits = load_digits()
    loop = np.isin(digits.target, [0, 6, 8, 9]).astype(float)
    pixels = digits.data / 16
    order = np.random.default_rng(0).permutation(len(loop))
    train, rest = order[:150], order[150:]
    model = LogisticRegression(max_iter=2000).fit(pixels[train], loop[train])
    y, f = loop[rest], model.predict_proba(pixels[rest])[:, 1]
    ink = digits.data.mean(axis=1)[rest]
    x = np.column_stack([np.ones(len(y)), (ink - ink.mean()) / ink.std()])
    n = 100

    share = ppi.mean(y[:n], f[:n], f[n:], finite_population=True)
    print(share, "\n")
    slope = ppi.logistic(x[:n], y[:n], f[:n], x[n:], f[n:], tune="element")
    print(slope, "\n")
    limits = ppi.AnytimeMean().run(y, f, fu_mean=f.mean())
    print("watched while labels come in:", np.round(limits[[49, 99, 199]], 3).tolist())
    print(ppi.plan_labels(share, target_se=0.02, costs=(0.0, 1.0, 0.001)))

    # the answers, against all labels
    everything = ppi.logistic(x, y, f, x[:2], f[:2], method="classical")
    assert abs(share.theta[0] - y.mean()) < 3.5 * share.bse[0]
    assert np.all(np.abs(slope.theta - everything.theta) < 3.5 * slope.bse)
    assert share.n_eff[0] > n
    inside = (limits[39:, 0] <= y.mean()) & (y.mean() <= limits[39:, 1])
    assert inside.all()

    if folder:
        axis = ppi.width_plot(share)
        axis.figure.savefig(f"{folder}/few_labels.png")
    print("all answers agree with the truth")


if __name__ == "__main__":
    main(*sys.argv[1:2])
