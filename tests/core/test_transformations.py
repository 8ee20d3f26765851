"""rebase, with_base, push, bind: what each does to the measure, against closed forms."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints, transforms
from scipy import stats

import probinf as pi
from probinf.core.population import importance
from probinf.core.program import Position, Program
from probinf.errors import ImproperPriorError, StructureError

Y = np.array([1.0, 2.0, 0.5])


def model(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    with numpyro.plate("n", 3):
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)
    numpyro.factor("shrink", -tau)


def guess(centre, spread):
    mu = numpyro.sample("mu", dist.Normal(centre, spread))
    numpyro.sample("tau", dist.LogNormal(-0.5, 1))
    numpyro.factor("ignored", -100 * mu**2)  # the weight of a base plays no part


def log_z(prior_mean: float = 0.0, prior_sd: float = 1.0, log_tau: float | None = None) -> float:
    """Exact evidence of ``model``: normal data times E[exp(-tau)] under the prior of tau."""
    covariance = np.eye(3) + prior_sd**2
    normal = stats.multivariate_normal.logpdf(Y, np.full(3, prior_mean), covariance)
    half = np.log(2) + 0.5 + stats.norm.logcdf(-1.0)  # E[exp(-|z|)]
    return normal + (half if log_tau is None else log_tau)


@pytest.fixture(scope="module")
def program() -> Program:
    return pi.from_numpyro(model, Y)


@pytest.fixture(scope="module")
def base() -> Program:
    return pi.from_numpyro(guess, np.asarray(1.0), np.asarray(0.7))


@partial(jax.jit, static_argnames=("n",))
def masses(program: Program, key: jax.Array, n: int) -> Any:
    """Independent estimates of the evidence, and draws with their weights."""
    cloud = jax.vmap(lambda k: importance(k, program, n))(jax.random.split(key, 40))
    return cloud.log_z, cloud.x, cloud.log_w


def check_mass(program: Program, exact: float) -> None:
    """z-test over 40 clouds on the scale of the evidence; |z| < 4.5 fails by chance with 1e-5."""
    found, _, _ = masses(program, jax.random.key(1), 500)
    ratio = np.exp(np.asarray(found, float) - exact)
    error = ratio.std(ddof=1) / np.sqrt(ratio.size)
    assert error < 0.05
    assert abs(ratio.mean() - 1) < 4.5 * error


@jax.jit
def scores(program: Program, xs: Position) -> Any:
    return jax.vmap(program.score, (0, None))(xs, program.data)


POINTS = {"mu": jnp.array([0.3, -1.0, 4.0]), "tau": jnp.array([0.1, -2.0, 1.0])}


# --- rebase -----------------------------------------------------------------------------------


def test_rebase_keeps_the_measure_and_changes_the_base(program: Program, base: Program) -> None:
    rebased = pi.rebase(program, base)
    old, new, other = scores(program, POINTS), scores(rebased, POINTS), scores(base, POINTS)
    np.testing.assert_allclose(sum(new), sum(old), rtol=1e-5)
    np.testing.assert_array_equal(new.log_base, other.log_base)
    assert not np.allclose(new.log_base, old.log_base)
    key = jax.random.key(0)
    assert rebased.draw(key, rebased.data) == base.draw(key, base.data)
    assert rebased.start(key, rebased.data) == base.start(key, base.data)
    check_mass(rebased, log_z())


def test_rebase_of_a_path_starts_from_the_new_base(program: Program, base: Program) -> None:
    half = pi.temper(pi.rebase(program, base), 0.5)
    np.testing.assert_allclose(
        scores(half, POINTS).log_weight,
        0.5 * (sum(scores(program, POINTS)) - scores(base, POINTS).log_base),
        rtol=1e-5,
    )


def flat(y):
    mu = numpyro.sample("mu", dist.ImproperUniform(constraints.real, (), ()))
    numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def wide():
    numpyro.sample("mu", dist.Normal(1.0, 2.0))


def test_an_improper_program_has_an_evidence_after_rebase() -> None:
    improper = pi.from_numpyro(flat, np.array(1.5))
    with pytest.raises(ImproperPriorError):
        improper.draw(jax.random.key(0), improper.data)
    check_mass(pi.rebase(improper, pi.from_numpyro(wide)), 0.0)  # a density in mu as well


def test_rebase_keeps_what_the_likelihood_knows(program: Program, base: Program) -> None:
    rebased = pi.rebase(program, base)
    x = jax.tree.map(lambda v: v[0], POINTS)
    ours = jax.jit(rebased.simulate)(jax.random.key(0), x, rebased.data)
    theirs = jax.jit(program.simulate)(jax.random.key(0), x, program.data)
    np.testing.assert_array_equal(ours["y"], theirs["y"])
    assert rebased.pointwise is None  # terms would no longer sum to the weight


# --- with_base --------------------------------------------------------------------------------


def test_with_base_is_a_prior_swap(program: Program, base: Program) -> None:
    swapped = pi.with_base(program, base)
    new = scores(swapped, POINTS)
    np.testing.assert_array_equal(new.log_base, scores(base, POINTS).log_base)
    np.testing.assert_allclose(new.log_weight, scores(program, POINTS).log_weight, rtol=1e-6)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    log_tau = np.log(weights @ np.exp(-np.exp(nodes - 0.5)) / weights.sum())
    check_mass(swapped, log_z(1.0, 0.7, log_tau))


def half_normal():
    numpyro.sample("tau", dist.HalfNormal(1))
    numpyro.sample("y", dist.Normal(0, 1), obs=np.array(0.0))


def log_normal():
    numpyro.sample("tau", dist.LogNormal(0, 1))


def uniform():
    numpyro.sample("tau", dist.Uniform(0, 10))


def test_with_base_refuses_coordinates_of_another_meaning() -> None:
    """log(tau) here and logit(tau / 10) there: the same shape, and a wrong prior in silence."""
    scale = pi.from_numpyro(half_normal)
    assert pi.with_base(scale, pi.from_numpyro(log_normal)).score is not None
    with pytest.raises(StructureError, match=r"site 'tau' is 1\.3.* and 5\.7.*same support"):
        pi.with_base(scale, pi.from_numpyro(uniform))


def other_sites():
    numpyro.sample("mu", dist.Normal(0, 1).expand([2]).to_event(1))
    numpyro.sample("tau", dist.HalfNormal(1))


@pytest.mark.parametrize("verb", ["rebase", "with_base"])
def test_other_coordinates_are_refused(program: Program, verb: str) -> None:
    other = pi.from_numpyro(other_sites)
    with pytest.raises(StructureError, match=rf"{verb}: .*do not share coordinates(?s:.*)\[2\]"):
        getattr(pi, verb)(program, other)
    with pytest.raises(StructureError, match=rf"{verb}: .*do not share"):
        getattr(pi, verb)(program, pi.from_numpyro(wide))


# --- push -------------------------------------------------------------------------------------

BIJECTIONS = {
    "affine": transforms.AffineTransform(jnp.array([1.0, -2.0]), jnp.array([2.0, 0.5])),
    "rotation": transforms.LowerCholeskyAffine(
        jnp.array([0.5, 0.0]), jnp.array([[2.0, 0.0], [1.0, 0.3]])
    ),
    "curved": transforms.ComposeTransform(
        [transforms.SigmoidTransform(), transforms.AffineTransform(0.0, 3.0)]
    ),
}


@pytest.mark.parametrize("name", BIJECTIONS)
def test_push_is_the_image_measure(program: Program, name: str) -> None:
    """Against a Jacobian by autodiff, not the bijection's own."""
    bijection = BIJECTIONS[name]
    image = pi.push(program, bijection)

    @jax.jit
    def both(image: Program, x: jax.Array) -> Any:
        position = {"mu": x[0], "tau": x[1]}
        y = bijection(x)
        log_det = jnp.linalg.slogdet(jax.jacfwd(bijection)(x))[1]
        old, new = program.score(position, program.data), image.score(y, image.data)
        values = program.constrain(position, program.data)
        return old, new, log_det, values, image.constrain(y, image.data)

    old, new, log_det, before, after = both(image, jnp.array([0.4, -0.8]))
    np.testing.assert_allclose(new.log_base, old.log_base - log_det, rtol=1e-5)
    np.testing.assert_allclose(new.log_weight, old.log_weight, rtol=1e-5)
    for site in before:
        np.testing.assert_allclose(after[site], before[site], rtol=1e-5)


def test_push_leaves_draws_weights_and_evidence_alone(program: Program) -> None:
    image = pi.push(program, BIJECTIONS["rotation"])
    plain_z, plain_x, plain_w = masses(program, jax.random.key(1), 500)
    z, y, w = masses(image, jax.random.key(1), 500)
    np.testing.assert_allclose(z, plain_z, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(w, plain_w, rtol=1e-3, atol=1e-3)
    moved = BIJECTIONS["rotation"](np.stack([plain_x["mu"], plain_x["tau"]], axis=-1))
    np.testing.assert_allclose(y, moved, rtol=1e-5, atol=1e-5)
    check_mass(image, log_z())


def test_the_bijections_parameters_are_dynamic(program: Program) -> None:
    one, two = (
        pi.push(program, transforms.AffineTransform(jnp.full(2, s), jnp.full(2, 1 + s)))
        for s in (0.5, 3.0)
    )
    assert jax.tree.structure(one) == jax.tree.structure(two)


def noisy(key, theta):
    return theta + jax.random.normal(key)


def gap(a, b):
    return jnp.abs(a - b)


def test_push_refuses_what_it_cannot_move(program: Program) -> None:
    with pytest.raises(StructureError, match=r"push: .*size 2 to \(3,\).*keep the size"):
        pi.push(program, transforms.StickBreakingTransform())
    with pytest.raises(StructureError, match=r"push: .*size 2"):
        pi.push(program, transforms.LowerCholeskyAffine(jnp.zeros(3), jnp.eye(3)))
    with_key = pi.from_simulator(dist.Normal(0, 1), noisy, gap, 0.5, tolerance=0.1)
    with pytest.raises(StructureError, match="random key among its coordinates"):
        pi.push(with_key, transforms.AffineTransform(0.0, 2.0))


# --- bind -------------------------------------------------------------------------------------


def outer(y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(a, 1), obs=y)


def inner_model(a, w):
    b = numpyro.sample("b", dist.Normal(a, 0.5))
    numpyro.sample("w", dist.Normal(b, 1), obs=w)


def inner(x, data):
    return pi.from_numpyro(inner_model, x["a"], data)


def joint(y, w):
    a = numpyro.sample("a", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(a, 1), obs=y)
    b = numpyro.sample("b", dist.Normal(a, 0.5))
    numpyro.sample("w", dist.Normal(b, 1), obs=w)


def test_bind_is_the_joint_model() -> None:
    bound = pi.bind(pi.from_numpyro(outer, np.array(0.3)), inner, jnp.asarray(-0.4))
    whole = pi.from_numpyro(joint, np.array(0.3), np.array(-0.4))
    a, b = jnp.array([0.2, -1.0]), jnp.array([0.5, 2.0])
    ours = scores(bound, ({"a": a}, {"b": b}))
    theirs = scores(whole, {"a": a, "b": b})
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    covariance = np.array([[2.0, 1.0], [1.0, 2.25]])
    check_mass(bound, stats.multivariate_normal.logpdf([0.3, -0.4], np.zeros(2), covariance))

    @jax.jit
    def draws(bound: Program) -> Any:
        keys = jax.random.split(jax.random.key(2), 2000)
        x, z = jax.vmap(bound.draw, (0, None))(keys, bound.data)
        values = jax.vmap(bound.constrain, (0, None))((x, z), bound.data)
        seen = jax.vmap(bound.simulate, (0, 0, None))(keys, (x, z), bound.data)
        return values, seen

    values, seen = draws(bound)
    assert set(values) == {"a", "b"} and set(seen) == {"y", "w"}
    residual = np.asarray(values["b"] - values["a"])
    assert stats.ks_1samp(residual, stats.norm(0, 0.5).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(residual, values["a"])[0, 1]) < 4.5 / np.sqrt(2000)
    assert stats.ks_1samp(np.asarray(seen["w"]), stats.norm(0, 1.5).cdf).pvalue > 1e-4
    again = pi.bind(pi.from_numpyro(outer, np.array(5.0)), inner, jnp.asarray(3.0))
    assert jax.tree.structure(again) == jax.tree.structure(bound)


def same_name(x, data):
    return pi.from_numpyro(outer, np.array(0.0))


def test_bind_refuses_to_hide_a_site() -> None:
    with pytest.raises(StructureError, match=r"bind: both programs have a site named \['a'\]"):
        pi.bind(pi.from_numpyro(outer, np.array(0.3)), same_name)
