"""tabulated: finished simulations, checked against a prior and made pairs to learn from."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from probinf.amortized.neural.keyless import parameters_only
from probinf.amortized.neural.parameters import Parameters
from probinf.amortized.neural.simulations import Simulated, Sites
from probinf.amortized.neural.sources import Pairs
from probinf.amortized.neural.trained_prior import TrainedPrior
from probinf.core.coordinates import Layout
from probinf.core.inputs.frames import same_index
from probinf.core.inputs.tables import by_site, labels
from probinf.core.precision import precisely
from probinf.core.program import Program
from probinf.core.transformations.nesting import somewhere
from probinf.errors import StructureError, TrainingError, TrainingWarning
from probinf.fronts.prior import as_prior

Missing = Literal["refuse", "drop", "mask"]

_LEAST = 100
_FEW = 1000


def tabulated(
    name: str, prior: Any, theta: Any, x: Any, missing: Missing, *, needs_prior: bool
) -> Pairs:
    """Pairs from a table; see :meth:`NPE.fit`.

    Args:
        name: of the method, for messages.
        prior: a Program, a NumPyro model, or distributions.
        theta: parameters in the user's coordinates.
        x: data.
        missing: what to do with rows of ``x`` that are not finite.
        needs_prior: whether theta must be draws from the prior.

    Raises:
        TrainingError: a value is outside of its support or not finite, rows are missing, few, or
            not from the prior.
        ArrayError: sites or columns are not those of the program.
        StructureError: the program cannot place values in its coordinates.
    """
    if missing not in ("refuse", "drop", "mask"):
        raise TrainingError(
            f"{name}.fit: missing must be 'refuse', 'drop' or 'mask', got {missing!r}."
        )
    if theta is None or x is None:
        absent = "theta" if theta is None else "x"
        raise TrainingError(f"{name}.fit: {absent}= is missing; a table has theta= and x=.")
    program = as_prior(f"{name}.fit", prior)
    plain = parameters_only(program)
    parameters = Parameters.of(plain)
    same_index(theta=theta, x=x)
    values = by_site("theta", theta, dict(zip(parameters.names, parameters.shapes, strict=True)))
    sites, data = _data(program, x)
    rows = {"theta": len(next(iter(values.values()))), "x": len(data)}
    if len(set(rows.values())) != 1:
        raise TrainingError(f"{name}.fit: theta has {rows['theta']} rows and x has {rows['x']}.")
    positions = _placed(plain, parameters, values)
    data, worked, masked = _complete(name, sites, data, missing)
    _check_many(name, int(worked.sum()))
    vectors = _as_vectors(parameters, values)
    if needs_prior:
        _check_law(name, plain, parameters, vectors)
    # rows may have been sorted, and some will be held out
    order = np.random.default_rng(0).permutation(len(data))
    found = Simulated(positions[order], vectors[order], data[order], worked[order])
    told = {"table": True, "rows": len(data), "incomplete": int((~worked).sum())}
    return Pairs(program, sites, found, masked=masked, proposed=not needs_prior, told=told)


def _as_vectors(parameters: Parameters, values: dict[str, np.ndarray]) -> np.ndarray:
    columns = [np.reshape(values[name], (len(values[name]), -1)) for name in parameters.names]
    return np.concatenate(columns, axis=1).astype(float)


def declared(program: Program) -> Sites | None:
    """The observed sites of a program; None where it has none or cannot simulate."""
    try:
        return Sites.of(program)
    except StructureError:
        return None


def _data(program: Program, x: Any) -> tuple[Sites, np.ndarray]:
    """The observed sites, and the data as one row each."""
    sites = declared(program)
    shapes = None if sites is None else dict(zip(sites.names, sites.shapes, strict=True))
    values = by_site("x", x, shapes, in_order=True)
    if sites is None:
        names = tuple(values)
        sites = Sites(
            names,
            tuple(values[name].shape[1:] for name in names),
            tuple(values[name].dtype.kind in "iu" for name in names),
        )
    columns = [np.reshape(values[name], (len(values[name]), -1)) for name in sites.names]
    data = np.concatenate(columns, axis=1).astype(float)
    uneven: np.ndarray = (sites.counts == 1) & (np.isfinite(data) & (data != np.round(data)))
    if uneven.any():
        row, k = np.argwhere(uneven)[0]
        raise TrainingError(
            f"x: '{_entries(sites)[k]}' is a count in the program, and {data[row, k]:g} in row "
            f"{row}."
        )
    return sites, data


def _entries(sites: Sites) -> list[str]:
    return labels(sites.names, sites.shapes)


def _placed(program: Program, parameters: Parameters, values: dict[str, np.ndarray]) -> np.ndarray:
    """Unconstrained positions of the rows."""
    for site, value in values.items():
        _refuse(site, value, ~np.isfinite(value.astype(float)), "is not finite")
    template = program.template()
    latents = set(template) if isinstance(template, dict) else None
    if program.unconstrain is None:
        raise StructureError(
            "fit: this program cannot tell where given values lie in its coordinates. Give the "
            "prior as a NumPyro model or as distributions by name."
        )
    if latents is not None and (other := set(values) - latents):
        raise StructureError(
            f"fit: the sites {sorted(other)} are reparametrised in the program, whose coordinates "
            f"are {sorted(latents)}. Give the model without the reparametrisation."
        )

    @jax.jit
    def place(values: Any, x: Any, data: Any) -> Any:
        def one(row: Any) -> Any:
            assert program.unconstrain is not None
            placed = program.unconstrain(row, x, data)
            return layout.ravel(placed.position), placed.outside

        return jax.vmap(one)(values)

    with precisely("double"):
        layout = Layout.of(program)
        x = jax.tree.map(somewhere, program.template())
        given = {site: jnp.asarray(v) for site, v in values.items()}
        positions, outside = jax.tree.map(np.asarray, place(given, x, program.data))
    for site in parameters.names:
        _refuse(site, values[site], outside[site], "lies outside the support of the prior")
    edge: np.ndarray = ~np.isfinite(positions).all(axis=1)
    if edge.any():
        row = int(np.argmax(edge))
        told = ", ".join(f"{site} = {_digits(v[row])}" for site, v in values.items())
        raise TrainingError(
            f"theta: {int(edge.sum())} rows lie on the edge of the prior's support, the first in "
            f"row {row} ({told}), where a density has no coordinate. Drop these rows, or move them "
            "inside."
        )
    return positions


def _refuse(site: str, value: np.ndarray, bad: np.ndarray, what: str) -> None:
    rows: np.ndarray = np.asarray(bad.reshape(len(bad), -1).any(axis=1))
    if not rows.any():
        return
    row = int(np.argmax(rows))
    raise TrainingError(
        f"theta: site '{site}' {what} in {int(rows.sum())} of {len(rows)} rows, the first in row "
        f"{row}: {_digits(value[row])}. Drop these rows, or give the prior that they came from."
    )


def _digits(value: Any) -> str:
    return np.array2string(np.asarray(value), precision=6, threshold=8)


def _complete(
    name: str, sites: Sites, data: np.ndarray, missing: Missing
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Data without what is not finite, which rows count, and whether entries may be missing."""
    bad: np.ndarray = ~np.isfinite(data)
    lost: np.ndarray = np.asarray(bad.any(axis=1))
    if not lost.any():
        return data, ~lost, False
    if missing == "refuse":
        row, k = np.argwhere(bad)[0]
        raise TrainingError(
            f"{name}.fit: {int(lost.sum())} of {len(data)} rows of x hold NaN or infinite values, "
            f"the first in row {row}: {_entries(sites)[k]} = {data[row, k]}. Choose missing='drop' "
            "(the rows are failed runs and left out), missing='mask' (the entries are missing, "
            "which the network of an NPE is told), or write a finite code for them."
        )
    if missing == "drop":
        return np.where(lost[:, None], 0.0, data), ~lost, False
    if name != "NPE":
        raise TrainingError(
            f"{name}.fit: missing='mask' is for NPE, whose network takes the data as its input; a "
            "likelihood is learned from complete data. Choose missing='drop', or an NPE."
        )
    never = np.asarray(bad.all(axis=0))
    if never.any():
        raise TrainingError(
            f"{name}.fit: '{_entries(sites)[int(np.argmax(never))]}' is missing in every row of x. "
            "Leave it out."
        )
    return np.where(bad, np.nan, data), ~np.asarray(bad.all(axis=1)), True


def _check_many(name: str, rows: int) -> None:
    if rows < _LEAST:
        raise TrainingError(f"{name}.fit: at least {_LEAST} complete rows are needed, got {rows}.")
    if rows < _FEW:
        warnings.warn(
            f"{name}.fit: {rows} rows are few: of the tenth of them that is held out hardly can be "
            "seen whether the network learned more than these rows. Simulate a thousand or more, "
            "and check the answer (pi.refine, pi.validity).",
            TrainingWarning,
            stacklevel=5,
        )


def _check_law(name: str, program: Program, parameters: Parameters, vectors: np.ndarray) -> None:
    """Refuse parameters that are not draws from the prior, as a learned posterior needs them."""
    gaps = TrainedPrior.of(program, parameters).gaps(vectors)
    worst, most = int(np.argmax(gaps)), _most(len(vectors))
    if gaps[worst] > most:
        label = labels(parameters.names, parameters.shapes)[worst]
        raise TrainingError(
            f"{name}.fit: the values of '{label}' in theta are not draws from the prior (their "
            f"distribution functions are {gaps[worst]:.2f} apart, {most:.2f} at most by chance), "
            "and a learned posterior belongs to the law of its parameters. Give the prior that "
            "they came from, or use NLE, which may learn from any."
        )


def _most(rows: int) -> float:
    """How far the distribution functions of two samples of one law are apart once in a billion."""
    return float(np.sqrt(-0.5 * np.log(0.5e-9) * (1 / rows + 1 / 4096)))
