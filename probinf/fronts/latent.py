"""Latent: what is known of one latent site of a NumPyro model; refuses what cannot work."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array
from numpyro.distributions import biject_to

from probinf.errors import DiscreteLatentError, ModelError
from probinf.fronts.begun import STEPS
from probinf.fronts.distributions.completion import LACKING, described, flat
from probinf.fronts.distributions.coordinates import law_of


@dataclasses.dataclass(frozen=True)
class Latent:
    """A latent site; static and compared by value.

    Attributes:
        name: of the site.
        distribution: class name, for messages.
        shape: of the unconstrained value.
        improper: why the prior cannot be normalised or drawn from; empty when it can.
        scaled: whether a scale handler multiplies its log probability.
        masked: whether it is the unobserved half of an ``obs_mask`` site.
        discrete: whether its values are whole numbers, which have no unconstrained scale.
        levels: lowest and highest value of a discrete site where they are known.
        normalised: False where the prior is no probability distribution at all.
        given: first steps whose values a condition handler gives, to be forecast from; else 0.
    """

    name: str
    distribution: str
    shape: tuple[int, ...]
    improper: str
    scaled: bool
    masked: bool
    discrete: bool = False
    levels: tuple[int, int] | None = None
    normalised: bool = True
    given: int = 0

    def blank(self) -> Array:
        """A value of the right kind, for tracing: the lowest one, or zeros."""
        if not self.discrete:
            return jnp.zeros(self.shape)
        low = 0 if self.levels is None else self.levels[0]
        return jnp.full(self.shape, low, jnp.result_type(int))

    @property
    def proper(self) -> bool:
        """Whether the prior is normalised and can be drawn from."""
        return not self.improper


def latent_of(
    name: str, site: dict[str, Any], trace: dict[str, Any], discrete: Literal["keep", "sum"]
) -> Latent:
    """What is known of a latent site; ``discrete`` ones are kept as coordinates, or summed out.

    Raises:
        DiscreteLatentError: it is discrete and cannot be served so.
        ModelError: it has no unconstrained coordinates.
    """
    fn = site["fn"]
    kind = described(fn)
    if steps := site["infer"].get(STEPS, 0):
        return _begun(name, kind, site, steps)
    if fn.support.is_discrete:
        if discrete == "sum":
            return _to_sum(name, kind, site, trace)
        return _discrete(name, kind, site)
    masked = type(fn).__name__ == "MaskedDistribution"
    half = name.removesuffix("_unobserved")
    imputed = masked and half != name and f"{half}_observed" in trace
    improper, normalised = "", True
    if masked and not imputed:
        improper, normalised = "a mask handler switches its prior off", False
    else:
        try:
            jax.eval_shape(fn.sample, jax.random.key(0))
        except LACKING as error:
            normalised = not flat(fn)
            improper = f"it cannot be drawn from{f': {error}' if str(error) else ''}"
        except ValueError:
            pass  # the parameters that scan has stacked do not fit the shape from before
    try:
        transform = biject_to(fn.support)
    except NotImplementedError:
        raise ModelError(
            f"site '{name}' ({kind}) has support {fn.support}, which has no bijection to "
            "unconstrained coordinates."
        ) from None
    shape = tuple(transform.inverse_shape(jnp.shape(site["value"])))
    scale = site["scale"]
    scaled = scale is not None and not (isinstance(scale, int | float) and scale == 1)
    return Latent(name, kind, shape, improper, scaled, imputed, normalised=normalised)


def law_of_coordinates(latent: Latent, site: dict[str, Any]) -> Any:
    """The law of the site's unconstrained coordinates under its prior, where it is known."""
    if latent.discrete or not latent.proper:
        return None
    fn = site["fn"]
    while type(fn).__name__ == "MaskedDistribution":
        fn = fn.base_dist
    return law_of(fn)


def _discrete(name: str, kind: str, site: dict[str, Any]) -> Latent:
    """A latent site of whole numbers, with its levels where they are finite and known."""
    fn, leaf = site["fn"], leaf_of(site["fn"])
    wrapped = type(fn).__name__ == "MaskedDistribution"
    if leaf.event_dim or wrapped:
        why = "a mask handler covers it" if wrapped else "its values are vectors"
        raise DiscreteLatentError(
            f"site '{name}' ({kind}) is discrete and not observed, and {why}, which no kernel "
            "here moves. Sum it out, or write it with scalar sites."
        )
    levels = _levels_of(leaf)
    scale = site["scale"]
    scaled = scale is not None and not (isinstance(scale, int | float) and scale == 1)
    shape = tuple(jnp.shape(site["value"]))
    return Latent(name, kind, shape, "", scaled, False, True, levels)


def _levels_of(leaf: Any) -> tuple[int, int] | None:
    """Lowest and highest value where they are finite and known."""
    with contextlib.suppress(NotImplementedError, jax.errors.JAXTypeError, TypeError):
        count = leaf.enumerate_support(expand=False).shape[0]
        low = int(getattr(leaf.support, "lower_bound", 0))
        return low, low + count - 1
    return None


def _to_sum(name: str, kind: str, site: dict[str, Any], trace: dict[str, Any]) -> Latent:
    """A discrete latent site that is summed out: one of finitely many values for each entry."""
    fn, leaf = site["fn"], leaf_of(site["fn"])
    said = f"site '{name}' ({kind}) is discrete and not observed, "
    keep = "or keep it with allow_discrete=True and move it by MCMC(kernels.cycle(...))"
    if leaf.event_dim or fn.event_dim:
        raise DiscreteLatentError(
            f"{said}and its values are vectors, which are not summed out. Write it with scalar "
            "sites, in a numpyro.plate where they are many."
        )
    levels = _levels_of(leaf)
    if levels is None:
        finite = leaf.has_enumerate_support
        why = (
            "its values differ from entry to entry or are not known before the run"
            if finite
            else "has infinitely many values, or does not say which"
        )
        raise DiscreteLatentError(
            f"{said}and {why}, so that it cannot be summed out. Bound it, for instance "
            "dist.Categorical(logits=law.log_prob(jnp.arange(n))) with n so large that the rest "
            f"does not matter, {keep}."
        )
    shape = tuple(jnp.shape(site["value"]))
    scanned = "_scan_current_index" in site["infer"]
    rows = {f.dim: f.size for f in site["cond_indep_stack"]}
    for dim in range(-len(shape) + scanned, 0):
        if shape[dim] != 1 and dim not in rows:
            raise DiscreteLatentError(
                f"{said}and has {shape[dim]} entries on an axis that is no plate, so that it is "
                "not known that they are independent. Put it into "
                f"`with numpyro.plate('{name}s', {shape[dim]}):`, {keep}."
            )
    half = name.removesuffix("_unobserved")
    masked = type(fn).__name__ == "MaskedDistribution"
    imputed = masked and half != name and f"{half}_observed" in trace
    if masked and not imputed:
        warnings.warn(
            f"site '{name}': a mask handler covers it, so that each of its masked entries counts "
            f"all {levels[1] - levels[0] + 1} values with weight one; the evidence is larger by "
            "the logarithm of that for each. Put the mask around what is observed only.",
            stacklevel=4,
        )
    scale = site["scale"]
    scaled = scale is not None and not (isinstance(scale, int | float) and scale == 1)
    return Latent(name, kind, shape, "", scaled, imputed, True, levels)


def _begun(name: str, kind: str, site: dict[str, Any], steps: int) -> Latent:
    """A series of which a condition handler gives the first steps."""
    discrete = bool(site["fn"].support.is_discrete)
    shape = tuple(jnp.shape(site["value"]))
    if not discrete:
        shape = tuple(biject_to(site["fn"].support).inverse_shape(shape))
    why = f"a condition handler gives {steps} of its {shape[0]} steps"
    return Latent(name, kind, shape, why, False, False, discrete, normalised=True, given=steps)


def refuse_begun(latents: tuple[Latent, ...]) -> None:
    """Raise ModelError where a series is given in part: its rest is for predictions only."""
    for latent in latents:
        if latent.given:
            raise ModelError(
                f"site '{latent.name}': {latent.improper}, so this program can be given to "
                "posterior.predict(program=) only, which forecasts the others. To infer, pass all "
                "steps, or a scan as long as what is given."
            )


WRAPPERS = ("Independent", "ExpandedDistribution", "MaskedDistribution")


def leaf_of(fn: Any) -> Any:
    """The distribution under Independent, Expanded and Masked wrappers."""
    while type(fn).__name__ in WRAPPERS:
        fn = fn.base_dist
    return fn
