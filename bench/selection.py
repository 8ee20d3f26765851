"""False discoveries and power of selections, subgroups and few-shot thresholds, in one table.

Run from the project's root: ``python -m bench.selection [points subgroups thresholds]``; the rows
are recorded in docs/measured, in selection.json and thresholds.json. ``points``: outcomes above a
threshold, from a split (the first half of the methods) and without one (by ridges, by any learner).
``subgroups``: carving with its own rule, by hand with a rule that a program plays, and a split in
two halves. ``thresholds``: class by class from 15 real points, alone and with 1,000 synthetic ones.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import probinf.conformal as pc
from bench.recording import record

S = pc.selection
Q, ALPHA = 0.3, 0.05


def interaction(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Design A, setting 1, of Bai & Jin (2024): the sign of a product decides which side counts."""
    x = rng.uniform(-1, 1, (n, 20))
    up, down = (x[:, 3] > 0.5) * (0.25 + x[:, 3]), (x[:, 3] < -0.5) * (x[:, 3] - 0.25)
    return x, np.where(x[:, 0] * x[:, 1] > 0, up, down) + 0.2 * rng.normal(size=n)


def curved(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Design A, setting 2: a smooth mean, noise 1.5 times as large as its spread parameter."""
    x = rng.uniform(-1, 1, (n, 20))
    mu = 2 * (x[:, 0] * x[:, 1] + x[:, 2] ** 2 + np.exp(x[:, 3] - 1) - 1)
    return x, mu + 0.75 * rng.normal(size=n)


def sparse(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Design B with 60 of its 300 columns: every twentieth counts, noise of 1.5 units."""
    x = rng.normal(size=(n, 60))
    return x, x[:, ::20].sum(axis=1) + 1.5 * rng.normal(size=n)


def learners() -> list[Any]:
    """A forest, boosted trees and a logistic regression, fast settings."""
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    forest = RandomForestClassifier(60, min_samples_leaf=3, random_state=0)
    boosted = GradientBoostingClassifier(n_estimators=40, subsample=0.7, random_state=0)
    return [forest, boosted, LogisticRegression(C=0.1)]


def split_scores(x: Any, large: Any, new: Any, half: int) -> tuple[np.ndarray, np.ndarray]:
    """(3, ·) clipped scores of learners that saw the first half of the labelled points."""
    cal, test = [], []
    for one in learners():
        one.fit(x[:half], large[:half])
        mu, t = one.predict_proba(x[half:])[:, 1], one.predict_proba(new)[:, 1]
        cal.append(S.clipped_scores(mu, large[half:], 0.5))
        test.append(S.clipped_scores(t))
    return np.stack(cal), np.stack(test)


def points() -> None:
    """Many labelled points and half as many new ones; few of both."""
    for name, design in (("interaction", interaction), ("curved", curved), ("sparse", sparse)):
        large_outcomes(name, design, 200, 100)
        large_outcomes(f"{name}, few", design, 60, 15)


def large_outcomes(name: str, design: Any, n: int, m: int, repetitions: int = 200) -> None:
    """Outcomes above 0 among m new points: FDR at q = .3 and the share of them that is found."""
    found: dict[str, list[tuple[float, float]]] = {}
    for r in range(repetitions):
        rng = np.random.default_rng(r)
        x, y = design(rng, n + m)
        large, new, truth = y[:n] > 0, x[n:], y[n:] > 0
        v, t = split_scores(x[:n], large, new, n // 2)
        chosen = {
            "split, forest": pc.cfbh(v[0], t[0], q=Q),
            "split, one of three at random": pc.cfbh(*(a[r % 3] for a in (v, t)), q=Q),
            "split, OptCS of three": pc.optcs(r, v, t, q=Q),
            "no split, ridge": S.optcs_full(r, x[:n], large, new, q=Q),
            "no split, OptCS of four ridges": S.optcs_full(
                r, x[:n], large, new, q=Q, ridges=(0.1, 1.0, 10.0, 100.0)
            ),
            "no split, forest": S.optcs_full(
                r, x[:n], large, new, q=Q, learner=learners()[0], folds=5
            ),
            "no split, OptCS of three": S.optcs_full(
                r, x[:n], large, new, q=Q, learner=learners(), folds=5
            ),
        }
        for method, out in chosen.items():
            some = out.selected
            false = float((~truth[some]).mean()) if some.size else 0.0
            found.setdefault(method, []).append((false, truth[some].sum() / max(1, truth.sum())))
    for method, rates in found.items():
        report(f"{name}: {method}", "FDR at q = .3", Q, np.array(rates), "share found")


def by_hand(x: np.ndarray, y: np.ndarray, key: int, tests: int = 8) -> Any:
    """A program plays the user: cuts by a ridge regression on what is revealed, eight tests."""
    session = S.ChiselByHand(x, y, above=0.5, key=key, alpha=ALPHA)
    start = session.masked
    for k in range(tests):
        if session.test(1 / (tests - k)):
            break
        count = session.masked - int(start * (1 - 0.85 * (k + 1) / (tests - 1)))
        if k == tests - 1 or not 1 <= count < session.masked:
            break
        seen = session.revealed
        session.cut(S.ridge_learner(seen.X, seen.y), count)
    return session


def halves(x: np.ndarray, y: np.ndarray, key: int) -> tuple[bool, Callable[[np.ndarray], Any]]:
    """A region from one half (the third predicted largest), an exact test on the other."""
    from scipy.stats import binomtest

    first = np.random.default_rng(key).permutation(len(y)) < len(y) // 2
    rule = S.ridge_learner(x[first], y[first])
    cut = np.quantile(rule(x[first]), 2 / 3)
    inside = y[~first][rule(x[~first]) > cut].astype(int)
    if not inside.size:
        return False, lambda new: rule(new) > cut
    p = binomtest(int(inside.sum()), inside.size, 0.5, alternative="greater").pvalue
    return p <= ALPHA, lambda new: rule(new) > cut


def subgroups(repetitions: int = 1000, n: int = 500) -> None:
    """Regions in which a binary outcome exceeds one half: false alarms without one, and power."""
    chances = {
        "no effect": lambda x: np.full(len(x), 0.5),
        "nowhere, worse for some": lambda x: np.where(x[:, 0] > 0, 0.5, 0.3),
        "helps a quarter, harms others": lambda x: np.where(x[:, 0] > 0.7, 0.68, 0.4),
        "rises with two columns": lambda x: 1 / (1 + np.exp(0.6 - 0.5 * (x[:, 0] + x[:, 1]))),
    }
    for name, chance in chances.items():
        found: dict[str, list[tuple[float, float]]] = {}
        null = max(chance(np.random.default_rng(0).normal(size=(4000, 5)))) <= 0.5
        for r in range(repetitions):
            rng = np.random.default_rng(r)
            x = rng.normal(size=(n, 5))
            y = (rng.uniform(size=n) < chance(x)).astype(float)
            fresh = rng.normal(size=(4000, 5))
            session, whole, split = by_hand(x, y, r), S.chisel(x, y - 0.5, key=r), halves(x, y, r)
            for method, rejected, region in (
                ("two halves, exact", split[0], split[1]),
                ("chisel", whole.rejected, whole.contains),
                ("by hand, exact", session.rejected, session.contains),
            ):
                wrong = rejected and (null or chance(fresh[region(fresh)]).mean() <= 0.5)
                found.setdefault(method, []).append((float(wrong), float(rejected)))
        for method, rates in found.items():
            kind = "false discovery at .05"
            report(f"{name}: {method}", kind, ALPHA, np.array(rates), "rejects")


def thresholds(repetitions: int = 400, classes: int = 6, real: int = 15, made: int = 1000) -> None:
    """Coverage .9 within each class from 15 real scores; synthetic ones shifted class by class."""
    shift = np.linspace(-0.6, 0.6, classes)
    centre = np.array([0.0, 0.1, 0.2, 2.0, 2.1, 2.2])[:classes]
    from scipy.stats import norm

    upper = int(pc.calibration.upper_rank(real, 0.1))
    rows: dict[str, list[np.ndarray]] = {}
    widths: dict[str, list[np.ndarray]] = {}
    for r in range(repetitions):
        rng = np.random.default_rng(r)
        y, z = np.repeat(np.arange(classes), real), np.repeat(np.arange(classes), made)
        s = centre[y] + rng.normal(size=y.size)
        t = centre[z] + shift[z] + rng.normal(size=z.size)
        other = centre[y] + rng.normal(size=y.size)
        options = {"classes": classes, "alpha": 0.1}
        found = {
            "real alone": [np.sort(s[y == k])[upper - 1] for k in range(classes)],
            "with own synthetic": pc.calibration.spi_by_class(s, y, t, z, **options),
            "with all synthetic": pc.calibration.spi_by_class(s, y, t, z, use="all", **options),
            "with those of the nearest three": pc.calibration.spi_by_class(
                s, y, t, z, use="nearest", reference=(other, y), **options
            ),
        }
        for method, each in found.items():
            cut = np.array([float(getattr(k, "threshold", k)) for k in each])
            rows.setdefault(method, []).append(norm.cdf(cut - centre))
            widths.setdefault(method, []).append(cut - centre)
    for method, each in rows.items():
        covered = np.array(each)
        figures = {
            "coverage": float(covered.mean()),
            "worst class": float(covered.mean(axis=0).min()),
            "sd": float(covered.std(axis=0).mean()),
            "threshold": float(np.mean(widths[method])),
        }
        print(f"{method:42}", {k: round(v, 3) for k, v in figures.items()})
        record(
            "thresholds.json", method, figures | {"runs": repetitions}, packages=("numpy", "scipy")
        )


def report(row: str, kind: str, most: float, rates: np.ndarray, power: str) -> None:
    """Print and record error rate and power with their standard errors."""
    mean, error = rates.mean(axis=0), rates.std(axis=0) / np.sqrt(len(rates))
    kept = bool(mean[0] <= most + 3 * max(error[0], np.sqrt(most * (1 - most) / len(rates)) / 3))
    print(
        f"{row:62} {mean[0]:.3f} ({error[0]:.3f})  {power} {mean[1]:.3f} ({error[1]:.3f})"
        + ("" if kept else "  ABOVE ITS LEVEL")
    )
    figures = {
        "kind": kind, "rate": float(mean[0]), "rate's error": float(error[0]),
        "measure": power, "power": float(mean[1]), "power's error": float(error[1]),
        "runs": len(rates),
    }  # fmt: skip
    record("selection.json", row, figures, packages=("numpy", "scikit-learn"))


def main() -> None:
    """Measure the parts that are named, or all."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    parts = {"points": points, "subgroups": subgroups, "thresholds": thresholds}
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
