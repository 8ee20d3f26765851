"""Token programs against enumeration: TableLM with V=4, T=6, and the fourth power of its law.

    python -m bench.tokens --seeds 5 --runs 20000
    python -m bench.tokens --only "power, ramp" --runs 400000 --name "many runs"
    python -m bench.tokens --only answers

Every row is over models of several seeds: the worst z-score of the mass, the total variation
distance of runs pooled by evidence, and of a text drawn from a single run (its law over runs).
Rows are recorded in ``docs/measured``, under a name of their own with ``--name``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.scipy.special import logsumexp

import probinf as pi
from bench.recording import record
from probinf import resampling
from probinf.lm import TableLM
from probinf.tokens import tails
from probinf.tokens.branching import branched, distinct
from tests.cases import tokens as case

PACKAGES = ("jax",)
RESAMPLERS = ("systematic", "stratified", "multinomial", "residual", "killing", "ssp")


def figures(name: str, lm: TableLM, runs: int, particles: int, **options) -> dict[str, float]:
    """Mass and law of one target on one model."""
    engine = {k: options.pop(k) for k in ("resampler", "below", "run") if k in options}
    look = options.pop("look", None)
    truth, program = case.exact(name, lm=lm), case.program(name, lm=lm, **options)
    if look is not None:
        program = pi.tokens.with_lookahead(program, **look)
    found = case.filtered(
        jax.random.key(1), case.sequence(program), runs=runs, particles=particles, **engine
    )
    log_z, tokens, log_w = found
    ratio = np.exp(np.asarray(log_z, float) - truth.log_z)
    alone = case.pooled(truth, np.zeros(runs), tokens, log_w)
    return {
        "ratio": ratio.mean(),
        "se": ratio.std(ddof=1) / np.sqrt(runs),
        "z": case.z_score(log_z, truth.log_z),
        "pooled": truth.tv(case.pooled(truth, *found)),
        "single": truth.tv(alone),
        "noise": noise(truth, tokens, log_w),
        "log_z": truth.log_z,
    }


def branching(seeds: range, runs: int, particles: int, candidates: int, ramp: int) -> None:
    """The same figures of ``branching_filter``, and how far one run's own measure is off."""
    rows = []
    for seed in seeds:
        lm = TableLM.random(seed)
        truth, program = case.exact("power", lm=lm), case.program("power", lm=lm, ramp=ramp)
        sizes = program.state_space.sizes

        def one(key, data=program.data, sizes=sizes):
            found, log_w, _ = branched(
                key, data, sizes=sizes, n=particles, k=candidates, select=distinct
            )
            log_z = logsumexp(log_w)
            return log_z, found.tokens, log_w - log_z

        keys = jax.random.split(jax.random.key(1), runs)
        found = jax.jit(lambda keys, one=one: jax.lax.map(one, keys, batch_size=100))(keys)
        log_z, tokens, log_w = map(np.asarray, found)
        law = case.pooled(truth, np.zeros(runs), tokens, log_w)
        own = [case.pooled(truth, log_z[[i]], tokens[[i]], log_w[[i]]) for i in range(100)]
        rows.append(
            (
                abs(case.z_score(log_z, truth.log_z)),
                truth.tv(case.pooled(truth, *found)),
                truth.tv(law),
                noise(truth, tokens, log_w),
                np.mean([truth.tv(v) for v in own]),
            )
        )
    z, pooled, single, floor, own = np.array(rows).T
    told(f"power, ramp {ramp}, {candidates} branches", particles, runs, z, pooled, single, floor)
    print(f"    measure of a run {np.median(own):.3f} (worst {own.max():.3f})", flush=True)


def told(label: str, particles: int, runs: int, *columns: Any) -> None:
    """Print and record one row: |z| of the mass, distances pooled, single, and their noise."""
    z, pooled, single, floor = (np.asarray(column) for column in columns)
    print(
        f"{label:34s} N={particles:<3d} worst |z| {z.max():4.2f}  pooled TV "
        f"{np.median(pooled):.4f} (worst {pooled.max():.4f})  single run {np.median(single):.4f} "
        f"(worst {single.max():.4f}, noise {np.median(floor):.4f})",
        flush=True,
    )
    figures = {"worst z": z.max(), "pooled": np.median(pooled), "pooled, worst": pooled.max()}
    figures |= {"single": np.median(single), "single, worst": single.max()}
    figures |= {"noise": np.median(floor), "models": len(z), "runs": runs}
    figures = {k: v if isinstance(v, int) else float(v) for k, v in figures.items()}
    record("tokens.json", f"{label}, N={particles}", figures, packages=PACKAGES)


def exact_draws(seeds: range, n: int = 64) -> None:
    """Mean distance of the measure of ``n`` exact draws, and of the best one of ``n`` texts."""
    rng, found = np.random.default_rng(0), []
    for seed in seeds:
        truth = case.exact("power", lm=TableLM.random(seed))
        drawn = rng.multinomial(n, truth.law / truth.law.sum(), 1000) / n
        best = np.sort(truth.law)[:-n].sum()
        found.append((np.mean([truth.tv(v) for v in drawn]), best))
    drawn, best = np.array(found).T
    print(
        f"{n} exact draws: TV of their measure {np.median(drawn):.3f} (worst {drawn.max():.3f}); "
        f"best measure on {n} texts {np.median(best):.4f} (worst {best.max():.4f})"
    )


def noise(truth: case.Exact, tokens: Any, log_w: Any) -> float:
    """What the distance of a single run's law would be were it right: that of two halves, halved.

    Each run gives every text it holds its share of the weight, and not one drawn text, so that
    the law of a draw is known better than from as many draws.
    """
    half = len(tokens) // 2
    parts = (slice(half), slice(half, 2 * half))
    one, other = (case.pooled(truth, np.zeros(half), tokens[p], log_w[p]) for p in parts)
    return float(0.25 * np.abs(one - other).sum())


def over_models(label: str, seeds: range, name: str, runs: int, particles: int, **options) -> None:
    rows = [figures(name, TableLM.random(s), runs, particles, **options) for s in seeds]
    columns = ([row[name] for row in rows] for name in ("pooled", "single", "noise"))
    told(label, particles, runs, [abs(row["z"]) for row in rows], *columns)


def token_temperature(seeds: range) -> None:
    found = []
    for seed in seeds:
        lm = TableLM.random(seed)
        truth = case.exact("power", lm=lm)
        cold = TableLM(case.A * lm.logits, lm.eos)
        shares = np.exp(case.exact("model", lm=cold).log_p)
        found.append(truth.tv(shares))
    print(f"{'temperature 1/4 on tokens':34s} TV {np.median(found):.4f} (worst {max(found):.4f})")


def tail_kernel() -> None:
    """Invariance of the move of tails, in double precision; and of the published ratio."""
    from tests.laws import test_token_moves as moves
    from tests.mutants import test_tokens as mutants

    with jax.enable_x64(True):
        for name in ("power", "reward", "steps"):
            program, truth = moves.small(name)
            matrix = moves.transitions(program, truth, tails.log_acceptance)
            kernel(f"move of tails, {name}", truth.law @ matrix - truth.law)
        program, truth = moves.small("power")
        matrix = moves.transitions(program, truth, mutants.lengths_forgotten)
        kernel("lengths left out", truth.law @ matrix - truth.law)
        kernel("published move", mutants.published_move(truth, program.data.lm, case.A))


def kernel(label: str, change: np.ndarray) -> None:
    """Print and record by how much a move changes the law that it should keep."""
    off = float(np.abs(change).sum())
    print(f"{label:24s} |pi K - pi|_1 = {off:.1e}", flush=True)
    record("tokens_moves.json", label, {"change": off}, packages=PACKAGES)


def answers(repetitions: int) -> None:
    """Votes, internal probability, pruned or not, Horvitz-Thompson: mean squared errors, n = 16."""
    rng = np.random.default_rng(5)
    for name, size in (("peaked", 0.1), ("flat", 50.0)):
        errors = np.zeros(4)
        for _ in range(repetitions):
            p = rng.dirichlet(np.full(40, size))
            right = p[np.arange(40) % 3 == 0].sum()
            tries = rng.choice(40, 16, p=p)
            given = (tries % 3, tries, np.log(p[tries]))
            rules = (
                pi.tokens.self_consistency(given[0]),
                pi.tokens.internal_probability(*given),
                pi.tokens.internal_probability(*given, prune="weibull"),
                pi.tokens.horvitz_thompson(*given),
            )
            shares = [dict(zip(*rule, strict=True)).get(0, 0.0) for rule in rules]
            errors += (np.array(shares) - right) ** 2 / repetitions
        print(
            f"answers, {name:6s}: votes {errors[0]:.4f}, published {errors[1]:.4f}, "
            f"published and pruned {errors[2]:.4f}, Horvitz-Thompson {errors[3]:.4f}"
        )
        names = ("votes", "published", "published, pruned", "Horvitz-Thompson")
        figures = dict(zip(names, errors.tolist(), strict=True)) | {"repetitions": repetitions}
        record("tokens_answers.json", name, figures, packages=PACKAGES)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first model")
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--tries", type=int, default=2000, help="repetitions of the answers")
    parser.add_argument("--resamplers", action="store_true")
    parser.add_argument("--only", nargs="*", help="filters whose label begins so, or answers")
    parser.add_argument("--name", default="", help="added to the label")
    given = parser.parse_args()
    seeds, runs = range(given.first, given.first + given.seeds), given.runs
    print(json.dumps(vars(given)), flush=True)
    if not given.only:
        tail_kernel()
        token_temperature(seeds)
        exact_draws(seeds)
        for n, k, ramp in ((16, 4, 1), (64, 4, 1), (16, 4, 4), (64, 4, 4), (64, 2, 4)):
            branching(seeds, runs // 10, n, k, ramp)
    for label, target, n, options in filters(given.resamplers):
        if not given.only or label.startswith(tuple(given.only)):
            least = runs // 4 if "look" in options else runs
            full = f"{label}, {given.name}" if given.name else label
            over_models(full, seeds, target, least, n, **options)
    if not given.only or "answers" in given.only:
        answers(given.tries)


def filters(resamplers: bool) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
    """Label, target, particles and options of every filter."""
    for n in (16, 64):
        for ramp in (1, 4, 6):
            yield f"power, ramp {ramp}", "power", n, {"ramp": ramp}
        straight = [1 + (case.A - 1) * (t + 1) / case.T for t in range(case.T)]
        yield "power, ramp 6, by equal steps", "power", n, {"ramp": straight}
    yield "power, tokens of the model", "power", 64, {"ramp": 1, "proposal": plain}
    yield "power, tokens of the model, ramp 4", "power", 64, {"proposal": plain}
    look = {"candidates": 4, "rollouts": 8}
    yield "power, looking ahead", "power", 16, {"ramp": 1, "look": look}
    for name in ("twist", "reward", "odds", "diff", "steps"):
        yield name, name, 64, {}
    if resamplers:
        for name in ("power", "twist", "reward"):
            for way in RESAMPLERS:
                options = {"resampler": getattr(resampling, way), "below": 1.0}
                yield f"{name}, {way}", name, 32, options


def plain(log_p, context):
    """Tokens as the model draws them."""
    return log_p


if __name__ == "__main__":
    main()
