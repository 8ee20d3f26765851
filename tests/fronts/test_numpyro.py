"""from_numpyro: base times weight is NumPyro's joint density, and each part is what it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.distributions import constraints, transforms
from numpyro.infer.reparam import LocScaleReparam
from numpyro.infer.util import potential_energy
from scipy import special, stats

import probinf as pi
from probinf.core.program import Position, Program
from probinf.errors import ImproperPriorError, StructureError

# --- the models -----------------------------------------------------------------------------


def nested_plates(x, y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    tau = numpyro.sample("tau", dist.HalfNormal(2))
    with numpyro.plate("groups", 3):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        scale = numpyro.sample("scale", dist.LogNormal(0, 1))
        numpyro.deterministic("shift", theta - mu)
        with numpyro.plate("rows", 2):
            noise = numpyro.sample("noise", dist.HalfNormal(1))
            numpyro.sample("y", dist.Normal(theta * x[:, None], scale + noise), obs=y)


def with_factor(y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    b = numpyro.sample("b", dist.Exponential(1.0))
    numpyro.factor("penalty", -b * a**2)
    numpyro.factor("many", jnp.stack([a, b]))
    numpyro.sample("y", dist.Normal(a, b), obs=y)


def masked_likelihood(y, keep):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    with numpyro.plate("n", 4), handlers.mask(mask=keep):
        numpyro.sample("y", dist.Normal(mu, tau), obs=y)


def scaled(y, weight):
    with handlers.scale(scale=2.5):
        tau = numpyro.sample("tau", dist.HalfNormal(1))
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("n", 4), handlers.scale(scale=weight):
        numpyro.sample("y", dist.Normal(mu, tau), obs=y)


def dependent_support(y):
    x = numpyro.sample("x", dist.Exponential(1))
    u = numpyro.sample("u", dist.Uniform(0, x))
    v = numpyro.sample("v", dist.Uniform(u, x + 1))
    numpyro.sample("y", dist.Normal(u + v, 1), obs=y)


def correlations(y):
    cholesky = numpyro.sample("L", dist.LKJCholesky(3, 2.0))
    with numpyro.plate("d", 3):
        sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    numpyro.deterministic("R", cholesky @ cholesky.T)
    with numpyro.plate("n", 2):
        tril = sigma[:, None] * cholesky
        numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(3), scale_tril=tril), obs=y)


def simplex(y):
    w = numpyro.sample("w", dist.Dirichlet(jnp.array([1.0, 2.0, 3.0])))
    with numpyro.plate("groups", 2):
        v = numpyro.sample("v", dist.Dirichlet(10 * w + 1))
    numpyro.sample("y", dist.Multinomial(total_count=5, probs=v), obs=y)


def ordered(y):
    base = dist.Normal(0, 1).expand([3]).to_event(1)
    c = numpyro.sample("c", dist.TransformedDistribution(base, transforms.OrderedTransform()))
    eta = numpyro.sample("eta", dist.Normal(0, 1))
    with numpyro.plate("n", 4):
        numpyro.sample("y", dist.OrderedLogistic(eta, c), obs=y)


def transformed(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    both = [transforms.AffineTransform(mu, 0.5), transforms.ExpTransform()]
    z = numpyro.sample("z", dist.TransformedDistribution(dist.Normal(0, 1), both))
    numpyro.sample("y", dist.Normal(z, 1), obs=y)


def truncated(y):
    mu = numpyro.sample("mu", dist.TruncatedNormal(0.5, 1, low=0, high=2))
    tail = numpyro.sample("tail", dist.TruncatedNormal(0, 1, low=1.0))
    with numpyro.plate("n", 2):
        numpyro.sample("y", dist.TruncatedNormal(mu, tail, low=-1), obs=y)


def scoped(y):
    with handlers.scope(prefix="a"):
        first = numpyro.sample("tau", dist.HalfNormal(1))
        with handlers.scope(prefix="b", divider="."):
            second = numpyro.sample("tau", dist.HalfNormal(2))
    with handlers.scope(prefix="a", divider="_"):
        third = numpyro.sample("tau", dist.HalfNormal(3))
    tau = numpyro.sample("tau", dist.HalfNormal(4))
    # a user's own site that looks like NumPyro's Jacobians
    numpyro.factor("b/_tau_log_det", -first * third)
    numpyro.sample("y", dist.Normal(first + third, second + tau), obs=y)


def state_space(y):
    tau = numpyro.sample("tau", dist.HalfNormal(1))

    def step(x, y_t):
        x = numpyro.sample("x", dist.Normal(0.5 * x, tau))
        with handlers.scope(prefix="in"):
            s = numpyro.sample("s", dist.LogNormal(x, 1))
        numpyro.sample("y", dist.Normal(x, s), obs=y_t)
        return x, numpyro.deterministic("double", 2 * x)

    scan(step, 0.0, y)


def mixture(y):
    p = numpyro.sample("p", dist.Uniform(0, 1))
    with numpyro.plate("k", 2):
        loc = numpyro.sample("loc", dist.Normal(0, 3))
    shares, parts = dist.Categorical(jnp.stack([p, 1 - p])), dist.Normal(loc, 1)
    with numpyro.plate("n", 3):
        numpyro.sample("y", dist.MixtureSameFamily(shares, parts), obs=y)


def improper(y):
    s = numpyro.sample("s", dist.ImproperUniform(constraints.positive, (2,), ()))
    m = numpyro.sample("m", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(m, s.sum()), obs=y)


def prior_switched_off(y):
    with handlers.mask(mask=False):
        s = numpyro.sample("s", dist.HalfNormal(1))
    m = numpyro.sample("m", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(m, s), obs=y)


def reparametrised(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    with (
        numpyro.plate("groups", 3),
        handlers.reparam(config={"theta": LocScaleReparam(0.3)}),
    ):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, 1), obs=y)


def zoo(y):
    angle = numpyro.sample("angle", dist.VonMises(0.3, 2))
    block = numpyro.sample("block", dist.Cauchy(0, 1).expand([2, 2]).to_event(2))
    zero_sum = numpyro.sample("zero_sum", dist.ZeroSumNormal(1.0, event_shape=(3,)))
    with numpyro.plate("k", 2):
        mvn = numpyro.sample("mvn", dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2)))
        spread = numpyro.sample("spread", dist.HalfCauchy(1))
    level = zero_sum[0] + mvn.sum() + block.sum() + jnp.cos(angle)
    numpyro.sample("y", dist.Normal(level, spread.sum()), obs=y)


def one_law_many_data(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, 0.5), obs=y)


def conditioned(y):
    def inner():
        tau = numpyro.sample("tau", dist.HalfNormal(1))
        with numpyro.plate("n", 2):
            numpyro.sample("y", dist.Normal(0, tau))

    handlers.condition(inner, data={"y": y})()


def half_normal(x: Any) -> Any:
    return stats.halfnorm.cdf(x)


def lkj_entry(r: Any) -> Any:
    a = 2.0 + (3 - 2) / 2  # LKJ(eta=2) in 3 dimensions: (r + 1) / 2 ~ Beta(a, a)
    return stats.beta.cdf((r + 1) / 2, a, a)


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, its data, and marginals of its prior that are known in closed form.

    Where none is known, draws are compared with NumPyro's own.
    """

    model: Callable[..., None]
    args: tuple[Any, ...]
    known: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = dataclasses.field(
        default_factory=dict
    )
    proper: bool = True

    def __str__(self) -> str:
        return self.model.__name__

    def program(self) -> Program:
        return pi.from_numpyro(self.model, *self.args)


Y4 = np.array([0.3, -1.2, 2.0, 0.7])
CASES = [
    Case(nested_plates, (np.array([1.0, -0.5]), np.arange(6.0).reshape(2, 3) / 3)),
    Case(with_factor, (np.array(0.4),), {"b": (lambda v: v, stats.expon.cdf)}),
    Case(
        masked_likelihood,
        (Y4, np.array([True, False, True, True])),
        {"tau": (lambda v: v, half_normal)},
    ),
    Case(scaled, (Y4, np.array(0.5)), {"tau": (lambda v: v, half_normal)}),
    Case(
        dependent_support,
        (np.array(1.5),),
        {
            "u": (lambda v: v, lambda u: 1 - np.exp(-u) + u * special.exp1(u)),
            "x": (lambda v: v, stats.expon.cdf),
        },
    ),
    Case(
        correlations,
        (np.array([[0.1, -0.4, 1.0], [0.5, 0.2, -0.3]]),),
        {
            "R": (lambda v: v[:, 2, 1], lkj_entry),
            "L": (lambda v: v[:, 1, 0], lkj_entry),
        },
    ),
    Case(
        simplex,
        (np.array([[1, 2, 2], [0, 1, 4]]),),
        {"w": (lambda v: v[:, 2], partial(stats.beta.cdf, a=3, b=3))},
    ),
    Case(
        ordered,
        (np.array([0, 3, 1, 2]),),
        {"c": (lambda v: v[:, 2] - v[:, 1], partial(stats.lognorm.cdf, s=1))},
    ),
    Case(
        transformed,
        (np.array(1.1),),
        {"z": (lambda v: v, partial(stats.lognorm.cdf, s=np.sqrt(1.25)))},
    ),
    Case(
        truncated,
        (np.array([0.2, 1.4]),),
        {
            "mu": (lambda v: v, partial(stats.truncnorm.cdf, a=-0.5, b=1.5, loc=0.5)),
            "tail": (lambda v: v, partial(stats.truncnorm.cdf, a=1, b=np.inf)),
        },
    ),
    Case(
        scoped,
        (np.array(0.9),),
        {
            "a/b.tau": (lambda v: v / 2, half_normal),
            "a_tau": (lambda v: v / 3, half_normal),
        },
    ),
    Case(state_space, (Y4[:3],)),
    Case(
        mixture,
        (np.array([-2.0, 0.1, 2.2]),),
        {"p": (lambda v: v, stats.uniform.cdf), "loc": (lambda v: v[:, 1] / 3, stats.norm.cdf)},
    ),
    Case(improper, (np.array(0.3),), proper=False),
    Case(prior_switched_off, (np.array(0.3),), proper=False),
    Case(
        reparametrised,
        (np.array([0.1, 0.5, -1.0]),),
        {"tau": (lambda v: v, half_normal)},
    ),
    Case(
        zoo,
        (np.array(0.5),),
        {
            "block": (lambda v: v[:, 1, 0], stats.cauchy.cdf),
            "angle": (lambda v: v, partial(stats.vonmises.cdf, kappa=2, loc=0.3)),
            "spread": (lambda v: v[:, 1], stats.halfcauchy.cdf),
            "mvn": (lambda v: v[:, 1, 0], stats.norm.cdf),
            "zero_sum": (lambda v: v[:, 1] / np.sqrt(2 / 3), stats.norm.cdf),
        },
    ),
    Case(one_law_many_data, (Y4,), {"mu": (lambda v: v, stats.norm.cdf)}),
    Case(conditioned, (Y4[:2],), {"tau": (lambda v: v, half_normal)}),
]
PROPER = [case for case in CASES if case.proper]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_proper = pytest.mark.parametrize("case", PROPER, ids=str)


# --- everything about one case, from one compilation ------------------------------------------

POINTS, DRAWS = 6, 1500


def _densities(model: Any, program: Program, args: Any, x: Position) -> dict[str, jax.Array]:
    """Both densities, NumPyro's, the sum of the terms, and the base alone."""
    score = program.score(x, program.data)
    free = pi.temper(program, 0.0)
    at_zero = free.score(x, free.data)
    return {
        "base": score.log_base,
        "weight": score.log_weight,
        "numpyro": -potential_energy(model, args, {}, x),
        "terms": sum(jnp.sum(t) for t in program.pointwise(x, program.data).values()),
        "free base": at_zero.log_base,
        "free weight": at_zero.log_weight,
    }


def _constrained(model: Any, program: Program, args: Any, x: Position) -> dict[str, Any]:
    """``constrain``, and the same values put back into NumPyro's model."""
    values = program.constrain(x, program.data)
    latents = {name: values[name] for name in program.template()}
    placed = handlers.substitute(model, data=latents)
    trace = handlers.trace(handlers.seed(placed, 0)).get_trace(*args)
    inside = {
        name: jnp.all(site["fn"].support(site["value"]))
        for name, site in trace.items()
        if site["type"] == "sample" and name in latents
    }
    theirs = {k: s["value"] for k, s in trace.items() if s["type"] == "deterministic"}
    return {"constrained": values, "inside": inside, "deterministic": theirs}


def _round_trip(program: Program, key: jax.Array, x: Position) -> dict[str, Any]:
    """Simulated data, what ``condition`` then reads back, and the weight given them."""
    simulated = program.simulate(key, x, program.data)
    given = pi.condition(program, simulated)
    back = given.observations.get(given.data)
    return {"simulated": simulated, "back": back, "given": given.score(x, given.data)}


def _numpyros_prior(model: Any, args: Any, key: jax.Array) -> dict[str, jax.Array]:
    trace = handlers.trace(handlers.seed(model, key)).get_trace(*args)
    return {
        name: site["value"]
        for name, site in trace.items()
        if site["type"] == "deterministic" or (site["type"] == "sample" and not site["is_observed"])
    }


@partial(jax.jit, static_argnames=("model", "ours", "theirs"))
def _everything(
    model: Any,
    program: Program,
    args: Any,
    key: jax.Array,
    xs: Position,
    ours: bool,
    theirs: bool,
) -> Any:
    def at(key: jax.Array, x: Position) -> dict[str, Any]:
        return {
            "x": x,
            **_densities(model, program, args, x),
            **_constrained(model, program, args, x),
            **_round_trip(program, key, x),
        }

    points, first, second = jax.random.split(key, 3)
    found = jax.vmap(at)(jax.random.split(points, POINTS), xs)
    drawn = expected = None
    if ours:

        def one(key: jax.Array) -> dict[str, jax.Array]:
            return program.constrain(program.draw(key, program.data), program.data)

        drawn = jax.vmap(one)(jax.random.split(first, DRAWS))
    if theirs:
        prior = partial(_numpyros_prior, model, args)
        expected = jax.vmap(prior)(jax.random.split(second, DRAWS))
    return found, drawn, expected


_FACTS: dict[str, Any] = {}


def _facts(case: Case) -> Any:
    """What ``_everything`` finds in float64, as NumPy arrays; computed once per case."""
    if str(case) not in _FACTS:
        with jax.enable_x64(True):
            program, rng = case.program(), np.random.default_rng(0)
            found = _everything(
                case.model,
                program,
                case.args,
                jax.random.key(3),
                jax.tree.map(lambda v: rng.uniform(-2, 2, (POINTS, *v.shape)), program.template()),
                ours=case.proper,
                theirs=case.proper and not case.known,
            )
        _FACTS[str(case)] = jax.tree.map(np.asarray, found)
    return _FACTS[str(case)]


@partial(jax.jit, static_argnames=("model",))
def _float32(model: Any, program: Program, args: Any, xs: Position) -> dict[str, jax.Array]:
    return jax.vmap(partial(_densities, model, program, args))(xs)


@partial(jax.jit, static_argnames=("n",))
def _simulated(program: Program, x: Position, n: int = DRAWS) -> dict[str, jax.Array]:
    keys = jax.random.split(jax.random.key(5), n)
    return jax.vmap(program.simulate, (0, None, None))(keys, x, program.data)


# --- the density ----------------------------------------------------------------------------


def _check_identity(out: dict[str, np.ndarray], tolerance: float) -> None:
    size = 1 + np.abs(out["base"]) + np.abs(out["weight"])
    assert np.isfinite(out["numpyro"]).all()
    assert (np.abs(out["base"] + out["weight"] - out["numpyro"]) < tolerance * size).all()
    assert (np.abs(out["terms"] - out["weight"]) < tolerance * size).all()
    # the Jacobian and the prior are never tempered
    assert (np.abs(out["free base"] - out["base"]) < tolerance * size).all()
    np.testing.assert_array_equal(out["free weight"], 0.0)
    # neither part is trivial
    assert np.ptp(out["weight"]) > 1e-3
    assert np.ptp(out["base"]) > 1e-3


@each_case
def test_base_times_weight_is_numpyros_joint_in_float64(case: Case) -> None:
    found, _, _ = _facts(case)
    assert found["base"].dtype == np.float64
    _check_identity(found, 1e-10)


@each_case
def test_base_times_weight_is_numpyros_joint_in_float32(case: Case) -> None:
    xs = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), _facts(case)[0]["x"])
    out = _float32(case.model, case.program(), case.args, xs)
    assert out["base"].dtype == jnp.float32
    _check_identity({name: np.asarray(value) for name, value in out.items()}, 1e-5)


def _log_volume(forward: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    return jnp.linalg.slogdet(jax.jacfwd(forward)(x))[1]


def test_the_base_is_the_prior_density_with_the_jacobian_of_its_coordinates(x64: None) -> None:
    """Against autodiff of ``constrain``: independent of NumPyro's own log determinants."""
    program = pi.from_numpyro(simplex, np.array([[1, 2, 2], [0, 1, 4]]))
    x = {"w": jnp.array([0.3, -0.7]), "v": jnp.array([[0.1, 0.2], [-0.4, 1.1]])}

    @jax.jit
    def pieces(x: dict[str, jax.Array]) -> Any:
        def free_w(w: jax.Array) -> jax.Array:  # a simplex of three has two free entries
            return program.constrain({**x, "w": w}, program.data)["w"][:2]

        def free_v(row: int, v: jax.Array) -> jax.Array:
            moved = {**x, "v": x["v"].at[row].set(v)}
            return program.constrain(moved, program.data)["v"][row, :2]

        volume = _log_volume(free_w, x["w"])
        volume += sum(_log_volume(partial(free_v, row), x["v"][row]) for row in range(2))
        values = program.constrain(x, program.data)
        return program.score(x, program.data).log_base, values, volume

    got, values, by_hand = pieces(x)
    w = np.asarray(values["w"])
    by_hand += stats.dirichlet.logpdf(w, [1, 2, 3])
    by_hand += sum(stats.dirichlet.logpdf(np.asarray(v), 10 * w + 1) for v in values["v"])
    np.testing.assert_allclose(got, by_hand, rtol=1e-10)


def test_the_base_of_dependent_supports_by_hand(x64: None) -> None:
    program = pi.from_numpyro(dependent_support, np.array(1.5))

    @jax.jit
    def pieces(z: jax.Array) -> Any:
        def forward(z: jax.Array) -> jax.Array:
            values = program.constrain({"x": z[0], "u": z[1], "v": z[2]}, program.data)
            return jnp.stack([values["x"], values["u"], values["v"]])

        score = program.score({"x": z[0], "u": z[1], "v": z[2]}, program.data)
        return score, forward(z), _log_volume(forward, z)

    score, values, volume = pieces(jnp.array([0.4, -0.3, 0.9]))
    x, u, v = np.asarray(values)
    assert 0 < u < x and u < v < x + 1
    by_hand = -x - np.log(x) - np.log(x + 1 - u) + volume
    np.testing.assert_allclose(score.log_base, by_hand, rtol=1e-10)
    np.testing.assert_allclose(score.log_weight, stats.norm.logpdf(1.5, u + v), rtol=1e-10)


def test_the_base_of_a_cholesky_factor_by_hand(x64: None) -> None:
    """LKJ is flat over correlation matrices for eta = 1: p(R) ~ |R|**(eta - 1)."""
    program = pi.from_numpyro(correlations, np.zeros((2, 3)))
    low = np.tril_indices(3, -1)

    @jax.jit
    def log_base_and_prior(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        def entries(z: jax.Array) -> jax.Array:
            cholesky = program.constrain({"L": z, "sigma": jnp.zeros(3)}, program.data)["L"]
            return (cholesky @ cholesky.T)[low]

        cholesky = program.constrain({"L": z, "sigma": jnp.zeros(3)}, program.data)["L"]
        prior = (2.0 - 1) * jnp.linalg.slogdet(cholesky @ cholesky.T)[1]
        volume = jnp.linalg.slogdet(jax.jacfwd(entries)(z))[1]
        score = program.score({"L": z, "sigma": jnp.zeros(3)}, program.data)
        return score.log_base, prior + volume

    points = [jnp.array([0.5, -0.2, 0.8]), jnp.array([-0.9, 0.4, 0.1]), jnp.zeros(3)]
    got, by_hand = np.array([log_base_and_prior(z) for z in points]).T
    np.testing.assert_allclose(np.diff(got), np.diff(by_hand), rtol=1e-9)


def test_a_scale_handler_on_a_prior_leaves_the_base_normalised(x64: None) -> None:
    program = pi.from_numpyro(scaled, Y4, np.array(0.5))
    x = {"tau": jnp.asarray(0.3), "mu": jnp.asarray(-0.2)}
    tau = np.exp(0.3)
    prior = stats.halfnorm.logpdf(tau) + 0.3 + stats.norm.logpdf(-0.2)
    extra = 1.5 * (stats.halfnorm.logpdf(tau) + 0.3)
    likelihood = 0.5 * stats.norm.logpdf(Y4, -0.2, tau).sum()
    score = program.score(x, program.data)
    np.testing.assert_allclose(score.log_base, prior, rtol=1e-12)
    np.testing.assert_allclose(score.log_weight, extra + likelihood, rtol=1e-12)


def scaled_with_a_namesake(y):
    with handlers.scale(scale=3.0):
        tau = numpyro.sample("tau", dist.HalfNormal(1))
    numpyro.sample("tau_scale", dist.Normal(0, tau), obs=y)


def test_no_term_of_the_weight_hides_another(x64: None) -> None:
    program = pi.from_numpyro(scaled_with_a_namesake, np.array(0.5))
    x = {"tau": jnp.asarray(0.3)}
    likelihood = stats.norm.logpdf(0.5, 0, np.exp(0.3))
    extra = 2 * (stats.halfnorm.logpdf(np.exp(0.3)) + 0.3)
    terms = program.pointwise(x, program.data)
    np.testing.assert_allclose(terms["tau_scale"], likelihood, rtol=1e-12)
    np.testing.assert_allclose(sum(terms.values()), likelihood + extra, rtol=1e-12)
    np.testing.assert_allclose(
        program.score(x, program.data).log_weight, likelihood + extra, rtol=1e-12
    )


def imputed(y, seen, scale=1.0):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    with numpyro.plate("n", 3), handlers.scale(scale=scale):
        numpyro.sample("y", dist.LogNormal(mu, tau), obs=y, obs_mask=seen)


def test_missing_values_keep_a_proper_prior(x64: None) -> None:
    """NumPyro leaves the coordinates of the values that were seen without a prior; here they
    keep it, so the base is normalised and the joint differs by exactly that term."""
    y, seen = np.array([0.5, 1.0, 2.0]), np.array([True, False, True])
    program = pi.from_numpyro(imputed, y, seen)
    z = jnp.array([0.3, -0.4, 0.8])
    x = {"mu": jnp.asarray(0.2), "tau": jnp.asarray(-0.1), "y_unobserved": z}
    tau = np.exp(-0.1)
    score = program.score(x, program.data)
    base = stats.norm.logpdf(0.2) + stats.halfnorm.logpdf(tau) - 0.1
    base += stats.norm.logpdf(z, 0.2, tau).sum()  # LogNormal with its Jacobian is Normal
    likelihood = stats.lognorm.logpdf(y, tau, scale=np.exp(0.2))[seen].sum()
    np.testing.assert_allclose(score.log_base, base, rtol=1e-10)
    np.testing.assert_allclose(score.log_weight, likelihood, rtol=1e-10)
    joint = -potential_energy(imputed, (y, seen), {}, x)
    difference = stats.norm.logpdf(np.asarray(z), 0.2, tau)[seen].sum()
    np.testing.assert_allclose(score.log_base + score.log_weight - joint, difference, rtol=1e-9)
    # a scale handler multiplies what was seen and what is missing, not the idle coordinates
    twice = pi.from_numpyro(imputed, y, seen, scale=2.0)
    more = twice.score(x, twice.data)
    np.testing.assert_allclose(more.log_base, base, rtol=1e-10)
    missing = stats.norm.logpdf(-0.4, 0.2, tau)
    np.testing.assert_allclose(more.log_weight, 2 * likelihood + missing, rtol=1e-10)
    terms = program.pointwise(x, program.data)
    assert list(terms) == ["y_observed"]
    np.testing.assert_array_equal(terms["y_observed"][1], 0.0)
    values = program.constrain(x, program.data)
    np.testing.assert_allclose(values["y"], [0.5, np.exp(-0.4), 2.0], rtol=1e-12)


# --- draws ----------------------------------------------------------------------------------


@each_proper
def test_draws_follow_the_prior(case: Case) -> None:
    """One-sample Kolmogorov-Smirnov tests where a marginal is known, two-sample ones elsewhere.

    Fixed keys; at level 1e-5 each, of about 40 tests, a wrong alarm had probability 4e-4.
    """
    _, ours, theirs = _facts(case)
    for name, (part, cdf) in case.known.items():
        assert stats.ks_1samp(part(ours[name]), cdf).pvalue > 1e-5, name
    for name in ours if theirs is not None else ():
        a, b = ours[name].reshape(DRAWS, -1), theirs[name].reshape(DRAWS, -1)
        assert a.shape == b.shape
        for j in range(a.shape[1]):
            assert stats.ks_2samp(a[:, j], b[:, j]).pvalue > 1e-5, (name, j)
    assert case.known or set(ours) == set(theirs)


@each_case
def test_constrain_lands_in_the_support_and_agrees_with_numpyro(case: Case) -> None:
    found, _, _ = _facts(case)
    ours, inside, theirs = found["constrained"], found["inside"], found["deterministic"]
    assert set(inside) == set(found["x"])
    assert all(flag.all() for flag in inside.values()), inside
    assert set(ours) == set(inside) | set(theirs)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", [c for c in CASES if not c.proper], ids=str)
def test_an_improper_prior_has_a_density_but_no_draws(case: Case) -> None:
    program = case.program()
    with pytest.raises(ImproperPriorError, match=r"site 's'.*proper prior"):
        program.draw(jax.random.key(0), program.data)


# --- observations ---------------------------------------------------------------------------


@each_case
def test_simulated_data_can_be_conditioned_on(case: Case, x64: None) -> None:
    found, _, _ = _facts(case)
    simulated, back = found["simulated"], found["back"]
    program = case.program()
    observed = jax.eval_shape(program.observations.get, program.data)
    assert set(simulated) == set(observed) == set(back)
    for name, value in observed.items():
        assert simulated[name].shape == (POINTS, *value.shape)
        np.testing.assert_array_equal(back[name], simulated[name])
    np.testing.assert_allclose(found["given"].log_base, found["base"], rtol=1e-12)
    assert (found["given"].log_weight != found["weight"]).all()


@pytest.mark.parametrize("case", [CASES[4], CASES[11]], ids=str)
def test_a_conditioned_program_is_the_model_on_the_new_data(case: Case, x64: None) -> None:
    found, _, _ = _facts(case)
    fresh = pi.from_numpyro(case.model, found["simulated"]["y"][0])
    x = jax.tree.map(lambda v: v[0], found["x"])
    expected = jax.jit(fresh.score)(x, fresh.data)
    np.testing.assert_allclose(found["given"].log_weight[0], expected.log_weight, rtol=1e-10)


def test_condition_refuses_unknown_sites_and_shapes() -> None:
    program = pi.from_numpyro(one_law_many_data, Y4)
    with pytest.raises(StructureError, match=r"no observed site named \['nobody'\].*\['y'\]"):
        pi.condition(program, {"nobody": jnp.zeros(1)})
    with pytest.raises(StructureError, match=r"site 'y' holds shape \(4,\), got \(7, 7\)"):
        pi.condition(program, {"y": jnp.zeros((7, 7))})


def test_simulations_follow_the_likelihood() -> None:
    program = pi.from_numpyro(nested_plates, *CASES[0].args)
    x = {
        "mu": jnp.asarray(0.3),
        "tau": jnp.asarray(0.2),
        "theta": jnp.array([1.0, -1.0, 0.5]),
        "scale": jnp.zeros(3),
        "noise": jnp.log(jnp.array([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]])),
    }
    y = np.asarray(_simulated(program, x)["y"])
    for row, covariate in enumerate([1.0, -0.5]):
        for group, theta in enumerate([1.0, -1.0, 0.5]):
            law = stats.norm(theta * covariate, 1 + np.exp(x["noise"][row, group]))
            assert stats.ks_1samp(y[:, row, group], law.cdf).pvalue > 1e-4


def autoregressive(y):
    level = numpyro.sample("level", dist.Normal(0, 1))

    def step(last, y_t):
        value = numpyro.sample("y", dist.Normal(last + level, 1), obs=y_t)
        return value, None

    scan(step, 0.0, y)


def test_a_scan_that_feeds_on_its_data_is_simulated_from_its_own_draws() -> None:
    program = pi.from_numpyro(autoregressive, np.full(3, 1e3))
    y = np.asarray(_simulated(program, {"level": jnp.asarray(5.0)}, 2000)["y"])
    for t in range(3):
        law = stats.norm(5.0 * (t + 1), np.sqrt(t + 1))
        assert stats.ks_1samp(y[:, t], law.cdf).pvalue > 1e-4
    replaced = pi.condition(program, {"y": jnp.full(3, -1e3)})
    again = np.asarray(_simulated(replaced, {"level": jnp.asarray(5.0)}, 2000)["y"])
    np.testing.assert_array_equal(again, y)


def test_many_data_under_one_law_are_simulated_as_many() -> None:
    program = pi.from_numpyro(one_law_many_data, Y4)
    y = np.asarray(_simulated(program, {"mu": jnp.asarray(2.0)}, 2000)["y"])
    assert y.shape == (2000, 4)
    assert stats.ks_1samp(y[:, 3], stats.norm(2, 0.5).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(y[:, 0], y[:, 1])[0, 1]) < 5 / np.sqrt(2000)


# --- arguments ------------------------------------------------------------------------------


def many_arguments(n, name, missing, flag, pair, table, *, y, power=2):
    assert isinstance(n, int) and isinstance(flag, bool) and isinstance(power, int)
    assert missing is None and isinstance(name, str)
    first, second = pair
    assert isinstance(second, int)
    with numpyro.plate("n", n):
        theta = numpyro.sample(name, dist.Normal(0, 1))
    loc = theta**power * first + table["shift"] if flag else theta
    with numpyro.plate("n", n):
        numpyro.sample("y", dist.Normal(loc, table["nested"][0]), obs=y)


def _program_of(n: Any, flag: Any, **changes: Any) -> Program:
    options: dict[str, Any] = {"y": np.array([1.0, 2.0]), "power": 3, **changes}
    table = {"shift": np.array([0.5, 0.1]), "nested": [np.float64(2.0)]}
    return pi.from_numpyro(
        many_arguments, n, "theta", None, flag, (np.array(1.5), 7), table, **options
    )


def test_every_kind_of_argument(x64: None) -> None:
    program = _program_of(2, True)
    theta = jnp.array([0.3, -0.2])
    weight = program.score({"theta": theta}, program.data).log_weight
    loc = np.asarray(theta) ** 3 * 1.5 + np.array([0.5, 0.1])
    np.testing.assert_allclose(weight, stats.norm.logpdf([1.0, 2.0], loc, 2.0).sum(), rtol=1e-12)
    # sizes, flags and names decide the program; arrays and floats of NumPy do not
    same = _program_of(np.int64(2), np.bool_(True), y=np.array([5.0, 6.0]))
    assert jax.tree.structure(same) == jax.tree.structure(program)
    other = _program_of(2, False)
    assert jax.tree.structure(other) != jax.tree.structure(program)
    flat = other.score({"theta": theta}, other.data).log_weight
    np.testing.assert_allclose(flat, stats.norm.logpdf([1.0, 2.0], theta, 2.0).sum(), rtol=1e-12)


def test_equal_programs_are_equal_and_hash_alike() -> None:
    first, second = pi.from_numpyro(scaled, Y4, np.array(0.5)), pi.from_numpyro(
        scaled, Y4 + 1, np.array(0.7)
    )  # fmt: skip
    assert first.score == second.score and hash(first.score) == hash(second.score)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert all(isinstance(v, np.ndarray | jax.Array) for v in jax.tree.leaves(first))
