"""Weights on disk: a round trip, and every way of being refused."""

from __future__ import annotations

import json
import pathlib
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf.amortized import weights
from probinf.amortized.pfn.fitted import FittedPFN
from probinf.amortized.pfn.network import Network
from probinf.amortized.training.ranges import Ranges
from probinf.errors import RangeError, RangeWarning, SavedFileError

CONFIG = {
    "inputs": 2, "classes": None, "head": {"kind": "mixture", "components": 3, "spread": 2.0},
    "outputs": 9, "width": 8, "layers": 1, "heads": 2, "fourier": 1, "standardise": False,
}  # fmt: skip
RANGES = Ranges({"context rows": (0.0, 4.0), "x": (0.0, 1.0), "y": (-np.inf, 3.0)})


def fitted() -> FittedPFN:
    return FittedPFN(Network(CONFIG, jax.random.key(1)), CONFIG, RANGES, {"steps": 3})


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "w.safetensors"
    fitted().save(path)
    return path


def changed_header(content: bytes, change) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def test_round_trip_is_exact(file: pathlib.Path) -> None:
    found = pi.amortized.load(file)
    original = fitted()
    for a, b in zip(jax.tree.leaves(found.network), jax.tree.leaves(original.network), strict=True):
        assert np.array_equal(a, b) and a.dtype == b.dtype
    assert found.config == original.config and found.ranges == original.ranges
    assert found.training == {"steps": 3}


def test_half_keeps_three_digits_of_matrices_and_all_of_vectors(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "h.safetensors"
    fitted().save(path, half=True)
    fitted().save(tmp_path / "f.safetensors")
    assert path.stat().st_size < (tmp_path / "f.safetensors").stat().st_size
    found, original = pi.amortized.load(path).network, fitted().network
    np.testing.assert_allclose(found.encode_x.weight, original.encode_x.weight, rtol=1 / 256)
    assert not np.array_equal(found.encode_x.weight, original.encode_x.weight)
    assert np.array_equal(found.encode_x.bias, original.encode_x.bias)


def test_edits_are_noticed(file: pathlib.Path) -> None:
    content = file.read_bytes()

    def refused(changed: bytes, match: str) -> None:
        file.write_bytes(changed)
        with pytest.raises(SavedFileError, match=match):
            pi.amortized.load(file)

    refused(content[:-1] + bytes([content[-1] ^ 1]), "edited")
    refused(content[:-4], "safetensors")
    refused(b"\x00" * 100, "safetensors")
    refused(changed_header(content, lambda h: h.pop("__metadata__")), "not written by probinf")

    def edit(field, value):
        def change(header):
            record = json.loads(header["__metadata__"]["probinf"])
            record[field] = value
            header["__metadata__"]["probinf"] = json.dumps(record)

        return change

    refused(changed_header(content, edit("training", {"steps": 10**6})), "record .* edited")
    refused(changed_header(content, edit("ranges", {})), "record .* edited")
    refused(changed_header(content, edit("format", 2)), "another format")


def test_sizes_kinds_and_names_are_checked(file: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(SavedFileError, match="max_bytes=1000"):
        pi.amortized.load(file, max_bytes=1000)
    with pytest.raises(SavedFileError, match="no shipped weights named 'nothing'"):
        pi.amortized.load("nothing")
    with pytest.raises(SavedFileError, match="does not exist"):
        pi.amortized.load(tmp_path / "no.safetensors")
    network = fitted().network
    with pytest.raises(SavedFileError, match="unknown kind"):
        weights.save(tmp_path / "x", network, kind="os.system", config={}, ranges=RANGES)
    with pytest.raises(SavedFileError, match="not JSON"):
        weights.save(tmp_path / "x", network, kind="pfn", config={"a": object()}, ranges=RANGES)
    with pytest.raises(SavedFileError, match="not finite"):
        weights.save(
            tmp_path / "x", jnp.asarray([jnp.nan]), kind="pfn", config=CONFIG, ranges=RANGES
        )
    wrong = {**CONFIG, "width": 16}
    weights.save(tmp_path / "wide", network, kind="pfn", config=wrong, ranges=RANGES)
    with pytest.raises(SavedFileError, match="has shape"):
        pi.amortized.load(tmp_path / "wide")
    weights.save(tmp_path / "deep", network, kind="pfn", config={"width": 3}, ranges=RANGES)
    with pytest.raises(SavedFileError, match="no network can be built"):
        pi.amortized.load(tmp_path / "deep")


def test_shipped_files_match_their_manifest() -> None:
    rows = pi.amortized.shipped()
    for row in rows:
        assert row["bytes"] <= 1.5e6
        assert pi.amortized.load(row["name"]).config
    assert sum(row["bytes"] for row in rows) <= 6e6


def test_ranges_name_the_quantity() -> None:
    RANGES.check(x=[0.0, 1.0], y=-1e9, other=7)
    with pytest.raises(RangeError, match=r"x is 0.5 to 1.2, trained on 0 to 1; y is 4"):
        RANGES.check(x=[0.5, 1.2], y=4.0)
    with pytest.raises(RangeError, match="x is nan"):
        RANGES.check(x=np.nan)
    with pytest.warns(RangeWarning, match="context rows is 9"):
        RANGES.check("warn", **{"context rows": 9})
    RANGES.check("ignore", x=5)
    with pytest.raises(RangeError, match="empty"):
        Ranges({"x": (2.0, 1.0)})
    seen = Ranges.seen({"n": (1.0, 2.0)}, rate=np.array([0.5, 10.0]), y=np.array([-1.0, 1.0]))
    assert seen.limits["n"] == (1.0, 2.0)
    assert 0.4 < seen.limits["rate"][0] < 0.5  # a positive quantity keeps a positive end
    assert seen.limits["y"] == pytest.approx((-1.1, 1.1))
