"""shard_data: the rows of one plate over all devices, their log likelihoods summed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool
from numpyro.primitives import Messenger

from probinf.core.compiling import jitted
from probinf.core.inputs.limits import at_least
from probinf.core.keys import numbered
from probinf.core.precision import precisely
from probinf.core.program import Data, Observations, Position, Program, Score
from probinf.core.rows import Rows, cut_rows, is_cut, sum_over_rows
from probinf.core.spreading import PIECES
from probinf.errors import ModelError, StructureError
from probinf.fronts.density import NumpyroScore
from probinf.fronts.model import Model
from probinf.fronts.observing import is_factor

_TRIALS = 3
_CACHE = 2**21  # bytes of a block
_EXACT = 1e-9  # relative, in double precision


def shard_data(
    program: Program,
    rows: str,
    *,
    axis: int | Mapping[str, int] = 0,
    blocks: int | None = None,
    check: bool = True,
) -> Program:
    """The same measure, the rows of its data spread over all devices.

    The log likelihood is a sum over rows. Each device holds some blocks of them and evaluates
    these in turn, value and gradient at once, so that on one device too no more than a block's
    intermediate results are in memory; sums of blocks are added in one order, so that the bits do
    not depend on the number of devices. Chains and islands then run one after the
    other, each on all devices.

    Args:
        program: from ``from_numpyro``.
        rows: name of the plate whose entries are the rows; without a plate, of the observed site
            whose first axis they are.
        axis: which axis of the model's arguments the rows are. A number is meant for all arrays
            that have as many entries there as there are rows; a dict names the arguments, by
            keyword or by position (``{"1": 0, "y": 0}``).
        blocks: parts that the rows are cut into, of some 2 MB each by default, which fit into a
            processor's cache, and at least 8; more of them need less memory.
        check: compare with the program as it was, at three points in double precision.

    Returns:
        A Program of the same measure; ``condition`` and calibration on new data take the program
        before it was sharded.

    Raises:
        ModelError: no such plate or site, no argument has its rows on that axis, a latent site
            lies inside the plate, or the log likelihood is no sum over these rows.
        StructureError: the program does not come from ``from_numpyro``, or was transformed since.
    """
    at_least(1, blocks=blocks)
    if is_cut(program.data):
        raise StructureError("shard_data: the rows of this program are on all devices already.")
    if type(program.score) is not NumpyroScore:
        found = type(program.score).__name__.strip("_")
        raise StructureError(
            f"shard_data: the density is a {found}, not a NumPyro model's own. Shard the program "
            "that from_numpyro returns, before temper, rebase and the like; models whose discrete "
            "sites are summed out cannot be sharded."
        )
    model = program.score.model
    count = _rows_of(model, program.data, rows)
    axes = _axes(program.data, rows, axis, count)
    data = cut_rows(program.data, axes, count, blocks or _blocks(program.data, axes))
    sharded = _on_whole(program, model, rows, data)
    if check:
        _must_agree(program, sharded, rows)
    return sharded


def _blocks(data: Data, axes: list[int | None]) -> int:
    """As many as make blocks fit into a cache, in single precision."""
    leaves = jax.tree.leaves(data)
    size = sum(
        4 * np.size(leaf) for leaf, axis in zip(leaves, axes, strict=True) if axis is not None
    )
    return max(PIECES, -(-size // _CACHE))


def _rows_of(model: Model, data: Data, rows: str) -> int:
    """How many rows there are."""
    anywhere = {latent.name: latent.blank() for latent in model.latents}
    plates: dict[str, int] = {}
    observed: dict[str, tuple[int, ...]] = {}

    def look(data: Data) -> Array:
        for name, site in model.trace(data, anywhere).items():
            frames = site.get("cond_indep_stack", ())
            if site["type"] != "sample":
                continue
            if site["is_observed"] and not is_factor(site):
                observed[name] = jnp.broadcast_shapes(
                    site["fn"].batch_shape, jnp.shape(site["value"])[: _batch(site)]
                )
            known = {latent.name for latent in model.latents}
            if name in known and any(frame.name == rows for frame in frames):
                raise ModelError(
                    f"shard_data: latent site '{name}' is in plate '{rows}', so that its entries "
                    "belong to single rows. Shard another plate, or sum them out."
                )
            plates.update((frame.name, frame.size) for frame in frames)
        return jnp.zeros(())

    jax.eval_shape(look, data)
    if rows in plates:
        return plates[rows]
    if observed.get(rows):
        return observed[rows][0]
    raise ModelError(
        f"shard_data: the model has no plate and no observed site with rows named '{rows}'; it has "
        f"the plates {sorted(plates)} and the observed sites {sorted(observed)}."
    )


def _batch(site: dict[str, Any]) -> int:
    return jnp.ndim(site["value"]) - site["fn"].event_dim


def _axes(data: Data, rows: str, axis: int | Mapping[str, int], count: int) -> list[int | None]:
    """Of every leaf the axis of its rows."""
    found = jax.tree_util.tree_leaves_with_path(data)
    named = [(path[-1].key, np.shape(leaf)) for path, leaf in found]
    names = [name for name, _ in named]
    if isinstance(axis, Mapping):
        unknown = sorted(set(axis) - set(names))
        if unknown:
            raise ModelError(
                f"shard_data: axis names {unknown}; the model's array arguments are "
                f"{sorted(names)} (positional ones by their number)."
            )
    axes: list[int | None] = []
    for name, shape in named:
        wanted = axis.get(name) if isinstance(axis, Mapping) else axis
        if wanted is None:
            axes.append(None)
            continue
        inside = -len(shape) <= wanted < len(shape)
        if inside and shape[wanted] == count:
            axes.append(wanted % len(shape))
        elif isinstance(axis, Mapping):
            raise ModelError(
                f"shard_data: argument '{name}' has shape {shape}; axis {wanted} is not the "
                f"{count} rows of '{rows}'."
            )
        else:
            axes.append(None)
    if all(a is None for a in axes):
        shapes = ", ".join(f"'{name}' {shape}" for name, shape in named)
        raise ModelError(
            f"shard_data: no argument has the {count} rows of '{rows}' on axis {axis}; they have "
            f"shapes {shapes or 'none'}. Pass the data to the model as arguments, and their axis "
            "with axis=."
        )
    return axes


class _Short(Messenger):
    """Gives a plate as many entries as a block has rows."""

    def __init__(self, fn: Any, rows: str, length: int) -> None:
        super().__init__(fn)
        self.rows, self.length = rows, length
        self.size = length

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "plate" and msg["name"] == self.rows:
            self.size = msg["args"][0]
            msg["args"] = (self.size, self.length)
            msg["value"] = jnp.arange(self.length)


@dataclasses.dataclass(frozen=True)
class _InBlock:
    """Log likelihood of the rows of one block; those that do not count are left out."""

    model: Model
    rows: str

    def __call__(
        self, x: Position, fixed: Position, data: Data, counted: Bool[Array, " n"]
    ) -> Array:
        terms, _ = _terms(self.model, self.rows, {**x, **fixed}, data, counted.size)
        total = jnp.zeros((), float)
        for value, dim in terms.values():
            mask = counted.reshape(counted.shape + (1,) * (-dim - 1))
            total = total + jnp.sum(jnp.where(mask, value, 0.0))
        return total


def _terms(
    model: Model, rows: str, x: Position, data: Data, length: int
) -> tuple[dict[str, tuple[Array, int]], Score]:
    """By site that has rows, its log likelihoods and their axis; and the rest of the density."""
    short = _Short(model.fn, rows, length)
    places: dict[str, int] = {}

    class _Places(Messenger):
        def postprocess_message(self, msg: dict[str, Any]) -> None:
            if msg["type"] != "sample" or not msg["is_observed"]:
                return
            for frame in msg["cond_indep_stack"]:
                if frame.name == rows:
                    places[msg["name"]] = frame.dim
            if msg["name"] == rows:
                places.setdefault(rows, -len(jnp.shape(msg["fn"].log_prob(msg["value"]))))

    part = dataclasses.replace(model, fn=_Places(short))
    try:
        log_base, weights = NumpyroScore(part).terms(x, data)
    except (ValueError, TypeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"shard_data: the model does not run on a part of the rows of '{rows}': "
            f"{str(error).splitlines()[0]}. All arrays with rows must be arguments, and named in "
            "axis= where the axis is not the same for all."
        ) from error
    inside, outside = {}, jnp.zeros((), float)
    for name, value in weights.items():
        if name not in places:
            outside = outside + jnp.sum(value)
            continue
        dim = places[name]
        if jnp.ndim(value) < -dim or value.shape[dim] != length:
            raise ModelError(
                f"shard_data: site '{name}' has log likelihoods of shape {jnp.shape(value)}, which "
                f"are not those of {length} rows. Only a sum over rows can be sharded."
            )
        # a plate of a fixed size scales a part of it up to the whole
        inside[name] = (value * (length / short.size), dim)
    return inside, Score(log_base, outside)


@dataclasses.dataclass(frozen=True)
class ShardedScore:
    """Both log densities, that of the rows summed over devices."""

    model: Model
    rows: str

    def __call__(self, x: Position, data: Rows) -> Score:
        first = data.block([leaf[0] for leaf in data.cut()], data.uncut())
        length = data.counted.shape[1]
        # only what lies outside the plate is used of this, and computed
        _, rest = _terms(self.model, self.rows, x, first, length)
        moved = {n: v for n, v in x.items() if jnp.issubdtype(v.dtype, jnp.floating)}
        fixed = {n: v for n, v in x.items() if n not in moved}
        inside = sum_over_rows(_InBlock(self.model, self.rows), moved, fixed, data)
        return Score(rest.log_base, rest.log_weight + inside)


@dataclasses.dataclass(frozen=True)
class _OnWhole:
    fn: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.fn(*args[:-1], args[-1].whole())


def _no_new_data(data: Rows, values: dict[str, Any]) -> Rows:
    raise StructureError(
        "the rows of this program lie on all devices and are not replaced: condition the program "
        "first, then shard_data."
    )


def _on_whole(program: Program, model: Model, rows: str, data: Rows) -> Program:
    def lifted(fn: Callable[..., Any] | None) -> Any:
        return None if fn is None else _OnWhole(fn)

    known = program.observations
    return Program(
        draw=_OnWhole(program.draw),
        start=_OnWhole(program.start),
        score=ShardedScore(model, rows),
        constrain=_OnWhole(program.constrain),
        data=data,
        simulate=lifted(program.simulate),
        pointwise=lifted(program.pointwise),
        observations=None if known is None else Observations(_OnWhole(known.get), _no_new_data),
        sites=lifted(program.sites),
        predict=lifted(program.predict),
        unconstrain=lifted(program.unconstrain),
        log_jacobian=lifted(program.log_jacobian),
        levels=program.levels,
    )


def _must_agree(program: Program, sharded: Program, rows: str) -> None:
    with precisely("double"):
        for trial in range(_TRIALS):
            x = jitted(program.start)(numbered(trial), program.data)
            ours, theirs = (np.array(jitted(p.score)(x, p.data), float) for p in (sharded, program))
            near = np.isclose(ours, theirs, rtol=_EXACT, atol=_EXACT, equal_nan=True)
            if not near.all():
                part = "prior" if not near[0] else "log likelihood"
                k = int(np.argmin(near))
                raise ModelError(
                    f"shard_data: block by block of '{rows}' the {part} is {ours[k]:.10g} at a "
                    f"trial point, as a whole {theirs[k]:.10g}. It is no sum over these rows, or "
                    "an argument without rows has as many entries: name those with rows in axis=."
                )
