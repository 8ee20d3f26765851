"""Checkpoints: a run that was killed at any instant continues bit for bit."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import EvidenceError, SavedFileError
from probinf.runtime import pace
from probinf.runtime.checkpoint import Checkpoint
from probinf.runtime.codec import decoded, encoded
from tests.cases.tiers import tiers

METHODS = {
    "NUTS": pi.NUTS(chains=2, warmup=60, draws=60),
    "SMC": pi.SMC(particles=40, islands=2, kernel=pi.kernels.RandomWalk(), moves=2),
    "Nested": pi.Nested(live=40, runs=2, moves=4),
    "Importance": pi.Importance(draws=3500),
}

LONGER = {
    "PersistentSMC": pi.PersistentSMC(
        particles=40, islands=2, kernel=pi.kernels.RandomWalk(), moves=2, target_ess=10.0
    ),
    "dynamic": pi.Nested(live=40, runs=2, moves=4, goal="posterior", min_ess=500),
    "ChEES": pi.ChEES(chains=8, warmup=60, draws=60, superchains=4),
    "ParallelTempering": pi.ParallelTempering(temperatures=4, chains=2, warmup=60, draws=60),
}


def line(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0, 2))
    noise = numpyro.sample("noise", dist.HalfNormal(1))
    numpyro.sample("y", dist.Normal(slope * x, noise), obs=y)


def program(shift: float = 0.0) -> pi.Program:
    x = np.linspace(-1, 1, 7)
    return pi.from_numpyro(line, x, y=x + shift + np.cos(9 * x) / 3)


def same(one: pi.Posterior, other: pi.Posterior) -> None:
    for name in one.draws:
        np.testing.assert_array_equal(one.draws[name], other.draws[name])
    np.testing.assert_array_equal(one.log_weights, other.log_weights)
    assert one.evidence == other.evidence
    for name in one.stats:
        np.testing.assert_array_equal(one.stats[name], other.stats[name])


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "TARGET_SECONDS", 1e-9)  # one step each


def killed(method: Any, folder: pathlib.Path, chunks: int, monkeypatch: Any) -> None:
    """A run whose process ends in the middle of writing a chunk."""

    class Killed(BaseException):
        pass

    append = Checkpoint.append

    def die(self: Checkpoint, *args: Any) -> None:
        if len(self.chunks) == chunks:
            (self.folder / f"chunk-{chunks:06d}.safetensors.partial").write_bytes(b"half a file")
            raise Killed
        append(self, *args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Checkpoint, "append", die)
        pi.sample(program(), method, key=3, progress=False, checkpoint=folder)


@pytest.mark.parametrize("name", tiers(METHODS, ("NUTS", "SMC", "Importance")))
def test_a_killed_run_continues_bit_for_bit(
    name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = METHODS[name]
    whole = pi.sample(program(), method, key=3, progress=False, checkpoint=tmp_path / "whole")
    chunks = len(list((tmp_path / "whole").glob("chunk-*")))
    assert chunks > 2
    for done in (1, 2):
        folder = tmp_path / f"killed-{done}"
        killed(method, folder, done, monkeypatch)
        same(whole, pi.resume(folder, program(), progress=False))
    # a run that is finished is put together again, without another step
    monkeypatch.setattr(Checkpoint, "append", None)
    again = pi.resume(tmp_path / "whole", program(), progress=False)
    same(whole, again)
    same(whole, pi.sample(program(), method, key=3, progress=False))
    assert not again.provenance["interrupted"]


def test_a_time_budget_stops_and_resume_goes_on(tmp_path: pathlib.Path) -> None:
    method = METHODS["Importance"]
    part = pi.sample(
        program(), method, key=1, progress=False, checkpoint=tmp_path / "run", max_seconds=0.0
    )
    assert part.provenance["interrupted"] and part.log_weights.size < 3500
    whole = pi.resume(tmp_path / "run", program(), progress=False)
    same(pi.sample(program(), method, key=1, progress=False), whole)


def test_damage_is_named(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, folder = METHODS["Importance"], tmp_path / "run"
    killed(method, folder, 2, monkeypatch)
    with pytest.raises(SavedFileError, match=r"holds a run already.*pi\.resume"):
        pi.sample(program(), method, key=3, checkpoint=folder)
    with pytest.raises(SavedFileError, match="other data"):
        pi.resume(folder, program(shift=0.1))
    with pytest.raises(SavedFileError, match=r"was run with Importance\(draws=3500\), not SMC"):
        pi.resume(folder, program(), method=METHODS["SMC"])
    state = next(folder.glob("state-*.safetensors"))
    for file in (folder / "chunk-000001.safetensors", state):
        content = file.read_bytes()
        for damaged in (content[:-1], b"x" + content[1:]):
            file.write_bytes(damaged)
            with pytest.raises(SavedFileError, match=rf"{file.name} is missing, truncated"):
                pi.resume(folder, program(), progress=False)
        file.write_bytes(content)
    manifest = folder / "checkpoint.json"
    record = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**record, "chunks": record["chunks"][:1]}))
    with pytest.raises(SavedFileError, match="was edited"):
        pi.resume(folder, program())
    manifest.write_text("{")
    with pytest.raises(SavedFileError, match="damaged"):
        pi.resume(folder, program())
    with pytest.raises(SavedFileError, match="holds no run"):
        pi.resume(tmp_path / "nowhere", program())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(SavedFileError, match="holds something else"):
        pi.sample(program(), method, key=3, checkpoint=tmp_path / "mine")


def test_a_run_of_the_version_before_is_refused_by_name(tmp_path: pathlib.Path) -> None:
    pi.sample(program(), METHODS["SMC"], key=3, progress=False, checkpoint=tmp_path / "run")
    file = tmp_path / "run" / "checkpoint.json"
    record = json.loads(file.read_text())
    record["header"] |= {"schema": record.pop("schema") - 1, "probinf": record.pop("probinf")}
    file.write_text(json.dumps(record))
    with pytest.raises(SavedFileError, match=r"schema 3.*Finish the run with the version that"):
        pi.resume(tmp_path / "run", program())


@dataclasses.dataclass(frozen=True)
class Mine(pi.Importance):
    """A user's own method."""


@pytest.mark.parametrize("method", [*METHODS.values(), pi.MCMC(pi.kernels.Slice(), chains=1)])
def test_methods_are_restored_from_text(method: Any) -> None:
    assert decoded(json.loads(json.dumps(encoded(method)))) == method


def test_foreign_names_are_not_imported(tmp_path: pathlib.Path) -> None:
    whole = pi.sample(program(), Mine(draws=50), key=1, progress=False, checkpoint=tmp_path / "m")
    with pytest.raises(SavedFileError, match=r"Mine', which is not part of probinf.*method="):
        pi.resume(tmp_path / "m", program())
    same(whole, pi.resume(tmp_path / "m", program(), method=Mine(draws=50), progress=False))
    for text in (
        {"function": "os:system"},
        {"type": "probinf.runtime.session:start", "options": {}},
        {},
    ):
        with pytest.raises(SavedFileError, match=r"not part of probinf|not a method"):
            decoded(text)


def test_smc_says_how_to_go_on(tmp_path: pathlib.Path) -> None:
    options = {"key": 3, "progress": False, "checkpoint": tmp_path / "run", "max_seconds": 0.0}
    stopped = pi.sample(program(), METHODS["SMC"], **options)
    assert {"tempered", "interrupted"} <= set(stopped.diagnose().codes)
    with pytest.raises(EvidenceError, match=r"before the end of the path.*pi\.resume"):
        _ = stopped.log_evidence
    assert jnp.isfinite(pi.resume(tmp_path / "run", program(), progress=False).log_evidence.value)


def run_to_the_end(name: str, folder: str, cache: str) -> None:
    """What a process does until it is killed; compiled code is kept between processes."""
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    pace.TARGET_SECONDS = 1e-9
    method = {**METHODS, **LONGER}[name]
    pi.sample(program(), method, key=3, progress=False, check=False, checkpoint=folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["NUTS", "SMC", "Nested", *LONGER])
def test_sigkill_at_random_instants(name: str, tmp_path: pathlib.Path) -> None:
    """20 processes, each killed at an instant of its own.

    They are forked from one that has imported everything and computed nothing.
    """
    rng = np.random.default_rng(1)
    whole = pi.sample(program(), {**METHODS, **LONGER}[name], key=3, progress=False)
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tests.runtime.test_checkpoint"])
    landed, at = 0, []
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        arguments = (name, str(folder), str(tmp_path / "cache"))
        process = server.Process(target=run_to_the_end, args=arguments)
        process.start()
        while process.is_alive() and not (folder / "chunk-000000.safetensors").exists():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.4))
        process.kill()  # SIGKILL
        process.join()
        before = len(json.loads((folder / "checkpoint.json").read_text())["chunks"])
        same(whole, pi.resume(folder, program(), progress=False))
        total = len(json.loads((folder / "checkpoint.json").read_text())["chunks"])
        landed += before < total
        at.append(f"{before}/{total}")
    print(f"{name}: killed after chunk {', '.join(at)}")
    assert landed >= 5  # enough of the kills came before the end
