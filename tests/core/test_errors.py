"""Missing packages: an ImportError that says what to install, and one of probinf's own."""

from __future__ import annotations

import dataclasses
import sys

import pytest

import probinf as pi
from probinf.errors import MissingPackageError, ProbinfError
from tests.cases.eight_schools import eight_schools


@pytest.fixture(scope="module")
def posterior():
    found = pi.sample(eight_schools(), pi.Importance(draws=100), key=0, progress=False)
    return dataclasses.replace(found, stats={"birth_log_likelihood": found.log_weights})


@pytest.mark.parametrize(
    ("package", "call", "remedy"),
    [
        ("flax", lambda p: pi.amortized.from_flax(None), r"pip install 'probinf\[flax\]'"),
        ("arviz_plots", lambda p: p.plot("trace"), r"plot .*pip install 'probinf\[plot\]'"),
        (
            "matplotlib.pyplot",
            lambda p: pi.compare_plot({"one": p}, ["mu"]),
            r"compare_plot .*pip install 'probinf\[plot\]'",
        ),
        ("anesthetic", lambda p: p.to_anesthetic(), "to_anesthetic .*pip install anesthetic"),
    ],
)
def test_a_missing_package_is_named_with_its_remedy(
    posterior, package, call, remedy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=remedy) as caught:
        call(posterior)
    assert isinstance(caught.value, ProbinfError) and isinstance(caught.value, ImportError)
    assert "docs/bad-input.md" in caught.value.__notes__[0]
