"""Discrete sites drawn after they were summed out: as often as they are probable, jointly."""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import chi2

import probinf as pi
from probinf.errors import DiscreteLatentError, MissingPackageError
from probinf.fronts.enumeration import tracing
from tests.cases.discrete_models import CASES, SERIES, combinations, hidden_markov, joint, mixture
from tests.laws.test_summed import check

DRAWS = 20_000
Draw = Any  # a callable, or None


def p_value(name: str, draw: Draw = None, seed: int = 0) -> float:
    """Of the frequencies of all joint values of the discrete sites, by chi-square.

    ``draw``: ``(program, keys, x) -> values``, in place of the program's own draws.
    """
    case = CASES[name]
    program = pi.from_numpyro(case.model, *case.args)
    zs = combinations(program)
    x = jax.jit(program.start)(jax.random.key(seed + 1), program.data)
    terms = joint(case, program, x, zs)
    exact = np.exp(terms - logsumexp(terms)).astype(float)
    keys = jax.random.split(jax.random.key(seed), DRAWS)
    found = (draw or own)(program, keys, x)
    found = {site.name: found[site.name] for site in program.score.model.summed.sites}
    code = {tuple(np.concatenate([np.ravel(z[k]) for k in found])): i for i, z in enumerate(zs)}
    rows = np.concatenate([np.asarray(v).reshape(DRAWS, -1) for v in found.values()], 1)
    values, counts = np.unique(rows, axis=0, return_counts=True)
    times = np.zeros(len(zs))
    for value, count in zip(values, counts, strict=True):
        times[code[tuple(value)]] = count
    expected = DRAWS * exact / exact.sum()
    often = expected >= 5
    a = np.append(times[often], times[~often].sum())
    e = np.append(expected[often], expected[~often].sum())
    a, e = a[e > 0], e[e > 0]
    return float(chi2.sf(((a - e) ** 2 / np.maximum(e, 1)).sum(), len(e) - 1))


def own(program: Any, keys: Any, x: Any) -> dict[str, Any]:
    """As ``posterior.infer_discrete`` draws."""
    draw = jax.jit(jax.vmap(program.discrete.draw, (0, None, None)))
    return draw(keys, x, program.data)


def apart(program: Any, keys: Any, x: Any) -> dict[str, Any]:
    """Every entry from its own probabilities, without the others."""
    logs = {k: jnp.log(v) for k, v in program.discrete.probabilities(x, program.data).items()}
    low = {site.name: site.levels[0] for site in program.score.model.summed.sites}
    return {
        name: low[name] + jax.vmap(jax.random.categorical, (0, None))(keys, value)
        for name, value in logs.items()
    }


@pytest.mark.parametrize(
    "name",
    [
        "hidden Markov",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("labels", "nested", "second order")),
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("factorial", "emissions", "factors")),
    ],
)
def test_draws_are_as_frequent_as_probable(name: str) -> None:
    assert p_value(name) > 1e-4


def test_entries_drawn_apart_are_caught() -> None:
    assert p_value("hidden Markov", apart) < 1e-4


@pytest.mark.usefixtures("fresh_traces")
def test_a_scale_that_is_forgotten_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = tracing._table

    def unscaled(name: str, site: dict[str, Any], *rest: Any) -> Any:
        return real(name, {**site, "scale": None}, *rest)

    monkeypatch.setattr(tracing, "_table", unscaled)
    with pytest.raises((AssertionError, DiscreteLatentError)):
        check("factors")


@pytest.mark.parametrize(("model", "data"), [(mixture, SERIES), (hidden_markov, SERIES)])
def test_without_funsor(model: Any, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "funsor", None)
    monkeypatch.setitem(sys.modules, "numpyro.contrib.funsor", None)
    with pytest.raises(DiscreteLatentError, match=r"'z'.*probinf\[discrete\].*allow_discrete"):
        pi.from_numpyro(model, data)
    with pytest.raises(MissingPackageError, match=r"funsor.*probinf\[discrete\]"):
        pi.from_numpyro(model, data, discrete="sum")


def test_without_funsor_gibbs_keeps_the_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "funsor", None)
    monkeypatch.setitem(sys.modules, "numpyro.contrib.funsor", None)
    program = pi.from_numpyro(mixture, SERIES, allow_discrete=True)
    assert program.levels == (("z", 0, 2),)
