"""from_numpyro: a NumPyro model and its data become a Program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro import handlers
from numpyro.infer import util as numpyro_util

from probinf.errors import ImproperPriorError, ModelError
from probinf.fronts.completion import Complete, reach_inside
from probinf.fronts.discovery import Latent, abstractly, discover, parameter_violations
from probinf.fronts.edges import unconstrained
from probinf.program import Data, Key, Observations, Position, Program, Score


class NumpyroData(NamedTuple):
    """The dynamic part of a NumPyro program.

    Attributes:
        arguments: the array leaves of the model's arguments.
        replaced: observed values that take the place of the ones in the model, by site.
    """

    arguments: tuple[Array, ...]
    replaced: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Model:
    """A NumPyro model with the static part of its arguments; compared by value.

    Attributes:
        fn: the model.
        treedef: structure of ``(args, kwargs)``.
        static: the leaves that are not arrays, None where an array belongs.
        latents: what is known of each latent site.
    """

    fn: Callable[..., Any]
    treedef: Any
    static: tuple[Any, ...]
    latents: tuple[Latent, ...] = ()

    def __call__(self, data: NumpyroData) -> None:
        """Run the model; to be called under handlers."""
        arrays = iter(data.arguments)
        leaves = [next(arrays) if leaf is _ARRAY else leaf for leaf in self.static]
        args, kwargs = jax.tree.unflatten(self.treedef, leaves)
        fn = handlers.condition(self.fn, data.replaced) if data.replaced else self.fn
        Complete(fn)(*args, **kwargs)

    def trace(self, data: NumpyroData, x: Position = None, key: Key | None = None) -> dict:
        """One trace: latents at ``x`` where given, drawn with ``key`` where not."""
        return handlers.trace(self.bound(x, key)).get_trace(data)

    def bound(self, x: Position = None, key: Key | None = None) -> Callable[[NumpyroData], None]:
        """The model under handlers that give values to its latents."""
        model = self if key is None else handlers.seed(self, key)
        if x is None:
            return model
        return handlers.substitute(model, substitute_fn=partial(_into_support, x))


_JACOBIAN_OF = "probinf_jacobian_of"


def _into_support(x: Position, site: dict[str, Any]) -> Any:
    """The site's value; its Jacobian comes back as a factor site that says whose it is."""
    if site["name"] in x and site["type"] == "sample" and site["fn"].support.is_discrete:
        value, index = x[site["name"]], site["infer"].get("_scan_current_index", None)
        return value if index is None or value.ndim <= len(site["fn"].shape()) else value[index]
    with handlers.infer_config(config_fn=lambda _: {_JACOBIAN_OF: site["name"]}):
        return numpyro_util._unconstrain_reparam(x, site)


def _jacobian_of(site: dict[str, Any]) -> str | None:
    """Name of the latent whose Jacobian this site holds; its own name would not tell, because
    scope handlers change it."""
    return site["infer"].get(_JACOBIAN_OF) if site["type"] == "sample" else None


class _ArraySlot:
    """Marks where an array belongs among the static leaves."""

    def __repr__(self) -> str:
        return "<array>"


_ARRAY = _ArraySlot()


def _log_prob(site: dict[str, Any]) -> Array:
    """Log probability of one site with its scale, as NumPyro counts it."""
    log_prob, scale = site["fn"].log_prob(site["value"]), site["scale"]
    return log_prob if scale is None else scale * log_prob


def _unscaled(site: dict[str, Any]) -> Array:
    """Log probability without scale."""
    return jnp.sum(site["fn"].log_prob(site["value"]))


def _unmasked(site: dict[str, Any]) -> Array:
    """Log probability without scale and mask."""
    fn = site["fn"]
    while type(fn).__name__ == "MaskedDistribution":
        fn = fn.base_dist
    return jnp.sum(fn.log_prob(site["value"]))


def _free_name(name: str, trace: dict[str, Any]) -> str:
    while name in trace:
        name = f"_{name}"
    return name


@dataclasses.dataclass(frozen=True)
class _Evaluate:
    """Shared by score and pointwise: one trace, split into base terms and weight terms."""

    model: Model

    def terms(self, x: Position, data: Data) -> tuple[Array, dict[str, Array]]:
        trace = self.model.trace(data, x)
        log_base: Any = 0.0
        weights: dict[str, Array] = {}
        prior_sites = set()
        for latent in self.model.latents:
            names = [latent.name] + [n for n, s in trace.items() if _jacobian_of(s) == latent.name]
            prior_sites.update(names)
            counted = sum(jnp.sum(_log_prob(trace[n])) for n in names)
            if latent.proper and (latent.scaled or latent.masked):
                # the base stays a normalised prior; what a scale handler adds is a weight,
                # and the masked half of an obs_mask site keeps its proper prior
                base = sum(_unmasked(trace[n]) for n in names)
                if latent.scaled:
                    added = counted - sum(_unscaled(trace[n]) for n in names)
                    weights[_free_name(f"{latent.name}_scale", trace)] = jnp.asarray(added)
            else:
                base = counted
            if latent.discrete:  # log_prob does not look whether the value is a possible one
                site = trace[latent.name]
                inside = jnp.all(site["fn"].support(site["value"]))
                base = jnp.where(inside, base, -jnp.inf)
            log_base = log_base + base
        for name, site in trace.items():
            if site["type"] == "sample" and site["is_observed"] and name not in prior_sites:
                weights[name] = jnp.asarray(_log_prob(site))
        return jnp.asarray(log_base, float), weights


@dataclasses.dataclass(frozen=True)
class _NumpyroScore(_Evaluate):
    def __call__(self, x: Position, data: Data) -> Score:
        log_base, weights = self.terms(x, data)
        total = sum((jnp.sum(w) for w in weights.values()), start=jnp.zeros((), float))
        return Score(log_base, total)


@dataclasses.dataclass(frozen=True)
class _NumpyroPointwise(_Evaluate):
    def __call__(self, x: Position, data: Data) -> dict[str, Array]:
        return self.terms(x, data)[1]


@dataclasses.dataclass(frozen=True)
class _NumpyroDraw:
    model: Model

    def __call__(self, key: Key, data: Data) -> Position:
        for latent in self.model.latents:
            if not latent.proper:
                what = "draws from its prior" if latent.normalised else "normalised prior"
                raise ImproperPriorError(
                    f"site '{latent.name}' ({latent.distribution}) has no {what} "
                    f"({latent.improper}), so this program has no draws and no evidence. Give "
                    "the site a proper prior (for instance dist.Normal(0, 10)), or use an MCMC "
                    "method such as NUTS."
                )
        trace = self.model.trace(data, key=key)
        return {latent.name: _free(latent, trace[latent.name]) for latent in self.model.latents}


def _free(latent: Latent, site: dict[str, Any]) -> Array:
    """The site's value on its unconstrained scale; a discrete one as it is."""
    if latent.discrete:
        return jnp.asarray(site["value"], jnp.result_type(int))
    return unconstrained(site["fn"].support, site["value"])


@dataclasses.dataclass(frozen=True)
class _NumpyroStart:
    """Uniform(-2, 2) on every unconstrained coordinate, as in Stan; discrete ones by the prior."""

    model: Model

    def __call__(self, key: Key, data: Data) -> Position:
        latents = self.model.latents
        keys = jax.random.split(key, len(latents))
        x = {
            latent.name: jax.random.uniform(k, latent.shape, minval=-2.0, maxval=2.0)
            for latent, k in zip(latents, keys, strict=True)
            if not latent.discrete
        }
        if any(latent.discrete for latent in latents):
            trace = self.model.trace(data, x, jax.random.fold_in(key, 1))
            x |= {n.name: _free(n, trace[n.name]) for n in latents if n.discrete}
        return x


@dataclasses.dataclass(frozen=True)
class _NumpyroConstrain:
    model: Model

    def __call__(self, x: Position, data: Data) -> dict[str, Array]:
        trace = self.model.trace(data, x)
        latents = {latent.name for latent in self.model.latents}
        return {
            name: site["value"]
            for name, site in trace.items()
            if name in latents or site["type"] == "deterministic"
        }


class _Uncondition(handlers.uncondition):
    """NumPyro's handler, made to agree with the density in two places where it does not.

    It reaches inside ``scan`` and ``cond`` (an autoregressive scan would else be simulated one
    step ahead of the observed values), and many data observed under one distribution are
    drawn as many.
    """

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "control_flow":
            reach_inside(msg, _Uncondition)
        if msg["type"] != "sample":
            return
        if msg["is_observed"]:
            fn, shape = msg["fn"], jnp.shape(msg["value"])
            if shape != fn.shape():
                batch = shape[: len(shape) - fn.event_dim]
                msg["fn"] = fn.expand(np.broadcast_shapes(batch, fn.batch_shape))
        super().process_message(msg)
        msg["infer"].pop("obs", None)  # a traced value must not leave a loop this way


@dataclasses.dataclass(frozen=True)
class _NumpyroSimulate:
    model: Model

    def __call__(self, key: Key, x: Position, data: Data) -> dict[str, Array]:
        # all observed values are drawn anew, the replaced ones too
        given = data._replace(replaced={})
        trace = handlers.trace(_Uncondition(self.model.bound(x, key))).get_trace(given)
        return {
            name: site["value"]
            for name, site in trace.items()
            if site["type"] == "sample"
            and site["infer"].get("was_observed", False)
            and not _is_factor(site)
        }


@dataclasses.dataclass(frozen=True)
class _GetObserved:
    model: Model

    def __call__(self, data: Data) -> dict[str, Array]:
        # any position will do; drawing one would fail under an improper prior
        anywhere = {latent.name: latent.blank() for latent in self.model.latents}
        trace = self.model.trace(data, anywhere)
        return {
            name: jnp.asarray(site["value"])
            for name, site in trace.items()
            if site["type"] == "sample" and site["is_observed"] and not _is_factor(site)
        }


def _set_observed(data: NumpyroData, values: dict[str, Array]) -> NumpyroData:
    replaced = {name: jnp.asarray(value) for name, value in values.items()}
    return data._replace(replaced={**data.replaced, **replaced})


@dataclasses.dataclass(frozen=True)
class _NumpyroSites:
    model: Model

    def __call__(self, x: Position, data: Data) -> dict[str, dict[str, Any]]:
        report = {}
        for name, site in self.model.trace(data, x).items():
            if site["type"] == "sample" and _jacobian_of(site) is None:
                report[name] = {
                    "log_prob": jnp.sum(_log_prob(site)),
                    "invalid": parameter_violations(site["fn"]),
                    "outside": jnp.any(~site["fn"].support(site["value"]))
                    if site["is_observed"] and not _is_factor(site)
                    else jnp.asarray(False),
                }
        return report


def _is_factor(site: dict[str, Any]) -> bool:
    fn = site["fn"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return type(fn).__name__ == "Unit"


def _split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, tuple, tuple]:
    """Arrays are dynamic; everything else (sizes, flags, names) is static, by value."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path((args, kwargs))
    arrays, static = [], []
    for path, leaf in leaves:
        if isinstance(leaf, np.integer | np.bool_):
            leaf = leaf.item()
        if isinstance(leaf, np.ndarray | jax.Array | np.floating):
            if isinstance(leaf, np.ndarray) and leaf.dtype.kind not in "biufc":
                raise ModelError(
                    f"{_argument(path)} is an array of dtype {leaf.dtype}; pass numbers "
                    "(category codes instead of strings, for instance)."
                )
            arrays.append(leaf)
            static.append(_ARRAY)
        else:
            try:
                hash(leaf)
            except TypeError:
                raise ModelError(
                    f"{_argument(path)} is a {type(leaf).__name__}, neither an array nor "
                    "hashable; pass its numbers as NumPy arrays (for a data frame: "
                    "frame['column'].to_numpy())."
                ) from None
            static.append(leaf)
    return treedef, tuple(static), tuple(arrays)


def _argument(path: tuple[Any, ...]) -> str:
    """How a user counts: ``argument 1`` of the model, or ``argument 'y'``."""
    first, inner = path[1], jax.tree_util.keystr(path[2:])
    named = isinstance(first, jax.tree_util.DictKey)
    return f"the model's argument {repr(first.key) if named else first.idx + 1}{inner}"


def from_numpyro(
    model: Callable[..., Any],
    *args: Any,
    allow_broadcast: bool = False,
    allow_discrete: bool = False,
    **kwargs: Any,
) -> Program:
    """The posterior of a NumPyro model given its data, split into prior and likelihood.

    Latent sites with their Jacobians form the base; observed sites and ``numpyro.factor``
    form the weight. Plates, deterministic sites, masks, scales, dependent supports,
    simplexes, Cholesky factors and ordered vectors are understood. Arrays among the
    arguments are dynamic (new data of the same shape compile nothing); all other arguments
    (sizes, flags, names) are static.

    Args:
        model: a module-level function of NumPyro primitives.
        *args: the model's positional arguments.
        allow_broadcast: accept observed values whose shape differs from their
            distribution's but broadcasts against it.
        allow_discrete: keep discrete latent sites as coordinates. They are moved in blocks,
            ``MCMC(kernels.cycle(kernels.block("z", kernels.Enumerate()), ...))``, and by no
            other engine.
        **kwargs: the model's keyword arguments, observations included.

    Returns:
        A Program on a dict of unconstrained arrays by site name.

    Raises:
        ObservationError: an observed value is NaN, out of support or misshapen.
        DiscreteLatentError: a latent site is discrete, and ``allow_discrete`` is not set.
        ParameterError: a distribution has constant parameters outside their domain.
        ImproperPriorError: a prior is improper and there is no likelihood.
        ModelError: the structure is not supported; the message names the site.
    """
    treedef, static, arrays = _split(args, kwargs)
    bare = Model(model, treedef, static)
    data = NumpyroData(arrays, {})

    def observed(latents: tuple[Latent, ...]) -> _GetObserved:
        return _GetObserved(dataclasses.replace(bare, latents=latents))

    latents = discover(
        bare, data, observed, allow_broadcast=allow_broadcast, allow_discrete=allow_discrete
    )
    full = dataclasses.replace(bare, latents=latents)
    program = Program(
        draw=_NumpyroDraw(full),
        start=_NumpyroStart(full),
        score=_NumpyroScore(full),
        constrain=_NumpyroConstrain(full),
        simulate=_NumpyroSimulate(full),
        pointwise=_NumpyroPointwise(full),
        observations=Observations(_GetObserved(full), _set_observed),
        sites=_NumpyroSites(full),
        levels=tuple((n.name, *n.levels) for n in latents if n.levels is not None),
        data=jax.tree.map(jnp.asarray, data),
    )
    anywhere = {latent.name: latent.blank() for latent in latents}
    leaves, structure = jax.tree.flatten((anywhere, program.data))
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    _try_score(_NumpyroScore(full), structure, shapes)
    return program


@lru_cache(maxsize=64)
def _try_score(score: _NumpyroScore, structure: Any, shapes: tuple[Any, ...]) -> None:
    """Trace the density with every array abstract, as an engine will; once per structure."""
    abstractly(score, *jax.tree.unflatten(structure, shapes))
