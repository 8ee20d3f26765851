"""Probabilities of models from their evidences."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.special
import scipy.stats

import probinf as pi
from probinf.core.estimate import Estimate
from probinf.errors import EvidenceError, KeyTypeError, MethodError, StructureError
from probinf.evidence import models

Y = np.array([0.9, 1.4, 0.3, 1.1])


def centred(y, scale=1.0):
    mu = numpyro.sample("mu", dist.Normal(0.0, scale))
    numpyro.sample("y", dist.Normal(mu, 1.0).expand(y.shape).to_event(1), obs=y)


def exact(scale: float) -> float:
    cov = np.eye(len(Y)) + scale**2
    return float(scipy.stats.multivariate_normal.logpdf(Y, np.zeros(len(Y)), cov))


SCALES = {"tight": 0.1, "unit": 1.0, "wide": 30.0}
TRUTH = {name: exact(scale) for name, scale in SCALES.items()}


@pytest.fixture(scope="module")
def fits() -> dict[str, pi.Posterior]:
    return {
        name: pi.sample(
            pi.from_numpyro(centred, Y, scale=np.array(scale)),
            pi.Importance(draws=8000),
            key=k,
            progress=False,
            precision="single",
        )
        for k, (name, scale) in enumerate(SCALES.items())
    }


def test_probabilities_are_those_of_conjugacy(fits: dict[str, pi.Posterior]) -> None:
    weights = {"tight": 2.0, "unit": 1.0, "wide": 1.0}
    found = pi.compare_evidence(fits, prior=weights)
    truth = scipy.special.softmax([TRUTH[n] + np.log(weights[n]) for n in SCALES])
    for name, p in zip(SCALES, truth, strict=True):
        assert abs(found.probabilities[name].z(p)) < 4
        assert found.prior[name] == weights[name] / 4
    assert list(found.probabilities) == [n for _, n in sorted(zip(-truth, SCALES, strict=True))]
    assert sum(p.value for p in found.probabilities.values()) == pytest.approx(1)
    assert all(name in str(found) for name in SCALES) and "log Bayes factor" in str(found)
    assert list(found.to_dataframe().index) == list(found.probabilities)
    listed = pi.compare_evidence([fits["unit"], fits["wide"]])
    assert set(listed.probabilities) == {"0", "1"}


def covered(repetitions: int = 200) -> None:
    """Errors of probabilities are what repeated noisy evidences have."""
    values, errors = np.array([0.0, -0.7, -2.0]), np.array([0.1, 0.15, 0.2])
    truth, rng = scipy.special.softmax(values), np.random.default_rng(4)
    z, inside = [], 0
    for noise in rng.normal(size=(repetitions, 3)) * errors:
        given = {
            str(k): Estimate(v, e)
            for k, (v, e) in enumerate(zip(values + noise, errors, strict=True))
        }
        found = pi.compare_evidence(given)
        z.append([found.probabilities[str(k)].z(p) for k, p in enumerate(truth)])
        low, high = found.intervals["0"]
        inside += low < truth[0] < high
    spread = np.std(z, axis=0)
    assert (spread > 0.8).all() and (spread < 1.2).all(), spread
    assert abs(inside / repetitions - 0.9) < 0.09


def test_errors_of_probabilities() -> None:
    covered()


def test_errors_without_those_of_the_others_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken twin: each model's error counts for itself alone, and in full."""

    def own_only(*args: Any) -> models.ModelProbabilities:
        found = right(*args)
        alone = {
            n: Estimate(p.value, p.value * found.evidences[n].error)
            for n, p in found.probabilities.items()
        }
        return dataclasses.replace(found, probabilities=alone)

    right = models.model_probabilities
    monkeypatch.setattr("probinf.evidence.comparison.model_probabilities", own_only)
    with pytest.raises(AssertionError):
        covered()


def test_chains_are_bridged(fits: dict[str, pi.Posterior]) -> None:
    chains = dataclasses.replace(
        fits["unit"].resampled(0), kind="chains", evidence=None, clusters=None, no_evidence="none"
    )
    pair = {"chains": chains, "wide": fits["wide"]}
    with pytest.raises(EvidenceError, match=r"'chains' is from Importance, .* Pass key="):
        pi.compare_evidence(pair)
    found = pi.compare_evidence(pair, key=0)
    assert found.evidences["chains"].value == pytest.approx(TRUTH["unit"], abs=0.1)


def test_refusals(fits: dict[str, pi.Posterior]) -> None:
    other = pi.from_numpyro(centred, 2 * Y, scale=np.array(1.0))
    fewer = pi.from_numpyro(centred, Y[:3], scale=np.array(1.0))
    moved = dataclasses.replace(fits["unit"], program=other)
    cut = dataclasses.replace(fits["unit"], program=fewer)
    ask: Any = pi.compare_evidence
    with pytest.raises(StructureError, match=r"'b' observes other values than 'a': 0.6, and 0.3"):
        ask({"a": fits["unit"], "b": moved})
    with pytest.raises(StructureError, match="'b' observes 3 values, 'a' 4"):
        ask({"a": fits["unit"], "b": cut})
    with pytest.raises(StructureError, match="at least two models"):
        ask({"a": fits["unit"]})
    with pytest.raises(MethodError, match="a weight for each of"):
        ask(fits, prior={"tight": 1.0})
    with pytest.raises(MethodError, match="must be positive"):
        ask(fits, prior={"tight": 1.0, "unit": 0.0, "wide": 1.0})
    with pytest.raises(StructureError, match="'b' must be a Posterior or the Estimate"):
        ask({"a": fits["unit"], "b": other})
    with pytest.raises(KeyTypeError, match="pass key="):
        ask(other)
