"""shard_data: the same measure, block by block of its rows; and what cannot be sharded."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.core import rows
from probinf.core.program import log_density
from probinf.errors import ModelError, StructureError

_RANDOM = np.random.default_rng(0)
_X = _RANDOM.normal(size=(53, 3))
_GROUP = _RANDOM.integers(0, 4, 53)
_Y = (_RANDOM.random(53) < 0.5).astype(int)


def grouped(count, x, group, y=None):
    """Rows in a plate of a fixed size; another likelihood beside it."""
    scale = numpyro.sample("scale", dist.HalfNormal(1))
    numpyro.sample("seen", dist.Normal(scale, 1), obs=jnp.asarray(0.3))
    with numpyro.plate("group", 4):
        level = numpyro.sample("level", dist.Normal(0, scale))
    beta = numpyro.sample("beta", dist.Normal(0, 1).expand([x.shape[-1]]).to_event(1))
    with numpyro.plate("row", count):
        numpyro.sample("y", dist.Bernoulli(logits=level[group] + x @ beta), obs=y)


def bare(x, y=None):
    """No plate at all, and the rows of ``x`` on its last axis."""
    beta = numpyro.sample("beta", dist.Normal(0, 1).expand([x.shape[0]]).to_event(1))
    numpyro.sample("y", dist.Normal(beta @ x, 1), obs=y)


def local(y):
    with numpyro.plate("row", y.size):
        z = numpyro.sample("z", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(z, 1), obs=y)


def coupled(y):
    """The mean of the rows is no sum over them."""
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("row", y.shape[0]):
        numpyro.sample("y", dist.Normal(mu + y.mean(), 1), obs=y)


@pytest.fixture(scope="module")
def whole():
    return pi.from_numpyro(grouped, 53, _X, _GROUP, y=_Y)


def differences(program, sharded):
    """Largest relative ones of log density and gradient, over three points, in double."""
    both = jax.jit(jax.value_and_grad(lambda x, p: log_density(p, x)))
    with jax.enable_x64(True):
        found = []
        for k in range(3):
            x = program.start(jax.random.key(k), program.data)
            ours, theirs = (jax.tree.leaves(both(x, p)) for p in (sharded, program))
            norm = max(float(jnp.abs(v).max()) for v in theirs)
            found += [float(jnp.abs(a - b).max()) / norm for a, b in zip(ours, theirs, strict=True)]
    return max(found)


def test_the_measure_and_its_gradient_stay(whole):
    assert differences(whole, pi.shard_data(whole, "row", check=False)) < 1e-12


def test_rows_that_fill_up_must_not_count(whole, monkeypatch):
    """The mutant of the law: seven blocks of eight rows hold three rows too many."""

    def all_count(*args):
        found = cut(*args)
        found.counted[...] = True
        return found

    cut = rows.cut_rows
    monkeypatch.setattr("probinf.fronts.sharding.cut_rows", all_count)
    assert differences(whole, pi.shard_data(whole, "row", check=False)) > 1e-3
    with pytest.raises(ModelError, match="no sum over these rows"):
        pi.shard_data(whole, "row")


def test_data_are_whole_for_all_that_is_not_the_density(whole):
    sharded = pi.shard_data(whole, "row", blocks=5, check=False)
    x = whole.start(jax.random.key(0), whole.data)
    for name in ("pointwise", "constrain"):
        ours, theirs = (getattr(p, name)(x, p.data) for p in (sharded, whole))
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    np.testing.assert_array_equal(sharded.observations.get(sharded.data)["y"], _Y)
    with pytest.raises(StructureError, match="condition the program first"):
        pi.condition(sharded, {"y": _Y})


def test_rows_by_their_site_and_on_another_axis():
    program = pi.from_numpyro(bare, _X.T, y=_X[:, 0])
    with pytest.raises(ModelError, match="axis= where"):
        pi.shard_data(program, "y")
    sharded = pi.shard_data(program, "y", axis={"1": 1, "y": 0}, check=False)
    assert differences(program, sharded) < 1e-12


def test_one_chain_on_blocks_is_the_chain_on_the_whole(whole):
    method = pi.MCMC(pi.kernels.HMC(steps=2), chains=1, warmup=5, draws=5)
    sharded = pi.shard_data(whole, "row", check=False)
    ours, theirs = (
        pi.sample(p, method, key=0, progress=False, check=False, precision="double").draws["beta"]
        for p in (sharded, whole)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ("rows", {}, r"plates \['group', 'row'\]"),
        ("row", {"axis": 1}, "no argument has the 53 rows of 'row' on axis 1"),
        ("row", {"axis": {"x": 0}}, r"axis names \['x'\]"),
        ("row", {"axis": {"2": 1}}, r"argument '2' has shape \(53, 3\)"),
        ("group", {}, "latent site 'level' is in plate 'group'"),
    ],
)
def test_wrong_rows(whole, rows, options, message):
    with pytest.raises(ModelError, match=message):
        pi.shard_data(whole, rows, **options)


def test_what_cannot_be_sharded(whole):
    with pytest.raises(ModelError, match="latent site 'z'"):
        pi.shard_data(pi.from_numpyro(local, _X[:, 0]), "row")
    with pytest.raises(ModelError, match=r"log likelihood is .* as a whole"):
        pi.shard_data(pi.from_numpyro(coupled, _X[:, 0]), "row")
    with pytest.raises(StructureError, match="before temper"):
        pi.shard_data(pi.temper(whole, 0.5), "row")
    with pytest.raises(StructureError, match="already"):
        pi.shard_data(pi.shard_data(whole, "row", check=False), "row")
