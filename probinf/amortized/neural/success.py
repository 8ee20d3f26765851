"""Success: the probability, given the parameters, that a simulation does not fail."""

from __future__ import annotations

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from probinf.amortized.nets.fixed import Fixed
from probinf.core.program import Key

_WIDTH = 32
_STEPS = 1500
_HELD = 0.2
_ADAM = optax.adam(0.01)


class Success(Fixed):
    """A logistic network of the context, trained before the flow and kept.

    Attributes:
        hidden: first map.
        logit: second map.
    """

    hidden: eqx.nn.Linear
    logit: eqx.nn.Linear

    @classmethod
    def blank(cls, context: int) -> Success:
        """Of the right structure; to be filled from a file."""
        return cls._new(jax.random.key(0), context)

    @classmethod
    def of(cls, key: Key, contexts: Array, worked: np.ndarray) -> Success:
        """From contexts (n, c) of simulations and which of them worked; the network with the
        smallest loss on the first fifth of them is kept."""
        held = max(1, int(_HELD * len(worked)))
        data = jnp.asarray(contexts, float), jnp.asarray(worked)
        return _trained(cls._new(key, data[0].shape[1]), data, held)

    @classmethod
    def _new(cls, key: Key, context: int) -> Success:
        first, second = jax.random.split(key)
        return cls(eqx.nn.Linear(context, _WIDTH, key=first), eqx.nn.Linear(_WIDTH, 1, key=second))

    def __call__(self, context: Float[Array, " c"]) -> Float[Array, ""]:
        """Log probability of success."""
        return jax.nn.log_sigmoid(self._logit(context))

    def _logit(self, context: Float[Array, " c"]) -> Float[Array, ""]:
        return self.logit(jax.nn.silu(self.hidden(context)))[0]


def _loss(
    model: Success, contexts: Float[Array, "n c"], worked: Bool[Array, " n"]
) -> Float[Array, ""]:
    logits = jax.vmap(model._logit)(contexts)
    return -jnp.mean(jax.nn.log_sigmoid(jnp.where(worked, logits, -logits)))


@partial(jax.jit, static_argnames="held")
def _trained(model: Success, data: tuple[Array, Array], held: int) -> Success:
    seen, unseen = (v[held:] for v in data), tuple(v[:held] for v in data)
    contexts, worked = seen

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        model, inner, best, least = carry
        gradient = jax.grad(_loss)(model, contexts, worked)
        updates, inner = _ADAM.update(gradient, inner)
        model = optax.apply_updates(model, updates)
        value = _loss(model, *unseen)
        best = jax.tree.map(lambda new, old: jnp.where(value < least, new, old), model, best)
        return (model, inner, best, jnp.minimum(value, least)), None

    start = model, _ADAM.init(model), model, jnp.asarray(jnp.inf)
    return jax.lax.scan(step, start, length=_STEPS)[0][2]
