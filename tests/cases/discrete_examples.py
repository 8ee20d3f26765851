"""Models with discrete sites as NumPyro's users bring them: annotators and hidden Markov chains."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.nn import one_hot
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer.reparam import LocScaleReparam

from tests.cases.discrete_models import Case

K = 3
WHO = np.array([0, 1, 0, 1])
SAID = np.array([[0, 0, 1, 0], [2, 1, 2, 2], [1, 1, 1, 0]])


def padded(x):
    return jnp.pad(x, [(0, 0)] * (jnp.ndim(x) - 1) + [(0, 1)])


def multinomial(said):
    with numpyro.plate("classes", K):
        says = numpyro.sample("says", dist.Dirichlet(jnp.ones(K)))
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(K)))
    with numpyro.plate("items", said.shape[0], dim=-2):
        c = numpyro.sample("c", dist.Categorical(share), infer={"enumerate": "parallel"})
        with numpyro.plate("positions", said.shape[1]):
            numpyro.sample("y", dist.Categorical(says[c]), obs=said)


def dawid_skene(who, said, number=2):
    with numpyro.plate("annotators", number, dim=-2), numpyro.plate("classes", K):
        says = numpyro.sample("says", dist.Dirichlet(jnp.ones(K)))
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(K)))
    with numpyro.plate("items", said.shape[0], dim=-2):
        c = numpyro.sample("c", dist.Categorical(share), infer={"enumerate": "parallel"})
        with numpyro.plate("positions", said.shape[1]):
            numpyro.sample("y", dist.Categorical(says[who, c]), obs=said)


def mace(who, said, number=2):
    """Annotators who tell the truth or spam, vote by vote."""
    with numpyro.plate("annotators", number):
        spam = numpyro.sample("spam", dist.Dirichlet(jnp.full(K, 10.0)))
        honest = numpyro.sample("honest", dist.Beta(0.5, 0.5))
    with numpyro.plate("items", said.shape[0], dim=-2):
        c = numpyro.sample("c", dist.DiscreteUniform(0, K - 1))
        with numpyro.plate("positions", said.shape[1]):
            s = numpyro.sample("s", dist.Bernoulli(1 - honest[who]))
            law = jnp.where(s[..., None] == 0, one_hot(c, K), spam[who])
            numpyro.sample("y", dist.Categorical(law), obs=said)


def hierarchical(who, said, number=2):
    with numpyro.plate("classes", K):
        centre = numpyro.sample("centre", dist.Normal(0, 1).expand([K - 1]).to_event(1))
        spread = numpyro.sample("spread", dist.HalfNormal(1).expand([K - 1]).to_event(1))
    annotators = numpyro.plate("annotators", number, dim=-2)
    reparam = handlers.reparam(config={"beta": LocScaleReparam(0)})
    with annotators, numpyro.plate("classes", K), reparam:
        beta = numpyro.sample("beta", dist.Normal(centre, spread).to_event(1))
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(K)))
    with numpyro.plate("items", said.shape[0], dim=-2):
        c = numpyro.sample("c", dist.Categorical(share))
        with numpyro.plate("positions", said.shape[1]):
            numpyro.sample("y", dist.Categorical(logits=padded(beta)[who, c]), obs=said)


def difficulty(said):
    """What items have of their own depends on the class, and is no coordinate of its own."""
    with numpyro.plate("classes", K):
        centre = numpyro.sample("centre", dist.Normal(0, 1).expand([K - 1]).to_event(1))
        spread = numpyro.sample("spread", dist.HalfNormal(1).expand([K - 1]).to_event(1))
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(K)))
    with numpyro.plate("items", said.shape[0], dim=-2):
        c = numpyro.sample("c", dist.Categorical(share))
        with handlers.reparam(config={"theta": LocScaleReparam(0)}):
            theta = numpyro.sample("theta", dist.Normal(centre[c], spread[c]).to_event(1))
        with numpyro.plate("positions", said.shape[1]):
            numpyro.sample("y", dist.Categorical(logits=padded(theta)), obs=said)


def random_effects(who, said, number=2):
    """As above and by annotator; the effects of an item are coordinates whose prior has a class."""
    with numpyro.plate("classes", K):
        centre = numpyro.sample("centre", dist.Normal(0, 1).expand([K - 1]).to_event(1))
        spread = numpyro.sample("spread", dist.HalfNormal(1).expand([K - 1]).to_event(1))
        chi = numpyro.sample("chi", dist.HalfNormal(1).expand([K - 1]).to_event(1))
    with numpyro.plate("annotators", number, dim=-2), numpyro.plate("classes", K):
        beta = numpyro.sample("beta", dist.Normal(centre, spread).to_event(1))
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(K)))
    with numpyro.plate("items", said.shape[0], dim=-2):
        c = numpyro.sample("c", dist.Categorical(share))
        theta = numpyro.sample("theta", dist.Normal(0, chi[c]).to_event(1))
        with numpyro.plate("positions", said.shape[1]):
            numpyro.sample("y", dist.Categorical(logits=padded(beta[who, c] - theta)), obs=said)


TONES = np.array([[[0, 1], [1, 1], [1, 0]], [[1, 0], [0, 0], [0, 0]]])
LENGTHS = np.array([3, 2])


def polyphonic(tones, lengths):
    """Sequences of several lengths with several binary data at each step, the end masked."""
    number, _, width = tones.shape
    rows = numpyro.sample("rows", dist.Dirichlet(0.9 * jnp.eye(2) + 0.1).to_event(1))
    sounds = numpyro.sample("sounds", dist.Beta(0.5, 0.9).expand([2, width]).to_event(2))

    def step(carry, y):
        x, t = carry
        with numpyro.plate("sequences", number, dim=-2):
            x = numpyro.sample("x", dist.Categorical(rows[x]))
            there = handlers.mask(mask=(t < lengths)[:, None])
            with numpyro.plate("tones", width, dim=-1), there:
                numpyro.sample("y", dist.Bernoulli(sounds[x.squeeze(-1)]), obs=y)
        return (x, t + 1), None

    scan(step, (jnp.zeros((number, 1), int), 0), jnp.swapaxes(jnp.asarray(tones), 0, 1))


def coupled(tones):
    """A factorial chain whose second half moves with the first (one sequence)."""
    rows = numpyro.sample("rows", dist.Beta(1.0, 1.0).expand([2]).to_event(1))
    joint = numpyro.sample("joint", dist.Beta(1.0, 1.0).expand([2, 2]).to_event(2))
    sounds = numpyro.sample("sounds", dist.Beta(0.5, 0.9).expand([2, 2, 2]).to_event(3))

    def step(carry, y):
        w, x = carry
        w = numpyro.sample("w", dist.Bernoulli(rows[w]))
        x = numpyro.sample("x", dist.Bernoulli(joint[w, x]))
        with numpyro.plate("tones", 2, dim=-1):
            numpyro.sample("y", dist.Bernoulli(sounds[w, x, jnp.arange(2)]), obs=y)
        return (w, x), None

    scan(step, (0, 0), tones)


def last_tone(tones):
    """What sounds depends on the state and on what sounded before."""
    rows = numpyro.sample("rows", dist.Beta(1.0, 1.0).expand([2]).to_event(1))
    sounds = numpyro.sample("sounds", dist.Beta(0.5, 0.9).expand([2, 2]).to_event(2))

    def step(carry, y):
        x, before = carry
        x = numpyro.sample("x", dist.Bernoulli(rows[x]))
        with numpyro.plate("tones", 2, dim=-1):
            y = numpyro.sample("y", dist.Bernoulli(sounds[x, before]), obs=y)
        return (x, y), None

    scan(step, (0, jnp.zeros(2, int)), tones)


def remembering(tones):
    """A chain of second order."""
    rows = numpyro.sample("rows", dist.Beta(1.0, 1.0).expand([2, 2]).to_event(2))
    sounds = numpyro.sample("sounds", dist.Beta(0.5, 0.9).expand([2, 2]).to_event(2))

    def step(carry, y):
        before, x = carry
        before, x = x, numpyro.sample("x", dist.Bernoulli(rows[before, x]))
        with numpyro.plate("tones", 2, dim=-1):
            numpyro.sample("y", dist.Bernoulli(sounds[x, jnp.arange(2)]), obs=y)
        return (before, x), None

    scan(step, (0, 0), tones, history=2)


EXAMPLES = {
    "multinomial": Case(multinomial, (SAID,), {"y": (3,)}),
    "Dawid-Skene": Case(dawid_skene, (WHO, SAID), {"y": (3,)}),
    "MACE": Case(mace, (WHO[:2], SAID[:, :2]), {"y": (3,)}),
    "hierarchical": Case(hierarchical, (WHO, SAID), {"y": (3,)}),
    "item difficulty": Case(difficulty, (SAID,), {"y": (3,)}),
    "random effects": Case(random_effects, (WHO, SAID), {"y": (3,)}),
    "polyphonic": Case(polyphonic, (TONES, LENGTHS), {"y": (2,)}),
    "coupled": Case(coupled, (TONES[0],), {"y": ()}),
    "last tone": Case(last_tone, (TONES[0],), {"y": ()}),
    "remembering": Case(remembering, (TONES[0],), {"y": ()}),
}
