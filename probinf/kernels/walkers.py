"""Moves of an ensemble: each walker is moved with the help of others that stand still."""

from __future__ import annotations

import abc
import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from probinf.core.inputs.limits import inside, positive
from probinf.core.inputs.options import Options
from probinf.core.program import Key
from probinf.errors import MethodError

_JUMP = 0.1  # share of the differences that are taken whole, from mode to mode


@dataclasses.dataclass(frozen=True)
class WalkerMove(Options, abc.ABC):
    """A proposal for half of the walkers, given the other half."""

    @abc.abstractmethod
    def propose(
        self, key: Key, x: Float[Array, "n d"], others: Float[Array, "m d"]
    ) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
        """Where each walker may go, and the logarithm of the factor beside the densities' ratio."""

    @property
    def least_others(self) -> int:
        """Walkers that must stand still."""
        return 2


@dataclasses.dataclass(frozen=True)
class Stretch(WalkerMove):
    """The affine-invariant stretch move: along the line through another walker.

    Args:
        a: the largest stretch; the smallest is ``1 / a``.

    Raises:
        MethodError: ``a`` is not greater than 1.

    Source: Goodman & Weare (2010), eq. 7-10.
    """

    a: float = 2.0

    def __post_init__(self) -> None:
        positive(a=self.a)
        if self.a <= 1:
            raise MethodError(f"a must be greater than 1, got {self.a}.")

    def propose(
        self, key: Key, x: Float[Array, "n d"], others: Float[Array, "m d"]
    ) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
        """``c + z (x - c)`` with a density of z proportional to ``1 / sqrt(z)``."""
        who_key, z_key = jax.random.split(key)
        n, d = x.shape
        c = others[_one_of(who_key, others, n)]
        z = ((self.a - 1) * jax.random.uniform(z_key, (n,), x.dtype) + 1) ** 2 / self.a
        return c + z[:, None] * (x - c), (d - 1) * jnp.log(z)


@dataclasses.dataclass(frozen=True)
class DifferentialEvolution(WalkerMove):
    """A step along the difference of two other walkers, sometimes a whole one.

    Args:
        scale: of the step, in units of ``2.38 / sqrt(2 d)``.
        jitter: relative noise of the step, which keeps the moves from a lattice.

    Raises:
        MethodError: an option is not positive.

    Source: ter Braak (2006); whole differences lead from mode to mode.
    """

    scale: float = 1.0
    jitter: float = 1e-2

    def __post_init__(self) -> None:
        positive(scale=self.scale)
        inside(0, 1, closed=True, jitter=self.jitter)

    def propose(
        self, key: Key, x: Float[Array, "n d"], others: Float[Array, "m d"]
    ) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
        """``x + gamma (a - b)``, as likely as the way back."""
        who_key, size_key, jump_key = jax.random.split(key, 3)
        n, d = x.shape
        first, second = _two_of(who_key, others, n)
        noise = 1 + self.jitter * jax.random.normal(size_key, (n,), x.dtype)
        size = self.scale * 2.38 / math.sqrt(2 * d) * noise
        whole = jax.random.uniform(jump_key, (n,), x.dtype) < _JUMP
        size = jnp.where(whole, noise, size)
        step = size[:, None] * (others[first] - others[second])
        return x + step, jnp.zeros((n,), x.dtype)


@dataclasses.dataclass(frozen=True)
class Snooker(WalkerMove):
    """A step on the line through another walker, as long as two others differ along it.

    Args:
        scale: of the step.

    Raises:
        MethodError: it is not positive.

    Source: ter Braak & Vrugt (2008), eq. 3-4.
    """

    scale: float = 1.7

    def __post_init__(self) -> None:
        positive(scale=self.scale)

    @property
    def least_others(self) -> int:
        """One to look at, and two."""
        return 3

    def propose(
        self, key: Key, x: Float[Array, "n d"], others: Float[Array, "m d"]
    ) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
        """Along ``x - c``, by the projection of ``a - b``; volumes change as in polar ones."""
        c_key, who_key = jax.random.split(key)
        n, d = x.shape
        c = others[_one_of(c_key, others, n)]
        first, second = _two_of(who_key, others, n)
        away = x - c
        before = jnp.linalg.norm(away, axis=1)
        direction = away / jnp.where(before > 0, before, 1.0)[:, None]
        along = jnp.sum((others[first] - others[second]) * direction, axis=1)
        y = x + self.scale * along[:, None] * direction
        after = jnp.linalg.norm(y - c, axis=1)
        return y, (d - 1) * (jnp.log(after) - jnp.log(before))


def _one_of(key: Key, others: Float[Array, "m d"], n: int) -> Int[Array, " n"]:
    return jax.random.randint(key, (n,), 0, others.shape[0])


def _two_of(key: Key, others: Float[Array, "m d"], n: int) -> tuple[Array, Array]:
    """Two different ones for each."""
    m = others.shape[0]
    first_key, second_key = jax.random.split(key)
    first = jax.random.randint(first_key, (n,), 0, m)
    second = jax.random.randint(second_key, (n,), 0, m - 1)
    return first, jnp.where(second >= first, second + 1, second)
