"""A model traced at all values of its discrete sites at once: a table of factors for each site."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro import handlers
from numpyro.primitives import Messenger

from probinf.core.program import Data
from probinf.errors import DiscreteLatentError, MissingPackageError
from probinf.fronts.density import without_mask
from probinf.fronts.distributions.completion import reach_inside
from probinf.fronts.enumeration.chains import lag_of
from probinf.fronts.enumeration.elimination import Graph
from probinf.fronts.enumeration.tables import Table
from probinf.fronts.model import Model

_TIME = "_time_"  # what NumPyro calls the steps of a scan, and the name of its first site
_AXES = 24  # NumPyro's bound on batch axes and enumerated sites together


def funsor_there() -> bool:
    """Whether NumPyro's enumeration can be used, without changing anything."""
    import importlib.util

    if "funsor" in sys.modules:
        return sys.modules["funsor"] is not None
    return importlib.util.find_spec("funsor") is not None


def _enum() -> Any:
    """NumPyro's handler of enumeration; importing it sets funsor's backend, hence only here.

    Raises:
        MissingPackageError: funsor is not installed.
    """
    try:
        from numpyro.contrib.funsor import enum
    except ImportError:
        raise MissingPackageError(
            "summing out discrete sites needs the package funsor; install it with "
            "pip install 'probinf[discrete]'."
        ) from None
    return enum


class _Indexed(Messenger):
    """Discrete sites as the numbers of their values, from zero, to NumPyro's enumeration.

    It would take 0, 1, ... for the values of any distribution, whatever the lowest one is. The
    model gets the values themselves.
    """

    def __init__(self, fn: Callable[..., Any], sites: dict[str, Any]) -> None:
        super().__init__(fn)
        self.sites = sites

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "control_flow":
            reach_inside(msg, lambda fn: _Indexed(fn, self.sites))
        if not self._ours(msg):
            return
        latent = self.sites[msg["name"]]
        fn = msg["fn"]
        masks: list[Any] = []
        while type(fn).__name__ == "MaskedDistribution":
            masks, fn = [fn._mask, *masks], fn.base_dist
        low, high = latent.levels
        plain = (dist.CategoricalProbs, dist.CategoricalLogits)
        leaf = fn.base_dist if type(fn) is dist.ExpandedDistribution else fn
        if not isinstance(leaf, (*plain, dist.BernoulliProbs, dist.BernoulliLogits)):
            values = jnp.arange(low, high + 1).reshape(-1, *(1,) * len(fn.batch_shape))
            fn = dist.CategoricalLogits(jnp.moveaxis(fn.log_prob(values), 0, -1))
        for mask in masks:
            fn = fn.mask(mask)
        msg["fn"] = fn
        msg["infer"] = {**msg["infer"], "enumerate": "parallel"}

    def postprocess_message(self, msg: dict[str, Any]) -> None:
        if self._ours(msg):
            msg["value"] = msg["value"] + self.sites[msg["name"]].levels[0]

    def _ours(self, msg: dict[str, Any]) -> bool:
        inside = msg["type"] == "sample" and msg["name"] in self.sites
        return inside and not msg.get("_control_flow_done", False) and not msg["is_observed"]


class _Record(Messenger):
    """Notes sample sites with the names of their axes, which NumPyro's own trace would claim."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        super().__init__(fn)
        self.found: dict[str, tuple[dict[str, Any], dict[int, str]]] = {}

    def postprocess_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] != "sample":
            return
        from numpyro.contrib.funsor.enum_messenger import _DIM_STACK

        names: dict[int, str] = {}
        if "dim_to_name" in msg["infer"]:
            names = dict(msg["infer"]["dim_to_name"])
        else:
            current = _DIM_STACK.current_frame
            frames = (current, *current.parents, *current.iter_parents, _DIM_STACK.global_frame)
            for frame in reversed(frames):
                names |= frame.dim_to_name
        names |= {f.dim: f.name for f in msg["cond_indep_stack"] if f.dim is not None}
        self.found[msg["name"]] = (msg.copy(), names)


def _at_values(values: dict[str, Array], site: dict[str, Any]) -> Array | None:
    """The value of a continuous site, in the user's coordinates."""
    value = values.get(site["name"])
    if value is None or site["type"] != "sample":
        return None
    index = site["infer"].get("_scan_current_index", None)
    if index is None:
        return value
    here = value[index]
    return here.reshape(*(1,) * (len(site["fn"].shape()) - here.ndim), *here.shape)


Counts = Mapping[str, tuple[int, ...] | None]
"""By site, how many first entries of its batch count (steps of a scan first); None for all."""


def factors(
    model: Model, values: dict[str, Array], data: Data, counts: Counts | None = None
) -> tuple[dict[str, list[Table]], Graph]:
    """Tables of the discrete sites and of all sites that depend on them, by site.

    Args:
        model: with discrete sites to be summed out.
        values: of its continuous latent sites, in the user's coordinates.
        data: of the program.
        counts: the sites beside the discrete ones that are to count; by default all.

    Raises:
        DiscreteLatentError: there are too many discrete sites.
    """
    summed, levels = model.summed, model.summed.levels()
    others = {*summed.touched, *summed.dependent}
    wanted = {*summed.names, *(others if counts is None else others & set(counts))}
    inner = _Indexed(model, {latent.name: latent for latent in summed.sites})
    placed = handlers.substitute(inner, substitute_fn=_Values(values))
    record = _Record(_enum()(placed, first_available_dim=-1 - summed.axes))
    try:
        record(data)
    except ValueError as error:
        if "Ran out of free dims" not in str(error):
            raise
        raise DiscreteLatentError(
            f"{len(summed.sites)} discrete sites outside of plates and scans are too many to be "
            f"summed out at once (their values and the plates have {_AXES} axes together). Put "
            "them into a plate, or write a chain of them with numpyro.contrib.control_flow.scan."
        ) from None
    plates: dict[str, frozenset[str]] = {}
    sizes: dict[str, int] = {}
    dims: dict[str, int] = {}
    for name, (site, names) in record.found.items():
        rows = {f.name: f.size for f in site["cond_indep_stack"]}
        steps = {n: _length(site, d) for d, n in names.items() if n.startswith(_TIME)}
        sizes |= rows | steps
        dims |= {n: d for d, n in names.items() if n in rows}
        if (base := lag_of(name)[1]) in levels:
            sizes[name] = levels[base][1]
            plates[name] = frozenset({*rows, *steps})
    found: dict[str, list[Table]] = {}
    imputed = {latent.name for latent in (*model.latents, *summed.sites) if latent.masked}
    unrolled: dict[str, int] = {}
    for lag, base in map(lag_of, record.found):
        unrolled[base] = max(lag, unrolled.get(base, 0))
    for name, (site, names) in record.found.items():
        lag, base = lag_of(name)
        if base in wanted:
            shape = (counts or {}).get(base)
            first = unrolled[base]
            kept = None if shape is None else _Kept(shape, first, first - lag)
            proper = base in imputed
            found.setdefault(base, []).append(_table(name, site, names, sizes, proper, kept))
    times = frozenset(n for n in sizes if n.startswith(_TIME))
    return found, Graph(plates, sizes, times, dims)


def _length(site: dict[str, Any], dim: int) -> int:
    """Steps of a scan, which are that axis of its sites."""
    value = jnp.shape(site["value"])
    shapes = (site["fn"].batch_shape, value[: len(value) - site["fn"].event_dim])
    return int(max(s[dim] for s in shapes if len(s) >= -dim))


class _Values:
    """``_at_values`` for NumPyro's handler, equal to itself only."""

    def __init__(self, values: dict[str, Array]) -> None:
        self.values = values

    def __call__(self, site: dict[str, Any]) -> Array | None:
        return _at_values(self.values, site)


@dataclasses.dataclass(frozen=True)
class _Kept:
    """The first entries of a site, those beyond which are left out of its density.

    Attributes:
        shape: how many, on each batch axis.
        unrolled: first steps of a scan that are sites of their own; 0 outside of scans.
        step: the step that this site is, where it is one of these.
    """

    shape: tuple[int, ...]
    unrolled: int
    step: int

    def of(self, log_prob: Array, names: dict[int, str]) -> Array:
        """The log probability of the others is one."""
        rows = self.shape[1:] if self.unrolled else self.shape
        dims = range(-log_prob.ndim, 0)
        rolled = [d for d in dims if names.get(d, "").startswith(_TIME)]
        alone = bool(self.unrolled) and not rolled
        inside = jnp.asarray(not alone or self.step < self.shape[0])
        for dim in dims:
            size, first = log_prob.shape[dim], 0
            if dim in rolled:
                most, first = self.shape[0], self.unrolled
            else:
                most = rows[dim] if -dim <= len(rows) else size
            if first or most < size:
                there = first + jnp.arange(size) < most
                inside = inside & there.reshape(-1, *(1,) * (-dim - 1))
        return jnp.where(inside, log_prob, 0.0)


def _table(
    name: str,
    site: dict[str, Any],
    names: dict[int, str],
    sizes: dict[str, int],
    proper: bool,
    kept: _Kept | None = None,
) -> Table:
    """The site's log probability with its axes named; axes without a name are added up.

    ``proper``: it is the missing half of an ``obs_mask`` site, which keeps its prior. ``kept``:
    the entries that count; all by default.
    """
    fn = without_mask(site["fn"]) if proper else site["fn"]
    log_prob = fn.log_prob(site["value"])
    if site["scale"] is not None:
        log_prob = site["scale"] * log_prob
    log_prob = jnp.asarray(log_prob, float)
    if kept is not None:
        log_prob = kept.of(log_prob, names)
    axes: list[str] = []
    for dim in range(-log_prob.ndim, 0):
        label = names.get(dim, "")
        known = label in sizes and (log_prob.shape[dim] > 1 or sizes[label] == 1)
        axes.append(label if known and label not in axes else f"#{dim}")
    table = Table(tuple(axes), log_prob).added([a for a in axes if a.startswith("#")])
    rows = [f.name for f in site["cond_indep_stack"] if f.name not in table.names]
    own = [name] if name in sizes and name not in table.names and not site["is_observed"] else []
    missing = [n for n in (*rows, *own) if n in sizes]
    if missing:
        wide = table.placed((*missing, *table.names))
        shape = (*(sizes[n] for n in missing), *table.values.shape)
        table = Table((*missing, *table.names), jnp.broadcast_to(wide, shape))
    return table


def abstract_factors(model: Model, data: Data) -> Any:
    """The tables without computing anything."""
    values = {latent.name: latent.blank() for latent in model.latents}
    return jax.eval_shape(lambda v: factors(model, v, data)[0], values)
