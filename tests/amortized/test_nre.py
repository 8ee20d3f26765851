"""A ratio learned by telling pairs apart is p(data | theta) / p(data), factor included."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import probinf as pi
from probinf.amortized import CNN, NRE, SetEmbedding, load
from probinf.amortized.neural import nre, ratio_network
from probinf.errors import RangeWarning, SavedFileError, TrainingError

SMALL = NRE(simulations=4000, hidden=(32, 32), contrasts=5)
Y = np.array(7)


def counted(shape, rate, y=None):
    m = numpyro.sample("m", dist.Gamma(shape, rate))
    numpyro.sample("y", dist.Poisson(m), obs=y)


def program(shape=3.0, rate=0.5):
    return pi.from_numpyro(counted, shape, rate, y=Y)


def log_evidence(y, shape=3.0, rate=0.5):
    return stats.nbinom(shape, rate / (1 + rate)).logpmf(y)


@pytest.fixture(scope="module")
def learned():
    return SMALL.fit(program(), key=0, steps=800, progress=False)


def gap(fitted):
    """Errors of the log ratio at fresh draws of the joint law, and of the evidence at the data."""
    rng = np.random.default_rng(0)
    m = rng.gamma(3.0, 2.0, 1000)
    y = rng.poisson(m)
    exact = stats.poisson(m).logpmf(y) - log_evidence(y)
    ratio = jax.jit(jax.vmap(fitted.network.log_ratio))
    found = ratio(jnp.asarray(m, float)[:, None], jnp.asarray(y, float)[:, None])
    exact_z = log_evidence(Y, 8.0, 1.0) - log_evidence(Y)
    posterior = fitted.posterior(program=program(8.0, 1.0))
    run = pi.sample(posterior, pi.Importance(draws=4000), key=1, progress=False)
    return np.asarray(found) - exact, run.log_evidence.value - exact_z, run


def test_the_ratio_and_the_evidence_of_another_prior_are_those_of_conjugacy(learned):
    errors, off, run = gap(learned)
    assert np.sqrt(np.mean(errors**2)) < 0.35
    assert abs(off) < 0.15
    assert abs(run.summary()["m"]["mean"] - (8 + Y) / 2) < 0.5
    # several independent data sets multiply
    both = learned.posterior(np.array([7, 4]))
    found = pi.sample(both, pi.Importance(draws=4000), key=2, progress=False)
    assert abs(found.summary()["m"]["mean"] - (3 + 11) / 2.5) < 0.5


class OddsLeftOut(ratio_network.RatioLoss):
    """The mutant: that none of the parameters made the data counts as one more parameter."""

    @staticmethod
    def answers(own, others, gamma, worked):
        log_k = jnp.log(others.shape[0])
        return ratio_network.RatioLoss.answers(own - log_k, others - log_k, gamma, worked)


def test_odds_left_out_of_the_question_are_seen(monkeypatch):
    monkeypatch.setattr(nre, "RatioLoss", OddsLeftOut)
    errors, off, _ = gap(SMALL.fit(program(), key=0, steps=800, progress=False))
    assert np.sqrt(np.mean(errors**2)) > 1.0
    assert abs(off) > 1.0


def fragile(y=None):
    m = numpyro.sample("m", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(m, 1.0), obs=y)


def test_a_failed_simulation_is_evidence_against_its_parameters():
    rng = np.random.default_rng(0)
    m = rng.normal(size=4000)
    y = m + rng.normal(size=4000)
    y[(m > 1) & (rng.uniform(size=4000) < 0.5)] = np.nan
    source = pi.from_numpyro(fragile, y=np.array(1.0))
    fitted = SMALL.fit(
        source, theta={"m": m}, x={"y": y}, missing="drop", key=0, steps=600, progress=False
    )
    grid = jnp.linspace(-3, 3, 601)
    found = jax.jit(jax.vmap(lambda v: fitted.network.log_ratio(v[None], jnp.ones(1))))(grid)
    posterior = np.exp(np.asarray(found) - np.asarray(grid) ** 2 / 2)
    worked = np.where(np.asarray(grid) > 1, 0.5, 1.0)
    exact = worked * np.exp(-((np.asarray(grid) - 0.5) ** 2))
    above = [v[np.asarray(grid) > 1].sum() / v.sum() for v in (posterior, exact)]
    assert abs(above[0] - above[1]) < 0.05  # .24 where failures count for nothing, .14 here


def test_files_embeddings_and_priors(learned, tmp_path):
    learned.save(tmp_path / "nre.safetensors")
    again = load(tmp_path / "nre.safetensors").with_program(program())
    x, y = jnp.asarray([4.0]), jnp.asarray([6.0])
    assert again.network.log_ratio(x, y) == learned.network.log_ratio(x, y)
    with pytest.warns(RangeWarning, match="where the ratio was learned"):
        learned.posterior(program=program(100.0, 1.0))
    with pytest.warns(RangeWarning, match="outside the training data"):
        learned.posterior(np.array(900))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learned.posterior(program=program(6.0, 1.0))


def series(y=None):
    m = numpyro.sample("m", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(m, 1.0).expand([16]).to_event(1), obs=y)


@pytest.mark.slow
def test_embeddings(tmp_path):
    source = pi.from_numpyro(series, y=np.zeros(16))
    method = NRE(simulations=400, hidden=(8,), embedding=CNN(axes=1, channels=(4,), size=4))
    fitted = method.fit(source, key=0, steps=5, progress=False)
    fitted.save(tmp_path / "cnn.safetensors")
    again = load(tmp_path / "cnn.safetensors")
    x, y = jnp.ones(1), jnp.arange(16.0)
    assert again.network.log_ratio(x, y) == fitted.network.log_ratio(x, y)
    own = NRE(simulations=400, hidden=(8,), embedding=eqx.nn.Linear(16, 2, key=jax.random.key(0)))
    with pytest.raises(SavedFileError, match="your own module"):
        own.fit(source, key=0, steps=2, progress=False).save(tmp_path / "own.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contrasts": 0}, "contrasts must be at least 1"),
        ({"contrasts": 20, "batch": 20}, "need a batch of more pairs"),
        ({"gamma": 0.0}, "gamma must be positive"),
        ({"embedding": SetEmbedding()}, "independent data go along one more leading axis"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(TrainingError, match=message):
        NRE(**options)


def test_too_few_held_out_for_the_contrasts_are_refused():
    with pytest.raises(TrainingError, match="Take more simulations, or fewer contrasts"):
        NRE(simulations=100, contrasts=10).fit(program(), key=0, steps=2, progress=False)
