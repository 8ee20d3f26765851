"""Rounds: the prior cut to where the posterior of one observation lies, to simulate there."""

from __future__ import annotations

import dataclasses
import pathlib
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from probinf.amortized.neural.fitted import observations_of
from probinf.amortized.neural.keyless import parameters_only
from probinf.amortized.neural.simulations import Simulated, Sites, simulate_at, warn_failed
from probinf.amortized.neural.sources import Pairs
from probinf.amortized.training.options import Options, Training
from probinf.core.batches import mapped
from probinf.core.compiling import jitted
from probinf.core.coordinates import flatten
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.errors import TrainingError, TrainingWarning

if TYPE_CHECKING:
    from probinf.amortized.neural.npe import NPE

_DRAWS = 20_000  # of the prior at a time
_MOST = 10_000_000  # of the prior in one round
_BATCH = 2000  # densities of a network at a time
_TAIL = 5  # draws of the posterior below the threshold
_MARGIN = 0.05  # of the box, per width


@dataclasses.dataclass(frozen=True)
class Rounds:
    """Options of a training in rounds.

    Attributes:
        rounds: how many.
        epsilon: mass of the learned posterior outside of each region.
        observed: the observation; None for the program's own.
    """

    rounds: int
    epsilon: float
    observed: Any

    def __post_init__(self) -> None:
        if not isinstance(self.rounds, int) or self.rounds < 1:
            raise TrainingError(f"NPE.fit: rounds must be at least 1, got {self.rounds!r}.")
        if not 0 < self.epsilon < 0.5:
            raise TrainingError(f"NPE.fit: epsilon must lie in (0, 0.5), got {self.epsilon}.")


class Region(NamedTuple):
    """Where a learned posterior has its mass, in unconstrained coordinates.

    Attributes:
        low: (d,) of a box.
        high: (d,) of the box.
        law: the learned posterior, a normalised density.
        threshold: least log density inside.
    """

    low: Float[Array, " d"]
    high: Float[Array, " d"]
    law: Any
    threshold: Float[Array, ""]

    @classmethod
    def of(cls, law: Any, key: Key, epsilon: float, before: list[Region]) -> Region:
        """The region of highest density that holds a share of ``1 - epsilon`` of a law.

        Args:
            law: with ``sample`` and ``log_density``.
            key: for the draws that find the threshold.
            epsilon: mass outside.
            before: regions to which the law was already cut.
        """
        count = int(np.clip(_TAIL / epsilon, 5000, 50_000))
        draws = np.asarray(_sampled(law, jax.random.split(key, count)))
        draws = draws[inside(before, draws)]
        if len(draws) < 0.5 * count:
            raise TrainingError(
                f"NPE.fit: {1 - len(draws) / count:.0%} of the learned posterior lies outside of "
                "the region that it was trained on, so the training has failed. Train with more "
                "simulations in fewer rounds."
            )
        log_q = _by_parts(_log_density, law, draws)
        threshold = np.quantile(log_q, epsilon)
        kept = draws[log_q >= threshold]
        low, high = kept.min(axis=0), kept.max(axis=0)
        margin = _MARGIN * (high - low)
        low, high = jnp.asarray(low - margin, float), jnp.asarray(high + margin, float)
        return cls(low, high, law, jnp.asarray(threshold, float))


def inside(regions: list[Region], theta: np.ndarray) -> np.ndarray:
    """Which of the positions (n, d) lie in all the regions."""
    found = np.ones(len(theta), bool)
    for region in regions:
        box = (theta >= np.asarray(region.low)) & (theta <= np.asarray(region.high))
        found &= box.all(axis=1)
    for region in reversed(regions):
        where = np.flatnonzero(found)
        if len(where):
            found[where] = _by_parts(_contains, region, theta[where])
    return found


def draws_within(
    flat: Program, key: Key, count: int, regions: list[Region]
) -> tuple[np.ndarray, float]:
    """Draws of the prior of a flat program cut to regions, by rejection: exact, nothing weighs.

    Returns:
        (n, d), fewer than ``count`` where the prior hardly reaches the regions, and the share of
        the prior inside.
    """
    found: list[np.ndarray] = []
    seen = accepted = 0
    while accepted < count and seen < _MOST:
        keys = jax.random.split(jax.random.fold_in(key, seen), _DRAWS)
        rows = np.asarray(_drawn(flat, keys))
        found.append(rows[inside(regions, rows)])
        accepted += len(found[-1])
        seen += _DRAWS
    return np.concatenate(found)[:count], accepted / seen


def in_rounds(
    method: NPE,
    program: Any,
    settings: Rounds,
    key: int | Key,
    count: int,
    *,
    training: Training | None = None,
    **options: Unpack[Options],
) -> Any:
    """Train for one observation in rounds of truncation; see :meth:`NPE.fit`."""
    if not isinstance(program, Program):
        raise TrainingError(
            f"NPE.fit: rounds= needs a program that simulates, got {type(program).__name__}."
        )
    if method.fresh:
        raise TrainingError("NPE.fit: fresh=True learns for all data; it has no rounds.")
    sites, given = Sites.of(program), settings.observed
    observed = sites.ravel(observations_of(program) if given is None else given)
    flat, _ = flatten(parameters_only(program))
    regions: list[Region] = []
    parts: list[Simulated] = []
    told: list[dict[str, Any]] = []
    fitted: Any = None
    for number in range(settings.rounds):
        first, second, third, fourth = jax.random.split(jax.random.fold_in(as_key(key), number), 4)
        wanted = count * (number + 1) // settings.rounds - count * number // settings.rounds
        theta, share = draws_within(flat, first, wanted, regions)
        if len(theta) < wanted:
            _warn_narrow(number, len(theta), wanted)
            break
        parts.append(simulate_at(flat, second, theta, sites))
        found = learned_from(parts, regions)
        told.append(
            {"simulations": wanted, "share_of_prior": share, "learned_from": len(found.worked)}
        )
        facts = {
            "rounds": told, "epsilon": settings.epsilon,
            "observed": np.asarray(observed, float).tolist(),
        }  # fmt: skip
        source = Pairs(program, sites, found, told=facts, room=count)
        fitted = method.fit(
            source, key=third, training=training, **_own_folder(number, training, options)
        )
        if number + 1 < settings.rounds:
            law = fitted.posterior(sites.split(observed)).data[1]._replace(familiarity=None)
            regions.append(Region.of(law, fourth, settings.epsilon, regions))
    everything = Simulated(*(np.concatenate(v) for v in zip(*parts, strict=True)))
    warn_failed(everything, "the posterior learned here counts it so.")
    return fitted


def _own_folder(number: int, training: Training | None, options: Options) -> Options:
    """Options with a folder for the checkpoints of this round alone."""
    whole = options.get("checkpoint", None if training is None else training.checkpoint)
    if whole is None:
        return options
    return {**options, "checkpoint": pathlib.Path(whole) / f"round-{number + 1}"}


def learned_from(parts: list[Simulated], regions: list[Region]) -> Simulated:
    """All simulations inside the regions, shuffled: draws from the prior cut to them.

    A simulation of an earlier round was drawn from the prior cut to a larger region. Given that
    it lies in the smaller one it has the same law as those drawn there.
    """
    found = Simulated(*(np.concatenate(v) for v in zip(*parts, strict=True)))
    rows = np.flatnonzero(inside(regions, found.theta))
    rows = np.random.default_rng(0).permutation(rows)
    return Simulated(*(v[rows] for v in found))


def _warn_narrow(number: int, found: int, wanted: int) -> None:
    warnings.warn(
        f"NPE.fit: of {_MOST} draws of the prior {found} lie where round {number + 1} wanted "
        f"{wanted} simulations: the posterior is too narrow to be met from the prior. The answer "
        f"is that of {number} rounds; correct it with pi.refine, or narrow the prior.",
        TrainingWarning,
        stacklevel=4,
    )


def _by_parts(fn: Any, of: Any, rows: np.ndarray) -> np.ndarray:
    """A function of many rows, compiled for one number of them."""
    found = []
    for first in range(0, len(rows), _BATCH):
        part = rows[first : first + _BATCH]
        padded = np.concatenate([part, np.repeat(part[:1], _BATCH - len(part), axis=0)])
        found.append(np.asarray(fn(of, jnp.asarray(padded, float)))[: len(part)])
    return np.concatenate(found)


@jitted
def _drawn(flat: Program, keys: Key) -> Float[Array, "n d"]:
    return jax.vmap(lambda key: flat.draw(key, flat.data))(keys)


@jax.jit
def _sampled(law: Any, keys: Key) -> Float[Array, "n d"]:
    return mapped(law.sample, keys, _BATCH)  # at once they fill the memory


@jax.jit
def _log_density(law: Any, rows: Float[Array, "n d"]) -> Float[Array, " n"]:
    return jax.vmap(law.log_density)(rows)


@jax.jit
def _contains(region: Region, rows: Float[Array, "n d"]) -> Bool[Array, " n"]:
    return _log_density(region.law, rows) >= region.threshold
