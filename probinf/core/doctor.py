"""What the doctor sees at trial points, and what it refuses or warns of before a run."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.compiling import compiled
from probinf.core.keys import numbered
from probinf.core.program import Data, Key, Position, Program
from probinf.errors import (
    ImproperPriorError,
    ObservationError,
    ParameterError,
    ZeroLikelihoodError,
)

POINTS = 32
"""Starting points at which every site is looked at."""

_MORE = 64  # points of each other kind, where the first ones are not enough to refuse
_WIDE = (4.0, 12.0)  # times a start; beyond, exp and sigmoid functions have no digits
_HUGE = 1e15  # its square overflows single precision
_OFTEN = 0.25  # share of the points at which a parameter is wrong that is no accident
_SOMETIMES = 0.1
_MATRIX = ("_matrix", "scale_tril")


def refuse(program: Program) -> dict[str, Any]:
    """The errors of ``check`` without its table; what was seen of every site, by name."""
    if program.sites is None:
        return {}
    found = seen_from(program, program.start, POINTS)
    for name, site in found.items():
        for parameter, broken in site["invalid"].items():
            _judge_parameter(program, name, parameter, broken)
    suspects = [name for name, site in found.items() if site["always_outside"].any()]
    dead = [name for name, site in found.items() if not np.isfinite(site["log_prob"]).any()]
    if suspects:
        _refuse_outside(program, found, suspects)
    if dead and program.observations is not None:
        observed = _observed(program)
        for name in dead:
            if name in observed:
                _refuse_overflow(name, observed[name])
                _refuse_edge(program, name, observed[name], found[name]["edge"])
    return found


def seen_from(program: Program, place: Callable[[Key, Data], Position], count: int) -> Any:
    """What every site reports at so many points; which data are outside at all of them."""
    return jax.tree.map(np.asarray, _seen(program, place, count))


@partial(compiled, static=("place", "count"), once=True)
def _seen(program: Program, place: Callable[[Key, Data], Position], count: int) -> Any:
    def at(index: Any) -> dict[str, Any]:
        assert program.sites is not None
        return program.sites(place(numbered(index), program.data), program.data)

    def step(data: Any, index: Any) -> Any:
        report = at(index)
        seen = {name: (site.pop("outside"), site.pop("edge")) for name, site in report.items()}
        return {name: (data[name][0] & out, edge) for name, (out, edge) in seen.items()}, report

    shapes = jax.eval_shape(at, 0)
    first = {
        name: (jnp.ones(site["outside"].shape, bool), jnp.zeros(site["edge"].shape, bool))
        for name, site in shapes.items()
    }
    data, report = jax.lax.scan(step, first, jnp.arange(count))  # many at once compile slowly
    return {
        name: {**site, "always_outside": data[name][0], "edge": data[name][1]}
        for name, site in report.items()
    }


@dataclasses.dataclass(frozen=True)
class _Wide:
    """Starting points much farther out."""

    start: Callable[[Key, Data], Position]
    factor: float

    def __call__(self, key: Key, data: Data) -> Position:
        def moved(leaf: Any) -> Any:
            return self.factor * leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

        return jax.tree.map(moved, self.start(key, data))


def _places(program: Program) -> list[Callable[[Key, Data], Position]]:
    """Other kinds of points: draws of the prior where there are any, and starts far out."""
    wide: list[Any] = [_Wide(program.start, factor) for factor in _WIDE]
    try:
        jax.eval_shape(program.draw, jax.random.key(0), program.data)
    except ImproperPriorError:
        return wide
    return [program.draw, *wide]


def _judge_parameter(program: Program, name: str, parameter: str, broken: Any) -> None:
    """Refuse a parameter that is often beyond its bound; warn where it is sometimes."""
    outside, lost = broken["outside"].mean(), broken["lost"].mean()
    behind = _behind(program, name, parameter)
    share = f"at {round(outside * POINTS)} of {POINTS} trial points"
    if outside >= _OFTEN:
        worst = broken["worst"][np.argmax(broken["outside"])]
        raise ParameterError(
            f"site '{name}': parameter '{parameter}' of its distribution is outside its domain "
            f"{share} (it was {worst:.3g}). {behind(True)} a prior with the right support "
            "(dist.HalfNormal, dist.LogNormal) or transform it (jnp.exp)."
        )
    if lost >= _SOMETIMES and parameter.endswith(_MATRIX):
        told = _indefinite(name, parameter, lost)
        if lost == 1:
            raise ParameterError(told)
        _warn(f"{told} The density counts as zero at these points.")
    elif lost == 1:
        raise ParameterError(
            f"site '{name}': parameter '{parameter}' of its distribution is {broken['worst'][0]:g} "
            f"at all {POINTS} trial points. {behind(True)} a prior that keeps it in range, and "
            "look for NaN among the data it is computed from."
        )
    elif outside > 0:
        _warn(
            f"site '{name}': parameter '{parameter}' of its distribution is outside its domain "
            f"{share}, where the density counts as zero. {behind(True)} a prior with the right "
            "support, or transform it (jnp.exp), if that is not meant."
        )
    elif lost >= _SOMETIMES:
        _warn(
            f"site '{name}': parameter '{parameter}' of its distribution overflows (NaN, infinite "
            f"or rounded to zero) at {round(lost * POINTS)} of {POINTS} trial points, where "
            f"the density counts as zero. If runs begin badly: {behind(False)} a narrower prior."
        )


def _indefinite(name: str, parameter: str, share: float) -> str:
    return (
        f"site '{name}': the Cholesky decomposition of '{parameter}' fails at {share:.0%} of "
        f"{POINTS} trial points: the matrix is not positive definite there, or not so in this "
        "precision. Add to its diagonal (K + 1e-4 * jnp.eye(n)), use dist.LKJCholesky for "
        "correlations, or double precision (jax_enable_x64)."
    )


def indefinite(program: Program) -> str:
    """Which covariance often is none, for those who look for the cause of divergences."""
    if program.sites is None:
        return ""
    for name, site in seen_from(program, program.start, POINTS).items():
        for parameter, broken in site["invalid"].items():
            share = broken["lost"].mean()
            if parameter.endswith(_MATRIX) and share >= _SOMETIMES:
                return _indefinite(name, parameter, share)
    return ""


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=5)


def _behind(program: Program, name: str, parameter: str) -> Callable[[bool], str]:
    """Words for the latent sites that a parameter is computed from."""

    def told(capital: bool) -> str:
        give = "Give" if capital else "give"
        sites = _sites_behind(program, name, parameter)
        if not sites:
            return f"{give} the quantity it is computed from"
        named = ", ".join(map(repr, sites))
        first = f"It is computed from site {named}. " if capital else ""
        return f"{first}{give} {named if capital else f'site {named}'}"

    return told


def _sites_behind(program: Program, name: str, parameter: str) -> list[str]:
    """The latent sites on which a parameter depends."""

    def worst(x: Position) -> Any:
        assert program.sites is not None
        value = program.sites(x, program.data)[name]["invalid"][parameter]["worst"]
        return jnp.asarray(value, float)

    x = program.template()
    if not isinstance(x, dict):
        return []
    jaxpr = jax.make_jaxpr(worst)(x).jaxpr
    names = [site for site, leaf in x.items() for _ in jax.tree.leaves(leaf)]
    used = used_variables(jaxpr)
    return [site for site, v in zip(sorted(names), jaxpr.invars, strict=True) if v in used]


def used_variables(jaxpr: Any) -> set[Any]:
    """The variables of a trace on which its results depend."""
    needed = {v for v in jaxpr.outvars if not hasattr(v, "val")}
    for eqn in reversed(jaxpr.eqns):
        if needed & set(eqn.outvars):
            needed |= {v for v in eqn.invars if not hasattr(v, "val")}
    return needed


def _observed(program: Program) -> dict[str, Any]:
    if program.observations is None:
        return {}
    found = jax.jit(program.observations.get)(program.data)  # NumPyro does not validate here
    return {name: np.asarray(value) for name, value in found.items()}


def _refuse_outside(program: Program, found: dict[str, Any], suspects: list[str]) -> None:
    """Refuse data that no point near or far makes possible."""
    always = {name: found[name]["always_outside"] for name in suspects}
    tried = POINTS
    for place in _places(program):
        seen = seen_from(program, place, _MORE)
        always = {name: a & seen[name]["always_outside"] for name, a in always.items()}
        tried += _MORE
    observed = _observed(program)
    for name, mask in always.items():
        if mask.any():
            mask = np.asarray(mask)
            value = observed[name] if name in observed else np.zeros(0)
            shown = f" (first: {_first(value, mask)})" if value.shape == mask.shape else ""
            raise ObservationError(
                f"site '{name}': an observed value{shown} lies outside its distribution's support "
                f"at all {tried} trial points. Widen the support, or correct the data."
            )


def _first(value: np.ndarray, mask: np.ndarray) -> str:
    index = tuple(int(i) for i in np.argwhere(mask)[0])
    return f"{value[index]:g} at {list(index)}" if index else f"{value:g}"


def _refuse_overflow(name: str, value: np.ndarray) -> None:
    if value.dtype != np.float32:
        return
    largest = np.abs(value[np.isfinite(value)]).max(initial=0.0)
    if largest > _HUGE:
        raise ZeroLikelihoodError(
            f"site '{name}': the observed values reach {largest:.3g}, whose square overflows "
            "float32, so the likelihood is zero everywhere. Rescale the data, or pass "
            "precision='double' (float64; for all runs: jax.config.update('jax_enable_x64', True))."
        )


def _refuse_edge(program: Program, name: str, value: np.ndarray, edge: np.ndarray) -> None:
    """Refuse data on the edge of a support, where a density is zero or infinite."""
    if program.pointwise is None or not edge.any():
        return
    finite = np.zeros((), bool)
    for place in [program.start, *_places(program)]:
        finite = finite | np.asarray(_finite(program, place, name))
    if finite.shape != edge.shape:
        return
    edge = np.asarray(edge & ~finite)
    if edge.any():
        index = tuple(int(i) for i in np.argwhere(edge)[0])
        at = f" at {list(index)}" if index else ""
        raise ObservationError(
            f"site '{name}': {int(edge.sum())} of {edge.size} observed values lie on the edge of "
            f"the support (first: {np.asarray(value[index])}{at}), where the density is zero or "
            "infinite whatever the parameters. Move them inside by what was rounded away, or use "
            "a distribution with mass at the edge (a mixture of a dist.Bernoulli for the edge "
            "and this one for the rest)."
        )


@partial(compiled, static=("place", "name"), once=True)
def _finite(program: Program, place: Any, name: str) -> jax.Array:
    def at(index: jax.Array) -> jax.Array:
        assert program.pointwise is not None
        x = place(numbered(index), program.data)
        return jnp.isfinite(program.pointwise(x, program.data)[name])

    return jnp.any(jax.lax.map(at, jnp.arange(_MORE)), axis=0)
