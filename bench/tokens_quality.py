"""Ways to spend computation on sums with TinyLM: who is right how often, at equal forward tokens.

    python -m bench.tokens_quality --problems 500 --rows 8

Every method but the first three runs 8 texts of at most 12 tokens through the model for a
problem (a chain of Metropolis moves does so one after the other). The exact verifier knows whether
a text is right so far, the noisy one errs in one of ten prefixes. Intervals are of paired
differences, by bootstrap over problems.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import probinf as pi
from probinf.core.sequence import particle_filter
from probinf.fronts.tokens.context import ROWS
from probinf.fronts.tokens.data import Step
from probinf.fronts.tokens.reward import Reward
from probinf.fronts.tokens.sequence import run_through, sequence_of
from probinf.fronts.tokens.stepping import context_of
from probinf.lm import TinyLM
from probinf.tokens import tails

T, A = 12, 4.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Verifier:
    """Whether the text is right so far; wrong about a share of all prefixes."""

    solution: jax.Array
    error: jax.Array
    surest: jax.Array

    def __call__(self, context: Any) -> jax.Array:
        within = jnp.arange(T) < context.length
        right = jnp.all(~within | (context.tokens == self.solution))
        code = jnp.sum(jnp.where(within, (context.tokens + 1) * 31 ** (jnp.arange(T) % 5), 0))
        u = jax.random.uniform(jax.random.fold_in(jax.random.key(0), code + context.prompt.sum()))
        right = right ^ (u < self.error)
        return jnp.where(right, self.surest, 1 - self.surest)


def tables(problems: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prompts padded to 16 tokens, their lengths, and the solutions."""
    prompts = np.zeros((len(problems), 16), np.int32)
    used = np.zeros(len(problems), np.int32)
    solutions = np.full((len(problems), T), TinyLM.encode(";")[0], np.int32)
    for k, problem in enumerate(problems):
        tokens = TinyLM.encode(problem)
        prompts[k, : len(tokens)], used[k] = tokens, len(tokens)
        text = TinyLM.encode(TinyLM.solution(problem))
        solutions[k, : len(text)] = text
    return prompts, used, solutions


@partial(jax.jit, static_argnames=("sizes", "rows", "how"))
def run(key, data, prompts, used, solutions, error, *, sizes, rows: int, how: str):
    """Of every problem: the texts of one method, their log weights, log p, and tokens run."""

    def one(item):
        key, prompt, length, solution = item
        surest = jnp.where(error > 0, 0.9, 0.999)
        potential = Reward(Verifier(solution, error, surest), "diff")
        own = data._replace(prompt=prompt, used=length)
        if how == "judged":
            own = own._replace(potential=potential)
        if how in ("judged", "filter"):
            sequence = dataclasses.replace(sequence_of(sizes, own), data=({}, own))
            cloud = particle_filter(key, sequence, rows)
            return cloud.x.tokens, cloud.log_w, cloud.x.log_prob
        if how == "tails":
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
    return jax.lax.map(one, (keys, prompts, used, solutions))


_LAST = Step(jnp.zeros((), int), jnp.ones(()), jnp.ones(()), jnp.asarray(True))


def interval(gap: np.ndarray) -> str:
    """Mean of paired differences and their bootstrap interval of 95 %."""
    rng = np.random.default_rng(0)
    again = gap[rng.integers(0, len(gap), (4000, len(gap)))].mean(1)
    low, high = np.quantile(again, [0.025, 0.975])
    return f"{gap.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--only", nargs="*", help="names of methods that begin so")
    given = parser.parse_args()
    problems, n = TinyLM.problems(given.problems, given.seed), given.rows
    prompts, used, solutions = map(jnp.asarray, tables(problems))
    lm = TinyLM.load()

    def program(**options):
        return pi.from_language_model(lm, TinyLM.encode(problems[0]), max_tokens=T, **options)

    plain = program()
    sizes = plain.state_space.sizes
    power = program(exponent=A, ramp=8).data
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
        for k, problem in enumerate(problems):
            texts = [TinyLM.decode(row) for row in tokens[k]]
            results = [text.rsplit("=", 1)[-1] for text in texts]
            if name == "votes" or how == "votes":
                weights = np.log(log_w[k]) if how == "votes" else None
                best = pi.tokens.self_consistency(results, weights).best
                chosen = results.index(best)
            elif how == "best":
                chosen = int(np.argmax(log_w[k]))
            else:
                weights = np.exp(log_w[k] - log_w[k].max())
                chosen = int(rng.choice(rows, p=weights / weights.sum()))
            outcome.append(TinyLM.is_right(problem, texts[chosen]))
            chosen_p.append(log_p[k, chosen])
        right[name], log_ps[name] = np.array(outcome, float), np.array(chosen_p)
        print(
            f"{name:27s} right {right[name].mean():.3f}   mean log p {log_ps[name].mean():+.3f}   "
            f"rows {rows}   {time.perf_counter() - start:5.1f} s",
            flush=True,
        )
    for one, other in (
        ("filter, exact reward", "best of N, exact"),
        ("filter, noisy reward", "best of N, noisy"),
        ("filter, noisy reward", "weighted best of N, noisy"),
        ("power, filter", "greedy"),
        ("power, filter", "one text, temperature 1/4"),
        ("power, filter", "power, chain of tails"),
    ):
        if one in right and other in right:
            print(f"{one} - {other}: {interval(right[one] - right[other])}")


if __name__ == "__main__":
    main()
