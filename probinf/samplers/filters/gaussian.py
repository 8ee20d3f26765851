"""Exact filtering and smoothing of linear-Gaussian models, by the Kalman filter of cuthbert."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import MultivariateNormal, Normal

from probinf.core.program import Key
from probinf.errors import MethodError
from probinf.fronts.distributions.completion import described
from probinf.fronts.latent import leaf_of
from probinf.fronts.states.model import Laws, State, StateModel, certain, fixed
from probinf.fronts.states.series import Step, at


class Linear(NamedTuple):
    """``x_t = F x_{t-1} + c + Q e``, ``y_t = H x_t + d + R e``; leading axis time.

    The first step has ``F = 0``: its state is drawn from ``N(c, Q Q')``.
    """

    F: Float[Array, "t d d"]
    c: Float[Array, "t d"]
    Q: Float[Array, "t d d"]
    H: Float[Array, "t k d"]
    d: Float[Array, "t k"]
    R: Float[Array, "t k k"]
    y: Float[Array, "t k"]


def refuse_not_gaussian(role: str, found: Laws) -> str:
    """Why these laws are not Gaussian, or an empty string."""
    for name, law in found.items():
        if not certain(law) and type(leaf_of(law)) not in (Normal, MultivariateNormal):
            return f"the {role} of '{name}' is {described(law)}, not Normal or MultivariateNormal"
    return ""


def mean_of(found: Laws) -> Array:
    """Means of all parts as one vector, in order of their names."""
    parts = [fixed(law) if certain(law) else law.mean for _, law in sorted(found.items())]
    return jnp.concatenate([jnp.ravel(part).astype(float) for part in parts])


def root_of(found: Laws) -> Array:
    """A root of the covariance of all parts."""
    blocks = [_root(law) for _, law in sorted(found.items())]
    return jax.scipy.linalg.block_diag(*blocks).astype(float)


def _root(law: Any) -> Array:
    size = int(np.prod(law.shape()))
    if certain(law):
        return jnp.zeros((size, size))
    leaf = leaf_of(law)
    if isinstance(leaf, Normal):
        scale = jnp.broadcast_to(leaf.scale, law.shape())
        return jnp.diag(jnp.ravel(scale))
    roots = jnp.broadcast_to(leaf.scale_tril, (*law.shape(), leaf.event_shape[0]))
    return jax.scipy.linalg.block_diag(*roots.reshape(-1, *roots.shape[-2:]))


def _vector(state: State) -> Array:
    return jnp.concatenate([jnp.ravel(v).astype(float) for _, v in sorted(state.items())])


def unravelled(vector: Array, like: State) -> State:
    """Parts of the state from a vector."""
    found, first = {}, 0
    for name, value in sorted(like.items()):
        size = int(np.prod(value.shape))
        found[name] = vector[first : first + size].reshape(value.shape)
        first += size
    return found


def state_like(model: StateModel, parameters: Any, steps: Step) -> State:
    """A state of the right shapes."""
    found = model.first(parameters, at(steps, 0))
    return {name: jnp.zeros(law.shape()) for name, law in found.items()}


def linearised(model: StateModel, parameters: Any, steps: Step, where: State) -> Linear:
    """Slopes, offsets and roots at a state, for every step."""
    origin = _vector(where)

    def moved(x: Array, step: Step) -> Array:
        return mean_of(model.next(unravelled(x, where), parameters, step))

    def seen(x: Array, step: Step) -> Array:
        return mean_of(model.emitted(unravelled(x, where), parameters, step))

    def one(step: Step) -> Any:
        slope, slope_y = jax.jacfwd(moved)(origin, step), jax.jacfwd(seen)(origin, step)
        y = [
            jnp.where(step.missing[name], jnp.nan, value) if name in step.missing else value
            for name, value in sorted(step.observed.items())
        ]
        return (
            slope,
            moved(origin, step) - slope @ origin,
            root_of(model.next(where, parameters, step)),
            slope_y,
            seen(origin, step) - slope_y @ origin,
            root_of(model.emitted(where, parameters, step)),
            jnp.concatenate([jnp.ravel(v).astype(float) for v in y]),
        )

    F, c, Q, H, d, R, y = jax.vmap(one)(steps)
    first = model.first(parameters, at(steps, 0))
    return Linear(
        F.at[0].set(0.0), c.at[0].set(mean_of(first)), Q.at[0].set(root_of(first)), H, d, R, y
    )


def refuse_not_linear(model: StateModel, parameters: Any, steps: Step) -> str:
    """Why the model is not linear-Gaussian, or an empty string: its laws at trial states."""
    like = state_like(model, parameters, steps)
    laws = {
        "initial law": model.first(parameters, at(steps, 0)),
        "transition": model.next(like, parameters, at(steps, 1)),
        "emission": model.emitted(like, parameters, at(steps, 0)),
    }
    for role, found in laws.items():
        if reason := refuse_not_gaussian(role, found):
            return reason
    keys = jax.random.split(jax.random.key(0), 3)
    spread = jnp.maximum(jnp.abs(root_of(laws["initial law"])).max(), 1.0)
    trial = [unravelled(spread * jax.random.normal(k, _vector(like).shape), like) for k in keys]
    systems = [linearised(model, parameters, steps, where) for where in trial]
    told = {
        "F": "the mean of the transition is not affine in the state",
        "Q": "the spread of the transition depends on the state",
        "H": "the mean of the emission is not affine in the state",
        "R": "the spread of the emission depends on the state",
    }
    for field, reason in told.items():
        values = [np.asarray(getattr(one, field)) for one in systems]
        size = max(float(np.abs(values[0]).max()), 1e-30)
        apart = np.max([np.abs(value - values[0]) for value in values[1:]], axis=0) / size
        apart = apart.reshape(len(apart), -1).max(1)
        if not (apart < 1e-6).all():
            step = int(np.argmax(~(apart < 1e-6)))
            return f"{reason} (at step {step} it changes by {apart[step]:.2g} of its size)"
    return ""


class Exact(NamedTuple):
    """Moments of the states; leading axis time.

    Attributes:
        log_z: log likelihood.
        filtered: mean and sd given what is observed up to each step.
        smoothed: the same given all observations.
        more: other arrays by name, for the history.
        paths: draws given all observations, leading axes (draw, time).
    """

    log_z: Float[Array, ""]
    filtered: tuple[State, State]
    smoothed: tuple[State, State]
    more: dict[str, Array]
    paths: State


def solve(key: Key, model: StateModel, parameters: Any, steps: Step, draws: int) -> Exact:
    """Filter, smoother and draws of a model that is known to be linear-Gaussian.

    Source: cuthbert's square-root Kalman filter and smoother (Yaghoobi et al. 2025).
    """
    from cuthbert import filter as run_filter
    from cuthbert import smoother as run_smoother
    from cuthbert.gaussian import kalman

    like = state_like(model, parameters, steps)
    system = linearised(model, parameters, steps, like)
    size = system.c.shape[1]

    def dynamics(one: Any) -> Any:
        return one.F, one.c, one.Q

    def observing(one: Any) -> Any:
        return one.H, one.d, one.R, one.y

    # the initial state of cuthbert is a step before the first one, and forgotten by F = 0
    filtering = kalman.build_filter(jnp.zeros(size), jnp.eye(size), dynamics, observing)
    smoothing = kalman.build_smoother(dynamics, store_gain=True, store_chol_cov_given_next=True)
    found = run_filter(filtering, system, filtering.init_prepare())
    smooth = run_smoother(smoothing, found)

    def moments(mean: Array, root: Array) -> tuple[State, State]:
        sd = jnp.sqrt(jnp.sum(root**2, axis=-1))
        return jax.vmap(lambda v: unravelled(v, like))(mean), jax.vmap(
            lambda v: unravelled(v, like)
        )(sd)

    first, rest = jax.random.split(key)
    last = found.mean[-1] + jax.random.normal(first, (draws, size)) @ found.chol_cov[-1].T

    def back(after: Array, item: Any) -> Any:
        key, mean, F, c, gain, root = item
        noise = jax.random.normal(key, (draws, size)) @ root.T
        before = mean + (after - (F @ mean + c)) @ gain.T + noise
        return before, before

    count = system.c.shape[0]
    items = (
        jax.random.split(rest, count - 1),
        found.mean[1:-1],
        system.F[1:],
        system.c[1:],
        smooth.gain[1:-1],
        smooth.chol_cov_given_next[1:-1],
    )
    _, earlier = jax.lax.scan(back, last, items, reverse=True)
    paths = jnp.swapaxes(jnp.concatenate([earlier, last[None]]), 0, 1)
    return Exact(
        found.log_normalizing_constant[-1],
        moments(found.mean[1:], found.chol_cov[1:]),
        moments(smooth.mean[1:], smooth.chol_cov[1:]),
        {},
        jax.vmap(jax.vmap(lambda v: unravelled(v, like)))(paths),
    )


def refuse(reason: str) -> MethodError:
    """The error for a model that is neither linear-Gaussian nor finite."""
    return MethodError(
        f"ExactFilter: {reason}. It serves linear-Gaussian models (Normal or MultivariateNormal, "
        "means affine in the state, spreads free of it) and finite ones; use pi.ParticleFilter()."
    )
