"""Ways to spend computation on sums: who is right how often, at equal forward tokens.

    python -m bench.tokens_quality --problems 500 --rows 8
    python -m bench.tokens_quality --model smollm2 --problems 200

TinyLM adds and subtracts three numbers in two steps; SmolLM2-135M-Instruct (Q4_1, dequantised) adds
two numbers of two digits after three examples. Every method but the first three runs 8 texts
through the model for a problem (a chain of Metropolis moves does so one after the other). The
exact verifier knows whether a text is right so far, the noisy one errs in one of ten prefixes.
Intervals are of paired differences, by bootstrap over problems. Tables are recorded in
``docs/measured``.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import probinf as pi
from bench.recording import record
from probinf.core.sequence import particle_filter
from probinf.fronts.tokens.context import ROWS
from probinf.fronts.tokens.data import Step
from probinf.fronts.tokens.reward import Reward
from probinf.fronts.tokens.sequence import run_through, sequence_of
from probinf.fronts.tokens.stepping import context_of
from probinf.lm import TinyLM, load_smollm2
from probinf.tokens import tails

A = 4.0
SHOTS = "7+5=12\n31+46=77\n58+27=85\n"


class Task(NamedTuple):
    """Problems of a model.

    Attributes:
        lm: the model.
        name: of it.
        length: tokens of the longest text.
        stop: tokens that end a text besides the model's own.
        prompts: (problems, 16), padded.
        used: (problems,).
        solutions: (problems, length), padded with what ends a text.
        answer: of a text, ``tokens -> text``.
        right: ``(problem's number, tokens) -> whether the text is right``.
    """

    lm: Any
    name: str
    length: int
    stop: Any
    prompts: np.ndarray
    used: np.ndarray
    solutions: np.ndarray
    answer: Callable[[Any], str]
    right: Callable[[int, Any], bool]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Verifier:
    """Whether the text is right so far; wrong about a share of all prefixes."""

    solution: jax.Array
    error: jax.Array
    surest: jax.Array

    def __call__(self, context: Any) -> jax.Array:
        place = jnp.arange(context.tokens.size)
        within = place < context.length
        right = jnp.all(~within | (context.tokens == self.solution))
        code = jnp.sum(jnp.where(within, (context.tokens + 1) * 31 ** (place % 5), 0))
        u = jax.random.uniform(jax.random.fold_in(jax.random.key(0), code + context.prompt.sum()))
        right = right ^ (u < self.error)
        return jnp.where(right, self.surest, 1 - self.surest)


def tiny(count: int, seed: int) -> Task:
    """Sums of three numbers in two steps."""
    problems, end = TinyLM.problems(count, seed), TinyLM.encode(";")[0]
    given = [TinyLM.encode(problem) for problem in problems]
    solved = [TinyLM.encode(TinyLM.solution(problem)) for problem in problems]
    return Task(
        TinyLM.load(),
        "TinyLM",
        12,
        None,
        *tables(given, solved, 12, end),
        lambda tokens: TinyLM.decode(tokens).rsplit("=", 1)[-1],
        lambda k, tokens: TinyLM.is_right(problems[k], TinyLM.decode(tokens)),
    )


def smollm2(count: int, seed: int) -> Task:
    """Sums of two numbers of two digits, after three examples."""
    model, words = load_smollm2(context=512)
    pairs = np.random.default_rng(seed).integers(10, 100, (count, 2))
    given = [np.array(words.encode(f"{a}+{b}=")) for a, b in pairs]
    solved = [np.array(words.encode(f"{a + b}\n")) for a, b in pairs]

    def answer(tokens: Any) -> str:
        return words.decode(tokens).split("\n")[0].strip()

    return Task(
        model.after(words.encode(SHOTS)),
        "SmolLM2",
        4,
        words.encode("\n"),
        *tables(given, solved, 4, model.eos),
        answer,
        lambda k, tokens: answer(tokens) == str(pairs[k].sum()),
    )


def tables(
    given: list[np.ndarray], solved: list[np.ndarray], length: int, end: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prompts padded to 16 tokens, their lengths, and the solutions."""
    prompts = np.zeros((len(given), 16), np.int32)
    solutions = np.full((len(given), length), end, np.int32)
    for k, (prompt, solution) in enumerate(zip(given, solved, strict=True)):
        prompts[k, : len(prompt)] = prompt
        solutions[k, : len(solution)] = solution
    return prompts, np.array([len(prompt) for prompt in given], np.int32), solutions


@partial(jax.jit, static_argnames=("sizes", "rows", "how"))
def run(key, data, prompts, used, solutions, error, *, sizes, rows: int, how: str):
    """Of every problem: the texts of one method, their log weights, log p, and tokens run."""

    def one(item):
        key, prompt, length, solution = item
        surest = jnp.where(error > 0, 0.9, 0.999)
        potential = Reward(Verifier(solution, error, surest), "diff")
        own = data._replace(prompt=prompt, used=length)
        if how in ("judged", "judged tails"):
            own = own._replace(potential=potential)
        if how in ("judged", "filter"):
            sequence = dataclasses.replace(sequence_of(sizes, own), data=({}, own))
            cloud = particle_filter(key, sequence, rows)
            return cloud.x.tokens, cloud.log_w, cloud.x.log_prob
        if how in ("tails", "judged tails"):
            current = tails.text_of(run_through(key, 1, sizes, own))

            def move(current, key):
                after = tails.moved(key, current, sizes, own)[0]
                return after, (after.tokens[0], after.log_prob[0])

            keys = jax.random.split(key, rows - 1)
            _, (tokens, log_prob) = jax.lax.scan(move, current, keys)
            tokens = jnp.concatenate([current.tokens, tokens])
            log_prob = jnp.concatenate([current.log_prob, log_prob])
            last = jnp.where(jnp.arange(rows) == rows - 1, 0.0, -jnp.inf)
            return tokens, last, log_prob
        found = run_through(key, rows, sizes, own).rows
        score = jnp.zeros(rows)
        if how in ("best", "votes"):
            score = jax.vmap(potential.score, (ROWS,))(context_of(found, own, _LAST))
        return found.tokens, score, found.log_prob

    keys = jax.random.split(key, prompts.shape[0])
    # a chain runs one text at a time: as many problems side by side as the others have rows
    beside = rows if how in ("tails", "judged tails") else None
    return jax.lax.map(one, (keys, prompts, used, solutions), batch_size=beside)


_LAST = Step(jnp.zeros((), int), jnp.ones(()), jnp.ones(()), jnp.asarray(True))


def interval(gap: np.ndarray) -> tuple[float, float, float]:
    """Mean of paired differences and their bootstrap interval of 95 %."""
    rng = np.random.default_rng(0)
    again = gap[rng.integers(0, len(gap), (4000, len(gap)))].mean(1)
    low, high = np.quantile(again, [0.025, 0.975])
    return float(gap.mean()), float(low), float(high)


TASKS = {"tiny": tiny, "smollm2": smollm2}
PACKAGES = ("jax",)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--model", choices=sorted(TASKS), default="tiny")
    parser.add_argument("--only", nargs="*", help="names of methods that begin so")
    given = parser.parse_args()
    n, task = given.rows, TASKS[given.model](given.problems, given.seed)
    first = task.prompts[0, : task.used[0]]
    prompts, used, solutions = map(jnp.asarray, (task.prompts, task.used, task.solutions))

    def program(**options):
        return pi.from_language_model(
            task.lm, first, max_tokens=task.length, stop=task.stop, **options
        )

    plain = program()
    sizes = plain.state_space.sizes
    power = program(exponent=A, ramp=min(8, task.length)).data
    cold = program(exponent=A).data
    greedy = program(exponent=400.0).data
    exact, noisy = jnp.asarray(0.0), jnp.asarray(0.1)
    methods = {
        "one text": (plain.data, exact, 1, "plain"),
        "greedy": (greedy, exact, 1, "plain"),
        "one text, temperature 1/4": (cold, exact, 1, "plain"),
        "votes": (plain.data, exact, n, "plain"),
        "power, filter": (power, exact, n, "filter"),
        "power, chain of tails": (cold, exact, n, "tails"),
        "best of N, exact": (plain.data, exact, n, "best"),
        "filter, exact reward": (plain.data, exact, n, "judged"),
        "best of N, noisy": (plain.data, noisy, n, "best"),
        "weighted best of N, noisy": (plain.data, noisy, n, "votes"),
        "filter, noisy reward": (plain.data, noisy, n, "judged"),
        "chain of tails, exact reward": (plain.data, exact, n, "judged tails"),
    }
    if given.only:
        begins = tuple(given.only)
        methods = {name: m for name, m in methods.items() if name.startswith(begins)}
    rng, right, log_ps = np.random.default_rng(1), {}, {}
    for name, (data, error, rows, how) in methods.items():
        start = time.perf_counter()
        found = run(
            jax.random.key(given.seed),
            data,
            prompts,
            used,
            solutions,
            error,
            sizes=sizes,
            rows=rows,
            how=how,
        )
        tokens, log_w, log_p = map(np.asarray, found)
        outcome, chosen_p = [], []
        for k in range(given.problems):
            results = [task.answer(row) for row in tokens[k]]
            if name == "votes" or how == "votes":
                weights = np.log(log_w[k]) if how == "votes" else None
                best = pi.tokens.self_consistency(results, weights).best
                chosen = results.index(best)
            elif how == "best":
                chosen = int(np.argmax(log_w[k]))
            else:
                weights = np.exp(log_w[k] - log_w[k].max())
                chosen = int(rng.choice(rows, p=weights / weights.sum()))
            outcome.append(task.right(k, tokens[k, chosen]))
            chosen_p.append(log_p[k, chosen])
        right[name], log_ps[name] = np.array(outcome, float), np.array(chosen_p)
        print(
            f"{name:28s} right {right[name].mean():.3f}   mean log p {log_ps[name].mean():+.3f}   "
            f"rows {rows}   {time.perf_counter() - start:5.1f} s",
            flush=True,
        )
        figures = {
            "right": float(right[name].mean()),
            "mean log p": float(log_ps[name].mean()),
            "texts": rows,
            "problems": given.problems,
        }
        record("tokens_quality.json", f"{task.name}: {name}", figures, packages=PACKAGES)
    for one, other in (
        ("filter, exact reward", "best of N, exact"),
        ("filter, exact reward", "chain of tails, exact reward"),
        ("filter, noisy reward", "best of N, noisy"),
        ("filter, noisy reward", "weighted best of N, noisy"),
        ("power, filter", "greedy"),
        ("power, filter", "one text, temperature 1/4"),
        ("power, filter", "power, chain of tails"),
    ):
        if one in right and other in right:
            mean, low, high = interval(right[one] - right[other])
            print(f"{one} - {other}: {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
            figures = {"difference": mean, "low": low, "high": high, "problems": given.problems}
            row = f"{task.name}: {one}, minus {other}"
            record("tokens_differences.json", row, figures, packages=PACKAGES)


if __name__ == "__main__":
    main()
