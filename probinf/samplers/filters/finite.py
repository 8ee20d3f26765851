"""Exact filtering, smoothing and decoding of finite states, by the discrete filter of cuthbert."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from probinf.core.program import Key
from probinf.fronts.states.model import State, StateModel, log_prob
from probinf.fronts.states.series import Step, at
from probinf.samplers.filters.gaussian import Exact

MOST = 1000
"""States up to which matrices of transitions are made."""


def grid(model: StateModel) -> State | None:
    """Every value of the state, or None where they are not finitely many (or too many)."""
    parts = model.components
    if not all(c.discrete and c.levels is not None and c.starts and c.moves for c in parts):
        return None
    ranges = [np.arange(c.levels[0], c.levels[1] + 1) for c in parts if c.levels is not None]
    if np.prod([float(len(r)) for r in ranges]) > MOST:
        return None
    mesh = np.meshgrid(*ranges, indexing="ij")
    return {c.name: jnp.asarray(m.ravel(), int) for c, m in zip(parts, mesh, strict=True)}


def tables(
    model: StateModel, parameters: Any, steps: Step, states: State
) -> tuple[Float[Array, "t k k"], Float[Array, "t k"]]:
    """Probabilities of every transition and log likelihoods of every state, leading axis time.

    The rows of the first step's transitions are all the law of the first state.
    """

    def total(found: Any, state: State) -> Array:
        return sum((log_prob(found[n], v).sum() for n, v in state.items()), start=jnp.zeros(()))

    def moves(step: Step) -> Array:
        def row(before: State) -> Array:
            found = model.next(before, parameters, step)
            return jax.vmap(lambda after: total(found, after))(states)

        return jax.vmap(row)(states)

    def seen(step: Step) -> Array:
        def one(state: State) -> Array:
            parts = model.log_emission(state, parameters, step)
            return sum((value.sum() for value in parts.values()), start=jnp.zeros(()))

        return jax.vmap(one)(states)

    first = model.first(parameters, at(steps, 0))
    begin = jnp.exp(jax.vmap(lambda state: total(first, state))(states))
    matrices = jnp.exp(jax.vmap(moves)(steps))
    matrices = matrices.at[0].set(jnp.broadcast_to(begin, matrices.shape[1:]))
    return matrices, jax.vmap(seen)(steps)


def refuse_not_stochastic(matrices: np.ndarray) -> str:
    """Which transitions have probabilities that do not add up to one, or an empty string."""
    totals = matrices.sum(-1)
    bad = np.argwhere(~(np.abs(totals - 1) < 1e-3))
    if not len(bad):
        return ""
    t, k = bad[0]
    whose = "the initial law" if t == 0 else f"the transition from state {k}"
    return (
        f"{whose} at step {t} has total probability {totals[t, k]:.4g} over the states that there "
        "are: it leads where no state is, or its probabilities are wrong"
    )


def solve(
    key: Key, model: StateModel, parameters: Any, steps: Step, states: State, draws: int
) -> Exact:
    """Filter, smoother, most probable path and draws.

    Source: cuthbert's discrete filter and smoother; decoding: Viterbi (1967).
    """
    from cuthbert import discrete
    from cuthbert import filter as run_filter
    from cuthbert import smoother as run_smoother

    matrices, seen = tables(model, parameters, steps, states)
    count = matrices.shape[-1]

    def moves(one: Any) -> Array:
        return one[0]

    def likelihoods(one: Any) -> Array:
        return one[1]

    uniform = jnp.full((count,), 1 / count)
    filtering = discrete.filter.build_filter(uniform, moves, likelihoods)
    smoothing = discrete.smoother.build_smoother(moves)
    found = run_filter(filtering, (matrices, seen), filtering.init_prepare())
    smooth = run_smoother(smoothing, found)
    filtered, smoothed = found.dist[1:], smooth.dist[1:]

    first, rest = jax.random.split(key)
    last = jax.random.categorical(first, jnp.log(filtered[-1]), shape=(draws,))

    def back(after: Array, item: Any) -> Any:
        key, probability, matrix = item
        logits = jnp.log(probability)[None] + jnp.log(matrix.T[after])
        before = jax.random.categorical(key, logits)
        return before, before

    keys = jax.random.split(rest, filtered.shape[0] - 1)
    _, earlier = jax.lax.scan(back, last, (keys, filtered[:-1], matrices[1:]), reverse=True)
    index = jnp.swapaxes(jnp.concatenate([earlier, last[None]]), 0, 1)
    best = viterbi(matrices, seen)
    more = {f"most probable:{n}": v[best] for n, v in states.items()}
    if len(states) == 1:
        (name,) = states
        more |= {f"probability:{name}": filtered, f"smoothed probability:{name}": smoothed}
    return Exact(
        found.log_normalizing_constant[-1],
        _moments(filtered, states),
        _moments(smoothed, states),
        more,
        {name: value[index] for name, value in states.items()},
    )


def _moments(probability: Array, states: State) -> tuple[State, State]:
    mean = {name: probability @ value for name, value in states.items()}
    square = {name: probability @ value**2 for name, value in states.items()}
    return mean, {n: jnp.sqrt(jnp.maximum(square[n] - mean[n] ** 2, 0)) for n in states}


def viterbi(matrices: Float[Array, "t k k"], seen: Float[Array, "t k"]) -> Int[Array, " t"]:
    """Indices of the most probable path."""
    logs = jnp.log(matrices)

    def forward(best: Array, item: Any) -> Any:
        matrix, log_likelihood = item
        through = best[:, None] + matrix
        return through.max(0) + log_likelihood, through.argmax(0)

    end, pointers = jax.lax.scan(forward, logs[0, 0] + seen[0], (logs[1:], seen[1:]))

    def back(index: Array, pointer: Array) -> Any:
        return pointer[index], pointer[index]

    last = end.argmax()
    _, earlier = jax.lax.scan(back, last, pointers, reverse=True)
    return jnp.concatenate([earlier, last[None]])
