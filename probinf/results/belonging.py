"""Whether a program is the one of a posterior: the same sites, values and density at its draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from probinf.core.coordinates import flatten
from probinf.core.program import Program
from probinf.errors import StructureError
from probinf.results.sites import by_row

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior

_LOOKED_AT = 8  # draws
_TOLERANCE = 1e-3  # relative to 1 + size, for single precision on another machine


def densities(posterior: Posterior, program: Program) -> dict[str, list[float]]:
    """Log densities of some draws under a program, by which it can be told from others."""
    flat, _ = flatten(program, integers=True)
    found = _at_some(posterior, flat, _score)
    return {name: [float(v) for v in value] for name, value in found.items()}


def same_coordinates(posterior: Posterior, program: Program, who: str) -> None:
    """Refuse a program whose positions do not mean what the posterior's do.

    Args:
        posterior: with draws, and positions where they were kept.
        program: to look at.
        who: asks, for the message.

    Raises:
        StructureError: names, shapes, or values at some draws differ.
    """
    flat, layout = flatten(program, integers=True)
    sites = jax.eval_shape(program.constrain, program.template(), program.data)
    ours = {name: v.shape[2:] for name, v in posterior.draws.items()}
    theirs = {name: v.shape for name, v in sites.items()}
    kept = has_positions(posterior)
    if program.state_space is not None and not kept:  # a filter leaves states of the last step
        last = {name: shape[1:] for name, shape in theirs.items()}
        theirs |= {name: ours[name] for name in ours if last.get(name) == ours[name]}
    wrong = {n for n in ours if theirs.get(n) != ours[n]} | (
        set(theirs) - set(ours) if kept else set()
    )
    if wrong:
        raise StructureError(
            f"{who}: this is not the program of the posterior. It has sites of shapes "
            f"{ {n: theirs.get(n) for n in sorted(wrong)} }, the posterior "
            f"{ {n: ours.get(n) for n in sorted(wrong)} }. Pass the program of the fit; programs "
            "with other data go to predict(program=)."
        )
    if not kept:
        return
    fits = layout.size == posterior.unconstrained.shape[-1]
    if not fits or sum(layout.is_key) != len(posterior.keys):
        raise StructureError(
            f"{who}: this is not the program of the posterior: it has {layout.size} coordinates "
            f"and {sum(layout.is_key)} random keys, the posterior "
            f"{posterior.unconstrained.shape[-1]} and {len(posterior.keys)}."
        )
    for name, value in _at_some(posterior, flat, _constrained).items():
        chosen = _chosen(posterior)
        seen = posterior.draws[name].reshape(posterior.log_weights.size, -1)[chosen]
        if not close(seen, value.reshape(len(chosen), -1)).all():
            raise StructureError(
                f"{who}: this is not the program of the posterior: at the same positions its site "
                f"'{name}' has other values (another support or parameterisation)."
            )


def same_density(posterior: Posterior, program: Program, stored: dict[str, list[float]]) -> None:
    """Refuse a program with another density at some draws than the one that was saved.

    Raises:
        StructureError: naming the part, prior or likelihood.
    """
    found = densities(posterior, program)
    for part, said in (("log_base", "prior"), ("log_weight", "likelihood")):
        before, now = np.array(stored[part]), np.array(found[part])
        if not close(before, now).all():
            k = int(np.argmin(close(before, now)))
            seen = f"its log density at a saved draw is {now[k]:.6g}, it was {before[k]:.6g}"
            raise StructureError(
                f"load: the {said} of this program is not the one of the posterior: {seen}. Pass "
                "the program of the fit, on the same data; programs with other data go to "
                "predict(program=)."
            )


def has_positions(posterior: Posterior) -> bool:
    """Whether the unconstrained positions of the draws were kept."""
    return posterior.unconstrained.shape[-1] > 0 or bool(posterior.keys)


def close(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether densities or values agree, up to single precision on another machine."""
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= _TOLERANCE * (1 + np.abs(a))
    return near | (a == b) | (np.isnan(a) & np.isnan(b))


def _chosen(posterior: Posterior) -> np.ndarray:
    alive = np.flatnonzero(np.isfinite(posterior.log_weights.ravel()))
    alive = alive if alive.size else np.arange(posterior.log_weights.size)
    return alive[np.linspace(0, len(alive) - 1, _LOOKED_AT).astype(int)]


def _at_some(posterior: Posterior, flat: Program, fn: Any) -> dict[str, np.ndarray]:
    chosen = _chosen(posterior)
    rows = jax.tree.map(lambda leaf: leaf[chosen], posterior.rows())
    found = by_row(fn, flat, (rows,), (len(chosen), 1))
    return {name: v[:, 0] for name, v in found.items()}


def _constrained(flat: Program, row: Any) -> dict[str, jax.Array]:
    return flat.constrain(row[0], flat.data)


def _score(flat: Program, row: Any) -> dict[str, jax.Array]:
    return flat.score(row[0], flat.data)._asdict()
