"""predict: data drawn anew at the draws of a posterior, for its own program or for another."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from probinf.core.abstract import shape_of
from probinf.core.coordinates import flatten
from probinf.core.keys import as_key
from probinf.core.program import Key, Predicted, Program
from probinf.errors import NewSitesWarning, StructureError
from probinf.results.aligning import aligned
from probinf.results.belonging import same_coordinates
from probinf.results.sites import by_row

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior


def predict(posterior: Posterior, key: int | Key, program: Program | None) -> dict[str, np.ndarray]:
    """See :meth:`probinf.Posterior.predict`."""
    other, own = program, posterior.program
    program = own if other is None else other
    if program is None:
        raise StructureError(
            "predict: this posterior was loaded without its program; pass program=, or load "
            "with pi.load(path, program=program)."
        )
    if not isinstance(program, Program):
        raise StructureError(
            f"predict: program must be a Program, got {type(program).__name__}. Make one with "
            "pi.from_numpyro(model, new_data)."
        )
    posterior.require_positions("predict")
    shape, view = posterior.log_weights.shape, posterior.resampled(key)
    keys = jax.random.split(as_key(key), posterior.log_weights.size)
    if other is not None and program.predict is not None:
        given, wanted = _matched(view, own, program)
        rows = {name: v.reshape(-1, *v.shape[2:]) for name, v in given.items()}
        found = by_row(_Predict(wanted), program, (keys, rows), shape)
        _refuse_outside(found)
        return {name: found[f"value:{name}"] for name in wanted}
    if program.simulate is None:
        raise StructureError("predict: the program has no simulator of its observations.")
    if other is not None:
        same_coordinates(posterior, program, "predict")
    flat, _ = flatten(program, integers=True)
    assert flat.simulate is not None
    row = jax.tree.map(lambda v: v[0], view.rows())
    if not jax.eval_shape(flat.simulate, keys[0], row, flat.data):
        raise StructureError(
            "predict: the program has no observed site, only factors or a prior, so there is "
            "nothing to predict. Pass the data to sites with numpyro.sample(..., obs=)."
        )
    return by_row(_simulate, flat, (keys, view.rows()), shape)


def given_arguments(
    own: Program | None, other: Program | None, steps: int | None, args: Any, kwargs: Any
) -> Program:
    """The program of the fit with new arguments of its model."""
    if own is None or other is not None or steps is not None:
        why = (
            "this posterior was loaded without its program"
            if own is None
            else ("new arguments are given beside program= or steps=")
        )
        raise StructureError(f"predict: {why}. Give either new arguments of the model, or those.")
    from probinf.fronts.again import again  # with formulas, which few need

    return again(own, args, kwargs)


def _simulate(flat: Program, rows: Any) -> dict[str, jax.Array]:
    assert flat.simulate is not None
    return flat.simulate(rows[0], rows[1], flat.data)


@dataclasses.dataclass(frozen=True)
class _Predict:
    """The wanted sites of one row, and which of the given values are impossible."""

    wanted: tuple[str, ...]

    def __call__(self, program: Program, row: Any) -> dict[str, jax.Array]:
        assert program.predict is not None
        found: Predicted = program.predict(row[0], row[1], program.data)
        values = {**found.latents, **found.summed, **found.observables}
        return {f"value:{name}": values[name] for name in self.wanted} | {
            f"outside:{name}": value for name, value in found.outside.items()
        }


def _matched(
    view: Posterior, own: Program | None, program: Program
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The draws that the program takes, and the names of what it predicts."""
    draws, lacking = aligned(view.draws, view.axes, program.axes)
    fitted_as = {n: shape_of(v[0, 0]) for n, v in view.draws.items()}
    one = {n: shape_of(v[0, 0]) for n, v in draws.items()}
    found = _latents(program, one)
    given = {name: draws[name] for name in found.outside}
    # data of the fit may be left out here, where they are latent; what it fixes may not
    fit = None if own is None or own.predict is None else _latents(own, fitted_as)
    known = set() if fit is None else {*fit.observables, *fit.summed}
    new = [name for name in found.latents if name not in given and name not in known]
    fitted = list(view.draws) if fit is None else list(fit.latents)
    unused = [name for name in fitted if name not in given]
    if not given or (new and unused and own is not None):
        raise StructureError(
            f"predict: this program's sites {new or list(found.latents)} are not in the fit and "
            f"would be drawn from their prior, while {unused} of the fit would not be used. Give "
            "sites that are the same the same name."
        )
    shapes = {name: (found.latents[name].shape, one[name].shape) for name in given}
    said = [
        _said(name, *both)
        for name, both in shapes.items()
        if both[0] != both[1] and name not in lacking
    ]
    for name in given:
        if new_labels := lacking.get(name):
            said.append(
                f"{new_labels} of '{name}' are not in the fit and are drawn from their prior "
                "given the rest"
            )
    said += [f"'{name}' is not in the fit and is drawn from its prior" for name in new]
    summed = {} if fit is None else {n: v.shape for n, v in fit.summed.items()}
    said += [
        f"'{name}' has shape {v.shape}, in the fit, which sums it out, {summed[name]}: it is drawn "
        "given the other sites, and given data only where numpyro.handlers.condition gives them"
        for name, v in found.summed.items()
        if name in summed and _longer(v.shape, summed[name])
    ]
    if said:
        warnings.warn(f"predict: {'; '.join(said)}.", NewSitesWarning, stacklevel=4)
    drawn = [n for n in found.latents if n not in given or _longer(*shapes[n])]
    # discrete sites that the fit sums out too are part of it; others are data left out here
    drawn += [n for n in found.summed if fit is None or n not in fit.summed]
    return given, tuple(dict.fromkeys((*found.observables, *drawn)))


def _latents(program: Program, one: dict[str, jax.ShapeDtypeStruct]) -> Predicted:
    """What a program makes of one draw, without computing anything."""
    assert program.predict is not None
    return jax.eval_shape(program.predict, jax.random.key(0), one, program.data)


def _longer(here: tuple[int, ...], there: tuple[int, ...]) -> bool:
    return any(a > b for a, b in zip(here, there, strict=False))


def _said(name: str, here: tuple[int, ...], there: tuple[int, ...]) -> str:
    what = f"'{name}' has shape {here}, in the fit {there}"
    if _longer(here, there):
        return f"{what}: what the fit lacks is drawn from its prior given the rest"
    return f"{what}: the first entries of the fit are taken"


def _refuse_outside(found: dict[str, np.ndarray]) -> None:
    for label, bad in found.items():
        if label.startswith("outside:") and bad.any():
            raise StructureError(
                f"predict: {bad.sum()} of {bad.size} draws of site "
                f"'{label.removeprefix('outside:')}' lie outside its support in this program. "
                "Give the site the same support as in the fit, or another name."
            )
