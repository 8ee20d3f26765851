"""What sampling with weights costs beside plain decoding: ``python -m bench.tokens_speed``.

SmolLM2-135M-Instruct (its shapes with random weights where the package is absent), 8 rows, in one
process and in turns: plain batched decoding of the same number of tokens, a particle filter that
resamples when needed, one that resamples at every step. Ratios are medians over rounds of the
time of each by that of plain decoding in the same round, of the clock's time and of the
processors', which other work on the machine disturbs less. Rows are recorded in ``docs/measured``.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.recording import record
from probinf.core.sequence import particle_filter
from probinf.errors import MissingPackageError
from probinf.fronts.tokens.front import from_language_model
from probinf.lm import Architecture, TinyLM, TransformerLM, load_smollm2
from probinf.lm.drawing import draw

SMOLLM2 = Architecture(
    vocab_size=49152,
    eos=2,
    width=576,
    layers=30,
    heads=9,
    kv_heads=3,
    head_size=64,
    hidden=1536,
    context=2048,
    rope="interleaved",
    rope_base=1e5,
)
QUESTION = "Tell me a short story about a lighthouse."


def plain(key: jax.Array, model: Any, prompt: jax.Array, used: jax.Array, *, n: int, t: int) -> Any:
    """``t`` tokens for ``n`` rows, drawn from the model; rows never stop."""
    cache, logits = model.init(prompt, used, n, t)

    def turn(carry: Any, key: jax.Array) -> Any:
        cache, logits = carry
        logs = jax.nn.log_softmax(logits)
        token = draw(key, logs).astype(jnp.int32)
        here = jnp.take_along_axis(logs, token[:, None], 1)[:, 0]
        return model.step(cache, token, jnp.ones(n, bool)), (token, here)

    keys = jax.random.split(key, t)
    (cache, logits), first = jax.lax.scan(turn, (cache, logits), keys[:-1])
    token = draw(keys[-1], logits)
    return first, token


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="TinyLM instead, to try the script")
    parser.add_argument("--layers", type=int, default=0, help="random weights, so many layers")
    options = parser.parse_args()
    n, t = options.rows, options.tokens
    if options.tiny:
        model: Any = TinyLM.load()
        tokens = TinyLM.encode("17+25-9=")
        t = min(t, 40)
    elif options.layers:
        model = TransformerLM.random(0, dataclasses.replace(SMOLLM2, layers=options.layers))
        tokens = np.arange(3, 40)
    else:
        try:
            model, words = load_smollm2(context=2048)
            tokens = np.array(words.chat(QUESTION))
        except MissingPackageError as error:
            print(f"random weights: {error}")
            model, tokens = TransformerLM.random(0, SMOLLM2), np.arange(3, 40)
    program = from_language_model(model, tokens, max_tokens=t, exponent=1.5, ramp=t)
    sequence = program.state_space(program.data).sequence
    prompt, used = sequence.data.prompt, sequence.data.used
    data = ((), sequence.data)

    sequence = dataclasses.replace(sequence, data=data)

    def smc(below: float) -> Any:
        return jax.jit(lambda key, seq: particle_filter(key, seq, n, resample_below=below).log_z)

    decode = jax.jit(plain, static_argnames=("n", "t"))
    always, needed = smc(1.0), smc(0.5)
    arms = {
        "plain": lambda key: decode(key, model, prompt, used, n=n, t=t),
        "needed": lambda key: needed(key, sequence),
        "always": lambda key: always(key, sequence),
    }
    for name, arm in arms.items():
        begun = time.perf_counter()
        jax.block_until_ready(arm(jax.random.key(0)))
        print(f"{name}: first call {time.perf_counter() - begun:.1f} s", flush=True)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for i in range(options.rounds):
        for name, arm in arms.items():
            begun, worked = time.perf_counter(), time.process_time()
            jax.block_until_ready(arm(jax.random.key(i)))
            spent[name].append((time.perf_counter() - begun, time.process_time() - worked))
    base, rows = np.array(spent["plain"]), []
    for name, found in spent.items():
        clock, cpu = np.median(np.array(found) / base, axis=0)
        best, cheapest = np.min(found, axis=0)
        print(
            f"{name:7} {best / t * 1e3:7.1f} ms a step at best, {n * t / best:6.0f} tokens/s; by "
            f"plain: clock {clock:.3f} (of the best {best / base[:, 0].min():.3f}), processors "
            f"{cpu:.3f} (of the best {cheapest / base[:, 1].min():.3f})"
        )
        rows.append((name, {"ms a step": best / t * 1e3, "tokens a second": n * t / best}))
        rows[-1][1].update({"by plain": float(clock), "by plain, processors": float(cpu)})
        rows[-1][1].update({"rows": n, "tokens": t, "rounds": options.rounds})
    compiled = decode._cache_size(), needed._cache_size()
    other = from_language_model(model, tokens[:-3], max_tokens=t, exponent=1.5, ramp=t)
    second = other.state_space(other.data).sequence
    needed(jax.random.key(9), dataclasses.replace(second, data=((), second.data)))
    print(f"programs before and after a second prompt: {compiled[1]}, {needed._cache_size()}")
    if not (options.tiny or options.layers):
        for name, figures in rows:
            record("tokens_speed.json", name, figures, packages=("jax",))


if __name__ == "__main__":
    main()
