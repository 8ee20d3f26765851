"""Starting points: over-dispersed, or by Pathfinder near modes in proportion to their mass."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf import kernels
from probinf.core.coordinates import flatten
from probinf.errors import MethodError
from probinf.runtime.lanes import start_lanes
from probinf.samplers.chains import ChainState
from probinf.samplers.warmup import starting

CHAINS = 64


def with_a_minor_mode(x: jax.Array, level: jax.Array) -> jax.Array:
    """Two modes along x[0] of weights .3 and .7, a negligible one at x[1] = 3 of the same shape.

    The narrow x[2] decides which of several wide starts is densest. There are stripes of NaN
    where ``level`` is below 1, and nothing else where it is below -1.
    """
    narrow = -0.5 * (x[2] / 0.02) ** 2
    sides = jnp.logaddexp(
        jnp.log(0.3) - 0.5 * ((x[0] + 2) / 0.5) ** 2, jnp.log(0.7) - 0.5 * ((x[0] - 2) / 0.5) ** 2
    )
    levels = jnp.logaddexp(-0.5 * ((x[1] + 3) / 0.5) ** 2, -20 - 0.5 * ((x[1] - 3) / 0.5) ** 2)
    return jnp.where(jnp.sin(5 * x[0]) > level, jnp.nan, narrow + sides + levels)


def starts(start: str, level: float = 2.0) -> ChainState:
    """States of 64 chains at their start."""
    program = pi.from_log_density(with_a_minor_mode, np.array(level), initial=np.zeros(3))
    flat, _ = flatten(program)
    method = pi.NUTS(chains=CHAINS, start=start)
    return start_lanes(method, flat, jax.random.split(jax.random.key(1), CHAINS)).state


def shares(state: ChainState) -> tuple[float, float]:
    """Of the chains that begin in the minor mode, and on the side of weight .7."""
    x = np.asarray(state.own.kernel.position)
    assert np.asarray(state.started).all() and np.isfinite(x).all()
    return float((x[:, 1] > 0).mean()), float((x[:, 0] > 0).mean())


def by_mass(state: ChainState) -> bool:
    """No chain of 64 in the minor mode, and 4 standard errors around .7."""
    minor, side = shares(state)
    return minor == 0 and abs(side - 0.7) < 4 * np.sqrt(0.7 * 0.3 / CHAINS)


def test_pathfinder_starts_by_mass() -> None:
    assert shares(starts("wide"))[0] > 0.2
    assert by_mass(starts("pathfinder"))


@pytest.mark.slow
def test_the_best_of_all_modes_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant that takes the mode of the largest bound puts all chains into one."""
    monkeypatch.setattr(starting, "_drawn", lambda key, weights: jnp.argmax(weights))
    jax.clear_caches()
    assert not by_mass(starts("pathfinder"))
    jax.clear_caches()


def test_paths_through_nan_count_for_nothing() -> None:
    state = starts("pathfinder", level=0.7)
    assert np.asarray(state.started).all()
    assert np.isfinite(state.own.kernel.logdensity).all()
    assert np.isfinite(state.own.kernel.logdensity_grad).all()
    assert not np.asarray(starts("pathfinder", level=-2.0).started).any()


def test_needs_gradients() -> None:
    mixed = pi.from_numpyro(with_an_integer, allow_discrete=True)
    method = pi.MCMC(
        kernels.cycle(
            kernels.block("z", kernels.Enumerate()), kernels.block("x", kernels.RandomWalk())
        ),
        start="pathfinder",
    )
    with pytest.raises(MethodError, match=r"climbs along gradients.*start='wide'"):
        pi.sample(mixed, method, key=0, progress=False, check=False)


def with_an_integer() -> None:
    numpyro.sample("z", dist.Bernoulli(0.5))
    numpyro.sample("x", dist.Normal(0.0, 1.0))
