"""Search: which of four systems ranks best, when people judged few of the results?

Queries are handwritten digits, documents other images (bundled with scikit-learn); a document is
relevant if it shows the same digit. People judged eighty queries, a classifier judges all.
Precision of each system and the order of the systems are inferred from both; all judgements exist
in truth, so that the answers are checked over many choices of the eighty.

Needs scikit-learn, the extra `sklearn`.

    python examples/ranking_judge.py [folder for the picture]
"""

import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from probinf import ppi

TOP, JUDGED, REPEATS = 5, 80, 40


def systems(pixels, target, train, documents, queries):
    """Relevance of the top documents, true and judged by a model, for every system."""
    judge = LogisticRegression(max_iter=3000, C=0.05).fit(pixels[train], target[train])
    p = judge.predict_proba(pixels)
    parts = PCA(8).fit(pixels[train]).transform(pixels)
    image = pixels.reshape(-1, 8, 8)
    features = {
        "pixels": pixels,
        "8 components": parts,
        "3 components": parts[:, :3],
        "rows and columns": np.concatenate([image.sum(1), image.sum(2)], axis=1),
    }
    out = {}
    for name, f in features.items():
        gap = ((f[queries][:, None] - f[documents][None]) ** 2).sum(axis=2)
        top = documents[np.argsort(gap, axis=1)[:, :TOP]]
        relevant = (target[top] == target[queries][:, None]).astype(float)
        out[name] = relevant, (p[top] * p[queries][:, None]).sum(axis=2)
    return out


def draw(rows, truth, names, folder):
    """Precision of the systems: judge alone, people alone, both."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
    for shift, (label, (middle, ends)) in zip((-0.2, 0.0, 0.2), rows.items(), strict=True):
        at = np.arange(len(names)) + shift
        axis.errorbar(middle, at, xerr=ends, fmt="o", ms=4, label=label)
    axis.plot(truth, range(len(names)), "k|", ms=24, label="truth")
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("relevant among the first five")
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(f"{folder}/ranking_judge.png")


def main(folder=None, key=0):
    """Rank, infer, compare, draw."""
    digits = load_digits()
    order = np.random.default_rng(key).permutation(len(digits.target))
    parts = order[:200], order[200:700], order[700:]
    found = systems(digits.data / 16, digits.target, *parts)
    names = list(found)
    y = np.column_stack([ppi.metric_value(r, "precision") for r, _ in found.values()])
    f = np.column_stack([ppi.expected_metric(p, "precision") for _, p in found.values()])
    truth, place = y.mean(0), (-y.mean(0)).argsort().argsort() + 1
    covered, ranked, widths = [], [], []
    for k in range(REPEATS):
        mix = np.random.default_rng(1000 + key + k).permutation(len(y))
        a, b = mix[:JUDGED], mix[JUDGED:]
        both = ppi.compare_systems(y[a], f[a], f[b], names=names)
        ranked.append(
            all(low <= r <= high for r, (low, high) in zip(place, both.ranks, strict=True))
        )
        single = [ppi.mean(y[a, j], f[a, j], f[b, j]) for j in range(len(names))]
        alone = [ppi.mean(y[a, j], f[a, j], f[b, j], method="classical") for j in range(len(names))]
        ends = np.array([s.conf_int()[0] for s in single])
        covered.append((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
        widths.append([[s.bse[0] for s in single], [s.bse[0] for s in alone]])
    print(both, "\n", both.differences)
    print("truth", dict(zip(names, truth.round(3).tolist(), strict=True)))
    print(f"the judge alone {f.mean(0).round(3)}")
    print(f"intervals cover {np.mean(covered):.3f}; all ranks inside in {np.mean(ranked):.0%}")
    gain = np.square(np.array(widths)[:, 1] / np.array(widths)[:, 0]).mean()
    print(f"eighty judgements are worth {80 * gain:.0f}")
    if folder:
        half = 1.645 * np.array(widths[-1])
        rows = {
            "judge alone": (f.mean(0), np.zeros(len(names))),
            "people alone": ([s.theta[0] for s in alone], half[1]),
            "both": ([s.theta[0] for s in single], half[0]),
        }
        draw(rows, truth, names, folder)

    # 160 intervals that share queries: .9 with a standard error of about .04
    assert np.mean(covered) > 0.78
    assert np.mean(ranked) > 0.78
    assert gain > 1.05
    assert np.abs(f.mean(0) - truth).min() > 0.02, "the judge alone is off"
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
