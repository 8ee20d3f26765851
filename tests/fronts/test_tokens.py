"""What token programs refuse, and what they say."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.core import compiling
from probinf.errors import ArrayError, MethodError, ModelError, RewardError, ZeroLikelihoodError
from probinf.lm import TableLM
from tests.cases import tokens as case
from tests.cases.tiers import tiers

LM = TableLM.random(0, vocab_size=4, depth=6, eos_bias=-50.0)  # hardly ever ends early


def above_one(context):
    return jnp.where(context.length == 3, 1.25, 0.5)


def not_a_number(context):
    return jnp.where((context.length == 2) & (context.token == 0), jnp.nan, 0.5)


def below_zero(context):
    return jnp.where(context.length == 4, -0.5, 0.5)


def nan_later(context):
    return jnp.where(context.length == 2, jnp.nan, 0.0)


def nan_logits(log_p, context):
    return jnp.where(context.length == 2, jnp.nan, log_p)


def never(context):
    return jnp.where(context.length == 2, -jnp.inf, 0.0)


def two_numbers(context):
    return jnp.zeros(2)


def sampled(**options):
    program = pi.from_language_model(LM, max_tokens=6, **options)
    method = pi.ParticleFilter(16, islands=2)
    return pi.sample(program, method, key=0, progress=False, precision="single")


@pytest.mark.parametrize(
    ("score", "options", "said"),
    [
        (above_one, {}, r"1\.25 at token 2"),
        (not_a_number, {}, "nan at token 1"),
        (below_zero, {"link": "odds", "aggregation": "min"}, r"-0\.5 at token 3"),
    ],
)
def test_a_reward_that_is_no_probability(score, options, said) -> None:
    with pytest.raises(RewardError, match=said):
        sampled(potential=pi.tokens.reward(score, **options))


@pytest.mark.parametrize("name", tiers(["twist", "potential", "proposal"], ("twist",)))
def test_functions_that_are_no_number(name) -> None:
    """Where they are not wanted to be one either: a NaN is never a weight of zero."""
    fn = nan_logits if name == "proposal" else nan_later
    with pytest.raises(RewardError, match="log weight of a text is nan at token"):
        sampled(**{name: fn})


def test_all_particles_dead_at_a_token() -> None:
    with pytest.raises(ZeroLikelihoodError, match="weight zero at token 1, at each of 16"):
        sampled(potential=never)


@pytest.mark.parametrize(
    ("prompt", "options", "said"),
    [
        ([0, 4], {}, r"prompt\[1\] is token 4, and the vocabulary has 0 to 3"),
        ([0, -1], {}, r"prompt\[1\] is token -1"),
        ("hello", {}, "encode text"),
        ([0, 1, 2], {}, "these are 9; the model holds 6.*max_tokens=3"),
        ([], {"stop": [7]}, r"stop\[0\] is token 7"),
        ([], {"potential": two_numbers}, "potential must return one number"),
        ([], {"boundary": 1}, "max_steps="),
        ([], {"constraint": "a+"}, "must be an Automaton"),
        ([], {"ramp": [1.0, -2.0]}, "positive exponents"),
    ],
)
def test_bad_arguments(prompt, options, said) -> None:
    with pytest.raises(ModelError, match=said):
        pi.from_language_model(LM, prompt, max_tokens=6, **options)


@pytest.mark.parametrize("options", [{"exponent": -1.0}, {"max_tokens": 0}, {"block": 0}])
def test_sizes_out_of_range(options) -> None:
    with pytest.raises(MethodError):
        pi.from_language_model(LM, **{"max_tokens": 6, **options})


def test_automata_that_accept_nothing() -> None:
    with pytest.raises(ModelError, match="no text is possible"):
        pi.tokens.automaton(np.full((2, 4), -1), [1], eos=3)
    with pytest.raises(ModelError, match="leads to state 5"):
        pi.tokens.automaton([[5, 0, 0, 0]], [0], eos=3)
    long = pi.tokens.one_of([[0, 1, 2, 0]], vocab_size=4, eos=3)
    with pytest.raises(ModelError, match=r"shortest text.*4 tokens, more than"):
        pi.from_language_model(LM, max_tokens=2, constraint=long)


def test_another_prompt_compiles_nothing() -> None:
    """One of another length in the same bucket, and another exponent."""
    case.filtered.clear_cache()
    for prompt, exponent in (([0], 2.0), ([1, 2], 3.0), ([], 1.5)):
        program = pi.from_language_model(LM, prompt, max_tokens=4, exponent=exponent)
        case.filtered(jax.random.key(0), case.sequence(program), runs=2, particles=2)
    assert case.filtered._cache_size() == 1


def test_layers_are_compiled_by_the_emitter_that_compiles_equal_ones_once(monkeypatch) -> None:
    """The older one, which engines ask for otherwise, compiles 30 equal layers 30 times."""
    program = pi.from_language_model(LM, max_tokens=6)
    assert program.layered and pi.temper(program, 0.5).layered
    asked = []
    options = compiling.options
    monkeypatch.setattr(
        compiling, "options", lambda once, long: asked.append(long) or options(once, long)
    )
    one_more = compiling.compiled(lambda program, x: x + 1)
    assert one_more(program, 1) == 2 and one_more(pi.temper(program, 0.5), 2) == 3
    normal = pi.from_log_likelihood(lambda x: -(x["x"] ** 2), {"x": dist.Normal(0, 1)})
    assert one_more({"of": normal}, 3) == 4
    assert asked == [True, False]  # chosen once for each kind


def test_a_smoother_is_refused() -> None:
    program = pi.from_language_model(LM, max_tokens=4)
    with pytest.raises(MethodError, match="whole past"):
        pi.sample(program, pi.ParticleFilter(8, smoother="genealogy"), key=0, progress=False)


def test_particle_gibbs_refuses_what_has_no_meaning_for_texts() -> None:
    program = pi.from_language_model(LM, max_tokens=4)
    for method, said in (
        (pi.ParticleGibbs(8, refresh="backward"), "its whole past.*refresh='ancestor'"),
        (pi.ParticleGibbs(8, moves=3), "move parameters, and this program has none"),
    ):
        with pytest.raises(MethodError, match=said):
            pi.sample(program, method, key=0, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("potential", "error", "said"),
    [
        (pi.tokens.reward(above_one), RewardError, r"1\.25 at token 2"),
        (never, ZeroLikelihoodError, "ParticleGibbs: all texts have weight zero at token 1"),
    ],
)
def test_particle_gibbs_says_what_is_wrong_with_a_potential(potential, error, said) -> None:
    program = pi.from_language_model(LM, max_tokens=6, potential=potential)
    method = pi.ParticleGibbs(8, chains=2, warmup=2, draws=4)
    with pytest.raises(error, match=said):
        pi.sample(program, method, key=0, progress=False)


def test_answers() -> None:
    with pytest.raises(ArrayError, match="3 entries for 2 answers"):
        pi.tokens.best_of_n(["a", "b"], [1, 2, 3])
    with pytest.raises(ArrayError, match="1 of them NaN"):
        pi.tokens.self_consistency(["a", "b"], [0.0, np.nan])
    with pytest.raises(ArrayError, match="is positive"):
        pi.tokens.horvitz_thompson(["a", "b"], ["x", "y"], [0.5, -1.0])
    with pytest.raises(ArrayError, match=r"'y' is among the tries.*-inf"):
        pi.tokens.horvitz_thompson(["a", "b"], ["x", "y"], [-0.1, -np.inf])
    with pytest.raises(ArrayError, match="are equal, but"):
        pi.tokens.horvitz_thompson(["a", "b"], ["x", "x"], [-np.inf, -1.0])
    with pytest.raises(ArrayError, match="are equal, but"):
        pi.tokens.horvitz_thompson(["a", "b"], ["x", "x"], [-1.0, -1.0])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: pi.tokens.one_of([[0, 3], [1]], vocab_size=4, eos=3), "ends by itself"),
        (lambda: pi.tokens.without([-1], vocab_size=4, eos=3), "token -1 is outside"),
        (lambda: pi.tokens.without([3], vocab_size=4, eos=3), "or ends texts"),
        (lambda: pi.tokens.automaton([[0, -1]], [-1], eos=1), "names state -1"),
        (lambda: pi.tokens.automaton([[0, -1]], [], eos=1), "numbers of states"),
    ],
)
def test_automata_of_what_cannot_be(make, said) -> None:
    with pytest.raises(ModelError, match=said):
        make()


def test_an_automaton_for_texts_with_another_end() -> None:
    other = (LM.eos + 1) % 4
    constraint = pi.tokens.one_of([[(other + 1) % 4]], vocab_size=4, eos=other)
    with pytest.raises(ModelError, match=f"make it with eos={LM.eos}"):
        pi.from_language_model(LM, max_tokens=6, constraint=constraint)
