"""Ways to spend N texts on a problem of TinyLM: ``python -m bench.tokens_quality``.

TinyLM does sums of three numbers in two steps; half of its texts are right. Every way may write N
texts a problem (``one text``, ``greedy`` and ``temperature 1/4`` write one). Verifiers see the text
after each step; they know the truth, or take a share of wrong texts for right. Differences are
paired over problems, with 95 % bootstrap intervals.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import probinf as pi
from probinf.core.sequence import particle_filter
from probinf.lm import TinyLM
from probinf.lm.generating import _decode

LENGTH = 12
PROMPT = 16
PRIMES = np.array([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37], np.uint32) * np.uint32(2654435761)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Verifier:
    """Whether a text is right so far: nearly one or nearly zero, always the same for one text."""

    solution: jax.Array
    false_positives: jax.Array

    def of(self, tokens: Any, length: Any) -> Any:
        """The score of a text."""
        written = jnp.arange(LENGTH) < length
        right = jnp.all(~written | (tokens == self.solution))
        mixed = jnp.sum(jnp.where(written, (tokens.astype(jnp.uint32) + 1) * PRIMES, 0))
        mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(2246822519)
        lucky = (mixed >> 8).astype(jnp.float32) / 2**24 < self.false_positives
        return jnp.where(right | lucky, 0.999, 0.001)

    def __call__(self, context: Any) -> Any:
        return self.of(context.tokens, context.length)


def plain(model: Any, item: Any, rows: int, temperature: float) -> Any:
    """Texts, lengths and log probabilities of plain decoding."""
    key, prompt, used, _ = item
    greedy = temperature == 0
    warm = jnp.float32(1.0 if greedy else temperature)
    return _decode(model, key, prompt, used, warm, rows=rows, length=LENGTH, greedy=greedy)


def filtered(program: pi.Program, item: Any, rows: int, share: float | None) -> Any:
    """Texts, log weights and which was drawn, of a particle filter."""
    key, prompt, used, solution = item
    found = program.state_space(program.data).sequence
    data = found.data._replace(prompt=prompt, used=used)
    if share is not None:
        data = data._replace(potential=rewarded(solution, share))
    first, second = jax.random.split(key)
    cloud = particle_filter(first, dataclasses.replace(found, data=((), data)), rows)
    return cloud.x.tokens, cloud.log_w, jax.random.categorical(second, cloud.log_w)


def rewarded(solution: Any, share: float) -> Any:
    """The verifier's score as a potential whose factors cancel up to the last."""
    return pi.tokens.reward(Verifier(jnp.asarray(solution), jnp.float32(share)), link="diff")


def best(item: Any, tokens: Any, lengths: Any, share: float) -> Any:
    """The place of the text that the verifier likes best."""
    verifier = Verifier(item[3], jnp.float32(share))
    return jnp.argmax(jax.vmap(verifier.of)(tokens, lengths))


def over(fn: Any, *args: Any) -> list[np.ndarray]:
    """``fn`` of every problem, compiled once."""
    return [np.asarray(v) for v in jax.tree.leaves(jax.jit(lambda x: jax.lax.map(fn, x))(*args))]


def interval(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Mean paired difference and its bootstrap interval."""
    gain = a.astype(float) - b
    rows = np.random.default_rng(0).integers(0, len(gain), (2000, len(gain)))
    low, high = np.quantile(gain[rows].mean(1), [0.025, 0.975])
    return gain.mean(), low, high


def voted(tokens: np.ndarray, weights: np.ndarray) -> str:
    """The text whose result has the most weight behind it."""
    mass: dict[str, float] = {}
    for row, weight in zip(tokens, weights, strict=True):
        result = TinyLM.decode(row).rsplit("=", 1)[-1]
        mass[result] = mass.get(result, 0.0) + float(weight)
    return max(mass, key=lambda result: mass[result])


def main() -> None:
    """Run all ways and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--rows", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--false-positives", type=float, default=0.2)
    options = parser.parse_args()
    model, n = TinyLM.load(), options.problems
    problems = TinyLM.problems(n, key=77)
    prompts, solutions = np.zeros((n, PROMPT), np.int32), np.full((n, LENGTH), model.eos, np.int32)
    used = np.array([len(problem) for problem in problems], np.int32)
    for i, problem in enumerate(problems):
        prompts[i, : used[i]] = TinyLM.encode(problem)
        answer = TinyLM.encode(TinyLM.solution(problem))
        solutions[i, : len(answer)] = answer
    items = (jax.random.split(jax.random.key(1), n), prompts, used, solutions)

    def right(texts: Any) -> np.ndarray:
        found = [text if isinstance(text, str) else TinyLM.decode(text) for text in texts]
        return np.array([TinyLM.is_right(p, t) for p, t in zip(problems, found, strict=True)])

    first = TinyLM.encode(problems[0])
    power = pi.from_language_model(model, first, max_tokens=LENGTH, exponent=4.0, ramp=LENGTH)
    judged = pi.from_language_model(
        model,
        first,
        max_tokens=LENGTH,
        potential=rewarded(solutions[0], 0.0),
        boundary=TinyLM.encode("=").tolist(),
        block=LENGTH,
        max_steps=3,
    )
    greedy = right(over(lambda x: plain(model, x, 1, 0.0), items)[0][:, 0])
    cold = right(over(lambda x: plain(model, x, 1, 0.25), items)[0][:, 0])
    for rows in options.rows:
        tokens, lengths, _ = over(lambda x, rows=rows: plain(model, x, rows, 1.0), items)
        ways = {"one text": right(tokens[:, 0]), "greedy": greedy, "temperature 1/4": cold}
        ways["vote"] = right([voted(t, np.ones(rows)) for t in tokens])
        texts, log_w, drawn = over(lambda x, rows=rows: filtered(power, x, rows, None), items)
        ways["power, drawn"] = right(texts[np.arange(n), drawn])
        ways["power, vote"] = right(
            [voted(t, w) for t, w in zip(texts, np.exp(log_w), strict=True)]
        )
        for kind, share in (("exact", 0.0), ("noisy", options.false_positives)):
            (chosen,) = over(
                lambda x, share=share: best(x[0], x[1], x[2], share), (items, tokens, lengths)
            )
            ways[f"best of N, {kind}"] = right(tokens[np.arange(n), chosen])
            texts, _, drawn = over(
                lambda x, rows=rows, share=share: filtered(judged, x, rows, share), items
            )
            ways[f"filter, {kind}"] = right(texts[np.arange(n), drawn])
        print(f"\nN = {rows}, {n} problems, {lengths.mean():.1f} tokens a text")
        for name, found in ways.items():
            print(f"  {name:18} {found.mean():.3f}")
        for a, b in (
            ("filter, exact", "best of N, exact"),
            ("filter, noisy", "best of N, noisy"),
            ("power, drawn", "greedy"),
            ("power, vote", "vote"),
        ):
            gain, low, high = interval(ways[a], ways[b])
            verdict = "better" if low > 0 else "worse" if high < 0 else "no difference shown"
            print(f"  {a} - {b}: {gain:+.3f} [{low:+.3f}, {high:+.3f}]: {verdict}", flush=True)


if __name__ == "__main__":
    main()
