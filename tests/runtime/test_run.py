"""The host loop: chunks never change a result, keys decide it, Ctrl-C keeps what exists."""

from __future__ import annotations

import dataclasses
import inspect
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.core.coordinates import Layout, flatten
from probinf.core.keys import as_key
from probinf.core.program import Program
from probinf.errors import EvidenceError, MethodError
from probinf.runtime import loop, pace, session
from probinf.runtime.lanes import advance_lane, start_lane
from probinf.runtime.method import Method, Plan, Run
from probinf.runtime.progress import Status


def bowl(x):
    return -0.5 * jnp.sum((x - 1.0) ** 2)


@pytest.fixture(scope="module")
def program() -> Program:
    return pi.from_log_likelihood(bowl, dist.Normal(0.0, 1.0))


@dataclasses.dataclass(frozen=True)
class Walk(Method):
    """A random walk whose lanes stop at different times; every step is recorded."""

    length: int = 30
    size: int = 8  # of a chunk

    def plan(self, program: Program, layout: Layout) -> Plan:
        if layout.size != 1:
            raise MethodError(f"a walk is one-dimensional, got {layout.size}.")
        return Plan(lanes=3, chunk=self.size)

    def init(self, key: Any, program: Program) -> Any:
        stop = self.length + jax.random.randint(key, (), 0, 10)
        return jnp.zeros((), int), stop, program.draw(key, program.data)[0]

    def step(self, key: Any, program: Program, state: Any) -> tuple[Any, Any]:
        count, stop, x = state
        x = x + jax.random.normal(key)
        return (count + 1, stop, x), {"x": x, "count": count}

    def done(self, state: Any) -> Any:
        return state[0] >= state[1]

    def status(self, states: Any) -> Status:
        assert all(isinstance(leaf, np.ndarray) for leaf in states)
        return Status(float(np.mean(states[0] / states[1])), "walking")

    def finish(self, run: Run) -> Run:
        return run


def walk(program: Program, size: int = 8, key: int = 0, **options: Any) -> Run:
    return session.start(Walk(size=size), program, jax.random.key(key), progress=False, **options)


# --- chunks and keys ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 100])
def test_chunks_do_not_change_anything(program: Program, size: int) -> None:
    one, other = walk(program), walk(program, size)
    assert len(one.records) == len(other.records) == 3
    for first, second in zip(one.records, other.records, strict=True):
        np.testing.assert_array_equal(first["x"], second["x"])
        np.testing.assert_array_equal(first["count"], np.arange(len(first["count"])))
    for first, second in zip(one.states, other.states, strict=True):
        np.testing.assert_array_equal(first, second)


def test_every_lane_stops_on_its_own_and_loses_no_record(program: Program) -> None:
    found = walk(program)
    lengths = [len(record["x"]) for record in found.records]
    assert lengths == found.states[1].tolist()
    assert len(set(lengths)) > 1
    for lane, record in enumerate(found.records):
        assert record["x"][-1] == found.states[2][lane]
        assert isinstance(record["x"], np.ndarray)


def test_the_pure_path_is_the_host_loop(program: Program) -> None:
    """``advance_lane`` under ``jit(vmap(...))``, in one go, gives the very same numbers."""
    flat, _ = flatten(program)
    method = Walk(size=64)
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(0)))(jnp.arange(3))

    @jax.jit
    def whole(flat: Program, keys: Any) -> Any:
        def one(key: Any) -> Any:
            return advance_lane(method, flat, start_lane(method, flat, key), 64, 64)

        return jax.vmap(one)(keys)

    lanes, records, taken = whole(flat, keys)
    expected = walk(program)
    np.testing.assert_array_equal(lanes.state[1], expected.states[1])
    for lane, record in enumerate(expected.records):
        assert int(taken[lane]) == len(record["x"])
        np.testing.assert_array_equal(records["x"][lane, : int(taken[lane])], record["x"])
        assert not np.asarray(records["x"][lane, int(taken[lane]) :]).any()


def test_limits_are_respected(program: Program) -> None:
    flat, _ = flatten(program)
    lane = start_lane(Walk(), flat, jax.random.key(0))
    lane, records, taken = advance_lane(Walk(), flat, lane, 5, 8)
    assert int(taken) == int(lane.taken) == 5
    np.testing.assert_array_equal(records["count"], [0, 1, 2, 3, 4, 0, 0, 0])


def test_keys_decide_the_result_and_lanes_differ(program: Program) -> None:
    one, same, other = walk(program), walk(program), walk(program, key=1)
    np.testing.assert_array_equal(one.records[0]["x"], same.records[0]["x"])
    assert one.records[0]["x"][0] != other.records[0]["x"][0]
    assert one.records[0]["x"][0] != one.records[1]["x"][0]
    steps = np.diff(one.records[0]["x"])
    assert len(np.unique(steps)) == len(steps)


def test_integers_typed_keys_and_old_keys_are_the_same() -> None:
    for key in (7, jax.random.PRNGKey(7)):
        assert bool(as_key(key) == jax.random.key(7))
    typed = jax.random.key(7)
    assert as_key(typed) is typed
    with pytest.raises(TypeError, match="integer seed or a JAX random key, got 1\\.5"):
        inspect.unwrap(as_key)(1.5)


def chunked(method: Any, size: int) -> Any:
    """The same engine with another chunk length."""
    kind = type("Chunked", (type(method),), {"chunk": property(lambda self: size)})
    return kind(**{f.name: getattr(method, f.name) for f in dataclasses.fields(method)})


@pytest.mark.parametrize(
    ("method", "size"),
    [
        (pi.MCMC(pi.kernels.RandomWalk(), chains=2, warmup=40, draws=60), 7),
        (pi.SMC(particles=20, islands=2, kernel=pi.kernels.RandomWalk(), moves=1), 1),
        (pi.Importance(draws=2500), 2),
    ],
    ids=["MCMC", "SMC", "Importance"],
)
def test_chunks_do_not_change_posteriors(program: Program, method: Any, size: int) -> None:
    one = pi.sample(program, method, key=3, progress=False)
    other = pi.sample(program, chunked(method, size), key=jax.random.key(3), progress=False)
    np.testing.assert_array_equal(one.draws["x"], other.draws["x"])
    np.testing.assert_array_equal(one.log_weights, other.log_weights)
    assert one.evidence == other.evidence
    for name in one.stats:
        np.testing.assert_array_equal(one.stats[name], other.stats[name])


# --- provenance and progress --------------------------------------------------------------------


def test_provenance_says_how_it_was_made(program: Program) -> None:
    found = walk(program, key=5)
    assert found.provenance["method"] == "Walk(length=30, size=8)"
    assert found.provenance["key"] == [0, 5]
    assert found.provenance["interrupted"] is False
    assert found.provenance["compile_seconds"] >= 0 and found.provenance["run_seconds"] >= 0
    assert found.program is program
    assert found.layout == Layout.of(program)


def test_validation_comes_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> Any:
        raise AssertionError("the run was started")

    monkeypatch.setattr(session, "start_lanes", never)
    two = pi.from_log_likelihood(bowl, dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    with pytest.raises(MethodError, match=r"one-dimensional, got 2"):
        walk(two)


def test_progress_is_silent_when_it_is_off(
    program: Program, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    walk(program)
    assert capfd.readouterr() == ("", "")
    session.start(Walk(), program, jax.random.key(0), progress=True)  # no terminal here
    assert capfd.readouterr().out.strip() == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    session.start(Walk(), program, jax.random.key(0), progress=True)
    assert "\x1b[" in capfd.readouterr().out  # a bar that is gone when the run ends
    walk(program)
    assert capfd.readouterr() == ("", "")


# --- Ctrl-C -------------------------------------------------------------------------------------


def interrupt_after(monkeypatch: pytest.MonkeyPatch, kind: type, looks: int) -> None:
    """A Ctrl-C at the given look of the host."""
    seen = []

    def status(self: Any, states: Any) -> Status:
        seen.append(1)
        if len(seen) == looks:
            raise KeyboardInterrupt
        return Status(0.5, "")

    monkeypatch.setattr(kind, "status", status)


def test_ctrl_c_keeps_the_chunks_that_are_done(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = walk(program, 5)
    monkeypatch.setattr(pace, "TARGET_SECONDS", 1e-9)  # one step per chunk
    interrupt_after(monkeypatch, Walk, 4)
    part = walk(program, 5)
    assert part.provenance["interrupted"] is True
    for lane in range(3):
        kept = len(part.records[lane]["x"])
        assert kept == 4  # the chunks of one step each, the last one included
        np.testing.assert_array_equal(part.records[lane]["x"], whole.records[lane]["x"][:kept])
    np.testing.assert_array_equal(part.states[0], 4)


def test_ctrl_c_before_the_first_chunk_leaves_no_records(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk(program)

    def interrupted(*args: Any) -> Any:
        if int(args[-1]) > 0:
            raise KeyboardInterrupt
        return advance(*args)

    advance = loop.advance_lanes
    monkeypatch.setattr(loop, "advance_lanes", interrupted)
    found = walk(program)
    assert found.records == [None, None, None]
    assert found.provenance["interrupted"] is True
    for method, says in (
        (pi.Importance(draws=2500), "before the first draw"),
        (pi.MCMC(pi.kernels.RandomWalk(), chains=2, warmup=40, draws=60), "during warm-up"),
    ):
        with pytest.raises(MethodError, match=rf"interrupted {says}"):
            pi.sample(program, method, key=0, progress=False)


def test_interrupted_engines_return_what_exists_or_say_why_not(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "TARGET_SECONDS", 1e-9)
    whole = pi.sample(program, pi.Importance(draws=2500), key=1, progress=False)
    interrupt_after(monkeypatch, pi.Importance, 2)
    part = pi.sample(program, pi.Importance(draws=2500), key=1, progress=False)
    assert part.draws["x"].shape == (1, 2000)
    np.testing.assert_array_equal(part.draws["x"], whole.draws["x"][:, :2000])
    assert part.provenance["interrupted"] and "interrupted" in part.diagnose().codes
    assert abs(part.log_evidence.z(whole.log_evidence.value)) < 5
    interrupt_after(monkeypatch, pi.SMC, 1)
    engine = pi.SMC(particles=20, islands=2, kernel=pi.kernels.RandomWalk(), moves=1)
    slow = dataclasses.replace(engine, schedule=tuple(np.linspace(0.0, 1.0, 12)))
    part = pi.sample(program, slow, key=0, progress=False)
    assert part.provenance["interrupted"] and "tempered" in part.diagnose().codes
    assert part.provenance["reached"] < 1
    with pytest.raises(EvidenceError, match="interrupted before the end of the path"):
        _ = part.log_evidence


def test_markov_chains_have_no_population(program: Program) -> None:
    with pytest.raises(MethodError, match="NUTS does not produce a weighted population"):
        pi.NUTS().populate(jax.random.key(0), program)
