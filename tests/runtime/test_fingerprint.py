"""A run goes on with its own program and with no other, in whatever process."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.handlers import condition

import probinf as pi
from probinf.errors import SavedFileError
from probinf.fronts.arguments import split
from probinf.fronts.catalogue import ARGUMENTS, example
from probinf.fronts.model import Model, NumpyroData
from probinf.runtime.checkpoint import Checkpoint
from probinf.runtime.fingerprint import differences, fingerprint

Y = np.arange(3.0)
SCALE = 3.0


def widened(x):
    return SCALE * x


def model(y, noise, flag=True):
    mu = numpyro.sample("mu", dist.Normal(0.0, widened(1.0)))
    numpyro.sample("y", dist.Normal(mu, noise), obs=y)


def making(scale):
    def inner(y):
        mu = numpyro.sample("mu", dist.Normal(0.0, scale))
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    return inner


def by_lambda(power):
    return pi.from_log_likelihood(lambda x: -(x**power), dist.Normal(0.0, 1.0))


def log_likelihood(x):
    return -x["s"]


def of(program: pi.Program) -> dict[str, str]:
    return fingerprint(program, "program")


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (lambda: pi.from_numpyro(model, Y, 10.0), lambda: pi.from_numpyro(model, Y, 0.1), "10.0"),
        (
            lambda: pi.from_numpyro(model, Y, 1.0),
            lambda: pi.from_numpyro(model, Y, 1.0, flag=False),
            "argument flag",
        ),
        (
            lambda: pi.from_numpyro(model, Y, 1.0),
            lambda: pi.from_numpyro(model, Y + 1, 1.0),
            "values of argument 1",
        ),
        (
            lambda: pi.from_numpyro(model, Y, 1.0),
            lambda: pi.from_numpyro(model, Y.astype(np.float16), 1.0),
            "values of argument 1",
        ),
        (
            lambda: pi.from_numpyro(making(1.0), Y),
            lambda: pi.from_numpyro(making(2.0), Y),
            "scale, which .*inner closes over was 1.0, is 2.0",
        ),
        (
            lambda: pi.from_numpyro(functools.partial(model, noise=1.0), Y),
            lambda: pi.from_numpyro(functools.partial(model, noise=2.0), Y),
            r"\['noise'\] was 1.0, is 2.0",
        ),
        (
            lambda: pi.from_numpyro(condition(two, {"a": 1.0}), Y),
            lambda: pi.from_numpyro(condition(two, {"a": 2.0}), Y),
            r"\['a'\] was 1.0, is 2.0",
        ),
        (lambda: by_lambda(2), lambda: by_lambda(4), "power"),
        (
            lambda: pi.from_log_likelihood(log_likelihood, {"s": dist.LogUniform(0.1, 1.0)}),
            lambda: pi.from_log_likelihood(log_likelihood, {"s": dist.LogUniform(0.1, 2.0)}),
            r"1\['s'\].*high",
        ),
        (
            lambda: pi.temper(pi.from_numpyro(model, Y, 1.0), 0.5),
            lambda: pi.temper(pi.from_numpyro(model, Y, 1.0), 0.6),
            r"program\.data",
        ),
    ],
)
def test_what_changed_is_named(one: Any, other: Any, said: str) -> None:
    assert differences(of(one()), of(one())) == []
    found = differences(of(one()), of(other()))
    assert any(re.search(said, sentence) for sentence in found), found


def two(y):
    a = numpyro.sample("a", dist.HalfNormal(1.0))
    b = numpyro.sample("b", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(b, a), obs=y)


def test_code_counts_and_what_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(pi.from_numpyro(model, Y, 1.0))
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 4.0)
    assert differences(before, of(pi.from_numpyro(model, Y, 1.0))) == [
        "the global SCALE was 3.0, is 4.0"
    ]
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3.0)
    monkeypatch.setattr(sys.modules[__name__], "widened", lambda x: SCALE * x + 1)
    assert "the code of widened is gone" in differences(before, of(pi.from_numpyro(model, Y, 1.0)))
    text = "def f(x):\n    '''{}'''\n    {} = x + {}  # why\n    return {}\n"
    made = []
    for parts in (("one", "a", 1, "a"), ("other", "b", 1, "b"), ("one", "a", 2, "a")):
        space: dict[str, Any] = {}
        exec(text.format(*parts), space)
        made.append(fingerprint(space["f"], "f"))
    assert made[0] == made[1] != made[2]  # names and docstrings do not count


class Holder:
    """A user's object with state and code."""

    def __init__(self, value: Any) -> None:
        self.value, self.me = value, self

    def __call__(self, x: Any) -> Any:
        return x + self.value


def test_objects_are_walked_once_and_by_value() -> None:
    values = (jnp.ones(3), jnp.ones(3), jnp.zeros(3))
    one, same, other = (fingerprint(Holder(value), "h") for value in values)
    assert one == same != other
    key = fingerprint(jax.random.key(1), "k")
    assert key != fingerprint(jax.random.key(2), "k")
    assert fingerprint({"b": {3, 1, 2}, "a": None}, "s") == fingerprint(
        {"a": None, "b": {2, 1, 3}}, "s"
    )
    pandas = pytest.importorskip("pandas")
    frames = [pandas.DataFrame({"a": [1, 2], "b": ["x", v]}) for v in ("y", "y", "z")]
    one, same, other = (fingerprint(frame, "f") for frame in frames)
    assert one == same != other


def prior_only(prior: Any) -> None: ...


def parts_of(name: str) -> dict[str, str]:
    treedef, static, arrays = split(({"s": example(name, "plain")},), {})
    held = (Model(prior_only, treedef, static), NumpyroData(arrays, {}))
    return fingerprint(held, "program")


def reversed_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPyro's order of leaves, which comes from a set, as another process would have it."""
    for kind in ("data", "aux"):
        name = f"gather_pytree_{kind}_fields"
        inner = getattr(dist.Distribution, name).__func__
        order = classmethod(lambda cls, inner=inner: tuple(sorted(inner(cls))[::-1]))
        monkeypatch.setattr(dist.Distribution, name, order)


def test_the_order_of_leaves_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [*list(ARGUMENTS)[::8], "LogUniform"]
    before = {name: parts_of(name) for name in known}
    old = [str(v) for v in jax.tree.leaves(example("LogUniform", "plain"))]
    reversed_fields(monkeypatch)
    assert {name: parts_of(name) for name in known} == before
    # the digest by the order of leaves, as it was, is another one
    assert [str(v) for v in jax.tree.leaves(example("LogUniform", "plain"))] != old


def test_a_changed_program_is_refused_or_insisted_on(tmp_path: pathlib.Path) -> None:
    method, folder = pi.Importance(draws=3000), tmp_path / "run"
    old, new = pi.from_numpyro(model, Y, 10.0), pi.from_numpyro(model, Y, 0.1)
    pi.sample(old, method, key=0, progress=False, checkpoint=folder, max_seconds=0.0)
    with pytest.raises(SavedFileError, match=r"argument 2 was 10.0, is 0.1.*check=False"):
        pi.resume(folder, new, progress=False)
    assert len(pi.resume(folder, new, progress=False, check=False).draws["mu"][0]) == 3000


def same_everywhere(folder: str) -> dict[str, Any]:
    """Fingerprints of every distribution; a run that is begun, or ended where it was begun."""
    program = pi.from_log_likelihood(log_likelihood, {"s": dist.LogUniform(0.1, 1.0)})
    path = pathlib.Path(folder)
    if path.exists():
        mean = float(pi.resume(path, program, progress=False).summary()["s"]["mean"])
    else:
        method = pi.Importance(draws=3000)
        pi.sample(program, method, key=0, progress=False, checkpoint=path, max_seconds=0.0)
        whole = pi.sample(program, method, key=0, progress=False)
        mean = float(whole.summary()["s"]["mean"])
    return {"mean": mean, **{name: parts_of(name) for name in ARGUMENTS}}


@pytest.mark.slow
def test_two_processes_with_other_hash_seeds_agree(tmp_path: pathlib.Path) -> None:
    found = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, __file__, str(tmp_path / "run")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert found[0] == found[1]
    assert Checkpoint.open(
        tmp_path / "run",
        pi.from_log_likelihood(log_likelihood, {"s": dist.LogUniform(0.1, 1.0)}),
    ).chunks


if __name__ == "__main__":
    print(json.dumps(same_everywhere(sys.argv[1])))
