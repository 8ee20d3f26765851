"""FittedDT: a trained Distribution Transformer, asked with any prior of its kind."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from probinf.amortized.heads.gaussian_mixture import GaussianMixture
from probinf.amortized.heads.mixture_program import mixture_program
from probinf.amortized.training import weights
from probinf.amortized.training.ranges import Ranges
from probinf.amortized.transformer.network import DTNetwork
from probinf.core.inputs.arrays import ArrayLike
from probinf.core.program import Program
from probinf.errors import ArrayError


@dataclasses.dataclass(frozen=True)
class FittedDT:
    """A trained Distribution Transformer.

    Attributes:
        network: the Equinox module; ``network(prior, z, mask)`` is pure.
        config: what the network is built from.
        ranges: of the prior's parameters and the observations in training.
        training: meta-prior, steps, seconds and measured figures.
    """

    network: DTNetwork
    config: dict[str, Any]
    ranges: Ranges
    training: dict[str, Any]

    def mixture(
        self,
        z: ArrayLike,
        *,
        prior: GaussianMixture | ArrayLike,
        out_of_range: Literal["raise", "warn", "ignore"] = "raise",
    ) -> GaussianMixture:
        """The posterior as a mixture, on the unconstrained scale.

        Args:
            z: observations, shape (m, columns); (m,) where there is one column.
            prior: a mixture of as many components as in training, or the prior's parameters
                (shape and rate of an inverse-gamma, c1 and c0 of a beta).
            out_of_range: what to do about values outside the training range.

        Raises:
            ArrayError: a shape is wrong, or a value is not finite.
            RangeError: a value lies outside the training range.
        """
        z, prior = self._observations(z), self._prior(prior)
        seen: dict[str, Any] = {"observations": len(z), "z": z}
        self.ranges.check(out_of_range, **seen, **prior_ranges(prior))
        size = self.config["observations"]
        extra = max(size - len(z), 0)
        mask = np.arange(len(z) + extra) < len(z)
        return _posterior(self.network, prior, np.pad(z, ((0, extra), (0, 0))), mask)

    def posterior(
        self,
        z: ArrayLike,
        *,
        prior: GaussianMixture | ArrayLike,
        like: Program | None = None,
        out_of_range: Literal["raise", "warn", "ignore"] = "raise",
    ) -> Program:
        """The posterior as a Program with log weight 0, ready to be corrected.

        Args:
            z: observations, as in ``mixture``.
            prior: as in ``mixture``.
            like: the program to correct it with; ``pi.rebase(like, q.posterior(..., like=like))``
                is exact.
            out_of_range: what to do about values outside the training range.

        Raises:
            ArrayError: a shape is wrong, or a value is not finite.
            RangeError: a value lies outside the training range.
            StructureError: ``like`` has other coordinates.
        """
        mixture = self.mixture(z, prior=prior, out_of_range=out_of_range)
        return mixture_program(mixture, support=self.config["support"], like=like)

    def save(self, path: str | pathlib.Path, *, half: bool = False) -> None:
        """Write to a file that ``pi.amortized.load`` reads; ``half`` stores bfloat16."""
        weights.save(
            path,
            self.network,
            kind="distribution_transformer",
            config=self.config,
            ranges=self.ranges,
            training=self.training,
            half=half,
        )

    @classmethod
    def skeleton(cls, config: dict[str, Any]) -> DTNetwork:
        """A network of the right structure."""
        return DTNetwork(config, jax.random.key(0))

    @classmethod
    def assemble(cls, network: DTNetwork, contents: weights.Contents) -> FittedDT:
        """Put a loaded network together."""
        return cls(network, contents.config, contents.ranges, contents.training)

    def _observations(self, z: ArrayLike) -> np.ndarray:
        columns = self.config["columns"]
        array = np.asarray(z, np.float32)
        if array.ndim == 0 or (array.ndim == 1 and columns == 1):
            array = array.reshape(-1, 1)
        if array.ndim != 2 or array.shape[1] != columns or len(array) == 0:
            raise ArrayError(f"z must have shape (m, {columns}) with m > 0, got {array.shape}.")
        if not np.isfinite(array).all():
            raise ArrayError("z holds NaN or infinite values.")
        return array

    def _prior(self, prior: GaussianMixture | ArrayLike) -> GaussianMixture | Array:
        parameters, dimension = self.config["parameters"], self.config["dimension"]
        components = self.config["components"]
        if parameters:
            if isinstance(prior, GaussianMixture) or np.shape(prior) != (parameters,):
                raise ArrayError(
                    f"prior must be the {parameters} parameters of the prior for this network, "
                    f"got {prior!r}."
                )
            values = np.asarray(prior, np.float32)
            if not (np.isfinite(values).all() and (values > 0).all()):
                raise ArrayError(f"the prior's parameters must be positive, got {values}.")
            return jnp.asarray(values)
        shape = (components, dimension)
        if not isinstance(prior, GaussianMixture) or prior.means.shape != shape:
            raise ArrayError(
                f"prior must be a GaussianMixture of {components} components in {dimension} "
                "dimensions for this network; GaussianMixture.normal(..., components=) writes one "
                "normal as several."
            )
        return prior


def prior_ranges(prior: GaussianMixture | Array) -> dict[str, Any]:
    """The quantities of a prior that the training range is about."""
    if isinstance(prior, GaussianMixture):
        scales = jnp.diagonal(prior.factors, axis1=-2, axis2=-1)
        return {"prior means": prior.means, "prior scales": scales}
    return {f"prior parameter {k + 1}": value for k, value in enumerate(np.asarray(prior).T)}


@eqx.filter_jit
def _posterior(network: DTNetwork, prior: Any, z: Any, mask: Any) -> GaussianMixture:
    return network(prior, jnp.asarray(z), jnp.asarray(mask))
