"""Program: an unnormalised measure, written as a base that can be drawn from times a weight."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from probinf.core.axes import NOTHING, Axes
from probinf.errors import ImproperPriorError, StructureError

Key = Array
"""A typed JAX random key, as made by ``jax.random.key``."""

Position = Any
"""A pytree of unconstrained arrays: the coordinates of one program."""

Data = Any
"""A pytree of arrays: everything about a program that may change without recompiling."""


class Score(NamedTuple):
    """The two log densities of a program at one position, from a single trace of the model."""

    log_base: Float[Array, ""]
    log_weight: Float[Array, ""]


class Observations(NamedTuple):
    """How a front reads and replaces the observed values inside ``Program.data``."""

    get: Callable[[Data], dict[str, Array]]
    set: Callable[[Data, dict[str, Any]], Data]


class Discrete(NamedTuple):
    """How a program that sums discrete sites out finds them again.

    Attributes:
        draw: ``(key, x, data) -> dict``, their values given ``x``, by site; with ``key=None`` the
            jointly most probable ones.
        probabilities: ``(x, data) -> dict``, the probability of every value, on a last axis.
        lowest: name and lowest value of every site.
    """

    draw: Callable[[Key | None, Position, Data], dict[str, Array]]
    probabilities: Callable[[Position, Data], dict[str, Array]]
    lowest: tuple[tuple[str, int], ...]

    def lifted(self, lift: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Discrete:
        """The same for other positions or data."""
        return Discrete(lift(self.draw), lift(self.probabilities), self.lowest)


class Predicted(NamedTuple):
    """What a program predicts from the values of some of its sites.

    Attributes:
        observables: data drawn anew, by site.
        latents: all latent sites, those at given values and those drawn given them.
        outside: for each latent site at a given value, whether that lies outside its support.
        summed: discrete sites that the program sums out, drawn given the others.
    """

    observables: dict[str, Array]
    latents: dict[str, Array]
    outside: dict[str, Array]
    summed: dict[str, Array]


class Placed(NamedTuple):
    """Where values in the user's coordinates lie on the unconstrained scale.

    Attributes:
        position: all coordinates, those of sites without a value as they were.
        outside: by site with a value, whether that lies outside its support (or is NaN).
    """

    position: Position
    outside: dict[str, Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Program:
    """One unnormalised measure, ``base(dx) * exp(log_weight(x))``.

    Every callable is static and compared by value (a frozen dataclass or a module-level
    function, never a lambda), every array lives in ``data``; a second program of the same
    structure therefore reuses what was compiled for the first.

    Attributes:
        draw: ``(key, data) -> x``, an exact draw from the base. Raises
            :class:`~probinf.errors.ImproperPriorError` when the base cannot be normalised.
        start: ``(key, data) -> x``, an over-dispersed starting point for a Markov chain.
        score: ``(x, data) -> Score``, both log densities from one trace of the model.
        constrain: ``(x, data) -> dict``, the user's coordinates, deterministic sites included.
        simulate: ``(key, x, data) -> dict``, observables given ``x``; None when unknown.
        pointwise: ``(x, data) -> dict``, log likelihood per datum, summing to ``log_weight``;
            None when unknown.
        observations: reads and replaces the observed values in ``data``; None when unknown.
        sites: ``(x, data) -> dict``, per-site checks for the model doctor; None when unknown.
        predict: ``(key, values, data) -> Predicted``, observables given the values of some
            latent sites in the user's coordinates; None when unknown.
        unconstrain: ``(values, x, data) -> Placed``, the coordinates of some sites at values in
            the user's coordinates, the others at ``x``; None when unknown.
        log_jacobian: ``(x, data) -> scalar``, log of the volume of the user's coordinates per
            volume of the unconstrained ones, as the front counts it; None when unknown.
        subsampled: ``(sizes, key, x, data) -> Score``, an unbiased estimate of both log densities
            from a random part of the entries of some plates, ``sizes`` a tuple of (plate,
            entries); None when the front has no plates.
        state_space: ``data -> StateSpace``, the same model as a prior of parameters and a sequence
            of states; None when it is not one.
        ahead: ``(data, steps, covariates, times) -> data`` of the same series with so many more
            steps, none of them observed; None when it is no series.
        discrete: finds the discrete sites that are summed out; None when there are none.
        levels: name, lowest and highest value of every discrete coordinate with finitely many.
        axes: names of the dimensions of sites, and labels along them.
        layered: whether its functions repeat large equal parts, as a network's layers, which only
            XLA's newer kernel emitter compiles once (``docs/design.md``).
        data: everything dynamic: observations, covariates, network weights, path parameters.
    """

    draw: Callable[[Key, Data], Position] = dataclasses.field(metadata={"static": True})
    start: Callable[[Key, Data], Position] = dataclasses.field(metadata={"static": True})
    score: Callable[[Position, Data], Score] = dataclasses.field(metadata={"static": True})
    constrain: Callable[[Position, Data], dict[str, Array]] = dataclasses.field(
        metadata={"static": True}
    )
    data: Data
    simulate: Callable[[Key, Position, Data], dict[str, Array]] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    pointwise: Callable[[Position, Data], dict[str, Array]] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    observations: Observations | None = dataclasses.field(default=None, metadata={"static": True})
    sites: Callable[[Position, Data], dict[str, Any]] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    predict: Callable[[Key, dict[str, Array], Data], Predicted] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    unconstrain: Callable[[dict[str, Array], Position, Data], Placed] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    log_jacobian: Callable[[Position, Data], Array] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    subsampled: Callable[..., Score] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    state_space: Callable[[Data], Any] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    ahead: Callable[[Data, int, Any, Any], Data] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    discrete: Discrete | None = dataclasses.field(default=None, metadata={"static": True})
    levels: tuple[tuple[str, int, int], ...] = dataclasses.field(
        default=(), metadata={"static": True}
    )
    axes: Axes = dataclasses.field(default=NOTHING, metadata={"static": True})
    layered: bool = dataclasses.field(default=False, metadata={"static": True})

    def template(self) -> Position:
        """Shapes and dtypes of one position, without computing anything."""
        return jax.eval_shape(self.start, jax.random.key(0), self.data)

    def __repr__(self) -> str:
        shapes = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", self.template())
        return f"Program({shapes})"


def score(program: Program, x: Position) -> Score:
    """Both log densities of ``program`` at ``x``."""
    return program.score(x, program.data)


def log_density(program: Program, x: Position) -> Float[Array, ""]:
    """Log of the measure's density at ``x``; NaN and +inf count as impossible (-inf)."""
    return counted(program, x)[0]


def counted(program: Program, x: Position) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """``log_density``, and whether it is -inf only because NaN or +inf says nothing.

    Where the base has no density, or the position itself has overflowed, nothing was asked.
    """
    log_base, log_weight = program.score(x, program.data)
    total = log_base + log_weight
    unusable = jnp.isnan(total) | jnp.isposinf(total)
    leaves = [v for v in jax.tree.leaves(x) if jnp.issubdtype(v.dtype, jnp.floating)]
    somewhere = [jnp.isfinite(leaf).all() for leaf in leaves]
    asked = functools.reduce(jnp.logical_and, somewhere, ~jnp.isneginf(log_base))
    return jnp.where(unusable, -jnp.inf, total), unusable & asked


def improper(program: Program) -> str:
    """Why the base cannot be drawn from, so that there is no evidence; empty where it can."""
    try:
        jax.eval_shape(program.draw, jax.random.key(0), program.data)
    except ImproperPriorError as error:
        return str(error)
    return ""


def condition(program: Program, observed: dict[str, Any]) -> Program:
    """The same model with other observed values, by site name.

    Raises:
        StructureError: the program has no named observations, or a name is unknown.
    """
    if program.observations is None:
        raise StructureError(
            "condition: this program does not say where its observations live; build it with "
            "from_numpyro, or rebuild it with the new data."
        )
    known = jax.eval_shape(program.observations.get, program.data)
    unknown = sorted(set(observed) - set(known))
    if unknown:
        raise StructureError(
            f"condition: no observed site named {unknown}; the observed sites are {sorted(known)}."
        )
    for name, value in observed.items():
        if jnp.shape(value) != known[name].shape:
            raise StructureError(
                f"condition: site '{name}' holds shape {known[name].shape}, got {jnp.shape(value)}."
            )
    return dataclasses.replace(program, data=program.observations.set(program.data, observed))


def check_same_coordinates(p: Program, q: Program, verb: str) -> None:
    """Raise StructureError unless both programs have the same position tree."""
    first, second = p.template(), q.template()
    if jax.tree.map(jnp.shape, first) != jax.tree.map(jnp.shape, second):
        raise StructureError(
            f"{verb}: the two programs do not share coordinates.\n  program: {p}\n  other:   {q}\n"
            "Bring them to the same coordinates with push first."
        )
