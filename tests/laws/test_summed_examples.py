"""NumPyro users' commonest models with discrete sites: summed exactly, sampled, found again."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import probinf as pi
from tests.cases.discrete_examples import EXAMPLES
from tests.laws import test_summed


@pytest.mark.slow
@pytest.mark.parametrize("name", list(EXAMPLES))
def test_the_sum_is_the_written_out_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(test_summed.CASES, name, EXAMPLES[name])
    test_summed.check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(EXAMPLES))
def test_sampled_and_found_again(name: str) -> None:
    program = pi.from_numpyro(EXAMPLES[name].model, *EXAMPLES[name].args)
    fit = pi.sample(program, pi.NUTS(chains=2, warmup=100, draws=50), key=0, progress=False)
    assert all(np.isfinite(value).all() for value in fit.draws.values())
    drawn, shares = fit.infer_discrete(1), fit.responsibilities(mean=False)
    replicated = fit.predict(key=2)
    for site in program.score.model.summed.sites:
        assert drawn[site.name].shape == (2, 50, *site.shape)
        at = np.take_along_axis(shares[site.name], drawn[site.name][..., None], -1)
        assert (at > 0).all()
        np.testing.assert_allclose(shares[site.name].sum(-1), 1.0, rtol=1e-4)
    want = jax.eval_shape(program.observations.get, program.data)
    assert {n: v.shape[2:] for n, v in replicated.items()} == {n: v.shape for n, v in want.items()}


def test_whole_numbers_of_data_and_carry_agree_in_double_precision() -> None:
    case = EXAMPLES["last tone"]
    program = pi.from_numpyro(case.model, *case.args)
    x = program.start(jax.random.key(0), program.data)
    single = float(sum(jax.jit(program.score)(x, program.data)))
    with jax.enable_x64(True):
        double = float(sum(jax.jit(program.score)(x, program.data)))
    assert abs(single - double) < 1e-4
