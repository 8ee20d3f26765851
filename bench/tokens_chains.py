"""What a text of a power costs by a particle filter and by the chain of tails, at equal quality.

    python -m bench.tokens_chains [--branches 4]

With ``--branches`` the filter is ``branching_filter``, of so many candidates, in its place.

A method is good enough where the mean log probability of the texts that it gives comes within one
per cent of that of the target (by enumeration, or by all runs of the largest filter, pooled). Of
the filter the smallest number of particles is taken, of the chain the smallest number of moves,
begun at a text of the proposal (tokens at temperature 1/4). Then both are timed at it, in turns,
for one text at a time: medians of the ratios. Passes are those of the model, one after the other;
the rows of a pass are computed together. Rows are recorded in ``docs/measured``.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import probinf as pi
from bench.recording import record
from probinf.core.sequence import particle_filter
from probinf.fronts.tokens.sequence import run_through, sequence_of
from probinf.lm import TableLM, TinyLM
from probinf.tokens import tails
from probinf.tokens.branching import branched, distinct
from tests.cases import tokens as case

A, CLOSE = 4.0, 0.01
PARTICLES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
FEW = (1, 4, 16)  # of a model that takes a while to compile


def filtered(key: jax.Array, data: Any, sizes: Any, n: int, branches: int) -> Any:
    """Texts, their log p, their log weights (normalised or not) and the log of the mass."""
    if branches:
        rows, log_w, _ = branched(key, data, sizes=sizes, n=n, k=branches, select=distinct)
        return rows.tokens, rows.log_prob, log_w, jax.scipy.special.logsumexp(log_w)
    sequence = dataclasses.replace(sequence_of(sizes, data), data=({}, data))
    cloud = particle_filter(key, sequence, n)
    return cloud.x.tokens, cloud.x.log_prob, cloud.log_w, cloud.log_z


@partial(jax.jit, static_argnames=("sizes", "n", "runs", "branches"))
def by_filter(
    key: jax.Array, data: Any, *, sizes: Any, n: int, runs: int, branches: int = 0
) -> Any:
    """Log evidence, and mean log p of a text by weight, of each run."""

    def one(key: jax.Array) -> Any:
        _, log_prob, log_w, log_z = filtered(key, data, sizes, n, branches)
        return log_z, jax.nn.softmax(log_w) @ log_prob

    return jax.lax.map(one, jax.random.split(key, runs), batch_size=50)


@partial(jax.jit, static_argnames=("sizes", "n", "moves"))
def by_chain(key: jax.Array, data: Any, *, sizes: Any, n: int, moves: int) -> jax.Array:
    """(moves + 1, n) log p of ``n`` chains after each move."""
    begin, rest = jax.random.split(key)
    text = tails.text_of(run_through(begin, n, sizes, data))

    def move(text: tails.Text, key: jax.Array) -> Any:
        after = tails.moved(key, text, sizes, data)[0]
        return after, after.log_prob

    _, log_p = jax.lax.scan(move, text, jax.random.split(rest, moves))
    return jnp.concatenate([text.log_prob[None], log_p])


@partial(jax.jit, static_argnames=("sizes", "n", "branches"))
def one_by_filter(key: jax.Array, data: Any, *, sizes: Any, n: int, branches: int) -> jax.Array:
    tokens, _, log_w, _ = filtered(key, data, sizes, n, branches)
    return tokens[jax.random.categorical(key, log_w)]


@partial(jax.jit, static_argnames=("sizes",))
def one_by_chain(key: jax.Array, data: Any, moves: jax.Array, *, sizes: Any) -> jax.Array:
    text = tails.text_of(run_through(key, 1, sizes, data))

    def move(k: jax.Array, text: tails.Text) -> tails.Text:
        return tails.moved(jax.random.fold_in(key, k), text, sizes, data)[0]

    return jax.lax.fori_loop(0, moves, move, text).tokens[0]


def seconds(fn: Callable[[jax.Array], Any], count: int) -> float:
    begun = time.perf_counter()
    for i in range(count):
        jax.block_until_ready(fn(jax.random.key(i)))
    return (time.perf_counter() - begun) / count


def compare(
    label: str,
    problems: list[Any],
    most: int,
    runs: int,
    branches: int = 0,
    particles: tuple[int, ...] = PARTICLES,
) -> None:
    """One family of (program, exact mean log p or None: that of all runs, pooled)."""
    filters, chains, targets = [], [], []
    for program, target in problems:
        sizes = program.state_space.sizes
        key, means = jax.random.key(1), []
        for n in particles:
            out = by_filter(key, program.data, sizes=sizes, n=n, runs=runs, branches=branches)
            log_z, mean = (np.asarray(v, float) for v in out)
            means.append(float(mean.mean()))
        filters.append(means)
        if target is None:  # the last filters are the largest
            weight = np.exp(log_z - log_z.max())
            target = float(weight @ mean / weight.sum())
        targets.append(target)
        data = tails.without_ramp(program.data)
        found = by_chain(key, data, sizes=sizes, n=runs, moves=most)
        chains.append(np.asarray(found, float).mean(1))
    goal = np.mean(targets)
    close = CLOSE * abs(goal)
    of_filter, of_chain = np.mean(filters, 0), np.mean(chains, 0)
    enough = np.flatnonzero(of_filter > goal - close)
    moves = np.flatnonzero(of_chain > goal - close)
    print(
        f"{label}: mean log p of the target {goal:.3f}; proposal {of_chain[0]:.3f}, filter of "
        f"{particles[0]} to {particles[-1]}: {np.round(of_filter, 3).tolist()}, chain after "
        f"1, 10, {most} moves: {np.round(of_chain[[1, min(10, most), most]], 3).tolist()}"
    )
    if not len(enough):
        print("  no filter comes within 1 %")
        noted(label, branches, {"particles": f"more than {particles[-1]}"})
        return
    n, k = particles[enough[0]], int(moves[0]) if len(moves) else most
    than = "" if len(moves) else "more than "
    program = problems[0][0]
    sizes = program.state_space.sizes
    data = tails.without_ramp(program.data)
    arms = (
        partial(one_by_filter, data=program.data, sizes=sizes, n=n, branches=branches),
        partial(one_by_chain, data=data, moves=jnp.asarray(k), sizes=sizes),
    )
    for arm in arms:
        seconds(arm, 2)
    rounds = [[seconds(arm, 20) for arm in arms] for _ in range(9)]
    ratio = statistics.median(b / a for a, b in rounds)
    each = np.median(rounds, 0) * 1e3
    t = sizes.max_tokens
    print(
        f"  within 1 %: filter {n} particles, {t} passes, {n * t} rows, {each[0]:.2f} ms; chain "
        f"{than}{k} moves, {(k + 1) * t} passes and rows, {each[1]:.2f} ms; chain / filter: "
        f"{than}{ratio:.1f} in seconds, {k + 1:.0f} in passes, {(k + 1) / n:.2f} in rows"
    )
    figures = {"particles": n, "moves": f"{than}{k}", "ms, filter": each[0], "ms, chain": each[1]}
    figures |= {"times": ratio, "in rows": (k + 1) / n, "target": float(goal)}
    noted(label, branches, figures)


def noted(label: str, branches: int, figures: dict[str, Any]) -> None:
    """Record a row, the chain's figures being lower bounds where it did not get there."""
    method = f"filter of {branches} branches" if branches else "filter"
    record("tokens_chains.json", f"{label}: {method}", figures, packages=("jax",))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--problems", type=int, default=10)
    parser.add_argument("--moves", type=int, default=200)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--branches", type=int, default=0)
    given = parser.parse_args()
    tables = []
    for seed in range(given.first, given.first + given.models):
        lm = TableLM.random(seed)
        truth = case.exact("power", lm=lm)
        program = pi.from_language_model(lm, max_tokens=case.T, exponent=A)
        tables.append((program, float(truth.law @ truth.log_p)))
        compare(f"TableLM {seed}", tables[-1:], given.moves, given.runs, given.branches)
    if tables:
        compare("TableLM, all", tables, given.moves, given.runs, given.branches)
    lm = TinyLM.load()
    texts = TinyLM.problems(given.problems, 7) if given.problems else []
    sums = [
        (pi.from_language_model(lm, TinyLM.encode(p), max_tokens=12, exponent=A), None)
        for p in texts
    ]
    if sums:
        least = max(given.runs // 10, 100)
        compare("TinyLM, sums", sums, min(given.moves, 50), least, given.branches, FEW)


if __name__ == "__main__":
    main()
