"""Certified label sets in 200 runs: coverage under attack against the certificates.

Run from the project's root: ``python -m bench.certified [digits linear]``; the rows are recorded
in docs/measured/certified.json. ``linear`` draws new points in every run, and its attack is the
worst of nine directions for sensors that are known; ``digits`` splits the images that no sensor
was trained on anew in every run, and moves each towards the nearest image of another digit.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

import probinf.conformal as pc
from bench.recording import record

Counts = tuple[np.ndarray, ...]  # clean, attacked


def linear(run: int) -> tuple[Any, Any, Counts, Counts, dict[str, Any]]:
    """Linear sensors of three labels and two attributes, the latter out of the attack's reach."""
    from tests.conformal.test_certified import DISTANCE, NOISE, RULES, SAMPLES, attacked, fire
    from tests.conformal.test_certified import points as draw

    rng = np.random.default_rng(run)
    (x, y), (t, truth) = draw(rng, 1000, 2.0), draw(rng, 500, 2.0)
    moved = attacked(t, truth, pc.labels.KnowledgeCircuit(RULES))
    clean, still, hit = (rng.binomial(SAMPLES, fire(z)) for z in (x, t, moved))
    options = {"rules": RULES, "samples": SAMPLES, "distance": DISTANCE, "noise": NOISE}
    return y, truth, (clean,), (still, hit), options


def sensed() -> tuple[np.ndarray, Counts, dict[str, Any]]:
    """Digits that no sensor was trained on: labels, counts of clean and of attacked images."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(0)
    X, y = load_digits(return_X_y=True)
    order = rng.permutation(len(y))
    X, y = X[order] / 16, y[order]
    parts = ([0, 6, 8, 9], [1, 4, 7], [0, 2, 3, 8, 9], [0, 3, 5, 6, 8], [5, 7], [2, 3, 5, 7, 9])
    has = np.column_stack([np.isin(np.arange(10), digits) for digits in parts])
    noise, samples, distance = 0.25, 600, 0.1
    noisy = np.repeat(X[:900], 8, axis=0)
    noisy = noisy + noise * rng.normal(size=noisy.shape)
    labels = np.repeat(y[:900], 8)
    digit = LogisticRegression(C=0.1, max_iter=200).fit(noisy, labels)
    sensors = [
        MLPClassifier((24,), max_iter=12, random_state=0).fit(noisy, has[labels, part])
        for part in range(len(parts))
    ]
    images, own = X[900:], y[900:]
    moved = images.copy()
    for k, (image, label) in enumerate(zip(images, own, strict=True)):
        others = X[:900][y[:900] != label]
        toward = others[np.linalg.norm(others - image, axis=1).argmin()] - image
        moved[k] += distance * toward / np.linalg.norm(toward)
    found = []
    for asked in (images, moved):
        counts = np.zeros((len(asked), 16))
        for _ in range(samples):
            copy = asked + noise * rng.normal(size=asked.shape)
            counts[np.arange(len(asked)), digit.predict(copy)] += 1
            for part, sensor in enumerate(sensors):
                counts[:, 10 + part] += sensor.predict(copy)
        found.append(counts)
    rules = np.where(has, 3.0, -3.0)
    options = {"rules": rules, "samples": samples, "distance": distance, "noise": noise}
    return own, tuple(found), options


def measured(area: str, alpha: float, runs: int) -> dict[str, Any]:
    """One row: shares of test points covered, certificates, runs that break theirs."""
    own, images, fixed = sensed() if area == "digits" else (None, (), {})
    rows = []
    for run in range(runs):
        if area == "digits":
            assert own is not None
            order = np.random.default_rng(run).permutation(len(own))
            a, b = order[:600], order[600:]
            y, truth, options = own[a], own[b], fixed
            (clean, *_), (still, hit) = (images[0][a],), (images[0][b], images[1][b])
        else:
            y, truth, (clean,), (still, hit), options = linear(run)
        K = len(options["rules"])
        alone = {k: v for k, v in options.items() if k != "rules"} | {"classes": K}
        both = pc.certified(clean, y, hit, alpha=alpha, **options)
        one = pc.certified(clean[:, :K], y, hit[:, :K], alpha=alpha, **alone)
        before = pc.certified(clean, y, still, alpha=alpha, **options)
        under = both.ordinary.contains(truth).mean()
        rows.append(
            {
                "certified sets, attacked": both.sets.contains(truth).mean(),
                "ordinary sets, attacked": under,
                "certificate": both.coverage,
                "single sensor's": one.coverage,
                "single sensor, attacked": one.ordinary.contains(truth).mean(),
                "ordinary sets, clean": before.ordinary.contains(truth).mean(),
                "labels": both.sets.size().mean(),
                "single sensor's labels": one.sets.size().mean(),
                "below": under < both.coverage,
            }
        )
    found = {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}
    found["runs below"] = round(found.pop("below") * runs)
    return found | {"runs": runs, "alpha": alpha}


def main() -> None:
    """Measure and record the rows asked for."""
    warnings.simplefilter("ignore")
    for area in sys.argv[1:] or ("linear", "digits"):
        for alpha in (0.1,) if area == "linear" else (0.1, 0.05):
            found = measured(area, alpha, 200)
            print(area, found, flush=True)
            record("certified.json", f"{area}, {1 - alpha:.0%}", found, packages=("numpy",))


if __name__ == "__main__":
    main()
