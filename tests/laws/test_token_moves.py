"""Chains of texts against enumeration: tails, conditional filters, bounds of the mass."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf.lm import TableLM
from probinf.samplers.pmcmc import whole
from probinf.tokens import tails
from tests.cases import tokens as case


def small(name: str, **options) -> tuple[pi.Program, case.Exact]:
    """A target on 31 texts, in double precision where that is on."""
    lm = TableLM.random(2, vocab_size=3, depth=4)
    lm = dataclasses.replace(lm, logits=jnp.asarray(lm.logits, float))
    return case.program(name, 4, lm, **options), case.exact(name, 4, lm)


def transitions(program: pi.Program, truth: case.Exact, log_acceptance) -> np.ndarray:
    """The matrix of one move: every text, every place, every tail."""
    sizes = program.state_space.sizes
    texts = tails.read(jnp.asarray(truth.tokens), tails.without_ramp(program.data), sizes=sizes)
    m = len(truth.lengths)
    log_q = truth.log_mass - np.asarray(texts.log_ratio, float)  # of the whole text
    prefixes = [[tuple(row[:k]) for k in range(len(row))] for row in truth.tokens.tolist()]
    one = [
        jax.tree.map(lambda v, i=i: jnp.broadcast_to(v[i], (m, *v.shape[1:])), texts)
        for i in range(m)
    ]
    matrix = np.zeros((m, m))
    for i in range(m):
        accept = np.exp(np.minimum(np.asarray(log_acceptance(one[i], texts), float), 0))
        for place in range(truth.lengths[i]):
            same = np.array([prefixes[j][place] == prefixes[i][place] for j in range(m)])
            law = np.where(same, np.exp(log_q), 0)
            matrix[i] += law / law.sum() * accept / truth.lengths[i]
        matrix[i, i] += 1 - matrix[i].sum()
    return matrix


@pytest.mark.parametrize("name", ["power", "steps"])
def test_rewriting_tails_leaves_the_law_invariant(name, x64) -> None:
    program, truth = small(name)
    matrix = transitions(program, truth, tails.log_acceptance)
    assert np.abs(truth.law @ matrix - truth.law).sum() < 1e-12
    flow = truth.law[:, None] * matrix
    assert np.abs(flow - flow.T).max() < 1e-12
    assert matrix.min() > -1e-12


@pytest.mark.slow
def test_the_compiled_move_is_that_of_the_matrix() -> None:
    """From one text many times."""
    program, truth = small("power")
    sizes, data = program.state_space.sizes, tails.without_ramp(program.data)
    matrix = transitions(program, truth, tails.log_acceptance)
    begin = int(np.argsort(-truth.law)[3])
    n = 20_000
    here = jnp.broadcast_to(jnp.asarray(truth.tokens[begin]), (n, 4))
    current = tails.read(here, data, sizes=sizes)
    after = jax.jit(partial(tails.moved, sizes=sizes, data=data))(jax.random.key(0), current)[0]
    shares = np.bincount(truth.index(after.tokens), minlength=len(truth.lengths)) / n
    expected = matrix[begin]
    z = (shares - expected) / np.sqrt(np.maximum(expected * (1 - expected), 1e-12) / n + 1e-9)
    assert np.abs(z).max() < 5


def conditional_law(name: str, particles: int, runs: int, *, key: int = 2, **options):
    """Starts from the law, one text by weight after one conditional filter, and the bounds."""
    program, truth = small(name)
    first, second = jax.random.split(jax.random.key(key))
    where = jax.random.categorical(first, jnp.log(jnp.asarray(truth.law)), shape=(runs,))
    held = jnp.asarray(truth.tokens)[where]

    def one(item):
        key, text = item
        filter_key, pick = jax.random.split(key)
        space, held = program.state_space, {"tokens": text}
        cloud = whole.conditional(filter_key, space, program.data, held, particles, **options)
        return cloud.x.tokens[jax.random.categorical(pick, cloud.log_w)], cloud.log_z

    keys = jax.random.split(second, runs)
    tokens, log_z = jax.jit(lambda *v: jax.lax.map(one, v, batch_size=100))(keys, held)
    after = np.bincount(truth.index(tokens), minlength=len(truth.lengths)) / runs
    same = (np.asarray(tokens) == np.asarray(held)).all(1).mean()
    return truth, after, same, np.asarray(log_z, float)


OTHERS = [("reward", 1.0), ("power", 0.5), ("steps", 0.5)]


@pytest.mark.parametrize(
    ("name", "below"),
    [("reward", 0.7), *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)],
)
def test_a_conditional_filter_leaves_the_law_invariant(name, below) -> None:
    runs = 10_000
    options = {"resample_below": below, "refresh": "none"}
    truth, after, same, log_z = conditional_law(name, 8, runs, **options)
    assert same < 0.9  # it moves
    z = (after - truth.law) / np.sqrt(truth.law * (1 - truth.law) / runs)
    large = truth.law > 20 / runs
    assert np.abs(z[large]).max() < 5
    inverse = np.exp(truth.log_z - log_z)  # unbiased for one
    assert abs(inverse.mean() - 1) < 4.5 * inverse.std() / np.sqrt(runs)
    assert log_z.mean() > truth.log_z  # from above, as a filter from below


def farthest(name: str, key: int = 2, below: float = 1.0, runs: int = 10_000) -> float:
    """z-score of the text that is furthest off its law after a sweep with ancestor sampling."""
    truth, after, same, _ = conditional_law(
        name, 4, runs, key=key, resample_below=below, refresh="ancestor"
    )
    assert same < 0.9
    z = (after - truth.law) / np.sqrt(truth.law * (1 - truth.law) / runs)
    return float(np.abs(z[truth.law > 20 / runs]).max())


ANCESTORS = [("steps", 0.7), ("power", 1.0), ("blocks", 1.0), ("odds", 0.5)]


@pytest.mark.parametrize(
    ("name", "below"),
    [("reward", 1.0), *(pytest.param(*case, marks=pytest.mark.slow) for case in ANCESTORS)],
)
def test_ancestor_sampling_leaves_the_law_invariant(name, below) -> None:
    """Of texts that look far back, also where steps have several tokens."""
    assert farthest(name, below=below) < 5


@pytest.mark.slow
def test_the_core_s_conditional_smc_runs_on_token_programs() -> None:
    """The very same law, by the engine of state-space models."""
    from probinf.samplers.pmcmc.conditional import conditional_smc

    truth, sequence = case.exact("reward"), case.sequence(case.program("reward"))
    runs = 5000
    where = jax.random.categorical(
        jax.random.key(0), jnp.log(jnp.asarray(truth.law)), shape=(runs,)
    )

    def path_of(text):
        from probinf.fronts.tokens.sequence import Given
        from probinf.fronts.tokens.stepping import first_step, next_step

        sizes, data = sequence.start_all.sizes, sequence.data[1]
        key, choose = jax.random.key(0), Given(text[None])
        steps = data.steps
        rows = first_step(key, 1, sizes, data, jax.tree.map(lambda v: v[0], steps), choose).rows

        def further(rows, step):
            after = next_step(key, rows, sizes, data, step, choose).rows
            return after, after

        later = jax.lax.scan(further, rows, jax.tree.map(lambda v: v[1:], steps))[1]
        both = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), rows, later)
        return jax.tree.map(lambda v: v[:, 0], both)

    def one(item):
        key, text = item
        path = conditional_smc(key, sequence, path_of(text), 8, refresh="none")
        return path.tokens[-1]

    held = jnp.asarray(truth.tokens)[where]
    keys = jax.random.split(jax.random.key(1), runs)
    tokens = jax.jit(lambda *v: jax.lax.map(one, v, batch_size=100))(keys, held)
    after = np.bincount(truth.index(tokens), minlength=len(truth.lengths)) / runs
    large = truth.law > 20 / runs
    z = (after - truth.law) / np.sqrt(truth.law * (1 - truth.law) / runs)
    assert np.abs(z[large]).max() < 5


def test_the_engine_of_state_space_models_draws_texts() -> None:
    """Through the door that users take."""
    program, truth = small("reward")
    method = pi.ParticleGibbs(particles=8, chains=4, warmup=10, draws=400)
    fit = pi.sample(program, method, key=0, progress=False)
    where = truth.index(fit.draws["tokens"].reshape(-1, 4))
    shares = np.bincount(where, minlength=len(truth.lengths))
    assert truth.tv(shares / shares.sum()) < 0.12  # of 20 keys the worst gives .068
    assert np.allclose(fit.draws["log_prob"].ravel(), truth.log_p[where], atol=1e-4)
    assert np.allclose(fit.stats["log_density"].ravel(), truth.log_mass[where], atol=1e-4)
    assert fit.history["renewed"].min() > 0.1  # early tokens too


@pytest.mark.slow
@pytest.mark.parametrize(
    "run",
    [
        pi.tokens.tail_metropolis,
        pi.tokens.particle_gibbs,  # moves tails as well
        partial(pi.tokens.particle_gibbs, refresh="ancestor"),
    ],
)
def test_chains_come_to_the_law(run) -> None:
    program, truth = small("reward")
    found = run(program, key=0, chains=20, draws=300, moves=2)
    shares = np.bincount(truth.index(found.tokens.reshape(-1, 4)), minlength=len(truth.lengths))
    assert truth.tv(shares / shares.sum()) < 0.06
    assert 0.05 < found.accepted.mean() < 1
    where = truth.index(found.tokens.reshape(-1, 4))
    assert np.allclose(found.log_prob.ravel(), truth.log_p[where], atol=1e-4)
