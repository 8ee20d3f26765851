"""NPE, NLE and what surrounds them: small trainings against exact answers, and bad input."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.amortized import NLE, NPE, SetEmbedding, from_flax, load, refinement
from probinf.amortized.neural.simulations import Sites
from probinf.errors import (
    ModelError,
    ObservationError,
    RangeWarning,
    SavedFileError,
    StructureError,
    TrainingError,
)
from probinf.validity import check_base, expected_coverage, replicate, sbc, tarp
from tests.cases.eight_schools import eight_schools

SMALL = {"layers": 3, "hidden": (24, 24), "bins": 6}


def bounded(y=None):
    """A coin's bias seen through 20 throws: Beta(2, 1) prior, much mass near the edge."""
    p = numpyro.sample("p", dist.Beta(2.0, 1.0))
    numpyro.sample("y", dist.Binomial(20, p), obs=y)


@pytest.fixture(scope="module")
def program():
    return pi.from_numpyro(bounded, y=np.array(19))


@pytest.fixture(scope="module")
def npe(program):
    return NPE(simulations=4000, **SMALL).fit(program, key=0, steps=1000, progress=False)


@pytest.fixture(scope="module")
def nle(program):
    return NLE(simulations=4000, **SMALL).fit(program, key=0, steps=1000, progress=False)


def exact_mean(y):
    return (2 + y) / 23


def test_npe_is_calibrated_and_stays_in_the_support(program, npe):
    found = replicate(program, amortized=npe, key=1, replications=1000)
    for result in (tarp(found), expected_coverage(found)):
        assert result.error < 0.06, result
    draws = pi.sample(npe.posterior(), pi.Importance(draws=20_000), key=2, progress=False)
    p = draws.draws["p"]
    assert ((p > 0) & (p <= 1)).all()
    assert abs(p.mean() - exact_mean(19)) < 0.02
    assert str(npe.training.summary()["simulations"]) == "4000"


def test_the_learned_posterior_is_a_normalised_program(npe):
    result = check_base(npe.posterior(np.array(12)), key=3)
    assert result, result


@dataclasses.dataclass(frozen=True)
class _NoJacobian:
    inner: object

    def __call__(self, x, data):
        score = self.inner(x, data)
        _, log_det = data[1].targets(jnp.ravel(x["p"]))
        return score._replace(log_base=score.log_base - log_det)


def test_without_the_marginal_jacobian_it_is_not(npe):
    q = npe.posterior(np.array(12))
    assert not check_base(dataclasses.replace(q, score=_NoJacobian(q.score)), key=3)


@pytest.mark.slow
def test_refine_makes_npe_exact(program, npe):
    for y in (0, 7, 20):  # the edge of the simulator too
        exact = pi.condition(program, {"y": jnp.asarray(y)})
        found = pi.refine(exact, npe.posterior(np.array(y)), key=4, progress=False)
        row = found.summary()["p"]
        assert abs(row["mean"] - exact_mean(y)) < 4 * row["mcse"]
        assert refinement(found).familiar_share is not None


@pytest.mark.slow
def test_nle_takes_counts_and_independent_data_sets(program, nle):
    walk = pi.SMC(particles=500, kernel=pi.kernels.RandomWalk())
    draws = pi.sample(nle.posterior(), walk, key=5, progress=False)
    assert abs(draws.summary()["p"]["mean"] - exact_mean(19)) < 0.02
    several = nle.posterior(np.array([12, 15, 14, 13]))
    found = pi.sample(several, walk, key=6, progress=False)
    assert abs(found.summary()["p"]["mean"] - (2 + 54) / 83) < 0.03


def test_nle_gradient_agrees_with_finite_differences(nle, x64):
    q = jax.tree.map(
        lambda v: v.astype(float) if jnp.issubdtype(v.dtype, jnp.floating) else v,
        nle.posterior(np.array(12)),
    )

    @jax.jit
    def density(p):
        return sum(q.score({"p": p}, q.data))

    gradient = jax.grad(density)(jnp.asarray(0.3))
    slope = (density(jnp.asarray(0.3 + 1e-5)) - density(jnp.asarray(0.3 - 1e-5))) / 2e-5
    assert abs(slope - gradient) < 1e-4 * max(1, abs(float(gradient)))


def test_a_saved_network_gives_the_same_answers(program, npe, nle, tmp_path):
    for fitted in (npe, nle):
        path = tmp_path / f"{type(fitted).__name__}.safetensors"
        fitted.save(path)
        again = load(path)
        x = {"p": jnp.asarray(0.7)}
        with pytest.raises(StructureError, match="loaded from a file"):
            again.posterior(np.array(12))
        ours = fitted.posterior(np.array(12))
        theirs = again.with_program(program).posterior(np.array(12))
        assert sum(ours.score(x, ours.data)) == sum(theirs.score(x, theirs.data))


def test_unusual_data_are_reported(npe):
    with pytest.warns(RangeWarning, match="outside the training data"):
        q = npe.posterior(np.array(2000))
    assert float(q.data[1].familiarity.share) == 0


def test_training_depends_on_the_key_alone(program):
    method = NPE(simulations=4000, **SMALL)
    one, two = (method.fit(program, key=7, steps=20, progress=False) for _ in range(2))
    assert eqx.tree_equal(one.network, two.network)


def iid(y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("n", 40):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


@pytest.fixture(scope="module")
def sets():
    program = pi.from_numpyro(iid, y=np.zeros(40))
    method = NPE(simulations=4000, members=2, embedding=SetEmbedding((24, 24), 8), **SMALL)
    return program, method.fit(program, key=0, steps=1200, progress=False)


@pytest.mark.slow
def test_exchangeable_data_of_any_number_and_order(sets, tmp_path):
    _, fitted = sets
    rng = np.random.default_rng(0)
    for n in (1, 5, 40):
        y = rng.normal(0.8, 1.0, n)
        q = fitted.posterior(y)
        draws = pi.sample(q, pi.Importance(draws=2000), key=1, progress=False).draws["mu"]
        mean, sd = y.sum() / (n + 1), 1 / np.sqrt(n + 1)
        assert abs(draws.mean() - mean) < 0.35 * sd, n
        assert 0.7 < draws.std() / sd < 1.4, n
        turned = fitted.posterior(y[::-1].copy())
        x = {"mu": jnp.asarray(0.5)}
        assert abs(q.score(x, q.data).log_base - turned.score(x, turned.data).log_base) < 1e-3
    with pytest.warns(RangeWarning, match="number of data is 60"):
        fitted.posterior(rng.normal(size=60))
    fitted.save(tmp_path / "set.safetensors")
    assert load(tmp_path / "set.safetensors").sites == fitted.sites


def near(a, b):
    return jnp.max(jnp.abs(a - b))


def blurred(key, p):
    return jax.random.bernoulli(key, p["p"], (20,)).sum().astype(float)


@pytest.mark.slow
def test_a_simulator_without_likelihood_keeps_its_random_key():
    prior = {"p": dist.Beta(2.0, 1.0)}
    program = pi.from_simulator(prior, blurred, near, jnp.asarray(15.0), tolerance=0.3)
    npe = NPE(simulations=2000, **SMALL).fit(program, key=0, steps=600, progress=False)
    q = npe.posterior()
    found = pi.refine(program, q, key=1, progress=False)
    row = found.summary()["p"]
    assert abs(row["mean"] - exact_mean(15)) < 4 * row["mcse"] + 1e-3


@pytest.mark.slow
def test_a_likelihood_learned_from_a_simulator_has_gradients():
    prior = {"p": dist.Beta(2.0, 1.0)}
    program = pi.from_simulator(prior, blurred, near, jnp.asarray(15.0), tolerance=0.3)
    nle = NLE(simulations=2000, **SMALL).fit(program, key=0, steps=600, progress=False)
    chains = pi.sample(
        nle.posterior(), pi.NUTS(chains=1, draws=300, warmup=200), key=2, progress=False
    )
    assert abs(chains.draws["p"].mean() - exact_mean(15)) < 0.05


def flax_net():
    nnx = pytest.importorskip("flax.nnx", reason="flax is not installed")

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(1, 6, rngs=rngs)

        def __call__(self, y):
            return jnp.tanh(self.first(jnp.atleast_1d(y)))

    return Net(nnx.Rngs(0))


def test_a_flax_module_serves_as_an_embedding():
    net, value = flax_net(), jnp.asarray(0.3)
    adapted = from_flax(net)
    assert jnp.allclose(adapted(value), net(value))
    gradient = jax.grad(lambda e: jnp.sum(e(value)))(adapted)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(gradient))
    with pytest.raises(ModelError, match=r"flax\.nnx\.Module"):
        from_flax(lambda y: y)


@pytest.mark.slow
def test_fresh_simulations_and_own_embeddings(program):
    first = from_flax(flax_net())
    method = NPE(simulations=500, fresh=True, embedding=first, **SMALL)
    fitted = method.fit(program, key=0, steps=200, progress=False)
    assert fitted.training.validation_losses[-1, 1] < fitted.training.validation_losses[0, 1]
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), fitted.network.embedding, first)
    assert all(jax.tree.leaves(moved)), "the embedding was not trained"
    with pytest.raises(SavedFileError, match="your own module"):
        fitted.save("anywhere")


def broken(y=None):
    s = numpyro.sample("s", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(jnp.log(s), 1.0), obs=y)


def test_bad_input_is_refused(program, npe, nle):
    with pytest.raises(ObservationError, match="not finite"):
        npe.posterior(np.nan)
    with pytest.raises(ObservationError, match=r"shape \(2,\)"):
        npe.posterior(np.array([1, 2]))
    with pytest.raises(ObservationError, match="observed sites"):
        npe.posterior({"x": np.array(1)})
    with pytest.raises(ObservationError, match="one more leading axis"):
        nle.posterior(np.ones((2, 2)))
    with pytest.raises(StructureError, match="coordinates"):
        npe.posterior(np.array(12), program=eight_schools())
    with pytest.raises(TrainingError, match="at least 100"):
        NPE(simulations=10)
    with pytest.raises(TrainingError, match="hidden"):
        NLE(hidden=())
    with pytest.raises(TrainingError, match="NaN or infinite"):
        NPE(simulations=200).fit(pi.from_numpyro(broken, y=np.array(0.0)), key=0, steps=1)
    with pytest.raises(StructureError, match="cannot simulate"):
        NPE().fit(pi.from_log_density(bounded_density, initial=jnp.zeros(2)), key=0, steps=1)
    with pytest.raises(ObservationError, match="leading axis"):
        NPE(simulations=100, embedding=SetEmbedding()).fit(program, key=0, steps=1)
    assert Sites.of(program).integer == (True,)


def bounded_density(x):
    return -jnp.sum(x**2)


@pytest.mark.slow
def test_sbc_of_both(program, npe, nle):
    assert sbc(program, amortized=npe, key=9, replications=500)
    method = pi.NUTS(chains=1, warmup=200, draws=155)
    assert sbc(program, method, amortized=nle, key=9, replications=300, draws=31)


def test_nle_sees_bounded_parameters_on_their_own_scale() -> None:
    """A uniform parameter is a straight line in the context; its normal score alone is not."""

    def model(y=None):
        theta = numpyro.sample("theta", dist.Uniform(-3.0, 3.0))
        numpyro.sample("y", dist.Normal(theta**2, 0.1), obs=y)

    program = pi.from_numpyro(model, y=1.0)
    network = NLE(simulations=4000, **SMALL).prepare(jax.random.key(0), program).model
    theta = np.linspace(-2.9, 2.9, 50)
    context = np.asarray(jax.vmap(network.context)(jnp.asarray(theta, float)[:, None]))

    def bend(column: np.ndarray) -> float:
        return float(np.abs(column - np.polyval(np.polyfit(theta, column, 1), theta)).max())

    assert bend(context[:, 1]) < 0.1 < 0.3 < bend(context[:, 0])


def test_nle_leaves_data_of_both_signs_on_their_scale() -> None:
    """A straight line for one, quantiles for the other: neither rule for all data passes."""

    def model(y=None, z=None):
        scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(0.0, scale), obs=y)
        numpyro.sample("z", dist.LogNormal(jnp.log(scale), 0.5), obs=z)

    program = pi.from_numpyro(model, y=1.0, z=1.0)
    x, y, _ = NLE(simulations=4000, **SMALL).prepare(jax.random.key(0), program).model.targets.knots
    slopes = np.diff(np.asarray(y)) / np.diff(np.asarray(x))
    steepest = slopes.max(axis=1) / slopes.min(axis=1)
    assert steepest[0] < 1.001 and steepest[1] > 2
