"""Four tasks of the benchmark of simulation-based inference (Lueckmann et al. 2021) in NumPyro.

All four have known likelihoods. Reference draws are read from `shared/data/sbibm` when present.
"""

from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints

import probinf as pi


def gaussian_linear(y: Any = None) -> None:
    """Ten means with a conjugate prior; the posterior is N(y / 2, 0.05 I)."""
    scale = jnp.sqrt(0.1)
    theta = numpyro.sample("theta", dist.Normal(0.0, scale).expand([10]).to_event(1))
    numpyro.sample("y", dist.Normal(theta, scale).to_event(1), obs=y)


def slcp(y: Any = None) -> None:
    """Four draws from a bivariate normal whose scales are squares: four modes."""
    theta = numpyro.sample("theta", dist.Uniform(-3.0, 3.0).expand([5]).to_event(1))
    s1, s2 = jnp.square(theta[2]), jnp.square(theta[3])
    rho = jnp.tanh(theta[4])
    # the Cholesky factor with a floor: scales are zero at the centre of the prior
    s1, s2 = jnp.maximum(s1, 1e-6), jnp.maximum(s2, 1e-6)
    root = jnp.sqrt(jnp.maximum(1 - rho**2, 1e-6))
    factor = jnp.stack([jnp.stack([s1, 0.0 * s1]), jnp.stack([rho * s2, root * s2])])
    normal = dist.MultivariateNormal(theta[:2], scale_tril=factor)
    numpyro.sample("y", normal.expand([4]).to_event(1), obs=y)


class Crescent(dist.Distribution):
    """A noisy half circle that is moved by theta."""

    arg_constraints: ClassVar[dict[str, Any]] = {"theta": constraints.real_vector}
    support = constraints.real_vector
    pytree_data_fields = ("theta",)

    def __init__(self, theta: Any, *, validate_args: bool | None = None) -> None:
        """``theta``: two numbers."""
        self.theta = theta
        super().__init__((), (2,), validate_args=validate_args)

    @property
    def _centre(self) -> jax.Array:
        t = self.theta
        shift = jnp.stack([-jnp.abs(t[0] + t[1]), -t[0] + t[1]]) / jnp.sqrt(2.0)
        return shift + jnp.asarray([0.25, 0.0])

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """An angle, a radius."""
        first, second = jax.random.split(key)
        angle = jax.random.uniform(first, sample_shape, minval=-jnp.pi / 2, maxval=jnp.pi / 2)
        radius = 0.1 + 0.01 * jax.random.normal(second, sample_shape)
        point = radius[..., None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
        return point + self._centre

    def log_prob(self, value: Any) -> jax.Array:
        """Zero on the left of the centre."""
        v = value - self._centre
        rho = jnp.sqrt(jnp.maximum(jnp.sum(v**2, axis=-1), 1e-12))
        log_p = dist.Normal(0.1, 0.01).log_prob(rho) - jnp.log(jnp.pi * rho)
        return jnp.where(v[..., 0] > 0, log_p, -jnp.inf)


def two_moons(y: Any = None) -> None:
    """Two crescents: bimodal, with fine structure."""
    theta = numpyro.sample("theta", dist.Uniform(-1.0, 1.0).expand([2]).to_event(1))
    numpyro.sample("y", Crescent(theta), obs=y)


def infected(beta: Any, gamma: Any, steps: int = 4) -> jax.Array:
    """Share of infected every 17 days of 160, by Runge-Kutta."""
    h = 1.0 / steps

    def slope(s: jax.Array) -> jax.Array:
        new = beta * s[0] * s[1]
        return jnp.stack([-new, new - gamma * s[1]])

    def step(s: jax.Array, _: Any) -> tuple[jax.Array, jax.Array]:
        a = slope(s)
        b = slope(s + 0.5 * h * a)
        c = slope(s + 0.5 * h * b)
        d = slope(s + h * c)
        s = s + h / 6 * (a + 2 * b + 2 * c + d)
        return s, s[1]

    start = jnp.asarray([1 - 1e-6, 1e-6])
    _, path = jax.lax.scan(step, start, None, length=153 * steps)
    every = path[17 * steps - 1 :: 17 * steps]
    return jnp.clip(jnp.concatenate([start[1:], every]), 1e-12, 1 - 1e-7)


def sir(y: Any = None) -> None:
    """An epidemic seen by ten samples of 1,000 people."""
    beta = numpyro.sample("beta", dist.LogNormal(jnp.log(0.4), 0.5))
    gamma = numpyro.sample("gamma", dist.LogNormal(jnp.log(0.125), 0.2))
    numpyro.sample("y", dist.Binomial(1000, infected(beta, gamma)).to_event(1), obs=y)


MODELS = {"two_moons": two_moons, "slcp": slcp, "gaussian_linear": gaussian_linear, "sir": sir}


class Observation(NamedTuple):
    """One observation of a task and draws from its posterior in the user's coordinates."""

    y: np.ndarray
    reference: np.ndarray


def folder() -> Path:
    """Where the reference draws are, whether or not they exist."""
    return Path(__file__).resolve().parents[3] / "shared" / "data" / "sbibm"


def program(task: str, y: Any) -> pi.Program:
    """The exact program given one observation."""
    y = np.asarray(y, np.float32)
    if task == "slcp":
        y = y.reshape(4, 2)
    return pi.from_numpyro(MODELS[task], y=y.astype(int) if task == "sir" else y)


def observation(task: str, number: int) -> Observation:
    """Observation 1 to 5; reads the reference draws."""
    with np.load(folder() / f"{task}.npz", allow_pickle=False) as file:
        return Observation(file[f"observation_{number}"], file[f"reference_{number}"])


def vector(draws: dict[str, np.ndarray]) -> np.ndarray:
    """(n, d) draws in the order of the reference."""
    names = ["beta", "gamma"] if "beta" in draws else ["theta"]
    flat = [draws[n].reshape(draws[n].shape[0] * draws[n].shape[1], -1) for n in names]
    return np.concatenate(flat, axis=1)
