"""The compilation cache: a second process compiles nothing; the folder stays within its bound."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import jax
import pytest

import probinf as pi
from probinf.errors import MethodError, SavedFileError
from probinf.runtime.compilation_cache import _prune, _user_folder, _version

SCRIPT = """
import sys
import jax
import probinf as pi
from jax import monitoring
jax.numpy.ones(3)  # JAX has looked for its cache already
seen = []
monitoring.register_event_listener(lambda name, **kwargs: seen.append(name.split("/")[-1]))
pi.use_compilation_cache(sys.argv[1])
import numpyro.distributions as dist
program = pi.from_log_likelihood(lambda p: -p["x"] ** 2, {"x": dist.Normal(0, 1)})
posterior = pi.sample(program, pi.Importance(draws=16), key=0, progress=False)
print(seen.count("cache_hits"), seen.count("cache_misses"), posterior.draws["x"].sum())
"""


def process(folder: pathlib.Path) -> subprocess.Popen[str]:
    script = [sys.executable, "-W", "error", "-c", SCRIPT, str(folder)]
    return subprocess.Popen(script, stdout=subprocess.PIPE, text=True)


def told(running: subprocess.Popen[str]) -> tuple[int, int, str]:
    out, _ = running.communicate(timeout=300)
    assert running.returncode == 0
    hits, misses, draws = out.split()
    return int(hits), int(misses), draws


def test_a_second_process_compiles_nothing(tmp_path):
    both = [process(tmp_path), process(tmp_path)]  # both write, whoever is the first
    (_, misses, draws), (_, others, same) = map(told, both)
    assert misses + others > 0
    assert same == draws
    hits, misses, again = told(process(tmp_path))
    assert misses == 0
    assert hits > 0
    assert again == draws


def entry(folder: pathlib.Path, name: str, size: int, age: int) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(bytes(size))
    os.utime(path, (10_000 - age, 5_000))
    return path


def test_what_was_not_used_for_the_longest_time_goes(tmp_path):
    old = entry(tmp_path / "jax-1", "a-cache", 50, 3)
    used = entry(tmp_path / "jax-1", "b-cache", 50, 1)
    new = entry(tmp_path / "jax-2", "c-cache", 50, 2)
    other = entry(tmp_path / "jax-2", "notes.txt", 500, 9)
    _prune(tmp_path, 150)
    assert old.exists()
    _prune(tmp_path, 149)
    assert [p.exists() for p in (old, used, new, other)] == [False, True, True, True]


def test_the_folder_is_the_users_and_names_the_versions(monkeypatch, tmp_path):
    if sys.platform.startswith("linux"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert _user_folder() == tmp_path / "probinf"
    assert _version().startswith(f"jax-{jax.__version__}_")
    assert f"_probinf-{pi.__version__}_" in _version()


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(MethodError, match="max_bytes must be at least 1, got 0"):
        pi.use_compilation_cache(tmp_path, max_bytes=0)
    (tmp_path / "file").touch()
    with pytest.raises(SavedFileError, match="cannot be made"):
        pi.use_compilation_cache(tmp_path / "file" / "folder")
