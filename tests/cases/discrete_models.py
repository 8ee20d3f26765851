"""Models with discrete latent sites, small enough that their sums can be written out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.distributions import biject_to

Y = np.array([-0.3, 0.6, 1.1, 1.4, 3.0])
GRID = np.array([[0.2, -1.0, 0.7], [2.2, 1.4, 1.9]])
SERIES = np.array([0.1, -0.4, 2.2, 1.7, 0.3])


def mixture(y):
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.array([1.0, 2.0, 1.5])))
    mu = numpyro.sample("mu", dist.Normal(jnp.zeros(3), 2.0))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    with numpyro.plate("data", len(y)):
        z = numpyro.sample("z", dist.Categorical(weights))
        numpyro.sample("y", dist.Normal(mu[z], scale), obs=y)


def nested(y):
    rate = numpyro.sample("rate", dist.Beta(2.0, 2.0))
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("groups", y.shape[0], dim=-2):
        kind = numpyro.sample("kind", dist.Bernoulli(rate))
        with numpyro.plate("members", y.shape[1], dim=-1):
            odd = numpyro.sample("odd", dist.Bernoulli(0.2 + 0.5 * kind))
            numpyro.sample("y", dist.Normal(mu + kind - 2.0 * odd, 0.8), obs=y)


def hidden_markov(y):
    rows = numpyro.sample("rows", dist.Dirichlet(jnp.ones((2, 2))).to_event(1))
    mu = numpyro.sample("mu", dist.Normal(jnp.array([0.0, 2.0]), 1.0).to_event(1))

    def step(z, now):
        z = numpyro.sample("z", dist.Categorical(rows[z]))
        numpyro.sample("y", dist.Normal(mu[z], 1.0), obs=now)
        return z, None

    scan(step, 0, y)


def two_sites(y):
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    first = numpyro.sample("first", dist.DiscreteUniform(1, 3))
    with numpyro.plate("data", len(y)):
        second = numpyro.sample("second", dist.Binomial(2, logits=a * first - 1.0))
        numpyro.sample("y", dist.Normal(second + 0.1 * first, 1.0), obs=y)


def masked(y, seen):
    p = numpyro.sample("p", dist.Beta(1.0, 3.0))
    with numpyro.plate("data", len(y)):
        z = numpyro.sample("z", dist.Bernoulli(p))
        with handlers.mask(mask=seen):
            numpyro.sample("y", dist.Normal(2.0 * z, 1.0), obs=y)


def dependent(y):
    """Continuous sites whose prior, and a support, hang on other sites."""
    top = numpyro.sample("top", dist.Gamma(3.0, 1.0))
    low = numpyro.sample("low", dist.Uniform(0.0, top))
    with numpyro.plate("data", len(y)):
        z = numpyro.sample("z", dist.Categorical(jnp.stack([low / top, 1 - low / top], -1)))
        x = numpyro.sample("x", dist.Normal(jnp.array([-1.0, 1.0])[z] * low, 0.5))
        numpyro.sample("y", dist.Normal(x, 0.7 + 0.3 * z), obs=y)


def factorial(y):
    """Two chains that meet in the data, for several series."""
    stay = numpyro.sample("stay", dist.Beta(jnp.array([4.0, 2.0]), 2.0).to_event(1))

    def step(carry, now):
        with numpyro.plate("series", y.shape[1]):
            one, two = carry
            one = numpyro.sample("one", dist.Bernoulli(jnp.where(one == 1, stay[0], 0.3)))
            two = numpyro.sample("two", dist.Bernoulli(jnp.where(two == 1, stay[1], 0.6)))
            numpyro.sample("y", dist.Normal(one + 2.0 * two, 0.7), obs=now)
        return (one, two), None

    zero = jnp.zeros(y.shape[1], int)
    scan(step, (zero, zero), y)


def switching(y):
    """An autoregressive level and its regimes, both hidden."""
    stay = numpyro.sample("stay", dist.Beta(3.0, 1.0))
    scales = numpyro.sample("scales", dist.LogNormal(jnp.array([-1.0, 0.5]), 0.3).to_event(1))

    def step(carry, now):
        z, level = carry
        z = numpyro.sample("z", dist.Bernoulli(jnp.where(z == 1, stay, 1 - stay)))
        level = numpyro.sample("level", dist.Normal(0.8 * level, scales[z]))
        numpyro.sample("y", dist.Normal(level, 0.5), obs=now)
        return (z, level), None

    scan(step, (0, 0.0), y)


def second_order(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))

    def step(carry, now):
        before, last = carry
        z = numpyro.sample("z", dist.Bernoulli(0.1 + 0.5 * last + 0.3 * before))
        numpyro.sample("y", dist.Normal(mu + 2.0 * z, 1.0), obs=now)
        return (last, z), None

    scan(step, (0, 0), y, history=2)


def emissions(y):
    """A chain whose data are mixtures: a discrete site that is not carried on."""
    shift = numpyro.sample("shift", dist.Normal(0.0, 1.0))

    def step(z, now):
        z = numpyro.sample("z", dist.Bernoulli(0.2 + 0.6 * z))
        m = numpyro.sample("m", dist.Categorical(jnp.array([0.5, 0.3, 0.2])))
        numpyro.sample("y", dist.Normal(2.0 * z + shift * m, 0.6), obs=now)
        return z, None

    scan(step, 0, y)


def missing(y, seen):
    """Binary data some of which are missing, and drive what follows."""
    p = numpyro.sample("p", dist.Beta(1.0, 3.0))
    with numpyro.plate("data", len(y)):
        b = numpyro.sample("b", dist.Bernoulli(p), obs=(y > 1).astype(int), obs_mask=seen)
        numpyro.sample("y", dist.Normal(1.5 * b, 1.0), obs=y)


def labels(votes):
    """Dawid and Skene: items (rows) labelled by annotators (columns)."""
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(2)))
    annotators = numpyro.plate("annotators", votes.shape[1], dim=-1)
    with annotators, numpyro.plate("classes", 2, dim=-2):
        confusion = numpyro.sample("confusion", dist.Dirichlet(jnp.ones(2)))
    with numpyro.plate("items", votes.shape[0], dim=-2):
        truth = numpyro.sample("truth", dist.Categorical(share))
        with numpyro.plate("annotators", votes.shape[1], dim=-1):
            law = confusion[truth, jnp.arange(votes.shape[1])]
            numpyro.sample("vote", dist.Categorical(law), obs=votes)


def factors(y):
    """Scaled data, a factor, and data outside any plate."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    z = numpyro.sample("z", dist.Bernoulli(0.3))
    with handlers.scale(scale=2.0):
        numpyro.sample("y", dist.Normal(mu + z, 1.0), obs=y)
    numpyro.factor("tilt", -0.5 * (z - mu) ** 2)
    numpyro.deterministic("twice", 2 * z + mu)


def alone(y, seen):
    """A plate of one entry, logits, and a grid of data of which some are not there."""
    mu = numpyro.sample("mu", dist.Normal(jnp.zeros(3), 1.0).to_event(1))
    with numpyro.plate("one", 1, dim=-2):
        z = numpyro.sample("z", dist.Categorical(logits=0.5 * mu))
        with numpyro.plate("columns", y.shape[1], dim=-1):
            odd = numpyro.sample("odd", dist.Bernoulli(logits=mu[z]))
            with handlers.mask(mask=seen):
                numpyro.sample("y", dist.Normal(mu[z] + 2.0 * odd, 0.8), obs=y)


def imputed(y, seen):
    """Missing continuous data are latent, and their prior depends on the component."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", y.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Binomial(2, 0.4))
        with numpyro.plate("columns", y.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(mu + z, 0.8), obs=y, obs_mask=seen)


def gaps(y, seen):
    """A chain whose data are missing at some steps."""
    mu = numpyro.sample("mu", dist.Normal(1.0, 1.0))

    def step(z, now):
        value, there = now
        z = numpyro.sample("z", dist.Categorical(logits=jnp.stack([0.5 - z, z - 0.2, 0.1 * z], -1)))
        with handlers.mask(mask=there):
            numpyro.sample("y", dist.Normal(mu * z, 1.0), obs=value)
        return z, None

    scan(step, 0, (y, seen))


def holes(y, seen):
    """As :func:`gaps`, with what is missing a latent of the scan."""
    mu = numpyro.sample("mu", dist.Normal(1.0, 1.0))

    def step(z, now):
        value, there = now
        z = numpyro.sample("z", dist.Bernoulli(jnp.where(z == 1, 0.7, 0.2)))
        numpyro.sample("y", dist.Normal(mu * z, 1.0), obs=value, obs_mask=there)
        return z, None

    scan(step, 0, (y, seen))


def top_two(votes):
    """The truth and what it is taken for, two discrete sites of one entry."""
    pairs = numpyro.sample("pairs", dist.Dirichlet(jnp.ones((3, 2))).to_event(1))
    look = numpyro.sample("look", dist.Beta(2.0, 1.0).expand([votes.shape[1]]).to_event(1))[:, None]
    with numpyro.plate("items", votes.shape[0], dim=-2):
        clear = numpyro.sample("clear", dist.Uniform(0.5, 1.0))[..., None]
        truth = numpyro.sample("truth", dist.Categorical(jnp.array([0.5, 0.3, 0.2])))
        move = numpyro.sample("move", dist.Categorical(pairs[truth]))
        second = numpyro.deterministic("second", (truth + 1 + move) % 3)
        law = clear * jax.nn.one_hot(truth, 3) + (1 - clear) * jax.nn.one_hot(second, 3)
        with numpyro.plate("annotators", votes.shape[1], dim=-1):
            numpyro.sample("vote", dist.Categorical(look * law + (1 - look) / 3), obs=votes)


class Case(NamedTuple):
    """A model, its data, and what is known of its likelihood per datum."""

    model: Callable[..., Any]
    args: tuple[Any, ...]
    pointwise: dict[str, tuple[int, ...]]


SEEN = np.array([True, True, False, True, False])
VOTES = np.array([[0, 1, 0], [1, 1, 1], [0, 0, 1]])
CASES = {
    "mixture": Case(mixture, (Y,), {"y": (5,)}),
    "nested": Case(nested, (GRID,), {"y": (2,)}),
    "hidden Markov": Case(hidden_markov, (SERIES,), {"y": ()}),
    "two sites": Case(two_sites, (Y,), {"y": ()}),
    "masked": Case(masked, (Y, SEEN), {"y": (5,)}),
    "dependent": Case(dependent, (Y[:3],), {"y": (3,)}),
    "factorial": Case(factorial, (GRID.T[:, :2] * 1.0,), {"y": (2,)}),
    "switching": Case(switching, (SERIES,), {"y": (5,)}),
    "second order": Case(second_order, (SERIES,), {"y": ()}),
    "emissions": Case(emissions, (SERIES[:4],), {"y": ()}),
    "missing": Case(missing, (Y, SEEN), {"b_observed": (5,), "y": (5,)}),
    "labels": Case(labels, (VOTES,), {"vote": (3,)}),
    "factors": Case(factors, (Y,), {"y+tilt": ()}),
    "alone": Case(alone, (GRID[:1], SEEN[None, :3]), {"y": (1,)}),
    "imputed": Case(imputed, (GRID, np.array([SEEN[:3], ~SEEN[:3]])), {"y_observed": (2,)}),
    "gaps": Case(gaps, (SERIES, SEEN), {"y": ()}),
    "holes": Case(holes, (SERIES, SEEN), {"y_observed": ()}),
    "top two": Case(top_two, (VOTES,), {"vote": (3,)}),
}


def combinations(program: Any) -> list[dict[str, Any]]:
    """All joint values of the discrete sites of a program."""
    summed = program.score.model.summed
    entries = [
        range(site.levels[0], site.levels[1] + 1)
        for site in summed.sites
        for _ in range(int(np.prod(site.shape)))
    ]
    found = []
    for values in itertools.product(*entries):
        rest, z = np.array(values), {}
        for site in summed.sites:
            size = int(np.prod(site.shape))
            z[site.name], rest = rest[:size].reshape(site.shape), rest[size:]
        found.append(z)
    return found


def joint(case: Case, program: Any, x: Any, zs: list[dict[str, Any]]) -> np.ndarray:
    """Log joint densities on the unconstrained scale, by NumPyro, at many discrete values."""
    values = program.constrain(x, program.data)
    latents = {name: values[name] for name in x}
    stacked = {name: jnp.stack([jnp.asarray(z[name]) for z in zs]) for name in zs[0]}

    def at(z: dict[str, Any]) -> Any:
        model = handlers.substitute(case.model, data={**latents, **z})
        seeded = handlers.seed(model, jax.random.key(0))
        trace = handlers.trace(seeded).get_trace(*case.args)
        total = jnp.zeros(())
        for name, site in trace.items():
            if site["type"] == "sample":
                fn = site["fn"]
                if name.endswith("_unobserved"):  # keeps its prior where it is not needed
                    fn = fn.base_dist
                scale = 1.0 if site["scale"] is None else site["scale"]
                total += jnp.sum(scale * fn.log_prob(site["value"]))
            if name in x:
                to = biject_to(site["fn"].support)
                free = to.inv(site["value"])
                total += jnp.sum(to.log_abs_det_jacobian(free, site["value"]))
        return total

    return np.asarray(jax.jit(jax.vmap(at))(stacked))
