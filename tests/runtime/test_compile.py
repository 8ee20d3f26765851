"""Law 4: new data, a new path parameter or a new tuning never trace the model again."""

from __future__ import annotations

import threading

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf import kernels
from probinf.runtime import lanes

TRACES = {"model": 0}
COMPILED: list[tuple[object, bool]] = []
"""What was compiled, and whether in the main thread."""


def _listen(event: str, seconds: float, **details: object) -> None:
    if event.endswith("backend_compile_duration"):
        main = threading.current_thread() is threading.main_thread()
        COMPILED.append((details.get("fun_name"), main))


jax.monitoring.register_event_duration_secs_listener(_listen)


def counted(x, y=None):
    TRACES["model"] += 1
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.Normal(slope * x, scale), obs=y)


def program(seed: int) -> pi.Program:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=20)
    return pi.from_numpyro(counted, x, y=0.5 * x + rng.normal(size=20))


@pytest.mark.parametrize(
    "method", [pi.MCMC(kernels.HMC(), chains=2, warmup=20, draws=20), pi.SMC(particles=50)]
)
def test_a_step_is_traced_once(method, monkeypatch):
    """For the shapes of its records and for the loop; the mutant, as a plain function, is not."""
    traced = []
    plain = lanes.step_lane

    def told(*args):
        traced.append(1)
        return plain(*args)

    monkeypatch.setattr(lanes, "step_lane", told)
    pi.sample(program(3), method, key=1, progress=False, check=False)
    assert len(traced) == 1
    monkeypatch.setattr(lanes.jax, "jit", lambda fn, **_: fn)
    lane = lanes.Lane(jax.random.key(1), jnp.zeros((), int), jnp.zeros(()))
    jax.make_jaxpr(lambda lane: lanes.advance_lane(Walk(), program(3), lane, 3, 3))(lane)
    assert len(traced) > 2


@pytest.mark.skipif(jax.device_count() > 1, reason="on several devices they wait for each other")
@pytest.mark.parametrize("precision", ["single", "double"])
def test_starts_and_loop_compile_while_python_goes_on(precision, monkeypatch):
    """Each once, in a thread of its own; the mutant, who waits for each, compiles in this one."""

    def compiled_by(draws):
        COMPILED.clear()
        method = pi.MCMC(kernels.RandomWalk(), chains=2, warmup=20, draws=draws)
        pi.sample(program(4), method, key=1, progress=False, check=False, precision=precision)
        return [main for name, main in COMPILED if name in LOOPS]

    assert compiled_by(20) == [False, False]
    assert compiled_by(20) == []
    monkeypatch.setattr(lanes.Compiled, "ahead", lambda *args: None)
    assert compiled_by(21) == [True, True]


LOOPS = ("jit(_start_lanes)", "jit(_advance_lanes)")


class Walk(pi.SMC):
    """Adds one, for ever."""

    def step(self, key, program, state):
        return state + 1.0, state

    def done(self, state):
        return jnp.asarray(False)


@pytest.mark.parametrize(
    "method",
    [
        pi.NUTS(chains=2, warmup=50, draws=50),
        pi.SMC(particles=50, islands=2),
        pi.Importance(draws=100),
    ],
    ids=lambda m: type(m).__name__,
)
def test_new_data_of_the_same_shape_reuse_everything(method):
    def fit(target, key):
        posterior = pi.sample(target, method, key=key, progress=False)
        posterior.summary(), posterior.diagnose(), posterior.predict(key=key)
        return posterior

    COMPILED.clear()
    first = fit(program(1), 1)
    assert COMPILED  # the counter works
    COMPILED.clear()
    second = program(2)
    before = TRACES["model"]
    other = fit(second, 2)
    assert TRACES["model"] == before
    assert COMPILED == []  # not a single compilation, from the front to the predictions
    assert not np.array_equal(first.draws["slope"], other.draws["slope"])
    # looking at the new data costs one abstract trace, and nothing else
    third = program(3)
    assert TRACES["model"] - before == 1
    assert jax.tree.structure(third) == jax.tree.structure(second)


def test_paths_keep_their_structure():
    base = program(1)
    paths = {
        "temper": (lambda v: pi.temper(base, v), 0.0, 0.7),
        "above": (lambda v: pi.above(base, v), -3.0, 10.0),
        "prefix": (lambda v: pi.prefix(base, v), 0, 5),
        "prior swap": (lambda v: pi.with_base(base, pi.temper(base, v)), 0.1, 1.0),
    }
    for name, (path, low, high) in paths.items():
        first, second = path(low), path(high)
        assert jax.tree.structure(first) == jax.tree.structure(second), name
        assert jax.tree.map(jnp.shape, first) == jax.tree.map(jnp.shape, second), name


def test_one_kernel_serves_a_whole_path():
    base = program(1)
    kernel = kernels.RandomWalk()
    x = base.start(jax.random.key(0), base.data)

    @jax.jit
    def score(target):
        return sum(target.score(x, target.data))

    @jax.jit
    def init(target):
        return kernel.init(target, x).logdensity

    score(pi.temper(base, 0.1)), init(pi.temper(base, 0.1))
    before = TRACES["model"]
    for beta in (0.0, 0.5, 1.0):
        assert score(pi.temper(base, beta)) == pytest.approx(
            float(init(pi.temper(base, beta))), rel=1e-5
        )
    assert TRACES["model"] == before


def test_a_second_update_of_the_same_length_reuses_everything():
    rng = np.random.default_rng(0)

    def updated(key: int) -> pi.Posterior:
        x = rng.normal(size=12)
        y = 0.5 * x + rng.normal(size=12)
        first, all_of_it = (pi.from_numpyro(counted, x[:n], y=y[:n]) for n in (10, 12))
        method = pi.SMC(particles=20, islands=2, path="data", moves=1)
        before = pi.sample(first, pi.Importance(draws=40), key=key, progress=False)
        return pi.update(before, all_of_it, method, key=key, progress=False)

    COMPILED.clear()
    updated(1)
    assert COMPILED
    COMPILED.clear()
    updated(2)
    assert COMPILED == []
