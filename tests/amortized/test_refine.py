"""refine: exact whatever q is, and honest about the rung."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.amortized import refinement
from probinf.amortized.correction import defensive as defensive_module
from probinf.amortized.correction.refine import refine
from probinf.core.program import Score
from probinf.core.transformations.nesting import nest
from probinf.errors import MethodError, StructureError
from tests.cases.eight_schools import eight_schools
from tests.cases.tiers import tiers

Y = np.array([1.2, 0.4, 2.0])


def skewed(y=None):
    """A rate with a Gamma prior: the posterior is Gamma(2 + 3, 1 + sum y), seen through a log."""
    rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
    numpyro.sample("y", dist.Exponential(rate).expand([3]).to_event(1), obs=y)


POSTERIOR = (5.0, 1 + Y.sum())  # shape, rate
EVIDENCE = float(
    jax.scipy.special.gammaln(5.0) - jax.scipy.special.gammaln(2.0) - 5 * np.log(1 + Y.sum())
)


@dataclasses.dataclass(frozen=True)
class _Draw:
    def __call__(self, key, data):
        mean, sd = data[1]
        return {"rate": mean + sd * jax.random.normal(key)}


@dataclasses.dataclass(frozen=True)
class _Density:
    def __call__(self, x, data):
        mean, sd = data[1]
        return Score(jax.scipy.stats.norm.logpdf(x["rate"], mean, sd), jnp.zeros(()))


def normal(program, mean, sd):
    """A normal approximation of log rate, good or bad."""
    made = (jnp.asarray(mean), jnp.asarray(sd))
    return nest(
        program, made, draw=_Draw(), start=_Draw(), score=_Density(), pointwise=None, sites=None
    )


@pytest.fixture(scope="module")
def program():
    return pi.from_numpyro(skewed, y=Y)


def z_scores(posterior):
    """Mean of rate and of log rate against the truth, in standard errors."""
    shape, rate = POSTERIOR
    truth = {"rate": shape / rate}
    row = posterior.summary()["rate"]
    return (row["mean"] - truth["rate"]) / row["mcse"], row["sd"] / (np.sqrt(shape) / rate)


GOOD = (float(jax.scipy.special.digamma(5.0) - np.log(1 + Y.sum())), 0.6)


def test_a_good_approximation_is_corrected_by_weights(program):
    found = refine(program, normal(program, *GOOD), key=0, progress=False)
    report = refinement(found)
    assert report.rung == "importance" and report.pareto_k < 0.7
    z, ratio = z_scores(found)
    assert abs(z) < 4 and abs(ratio - 1) < 0.05
    assert abs(found.log_evidence.z(EVIDENCE)) < 4
    assert "importance" in str(report) and "Pareto k" in str(report)
    assert found.program is program


@pytest.mark.parametrize("q", [(3.0, 0.05), (-9.0, 0.02)], ids=["narrow", "hopeless"])
def test_a_wrong_approximation_is_corrected_by_smc(program, q):
    found = refine(program, normal(program, *q), key=1, defence=0.0, progress=False)
    report = refinement(found)
    assert report.rung == "smc" and report.pareto_k > 0.7
    z, ratio = z_scores(found)
    assert abs(z) < 4 and abs(ratio - 1) < 0.08
    assert abs(found.log_evidence.z(EVIDENCE)) < 4.5


def test_right_weights_that_leave_few_draws_are_not_enough(program):
    wide = normal(program, GOOD[0], 30.0)
    found = refine(program, wide, key=3, defence=0.0, progress=False)
    report = refinement(found)
    assert report.rung == "smc" and report.pareto_k < 0.7 and report.ess_share < 0.1
    assert "draws count" in str(report)
    z, ratio = z_scores(found)
    assert abs(z) < 4 and abs(ratio - 1) < 0.08
    trusting = refine(program, wide, key=3, defence=0.0, least_share=0.0, progress=False)
    assert refinement(trusting).rung == "importance"


def forgets_the_density(self, x, data):
    """The mutant: q's density left out of the mixture."""
    return Score(jnp.zeros(()), jnp.zeros(()))


def test_a_forgotten_density_is_not_exact(program, monkeypatch):
    monkeypatch.setattr(defensive_module._Density, "__call__", forgets_the_density)
    jax.clear_caches()
    found = refine(program, normal(program, *GOOD), key=0, progress=False)
    z, _ = z_scores(found)
    assert abs(z) > 6 or abs(found.log_evidence.z(EVIDENCE)) > 6
    monkeypatch.undo()
    jax.clear_caches()


def two_modes(y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 3.0))
    numpyro.sample("y", dist.Normal(jnp.abs(mu), 0.3), obs=y)


@dataclasses.dataclass(frozen=True)
class _OneModeDraw:
    def __call__(self, key, data):
        return {"mu": 2.0 + 0.3 * jax.random.normal(key)}


@dataclasses.dataclass(frozen=True)
class _OneModeDensity:
    def __call__(self, x, data):
        return Score(jax.scipy.stats.norm.logpdf(x["mu"], 2.0, 0.3), jnp.zeros(()))


def test_a_mode_that_q_missed_is_found_by_the_share_from_the_prior():
    program = pi.from_numpyro(two_modes, y=np.array(2.0))
    q = nest(
        program, (), draw=_OneModeDraw(), start=_OneModeDraw(), score=_OneModeDensity(),
        pointwise=None, sites=None,
    )  # fmt: skip
    found = refine(program, q, key=2, progress=False).resampled(0)
    assert abs((found.draws["mu"] > 0).mean() - 0.5) < 0.08
    blind = refine(program, q, key=2, defence=0.0, progress=False)
    assert refinement(blind).rung == "importance"  # Pareto k alone sees nothing
    assert (blind.resampled(0).draws["mu"] > 0).all()


@pytest.mark.slow
def test_draws_of_an_unnormalised_approximation_start_chains(program):
    other = pi.from_numpyro(skewed, y=Y * 1.1)
    near = pi.sample(other, pi.NUTS(chains=2, draws=1000, warmup=300), key=0, progress=False)
    found = refine(program, near, key=1, progress=False)
    assert refinement(found).rung == "importance"
    z, ratio = z_scores(found)
    assert abs(z) < 4 and abs(ratio - 1) < 0.1
    far = pi.from_numpyro(skewed, y=Y * 1e-4)
    far = pi.sample(far, pi.NUTS(chains=2, draws=200, warmup=300), key=0, progress=False)
    found = refine(program, far, key=1, progress=False)
    assert refinement(found).rung == "mcmc"
    z, ratio = z_scores(found)
    assert abs(z) < 4 and abs(ratio - 1) < 0.1


def test_bad_input_is_refused(program):
    q = normal(program, *GOOD)
    with pytest.raises(StructureError, match="coordinates"):
        refine(eight_schools(), q, key=0)
    with pytest.raises(StructureError, match="carries a weight"):
        refine(program, program, key=0)
    with pytest.raises(MethodError, match="at least 100"):
        refine(program, q, key=0, draws=10)
    with pytest.raises(MethodError, match="defence"):
        refine(program, q, key=0, defence=1.0)
    with pytest.raises(MethodError, match="least_share"):
        refine(program, q, key=0, least_share=1.0)
    with pytest.raises(StructureError, match="not made by"):
        refinement(pi.sample(q, pi.Importance(draws=100), key=0))


FALLBACKS = {
    "mcmc": pi.ChEES(chains=8, superchains=4, draws=40, warmup=60),
    "nested": pi.Nested(live=100),
    "smc": pi.SMC(particles=100),
    "importance": pi.Importance(draws=400),
}


@pytest.mark.parametrize("rung", tiers(FALLBACKS, ("smc", "importance")))
def test_the_rung_is_what_the_fallback_is(program, rung):
    """Nothing passes a threshold of -inf, so the fallback answers."""
    found = refine(
        program, normal(program, *GOOD), key=4, draws=200, threshold=-np.inf,
        fallback=FALLBACKS[rung], progress=False,
    )  # fmt: skip
    report = refinement(found)
    assert report.rung == rung and "cannot be trusted" in report.reason
    assert found.engine == type(FALLBACKS[rung]).__name__
    assert str(report).startswith(f"refined by {rung}")


def test_reweighted_draws_say_what_they_are(program, tmp_path):
    """A sampled q that is too narrow: the heavy tail of its weights is a finding, kept on disk."""
    narrow = pi.sample(
        normal(program, GOOD[0], 0.06), pi.Importance(draws=1000), key=0, progress=False
    )
    found = refine(program, narrow, key=1, threshold=np.inf, least_share=0.0, progress=False)
    report = refinement(found)
    assert report.rung == "importance" and report.pareto_k > 0.7
    assert found.kind == "weighted" and "pareto_k" in found.diagnose().codes
    found.save(tmp_path / "refined")
    loaded = pi.load(tmp_path / "refined", program=program)
    assert loaded.kind == "weighted" and "pareto_k" in loaded.diagnose().codes
    assert refinement(loaded) == report
    assert loaded.summary()["rate"]["mean"] == found.summary()["rate"]["mean"]
    near = pi.sample(normal(program, *GOOD), pi.Importance(draws=1000), key=0, progress=False)
    fine = refine(program, near, key=1, progress=False)
    assert refinement(fine).rung == "importance" and "pareto_k" not in fine.diagnose().codes
