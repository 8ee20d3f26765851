"""Make the weights of TinyLM from their seed: ``python -m bench.train_tinylm [--steps N]``.

One core, two minutes. The training stops early on purpose: about half of the texts are right.
The seed, the steps and the measured share are kept in the file.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from probinf.lm import TinyLM, generate
from probinf.lm.caching import stream
from probinf.lm.decoder import logits
from probinf.lm.tiny import ARCHITECTURE, drawn, flat

FILE = pathlib.Path(__file__).parents[1] / "probinf" / "lm" / "shipped" / "tinylm.safetensors"
LENGTH = 20
BATCH = 64


def batch(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Whole texts, and which of their tokens are predicted: those after the problem."""
    tokens = np.full((BATCH, LENGTH), ARCHITECTURE.eos, np.int32)
    counted = np.zeros((BATCH, LENGTH), np.float32)
    for row, problem in enumerate(drawn(rng, BATCH)):
        text = TinyLM.encode(problem + TinyLM.solution(problem))
        tokens[row, : len(text)] = text
        counted[row, len(problem) : len(text)] = 1.0
    return tokens, counted


def loss(weights: Any, tokens: jax.Array, counted: jax.Array) -> jax.Array:
    """Mean surprise per token, in nats."""
    x = stream(weights, ARCHITECTURE, tokens[:, :-1])
    logs = jax.nn.log_softmax(logits(weights, ARCHITECTURE, x))
    each = jnp.take_along_axis(logs, tokens[:, 1:, None], -1)[..., 0]
    return -(each * counted[:, 1:]).sum() / counted[:, 1:].sum()


def share_right(model: TinyLM, count: int, temperature: float = 1.0) -> float:
    """Share of problems whose single text ends with the right result."""
    right = 0
    for i, problem in enumerate(TinyLM.problems(count, 10_000)):
        prompt = TinyLM.encode(problem)
        out = generate(model, prompt, key=i, length=12, temperature=temperature)
        right += TinyLM.is_right(problem, TinyLM.decode(out.tokens[0]))
    return right / count


def main() -> None:
    """Train, measure, write."""
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=FILE)
    parser.add_argument("--every", type=int, default=0, help="also write every so many steps")
    options = parser.parse_args()
    model = TinyLM.random(options.seed, ARCHITECTURE)
    rate = optax.warmup_cosine_decay_schedule(0.0, 4e-3, 100, options.steps, 1e-4)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b2=0.98))
    rng = np.random.default_rng(options.seed)

    @jax.jit
    def step(weights: Any, state: Any, tokens: jax.Array, counted: jax.Array) -> Any:
        value, slope = jax.value_and_grad(loss)(weights, tokens, counted)
        change, state = optimiser.update(slope, state, weights)
        return optax.apply_updates(weights, change), state, value

    def write(path: pathlib.Path, weights: Any, steps: int, right: float) -> None:
        path.parent.mkdir(exist_ok=True)
        record = {"seed": options.seed, "steps": steps, "share_right": right}
        save_file(flat(weights), path, metadata={"training": json.dumps(record)})

    weights, state, losses = model.weights, optimiser.init(model.weights), []
    begun = time.perf_counter()
    for i in range(1, options.steps + 1):
        weights, state, value = step(weights, state, *batch(rng))
        losses.append(float(value))
        if i % 200 == 0:
            seconds = time.perf_counter() - begun
            print(f"step {i}  loss {np.mean(losses[-200:]):.3f}  {seconds:.0f} s", flush=True)
        if options.every and i % options.every == 0:
            right = share_right(TinyLM(weights, ARCHITECTURE), 200)
            print(f"step {i}  right {right:.2f}", flush=True)
            write(options.out.with_suffix(f".{i}.safetensors"), weights, i, right)
    right = share_right(TinyLM(weights, ARCHITECTURE), 1000)
    greedy = share_right(TinyLM(weights, ARCHITECTURE), 1000, 0.0)
    print(f"right: {right:.3f} at temperature 1, {greedy:.3f} greedy")
    write(options.out, weights, options.steps, right)


if __name__ == "__main__":
    main()
