"""Bad input never yields a number: each mistake has its error class, and a message that names
the site or argument, what was seen, and what to do."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.distributions import constraints

import probinf as pi
from probinf.core import keys
from probinf.errors import (
    DiscreteLatentError,
    ImproperPriorError,
    MethodError,
    ModelError,
    ObservationError,
    ParameterError,
    StructureError,
    ZeroLikelihoodError,
)


def normal(y, x=0.0):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu + x, 1), obs=y)


def gamma(y):
    a = numpyro.sample("a", dist.HalfNormal(1))
    numpyro.sample("y", dist.Gamma(a, 1), obs=y)


def poisson(y):
    rate = numpyro.sample("rate", dist.HalfNormal(1))
    numpyro.sample("y", dist.Poisson(rate), obs=y)


def shares(y):
    a = numpyro.sample("a", dist.HalfNormal(1))
    numpyro.sample("y", dist.Dirichlet(jnp.ones(3) + a), obs=y)


def computed(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, 1), obs=jnp.log(y))


def plated(y, x=0.0):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("rows", 4):
        numpyro.sample("y", dist.Normal(mu + x, 1), obs=y)


def twice(y):
    numpyro.sample("mu", dist.Normal(0, 1))
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def flat(y=None):
    mu = numpyro.sample("mu", dist.ImproperUniform(constraints.real, (), ()))
    if y is not None:
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def discrete(y):
    k = numpyro.sample("k", dist.Bernoulli(0.5))
    numpyro.sample("y", dist.Normal(k, 1), obs=y)


def scale_of(y, scale):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, scale), obs=y)


def subsampled(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("rows", 4, subsample_size=2) as index:
        numpyro.sample("y", dist.Normal(mu, 1), obs=y[index])


def delta(y):
    mu = numpyro.sample("mu", dist.Delta(0.5))
    sd = numpyro.sample("sd", dist.HalfNormal(1))
    numpyro.sample("y", dist.Normal(mu, sd), obs=y)


def random_inside(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    noise = jax.random.normal(numpyro.prng_key())
    numpyro.sample("y", dist.Normal(mu + noise, 1), obs=y)


def sized(n, y):
    mu = numpyro.sample("mu", dist.Normal(0, 1).expand([n]).to_event(1))
    numpyro.sample("y", dist.Normal(mu.sum(), 1), obs=y)


def looped(n, y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    for _ in range(n):
        mu = mu + 1
    numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def branching(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    if mu > 0:
        mu = 2 * mu
    numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def with_numpy(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(np.exp(mu), 1), obs=y)


def no_latent(y):
    numpyro.sample("y", dist.Normal(0, 1), obs=y)


def scan_in_scope(y):
    def step(x, y_t):
        x = numpyro.sample("x", dist.Normal(x, 1))
        numpyro.sample("y", dist.Normal(x, 1), obs=y_t)
        return x, None

    with handlers.scope(prefix="a"):
        scan(step, 0.0, y)


Y3 = np.array([0.1, 0.2, 0.3])
HOLES = np.array([1.0, np.nan, 2.0, np.nan])


@dataclasses.dataclass(frozen=True)
class Bad:
    """A mistake at the door of ``from_numpyro``, and what must be said about it."""

    name: str
    model: Callable[..., None]
    args: tuple[Any, ...]
    error: type[Exception]
    says: tuple[str, ...]


TABLE = [
    Bad(
        "NaN",
        normal,
        (HOLES,),
        ObservationError,
        ("site 'y'", "2 of 4", "NaN", "nan at [1], nan at [3]", "obs_mask"),
    ),
    Bad("one NaN", normal, (np.array(np.nan),), ObservationError, ("site 'y'", "NaN", "nan)")),
    Bad(
        "NaN in computed data",
        computed,
        (np.array([1.0, -1.0]),),
        ObservationError,
        ("site 'y'", "1 of 2", "nan at [1]", "obs_mask"),
    ),
    Bad(
        "infinite",
        normal,
        (np.array([1.0, np.inf]),),
        ObservationError,
        ("site 'y'", "outside the support", "inf at [1]", "correct the data"),
    ),
    Bad(
        "out of support",
        gamma,
        (np.array([1.0, -1.0]),),
        ObservationError,
        ("site 'y'", "1 of 2", "Positive", "-1.0 at [1]", "instead of Gamma"),
    ),
    Bad(
        "not on the simplex",
        shares,
        (np.array([[0.2, 0.3, 0.5], [0.2, 0.3, 0.6]]),),
        ObservationError,
        ("site 'y'", "outside the support (Simplex", "0.2 at [1, 0]"),
    ),
    Bad(
        "fractional count",
        poisson,
        (np.array([1.0, 1.5]),),
        ObservationError,
        ("site 'y'", "not an integer", "1.5 at [1]", "round the data"),
    ),
    Bad(
        "negative count",
        poisson,
        (np.array([1, -2]),),
        ObservationError,
        ("site 'y'", "-2 at [1]", "instead of Poisson"),
    ),
    Bad(
        "silent broadcasting",
        normal,
        (Y3, np.ones((3, 1))),
        ObservationError,
        ("site 'y'", "(3,)", "(3, 1)", "(3, 3)", "more than once", "allow_broadcast=True"),
    ),
    Bad(
        "one datum in a plate",
        plated,
        (Y3[:1],),
        ObservationError,
        ("site 'y'", "'rows' of size 4", "(1,)", "(4,)", "allow_broadcast=True"),
    ),
    Bad(
        "data shorter than the plate",
        plated,
        (Y3,),
        ObservationError,
        ("site 'y'", "'rows' of size 4", "(3,)", "(4,)", "same length"),
    ),
    Bad(
        "covariate shorter than the plate",
        plated,
        (Y3, Y3),
        ModelError,
        ("y in plate rows (size 4)", "(4,), (3,)", "dist.Normal(mu + x, 1)", "Compare"),
    ),
    Bad("list", normal, ([0.1, 0.2],), ObservationError, ("site 'y'", "list", "np.asarray")),
    Bad("same name twice", twice, (Y3,), ModelError, ("`mu`", "rename one")),
    Bad(
        "improper prior without data",
        flat,
        (),
        ImproperPriorError,
        ("site 'mu' (ImproperUniform)", "infinite", "pass the observations"),
    ),
    Bad(
        "discrete latent",
        discrete,
        (Y3,),
        DiscreteLatentError,
        ("site 'k' (Bernoulli", "probinf[discrete]", "allow_discrete=True"),
    ),
    Bad(
        "constant parameter",
        scale_of,
        (Y3, -1.5),
        ParameterError,
        ("Normal", "scale = -1.5", 'sample("y"', "test_bad_input.py", "jnp.exp"),
    ),
    Bad(
        "parameter from an argument",
        scale_of,
        (Y3, np.array([1.0, -2.0, 3.0])),
        ParameterError,
        ("Normal", "scale = [ 1. -2.  3.]", 'sample("y"', "jnp.exp"),
    ),
    Bad(
        "subsampling",
        subsampled,
        (np.ones(4),),
        ModelError,
        ("plate 'rows'", "2 of 4", "Remove subsample_size"),
    ),
    Bad("Delta", delta, (Y3,), ModelError, ("site 'mu'", "Delta", "numpyro.deterministic")),
    Bad(
        "random key inside",
        random_inside,
        (Y3,),
        ModelError,
        ("numpyro.prng_key", "density is random", "from_simulator"),
    ),
    Bad(
        "array as a shape",
        sized,
        (np.asarray(3), Y3),
        ModelError,
        ("size", "Python int", "JitTracer"),
    ),
    Bad(
        "array as a loop count",
        looped,
        (jnp.asarray(3), Y3),
        ModelError,
        ("for _ in range(n)", "int32[]", "Python int"),
    ),
    Bad(
        "branch on a value",
        branching,
        (Y3,),
        ModelError,
        ("if mu > 0", "bool[]", "jnp.where"),
    ),
    Bad(
        "NumPy on a traced value",
        with_numpy,
        (Y3,),
        ModelError,
        ("np.exp(mu)", "float32[]", "jax.numpy"),
    ),
    Bad(
        "strings in a series",
        normal,
        (pd.Series(["a", "b"], name="county"),),
        ModelError,
        ("argument 1", "Series", "pd.factorize(frame['county'])"),
    ),
    Bad(
        "series in a dict",
        normal,
        (Y3, {"speed": pd.Series(["a", "b"])}),
        ModelError,
        ("argument 2['speed']", "Series", "pd.factorize"),
    ),
    Bad(
        "strings",
        normal,
        (np.array(["a", "b"]),),
        ModelError,
        ("argument 1", "dtype <U1", "category codes"),
    ),
    Bad(
        "objects",
        normal,
        (np.array([1.0, None]),),
        ModelError,
        ("argument 1", "dtype object", "pass numbers"),
    ),
    Bad("no latent", no_latent, (Y3,), ModelError, ("no latent site", "['y']", "Check")),
    Bad(
        "scan inside a scope",
        scan_in_scope,
        (Y3,),
        ModelError,
        ("site 'x'", 'sample("x"', "scope inside the scanned function"),
    ),
]


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.name)
def test_the_front_refuses(bad: Bad, monkeypatch: pytest.MonkeyPatch) -> None:
    if bad.model is discrete:  # summed out where funsor is installed
        monkeypatch.setitem(sys.modules, "funsor", None)
    with pytest.raises(bad.error) as caught:
        pi.from_numpyro(bad.model, *bad.args)
    assert type(caught.value) is bad.error
    missing = [text for text in bad.says if text not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


def test_a_keyword_argument_is_named() -> None:
    with pytest.raises(ModelError, match=r"argument 'x' is an array of dtype <U1"):
        pi.from_numpyro(normal, Y3, x=np.array(["a"]))


def between(y, top):
    numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Uniform(0, top), obs=y)


def test_values_are_checked_where_broadcasting_is_allowed() -> None:
    top = np.array([1.0, 0.2, 2.0])
    assert pi.from_numpyro(between, np.array(0.1), top, allow_broadcast=True)
    with pytest.raises(ObservationError, match=r"site 'y': 1 of 3.*0\.5 at \[1\]"):
        pi.from_numpyro(between, np.array(0.5), top, allow_broadcast=True)


def test_broadcasting_is_allowed_on_request() -> None:
    program = pi.from_numpyro(normal, Y3, np.zeros((3, 1)), allow_broadcast=True)
    terms = jax.eval_shape(program.pointwise, program.template(), program.data)
    assert terms["y"].shape == (3, 3)


def test_a_param_is_warned_about() -> None:
    def with_param(y):
        scale = numpyro.param("alpha", 2.0)
        numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0, 1)), scale), obs=y)

    with pytest.warns(UserWarning, match=r"numpyro\.param 'alpha' is not inferred.*prior"):
        pi.from_numpyro(with_param, Y3)


# --- remedies that messages recommend ---------------------------------------------------------


def masked(y, seen):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("n", 4), handlers.mask(mask=seen):
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def imputed(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("n", 4):
        numpyro.sample("y", dist.Normal(mu, 1), obs=y, obs_mask=~jnp.isnan(y))


def masked_inside(y, seen):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, 1).expand([4]).mask(seen).to_event(1), obs=y)


@pytest.mark.parametrize(
    "program",
    [
        lambda: pi.from_numpyro(masked, HOLES, ~np.isnan(HOLES)),
        lambda: pi.from_numpyro(masked_inside, HOLES, ~np.isnan(HOLES)),
        lambda: pi.from_numpyro(imputed, HOLES),
    ],
    ids=["mask", "mask inside", "obs_mask"],
)
def test_missing_values_may_be_masked_or_imputed(program: Callable[[], pi.Program]) -> None:
    built = program()

    @jax.jit
    def at(built: pi.Program) -> Any:
        x = jax.tree.map(lambda v: 0.3 * jnp.ones(v.shape), built.template())
        weight = lambda x: built.score(x, built.data).log_weight  # noqa: E731
        return jax.value_and_grad(weight)(x)

    value, gradient = at(built)
    expected = dist.Normal(0.3, 1).log_prob(np.array([1.0, 2.0])).sum()
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


@pytest.mark.parametrize("model", [masked, masked_inside])
def test_a_nan_that_no_mask_covers_is_found(model: Callable[..., None]) -> None:
    seen = np.array([True, True, True, False])
    with pytest.raises(ObservationError, match=r"site 'y': 1 of 4.*nan at \[1\]"):
        pi.from_numpyro(model, HOLES, seen)


# --- the doctor -------------------------------------------------------------------------------


def real_scale(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(0, mu), obs=y)


def test_a_scale_that_can_be_negative_is_found_before_sampling() -> None:
    program = pi.from_numpyro(real_scale, Y3)
    says = r"site 'y': parameter 'scale'.*of 32 trial points.*dist\.HalfNormal"
    with pytest.raises(ParameterError, match=says):
        pi.check(program)
    with pytest.raises(ParameterError, match=says):
        pi.sample(program, key=0, progress=False)


def moving_support(y):
    top = numpyro.sample("top", dist.Uniform(0, 1))
    numpyro.sample("y", dist.Uniform(0, top), obs=y)


def test_data_outside_a_support_that_moves_are_found_before_sampling() -> None:
    with pytest.raises(
        ObservationError, match=r"site 'y'.*1\.5 at \[1\].*outside.*all 224 trial points.*Widen"
    ):
        pi.check(pi.from_numpyro(moving_support, np.array([0.5, 1.5])))
    report = pi.check(pi.from_numpyro(moving_support, np.array([0.3, 0.5])))
    assert [site.name for site in report.sites] == ["top", "y"]


# --- nothing is possible ------------------------------------------------------------------------


def walled(y, wall):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.factor("wall", wall + 0 * mu)
    numpyro.sample("y", dist.Normal(mu, 1), obs=y)


METHODS = [
    pi.NUTS(chains=1, warmup=5, draws=5),
    pi.SMC(particles=8, islands=1, moves=1, kernel=pi.kernels.RandomWalk()),
    pi.Importance(draws=8),
]
DEAD = {
    "-inf": (np.array(0.1), np.array(-np.inf), ("'wall' has log probability -inf", "Check")),
    "NaN": (np.array(0.1), np.array(np.nan), ("'wall' has log probability NaN", "Check")),
    "overflow": (np.array(1e30), np.array(0.0), ("'y'", "1e+30", "float32", "jax_enable_x64")),
}


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("kind", DEAD)
def test_a_likelihood_that_is_zero_everywhere(kind: str, method: Any) -> None:
    y, wall, says = DEAD[kind]
    with pytest.raises(ZeroLikelihoodError) as caught:
        pi.sample(pi.from_numpyro(walled, y, wall), method, key=0, progress=False)
    missing = [text for text in says if text not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


@pytest.mark.parametrize("method", METHODS[1:], ids=lambda m: type(m).__name__)
def test_an_improper_prior_has_no_evidence(method: Any) -> None:
    program = pi.from_numpyro(flat, Y3)
    with pytest.raises(ImproperPriorError, match=r"site 'mu' \(ImproperUniform\).*dist\.Normal"):
        pi.sample(program, method, key=0, progress=False)


# --- wrong kinds of things ----------------------------------------------------------------------

# without the type checks that only tests switch on
sample = inspect.unwrap(pi.sample)
as_key = inspect.unwrap(keys.as_key)


def test_things_that_are_not_programs_methods_or_keys() -> None:
    program = pi.from_numpyro(normal, Y3)
    with pytest.raises(MethodError, match=r"must be a Program, got function.*pi\.from_numpyro"):
        sample(normal, key=0)
    for wrong in ("NUTS", pi.NUTS, pi.kernels.NUTS()):
        with pytest.raises(MethodError, match=r"method must be an engine such as pi\.NUTS\(\)"):
            sample(program, wrong, key=0)
    with pytest.raises(TypeError, match=r"key must be an integer seed or a JAX.*got 'seed'"):
        as_key("seed")


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: pi.NUTS(chains=0), "chains must be at least 1, got 0"),
        (lambda: pi.NUTS(draws=0), "draws must be at least 1, got 0"),
        (lambda: pi.NUTS(warmup=-1), "warmup must not be negative, got -1"),
        (lambda: pi.SMC(particles=2), "particles must be at least 4, got 2"),
        (lambda: pi.SMC(islands=0), "islands must be at least 1, got 0"),
        (lambda: pi.SMC(target_ess=1.0), r"target_ess must lie in \(0, 1\), got 1.0"),
        (lambda: pi.SMC(resample_below=2.0), r"resample_below must lie in \[0, 1\], got 2.0"),
        (lambda: pi.SMC(moves=0), "moves must be at least 1, got 0"),
        (lambda: pi.SMC(schedule=(0.0, 0.5)), "schedule must end with 1"),
        (lambda: pi.SMC(schedule=(0.0, 0.5, 0.5, 1.0)), "schedule must increase"),
        (lambda: pi.Importance(draws=0), "draws must be at least 1, got 0"),
    ],
)
def test_options_out_of_range(build: Callable[[], Any], says: str) -> None:
    with pytest.raises(MethodError, match=says):
        build()


def noisy(key, theta):
    return theta + jax.random.normal(key)


def distance(a, b):
    return jnp.abs(a - b)


def test_gradient_kernels_refuse_random_key_coordinates() -> None:
    program = pi.from_simulator(dist.Normal(0, 1), noisy, distance, 0.5, tolerance=0.1)
    for method in (pi.NUTS(), pi.MCMC(pi.kernels.Slice()), pi.MCMC(pi.kernels.EllipticalSlice())):
        name = type(method.kernel).__name__
        with pytest.raises(MethodError, match=rf"{name} cannot move the random-key.*RandomWalk"):
            pi.sample(program, method, key=0, progress=False)
    with pytest.raises(MethodError, match=r"HMC needs gradients.*random-key.*RandomWalk"):
        pi.sample(program, pi.SMC(kernel=pi.kernels.HMC()), key=0, progress=False)


def test_integer_coordinates_are_refused() -> None:
    program = pi.from_log_density(distance, jnp.asarray(1.0), initial=jnp.zeros(()))
    broken = dataclasses.replace(program, start=_integer_start)
    with pytest.raises(StructureError, match=r"dtype int32.*floating-point"):
        pi.sample(broken, key=0, progress=False)


def _integer_start(key: Any, data: Any) -> Any:
    return jnp.zeros((), int)
