"""Model: a NumPyro model, its static arguments, and the handlers that give values to latents."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array
from numpyro import handlers
from numpyro.infer import util as numpyro_util

from probinf.core.program import Key, Position
from probinf.fronts.arguments import ArraySlot
from probinf.fronts.begun import Begun
from probinf.fronts.distributions.completion import Complete
from probinf.fronts.latent import Latent
from probinf.fronts.summed import Summed


class NumpyroData(NamedTuple):
    """The dynamic part of a NumPyro program.

    Attributes:
        arguments: the array leaves of the model's arguments, by name.
        replaced: observed values that take the place of the ones in the model, by site.
    """

    arguments: dict[str, Array]
    replaced: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Model:
    """A NumPyro model with the static part of its arguments; compared by value.

    Attributes:
        fn: the model.
        treedef: structure of ``(args, kwargs)``.
        static: the leaves that are not arrays, an ``ArraySlot`` where one belongs.
        latents: what is known of each latent site that is a coordinate.
        summed: the discrete latent sites that are summed out.
    """

    fn: Callable[..., Any]
    treedef: Any
    static: tuple[Any, ...]
    latents: tuple[Latent, ...] = ()
    summed: Summed = Summed()

    def __call__(self, data: NumpyroData) -> None:
        """Run the model; to be called under handlers."""
        data = jax.tree.map(_widened, data)
        if self.latents:  # from here on values are computed with, and may meet traced ones
            data = jax.tree.map(jnp.asarray, data)
        known = data.arguments
        leaves = [known[v.name] if isinstance(v, ArraySlot) else v for v in self.static]
        args, kwargs = jax.tree.unflatten(self.treedef, leaves)
        fn = handlers.condition(self.fn, data.replaced) if data.replaced else self.fn
        Complete(Begun(fn))(*args, **kwargs)

    def parts(self) -> dict[str, Any]:
        """What the model consists of, by name, to tell it from another one."""
        args, kwargs = jax.tree.unflatten(self.treedef, self.static)
        numbered = {str(k + 1): value for k, value in enumerate(args)}
        named = {f"argument {name}": value for name, value in {**numbered, **kwargs}.items()}
        return {"model": self.fn, **named}

    def trace(
        self,
        data: NumpyroData,
        x: Position = None,
        key: Key | None = None,
        values: dict[str, Array] | None = None,
    ) -> dict:
        """One trace: latents at ``x`` where given, drawn with ``key`` where not.

        Without a key, discrete sites that are summed out have their lowest values.

        Those in ``values`` have these in the user's coordinates, whatever ``x`` says.
        """
        return handlers.trace(self.bound(x, key, values)).get_trace(data)

    def bound(
        self,
        x: Position = None,
        key: Key | None = None,
        values: dict[str, Array] | None = None,
    ) -> Callable[[NumpyroData], None]:
        """The model under handlers that give values to its latents."""
        model = self if key is None else handlers.seed(self, key)
        if key is None and x is not None:
            x = {latent.name: latent.blank() for latent in self.summed.sites} | x
        if x is None:
            return model
        return handlers.substitute(model, substitute_fn=partial(_placed, x, values or {}))


def _widened(value: Any) -> Any:
    """Whole numbers in the type that the model's own have: those of a scan's carry must agree."""
    return value.astype(jnp.result_type(int)) if value.dtype == jnp.int32 else value


_JACOBIAN_OF = "probinf_jacobian_of"


def _placed(x: Position, values: dict[str, Array], site: dict[str, Any]) -> Any:
    """The site's value: the user's where there is one."""
    if site["name"] not in values or site["type"] != "sample":
        return _into_support(x, site)
    value, index = values[site["name"]], site["infer"].get("_scan_current_index", None)
    return value if index is None or value.ndim <= len(site["fn"].shape()) else value[index]


def _into_support(x: Position, site: dict[str, Any]) -> Any:
    """The site's value; its Jacobian comes back as a factor site that says whose it is."""
    if site["name"] in x and site["type"] == "sample" and site["fn"].support.is_discrete:
        value, index = x[site["name"]], site["infer"].get("_scan_current_index", None)
        return value if index is None or value.ndim <= len(site["fn"].shape()) else value[index]
    with handlers.infer_config(config_fn=lambda _: {_JACOBIAN_OF: site["name"]}):
        return numpyro_util._unconstrain_reparam(x, site)


def jacobian_of(site: dict[str, Any]) -> str | None:
    """Name of the latent whose Jacobian this site holds; its own name would not tell, because
    scope handlers change it."""
    return site["infer"].get(_JACOBIAN_OF) if site["type"] == "sample" else None
