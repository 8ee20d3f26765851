"""What single precision loses of a density: its values in single and in double, compared."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.compiling import compiled
from probinf.core.coordinates import Layout, Mixed, flatten, restored, storable, vector_of
from probinf.core.host.asking import asks
from probinf.core.program import Key, Program

Precision = Literal["single", "double"]

LIMIT = 0.05
"""Nats by which a log density may be off."""

POINTS = 32
"""Positions of one comparison."""

_FORGIVEN = 1e-3  # of the gap to the best of the positions, which nobody knows to matter
_ROUNDING = 1e-5  # of a log density, which is a large number far from the data, but not near them
_HOPELESS = 50.0  # nats below the best of them: a weight of zero is as good


class Loss(NamedTuple):
    """What single precision loses of a log density, in nats.

    Attributes:
        nats: largest difference between single and double precision, relative to the median
            difference; inf where single precision has no finite value and double has.
        offset: median difference, single minus double, which a posterior does not feel but an
            evidence does.
        site: that loses most; empty where nothing is lost, or the program names no sites.
    """

    nats: float
    offset: float = 0.0
    site: str = ""

    @property
    def matters(self) -> bool:
        """Whether draws in single precision are draws from another distribution."""
        return self.nats > LIMIT

    def __str__(self) -> str:
        where = f" at site '{self.site}'" if self.site else ""
        if np.isinf(self.nats):
            return f"single precision has no finite log density{where} where double precision has"
        if not self.matters and abs(self.offset) > LIMIT:
            return f"single precision moves the log density by {self.offset:.2g} nats{where}"
        return f"single precision is off by {self.nats:.2g} nats{where}"


def current() -> Precision:
    """The precision that JAX computes in here."""
    return "double" if jnp.result_type(float) == np.float64 else "single"


def precisely(precision: Precision | None) -> contextlib.AbstractContextManager[Any]:
    """A context in which JAX computes in this precision; None leaves it as it is."""
    if precision is None or precision == current():
        return contextlib.nullcontext()
    return jax.enable_x64(precision == "double")


def scattered(program: Program) -> Any:
    """Positions around the origin of the unconstrained coordinates, drawn on the host.

    They lie as the starts of Markov chains do, and cost no compilation.

    Returns:
        (POINTS, d), storable; None where the program has random keys or discrete coordinates,
        whose values would not be comparable.
    """
    layout = Layout.of(program, integers=True)
    if layout.has_keys or layout.integers or not layout.size:
        return None
    random = np.random.default_rng(0)
    return random.uniform(-2, 2, (POINTS, layout.size)).astype(np.float32)


def lost(
    program: Program, rows: Any, *, forgiving: bool, hopeless: float = _HOPELESS
) -> Loss | None:
    """What single precision loses at some positions.

    Args:
        program: the user's.
        rows: unconstrained, storable, leading axis of a multiple of ``POINTS``.
        forgiving: whether the positions are not those of a posterior, so that errors far below
            the best of them do not count.
        hopeless: nats below the best of them where it does not even matter, if one is forgiving,
            that single precision has no number.

    Returns:
        None where the two cannot be compared: double precision fails, or gives no number, or
        the likelihood is ordinary Python, which knows no other.
    """
    if asks(program.data):
        return None
    try:
        single, double = (_batched(_scores, program, rows, p) for p in ("single", "double"))
    except Exception:  # a model that is written for one precision: it has none to compare with
        return None
    loss = Loss(
        *(_compared(single, double, hopeless) if forgiving else _differences(single, double))
    )
    if not loss.matters and abs(loss.offset) <= LIMIT:
        return loss
    return loss._replace(site=_worst_site(program, rows))


def at_the_base(program: Program) -> Loss | None:
    """What is lost at draws from the base, where there are any, and around the origin.

    Returns:
        None where the two precisions cannot be compared, as in ``lost`` and ``scattered``.
    """
    rows = scattered(program)
    if rows is None or asks(program.data):
        return None
    try:
        keys = jax.random.split(jax.random.key(0), POINTS)
        drawn = np.asarray(_draws(flatten(program)[0], keys))
    except Exception:  # an improper base has none, and what is broken has another error to raise
        drawn = rows[:0]
    finite = np.isfinite(drawn).all(axis=1, keepdims=True)
    both = np.concatenate([np.where(finite, drawn, rows[: len(drawn)]), rows])
    return lost(program, both, forgiving=True)


def _differences(single: np.ndarray, double: np.ndarray) -> tuple[float, float]:
    """Largest difference relative to the median, and the median."""
    with np.errstate(invalid="ignore"):
        difference = single - double
    same = (single == double) | (~np.isfinite(single) & ~np.isfinite(double))
    difference = np.where(same, 0.0, difference)
    finite = np.isfinite(difference)
    if not finite.any():
        return np.inf, 0.0
    offset = float(np.median(difference[finite]))
    away = np.where(finite, np.abs(difference - offset), np.inf)
    return float(away.max()), offset


def _compared(single: np.ndarray, double: np.ndarray, hopeless: float) -> tuple[float, float]:
    """The same over positions that stand for nothing: what cannot matter is left out."""
    # where double precision has steps of more than the limit, it is no help either
    double = np.where(np.abs(double) * np.finfo(float).eps > LIMIT, -np.inf, double)
    if not np.isfinite(double).any():
        return 0.0, 0.0
    gap = double[np.isfinite(double)].max() - double
    kept = np.isfinite(double) & (np.isfinite(single) | (gap < hopeless))
    nats = 0.0
    if kept.any():
        with np.errstate(invalid="ignore"):
            difference = (single - double)[kept]
        away = np.where(np.isfinite(difference), np.abs(difference), np.inf)
        allowed = _FORGIVEN * gap[kept] + _ROUNDING * np.abs(double[kept])
        nats = float(np.where(away > LIMIT + allowed, away, 0.0).max())
    return nats, 0.0


def _worst_site(program: Program, rows: Any) -> str:
    if program.sites is None:
        return ""
    try:
        single, double = (_batched(_by_site, program, rows, p) for p in ("single", "double"))
    except Exception:
        return ""
    nats = {name: _differences(single[name], double[name]) for name in double}
    if not nats:
        return ""
    return max(nats, key=lambda name: (nats[name][0], abs(nats[name][1])))


def _in(precision: Precision, rows: Any) -> np.ndarray:
    """The positions in a precision; double ones lie anywhere between those of single precision.

    A posterior narrower than the steps of single precision is then seen too.
    """
    vectors = np.asarray(vector_of(rows))
    single = vectors.astype(np.float32)
    if precision == "single":
        return single
    if vectors.dtype == np.float64:
        return vectors
    between = np.random.default_rng(1).uniform(-0.5, 0.5, single.shape)
    return single + between * np.spacing(np.abs(single))


def _batched(fn: Any, program: Program, rows: Any, precision: Precision) -> Any:
    vectors = _in(precision, rows)
    count = vectors.shape[0]
    layout = Layout.of(program, integers=True)
    with precisely(precision):
        parts = []
        for first in range(0, count, POINTS):
            part = jax.tree.map(lambda v, k=first: v[k : k + POINTS], rows)
            vector = vectors[first : first + POINTS]
            part = part._replace(vector=vector) if isinstance(part, Mixed) else vector
            parts.append(jax.tree.map(lambda v: np.asarray(v, float), fn(layout, program, part)))
    return jax.tree.map(lambda *v: np.concatenate(v), *parts)


@partial(compiled, static=("layout",), once=True)
def _scores(layout: Layout, program: Program, rows: Any) -> jax.Array:
    def one(row: Any) -> jax.Array:
        log_base, log_weight = program.score(layout.unravel(restored(row)), program.data)
        return log_base + log_weight

    return jax.lax.map(one, rows)


@partial(compiled, static=("layout",), once=True)
def _by_site(layout: Layout, program: Program, rows: Any) -> dict[str, jax.Array]:
    def one(row: Any) -> dict[str, jax.Array]:
        assert program.sites is not None
        found = program.sites(layout.unravel(restored(row)), program.data)
        return {name: jnp.asarray(site["log_prob"]) for name, site in found.items()}

    return jax.lax.map(one, rows)


@partial(compiled, once=True)
def _draws(flat: Program, keys: Key) -> jax.Array:
    def one(key: Key) -> Any:
        return storable(flat.draw(key, flat.data))

    return jax.lax.map(one, keys)
