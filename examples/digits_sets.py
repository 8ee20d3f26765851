"""Digits: sets of labels that hold the truth as often as promised, whatever the classifier.

A blunt classifier of scikit-learn's handwritten digits. Conformal prediction turns its
probabilities into sets of digits: small ones, sets that adapt to the difficulty of the image, and
sets whose promise holds for every digit alone. Coverage over random divisions is compared with the
law that theory gives: with n calibration images it is Beta distributed.

Needs scikit-learn, the extra `sklearn`.

    python examples/digits_sets.py [folder for the picture]
"""

import sys

import numpy as np
from scipy.stats import beta

try:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
except ImportError as missing:
    raise SystemExit(f'{missing}; this script needs: pip install "probinf[sklearn]"') from None

import probinf.conformal as pc

ALPHA, TRAIN, CALIBRATION, DIVISIONS = 0.1, 150, 600, 40


def divisions(p, y, key):
    """Coverage, size and worst digit of each method on every division."""
    rows = {"LAC": [], "APS": [], "by digit": []}
    last = None
    for k in range(DIVISIONS):
        order = np.random.default_rng(key + k).permutation(len(y))
        cal, test = order[:CALIBRATION], order[CALIBRATION:]
        sets = {
            "LAC": pc.split(pc.LAC(), p[cal], y[cal], p[test], alpha=ALPHA),
            "APS": pc.split(pc.APS(), p[cal], y[cal], p[test], alpha=ALPHA, key=key + k),
            "by digit": pc.class_conditional(pc.LAC(), p[cal], y[cal], p[test], alpha=ALPHA),
        }
        for name, found in sets.items():
            inside = found.contains(y[test])
            digit = [inside[y[test] == d].mean() for d in range(10)]
            rows[name].append([inside.mean(), found.size().mean(), *digit])
        last = sets, y[test]
    return {name: np.array(found) for name, found in rows.items()}, last


def draw(rows, folder):
    """Coverage of every digit, promised on average and promised for each."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for shift, (name, found) in zip((-0.25, 0.0, 0.25), rows.items(), strict=True):
        axis.bar(np.arange(10) + shift, found[:, 2:].mean(0), width=0.23, label=name)
    axis.axhline(1 - ALPHA, color="k", lw=0.8)
    axis.set(xticks=range(10), xlabel="digit", ylabel="coverage", ylim=(0.7, 1.0))
    axis.legend(frameon=False, ncols=3)
    figure.savefig(f"{folder}/digits_sets.png")


def main(folder=None, key=0):
    """Divide, count, draw, check."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(key).permutation(len(y))
    train, rest = order[:TRAIN], order[TRAIN:]
    model = LogisticRegression(C=0.1, max_iter=2000).fit(x[train] / 16, y[train])
    p, y = model.predict_proba(x[rest] / 16), y[rest]
    rows, (sets, truth) = divisions(p, y, key)
    for name, found in rows.items():
        covered, size, *digit = found.mean(0)
        print(f"{name:9} covers {covered:.3f}, {size:.2f} labels, worst digit {min(digit):.3f}")
    hard = np.argsort(-sets["LAC"].size())[:3]
    for k in hard:
        print(f"a hard image, in truth {truth[k]}: {np.flatnonzero(sets['LAC'].mask[k])}")
    if folder:
        draw(rows, folder)

    # coverage given the calibration images is Beta(n + 1 - l, l), then come test images
    n, left = CALIBRATION, int(np.floor((CALIBRATION + 1) * ALPHA))
    law = beta(n + 1 - left, left)
    spread = np.sqrt(law.var() + ALPHA * (1 - ALPHA) / (len(y) - n))
    print(f"expected coverage of a division: {law.mean():.3f} ± {spread:.3f}")
    for name in ("LAC", "APS"):
        covered = rows[name][:, 0]
        # divisions share images: their mean varies like a division, not like one of forty
        assert abs(covered.mean() - law.mean()) < 4 * spread / np.sqrt(6), (
            f"{name}: {covered.mean()}"
        )
        assert np.abs(covered - law.mean()).max() < 5 * spread, name
    uneven, even = rows["LAC"][:, 2:].mean(0), rows["by digit"][:, 2:].mean(0)
    assert even.min() > 1 - ALPHA - 0.03 and even.min() > uneven.min()
    assert rows["LAC"][:, 1].mean() < rows["APS"][:, 1].mean() + 0.05  # the smallest on average
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
