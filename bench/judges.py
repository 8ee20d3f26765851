"""Judges on a simplex: do intervals from unknown judges cover, where a majority vote does not?

Run from the project's root::

    python -m bench.judges                    # all settings, 20 data sets each
    python -m bench.judges lenient weak --sets 100
    python -m bench.judges levels             # what one judge can tell, by the number of answers

Five candidates with shares of good answers anywhere between .2 and .9, judged answer by answer. A
row counts, over data sets and candidates, how often an interval of nominally 95 per cent has the
true share in it: for the model of ``docs/discrete/judges.md`` (truth summed out, NUTS), and for the
majority of the judges (Wilson's interval). Then the widths, and how many pairs of candidates are
put in the wrong order with certainty (.975 by the model; intervals that do not overlap).
"""

from __future__ import annotations

import argparse
import time
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi

CANDIDATES = 5


def judged(votes: Any) -> None:
    """Shares of good answers, and judges who call the good ones good oftener than the bad."""
    answers, judges, candidates = votes.shape
    good = numpyro.sample("good", dist.Beta(1, 1).expand([candidates]).to_event(1))
    of_bad = numpyro.sample("of_bad", dist.Beta(2, 3).expand([judges]).to_event(1))
    lean = numpyro.sample("lean", dist.Beta(2, 2).expand([judges]).to_event(1))
    says = jnp.stack([of_bad, of_bad + lean * (1 - of_bad)])
    with (
        numpyro.plate("candidates", candidates, dim=-1),
        numpyro.plate("answers", answers, dim=-3),
    ):
        truth = numpyro.sample("truth", dist.Bernoulli(good))
        with numpyro.plate("judges", judges, dim=-2):
            law = says[truth, jnp.arange(judges)[:, None]]
            numpyro.sample("vote", dist.Bernoulli(law), obs=votes)


def one_judge(counts: Any) -> None:
    """Two candidates and one judge, who is right half of the time or oftener at every level."""
    levels = counts.shape[1]
    wrong = numpyro.sample("wrong", dist.Dirichlet(jnp.ones((levels, levels))).to_event(1))
    matrix = 0.5 * jnp.eye(levels) + 0.5 * wrong
    level = numpyro.sample("level", dist.Dirichlet(jnp.ones((2, levels))).to_event(1))
    numpyro.sample(
        "counts", dist.Multinomial(counts.sum(1), level @ matrix).to_event(1), obs=counts
    )
    numpyro.deterministic("score", level @ jnp.arange(levels))


class Setting(NamedTuple):
    """How often each judge calls bad and good answers good, and what the model does not know."""

    of_bad: tuple[float, ...]
    of_good: tuple[float, ...]
    answers: int = 100
    copied: float = 0.0
    hard: float = 0.0


SETTINGS = {
    "lenient": Setting((0.45, 0.25, 0.5), (0.9, 0.75, 0.95)),
    "harsh": Setting((0.05, 0.1, 0.2), (0.5, 0.55, 0.7)),
    "mixed": Setting((0.5, 0.1, 0.3, 0.05, 0.4), (0.95, 0.6, 0.8, 0.5, 0.85)),
    "few": Setting((0.45, 0.25, 0.5), (0.9, 0.75, 0.95), answers=30),
    "weak": Setting((0.4, 0.45, 0.5), (0.65, 0.7, 0.75)),
    "two": Setting((0.45, 0.25), (0.9, 0.75)),
    "fair": Setting((0.1, 0.1, 0.1), (0.9, 0.9, 0.9)),
    "copied": Setting((0.45, 0.25, 0.5), (0.9, 0.75, 0.95), copied=0.3),
    "hard": Setting((0.45, 0.25, 0.5), (0.9, 0.75, 0.95), hard=0.3),
}
SAYS = {
    "lenient": "three judges who let bad answers pass",
    "harsh": "three judges who miss good answers",
    "mixed": "five judges of both kinds",
    "few": "lenient, 30 answers each",
    "weak": "judges hardly better than a coin",
    "two": "two judges only",
    "fair": "judges with small, equal errors",
    "copied": "a third of the votes copied from the first judge (model wrong)",
    "hard": "a third of the answers judged by a coin (model wrong)",
}


def drawn(setting: Setting, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """True shares, and votes as answers by judges by candidates."""
    share = rng.uniform(0.2, 0.9, CANDIDATES)
    truth = (rng.random((setting.answers, 1, CANDIDATES)) < share).astype(int)
    says = np.array([setting.of_bad, setting.of_good])
    chance = says[truth, np.arange(says.shape[1])[:, None]]
    coin = rng.random(truth.shape) < setting.hard
    chance = np.where(coin, 0.5, chance)
    votes = (rng.random(chance.shape) < chance).astype(int)
    copied = rng.random(votes.shape) < setting.copied
    return share, np.where(copied, votes[:, :1], votes)


def wilson(votes: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the share that most judges call good; of a tie one half."""
    n, mean = len(votes), votes.mean(1)
    p = ((mean > 0.5) + 0.5 * (mean == 0.5)).mean(0)
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return middle - half, middle + half


def row(name: str, sets: int) -> list[str]:
    """One setting, over many data sets."""
    rows = []
    for seed in range(sets):
        share, votes = drawn(SETTINGS[name], np.random.default_rng([seed, len(name)]))
        method = pi.NUTS(chains=2, warmup=300, draws=400)
        fit = pi.sample(pi.from_numpyro(judged, votes), method, key=seed, progress=False)
        good = fit.draws["good"].reshape(-1, CANDIDATES)
        low, high = np.quantile(good, [0.025, 0.975], axis=0)
        above = (good[:, :, None] > good[:, None]).mean(0)
        worse = share[:, None] < share
        a, b = wilson(votes)
        rows.append(
            (
                (low < share) & (share < high),
                (a < share) & (share < b),
                high - low,
                b - a,
                ((above > 0.975) & worse).sum(),
                ((a[:, None] > b) & worse).sum(),
                np.nanmax(fit.summary().columns["r_hat"]) > 1.05,
            )
        )
    ours, most, wide, narrow, wrong, sure, bad = (
        np.array(v, float) for v in zip(*rows, strict=True)
    )
    by_set = ours.mean(1).std(ddof=1) / np.sqrt(sets)
    return [
        f"{ours.mean():.1%} ± {by_set:.1%}", f"{most.mean():.1%}", f"{wide.mean():.2f}",
        f"{narrow.mean():.2f}", f"{wrong.sum():.0f}", f"{sure.sum():.0f}", f"{bad.sum():.0f}",
    ]  # fmt: skip


def levels() -> None:
    """The probability that the second candidate is better, as one judge's answers go on."""
    seen = {
        2: np.array([[0.6, 0.4], [0.45, 0.55]]),
        3: np.array([[0.3, 0.4, 0.3], [0.4, 0.17, 0.43]]),
    }
    print("| answers of each | " + " | ".join(f"{k} levels" for k in seen) + " |\n|---|---|---|")
    for answers in (100, 1000, 10_000):
        found = []
        for shares in seen.values():
            counts = np.rint(answers * shares).astype(int)
            method = pi.NUTS(
                chains=4, warmup=700, draws=1000, kernel=pi.kernels.NUTS(target_acceptance=0.95)
            )
            fit = pi.sample(pi.from_numpyro(one_judge, counts), method, key=1, progress=False)
            score = fit.draws["score"]
            found.append(f"{(score[..., 1] > score[..., 0]).mean():.2f}")
        print(f"| {answers} | {' | '.join(found)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=[*SETTINGS, "levels"])
    parser.add_argument("--sets", type=int, default=20)
    options = parser.parse_args()
    names: list[str] = options.names
    if unknown := set(names) - {*SETTINGS, "levels"}:
        parser.error(f"unknown {sorted(unknown)}; there are {[*SETTINGS, 'levels']}")
    if names != ["levels"]:
        print(
            "| setting | covers | majority | width | majority "
            "| wrong pairs | majority | R-hat > 1.05 |\n|---|---|---|---|---|---|---|---|"
        )
    for name in names:
        if name == "levels":
            continue
        began = time.perf_counter()
        cells = row(name, options.sets)
        spent = time.perf_counter() - began
        print(f"| {name}: {SAYS[name]} | {' | '.join(cells)} |  <!-- {spent:.0f} s -->", flush=True)
    if "levels" in names:
        print()
        levels()


if __name__ == "__main__":
    main()
