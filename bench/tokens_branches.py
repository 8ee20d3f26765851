"""What branches gain where tokens are many: SmolLM2, as many texts read by either filter.

    python -m bench.tokens_branches --runs 10

A power of the model after a question, by ``ParticleFilter``'s engine and by ``branching_filter``.
Both estimates of the mass are unbiased, so that the better one has the larger mean of its log
(Jensen's inequality takes away about half the variance) and the smaller spread. The rows are
recorded in ``docs/measured``.
"""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

import probinf as pi
from bench.recording import record
from probinf.core.sequence import particle_filter
from probinf.fronts.tokens.sequence import sequence_of
from probinf.lm import TinyLM, load_smollm2
from probinf.tokens.branching import branched, distinct

QUESTION = "Name three animals that live in the sea."


@partial(jax.jit, static_argnames=("sizes", "n", "branches"))
def once(key: jax.Array, data: Any, *, sizes: Any, n: int, branches: int) -> Any:
    """Log mass, mean log p of a text by weight, and how many texts are distinct."""
    if branches:
        rows, log_w, _ = branched(key, data, sizes=sizes, n=n, k=branches, select=distinct)
        log_z = logsumexp(log_w)
    else:
        sequence = dataclasses.replace(sequence_of(sizes, data), data=({}, data))
        cloud = particle_filter(key, sequence, n)
        rows, log_w, log_z = cloud.x, cloud.log_w, cloud.log_z
    weights = jax.nn.softmax(log_w)
    same = (rows.tokens[:, None] == rows.tokens).all(-1) & jnp.isfinite(log_w)
    first = ~jnp.tril(same, -1).any(1) & jnp.isfinite(log_w)
    return log_z, weights @ jnp.where(weights > 0, rows.log_prob, 0.0), first.sum()


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--particles", type=int, default=8)
    parser.add_argument("--candidates", type=int, nargs="*", default=[8])
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--exponents", type=float, nargs="*", default=[2.0, 4.0])
    parser.add_argument("--tiny", action="store_true", help="TinyLM instead, to try the script")
    given = parser.parse_args()
    if given.tiny:
        model: Any = TinyLM.load()
        prompt = TinyLM.encode("17+25-9=")
    else:
        model, words = load_smollm2(context=512)
        prompt = np.array(words.chat(QUESTION))
    for exponent in given.exponents:
        program = pi.from_language_model(model, prompt, max_tokens=given.tokens, exponent=exponent)
        for k in (0, *given.candidates):
            options = {"sizes": program.state_space.sizes, "n": given.particles, "branches": k}
            runs = [once(jax.random.key(i), program.data, **options) for i in range(given.runs)]
            log_z, log_p, texts = np.array(runs, float).T
            mass = float(logsumexp(log_z) - np.log(len(log_z)))
            figures = {
                "mean log mass": float(log_z.mean()),
                "sd": float(log_z.std(ddof=1)),
                "log mean mass": mass,
                "mean log p": float(log_p.mean()),
                "distinct texts": float(texts.mean()),
                "particles": given.particles,
                "tokens": given.tokens,
                "runs": given.runs,
            }
            name = f"power {exponent:g}, " + (f"{k} branches" if k else "particle filter")
            print(name, {key: round(value, 3) for key, value in figures.items()}, flush=True)
            if not given.tiny:
                record("tokens_branches.json", name, figures, packages=("jax",))


if __name__ == "__main__":
    main()
