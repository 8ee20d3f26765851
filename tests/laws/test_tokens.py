"""Token programs against enumeration: mass, law, invariance to whatever cancels."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf import resampling
from tests.cases import tokens as case
from tests.cases.tiers import tiers

# 4.5 standard errors: one of 150,000 right runs lies further off
FAR = 4.5

TARGETS = ["model", "power", "twist", "reward", "odds", "diff", "prod", "potential", "blocks"]
RESAMPLERS = ["systematic", "stratified", "multinomial", "residual", "killing", "ssp"]


def found(name: str, **options):
    """z-score of the evidence and distance of the pooled law."""
    truth, sequence = case.exact(name), case.sequence(case.program(name))
    runs = case.filtered(jax.random.key(3), sequence, runs=5000, particles=32, **options)
    return case.z_score(runs[0], truth.log_z), truth.tv(case.pooled(truth, *runs))


@pytest.mark.parametrize("name", tiers([*TARGETS, "steps"], ("power", "steps")))
def test_mass_and_law_of_every_target(name) -> None:
    z, distance = found(name)
    assert abs(z) < FAR
    assert distance < 0.04


@pytest.mark.parametrize("name", tiers(RESAMPLERS, ()))
@pytest.mark.parametrize("target", ["power", "twist", "reward"])
def test_mass_under_every_resampler(target, name) -> None:
    z, distance = found(target, resampler=getattr(resampling, name), below=1.0)
    assert abs(z) < FAR
    assert distance < 0.06


@pytest.mark.parametrize(
    "options",
    tiers([{"ramp": 1}, {"ramp": 6}, {"ramp": 50}, {"ramp": [0.5, 3.0, 1.0]}], ({"ramp": 50},)),
)
def test_the_ramp_does_not_change_the_mass(options) -> None:
    """Also where it is cut off: the last step makes up for the rest."""
    truth = case.exact("power")
    sequence = case.sequence(case.program("power", **options))
    log_z = case.filtered(jax.random.key(5), sequence, runs=5000, particles=32)[0]
    assert abs(case.z_score(log_z, truth.log_z)) < FAR


def test_weights_do_not_depend_on_the_token_at_the_best_temperature() -> None:
    """Under q proportional to p^a the weight of a token is the same for all of them."""
    program = case.program("power", ramp=1)
    warmer = case.program("power", ramp=1, proposal=case.cold)
    first = jax.jit(lambda sequence: sequence.first(jax.random.key(0), 64)[1])
    spreads = [float(np.ptp(first(case.sequence(one)))) for one in (program, warmer)]
    assert spreads[0] < 1e-5 < 0.5 < spreads[1]


@pytest.mark.parametrize("name", tiers(["reward", "steps", "blocks"], ("steps",)))
def test_the_score_of_a_program_is_its_mass(name) -> None:
    """Position by position; other arrays than texts have no density."""
    truth, program = case.exact(name), case.program(name)
    tokens = truth.tokens[:: len(truth.tokens) // 40]
    score = jax.jit(jax.vmap(program.score, (0, None)))
    log_base, log_weight = score({"tokens": jnp.asarray(tokens)}, program.data)
    index = truth.index(tokens)
    assert np.allclose(log_base, truth.log_p[index], atol=1e-4)
    assert np.allclose(log_base + log_weight, truth.log_mass[index], atol=1e-4)
    broken = np.tile([[case.LM.eos, 0, 0, 1, 1, 1]], (2, 1))
    assert np.isneginf(score({"tokens": jnp.asarray(broken)}, program.data).log_base).all()


def test_constraints_are_never_violated_and_keep_their_mass() -> None:
    """Texts with an even number of zeros, in which 1 does not follow 2."""
    from probinf.fronts.tokens.constraint import automaton

    table = np.full((4, 4), -1)  # state = 2 * (last was 2) + parity
    for state in range(4):
        parity, after_two = state % 2, state // 2
        table[state, 0] = 1 - parity
        table[state, 2] = 2 + parity
        if not after_two:
            table[state, 1] = parity
    rule = automaton(table, [0, 2], eos=case.LM.eos)

    def fine(row, length) -> bool:
        text = [int(v) for v in row[:length] if v != case.LM.eos]
        return text.count(0) % 2 == 0 and (2, 1) not in itertools.pairwise(text)

    truth = case.exact("power", exponent=2.0)
    accepted = np.array([fine(*text) for text in zip(truth.tokens, truth.lengths, strict=True)])
    mass = np.where(accepted, truth.log_mass, -np.inf)
    truth = case.Exact(truth.tokens, truth.lengths, truth.log_p, mass)
    sequence = case.sequence(case.program("power", exponent=2.0, constraint=rule))
    log_z, tokens, log_w = case.filtered(jax.random.key(1), sequence, runs=3000, particles=16)
    assert np.isfinite(np.asarray(log_w)).all()  # no particle runs into a dead end
    assert accepted[truth.index(np.asarray(tokens).reshape(-1, case.T))].all()
    assert abs(case.z_score(log_z, truth.log_z)) < FAR


def test_a_filter_gives_texts_and_their_evidence() -> None:
    """Through the door that users take: islands count by their evidence."""
    truth = case.exact("reward")
    program = case.program("reward")
    fit = pi.sample(program, pi.ParticleFilter(200, islands=20), key=0, progress=False)
    assert abs(fit.log_evidence.value - truth.log_z) < 5 * fit.log_evidence.error
    weights = np.exp(fit.log_weights - fit.log_weights.max()).ravel()
    where = truth.index(fit.draws["tokens"].reshape(-1, case.T))
    shares = np.bincount(where, weights, len(truth.lengths))
    assert truth.tv(shares / shares.sum()) < 0.4  # of 4000 texts among 1093
    assert np.allclose(fit.draws["log_prob"].ravel(), truth.log_p[where], atol=1e-4)
    assert (fit.draws["length"].ravel() == truth.lengths[where]).all()
