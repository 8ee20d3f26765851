"""Nested-sampling runs handed over to anesthetic."""

import numpy as np
import pytest

import probinf as pi
from probinf.errors import MethodError
from tests.cases import targets


def test_only_nested_runs_have_birth_contours() -> None:
    posterior = pi.sample(
        targets.half_space().program, pi.Importance(draws=100), key=1, progress=False
    )
    with pytest.raises(MethodError, match=r"birth contours .* Importance.* Use Nested"):
        posterior.to_anesthetic()


@pytest.mark.filterwarnings("ignore")
def test_anesthetic_finds_the_same_evidence() -> None:
    pytest.importorskip("anesthetic", reason="the package anesthetic is not installed")
    target = targets.half_space()
    posterior = pi.sample(target.program, pi.Nested(live=200), key=1, progress=False, check=False)
    samples = posterior.to_anesthetic()
    assert len(samples) == posterior.log_weights.size
    found = samples.logZ(1000)
    assert float(found.mean()) == pytest.approx(posterior.log_evidence.value, abs=0.05)
    assert float(found.std()) == pytest.approx(posterior.log_evidence.error, rel=0.3)
    w = np.exp(posterior.log_weights[0])
    for column, own in zip(samples.columns[:1], posterior.draws.values(), strict=False):
        first = own[0].reshape(w.size, -1)[:, 0]
        assert float(samples[column].mean()) == pytest.approx(w @ first / w.sum(), abs=0.05)
