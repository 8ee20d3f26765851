"""FittedAnyMarginal: probabilities of any part of a discrete model given any other part."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from probinf.amortized.discrete.exact import ExactMarginal, completed, exactly
from probinf.amortized.discrete.law import as_law
from probinf.amortized.discrete.network import UNKNOWN, AnyMarginalNetwork
from probinf.amortized.discrete.sites import DiscreteSites, Site, Values
from probinf.amortized.training import weights
from probinf.amortized.training.ranges import Ranges
from probinf.core.coordinates import flatten
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.errors import ArrayError, MethodError


@dataclasses.dataclass(frozen=True)
class FittedAnyMarginal:
    """A joint law of whole numbers that answers every marginal and conditional in one pass.

    Values are arrays by site (or one array where there is one site), of one point or with a
    leading axis of points. NaN entries, and sites that are left out, are unknown.

    Attributes:
        network: the Equinox module, of vectors with -1 where unknown.
        config: what the network is built from.
        training: steps, seconds and, for a network that learned from a density, ``log_z`` with its
            error and Pareto k.
    """

    network: AnyMarginalNetwork
    config: dict[str, Any]
    training: dict[str, Any]

    @property
    def sites(self) -> DiscreteSites:
        """Names, shapes and values."""
        return DiscreteSites(
            tuple(Site(s["name"], tuple(s["shape"]), s["low"], s["levels"])
                  for s in self.config["sites"])
        )  # fmt: skip

    def log_marginal(self, values: Values) -> np.ndarray:
        """Log probability of the known entries, the unknown ones summed out, in one pass.

        Args:
            values: of one point (a scalar returns) or of n (n numbers).

        Raises:
            ArrayError: a value, shape or site is not the model's.
        """
        rows = self.sites.vectors(values)
        found = np.asarray(_log_marginals(self.network, rows), float)
        return np.asarray(found[0] if self.sites.single(values) else found)

    def log_conditional(self, values: Values, given: Values) -> np.ndarray:
        """Log probability of the known entries of ``values`` given those of ``given``.

        Raises:
            ArrayError: an entry is known in both.
        """
        asked, known = self.sites.vectors(values), self.sites.vectors(given)
        if ((asked >= 0) & (known >= 0)).any():
            raise ArrayError("log_conditional: an entry is in values and in given; leave one out.")
        both = np.where(asked >= 0, asked, known)
        known = np.broadcast_to(known, both.shape)
        found = _log_marginals(self.network, both) - _log_marginals(self.network, known)
        single = self.sites.single(values) and self.sites.single(given)
        return np.asarray(found[0] if single else found, float)

    def probabilities(self, given: Values = None) -> dict[str, np.ndarray]:
        """Probability of every value of every entry given the known ones, in one pass.

        Returns:
            By site an array of the points, the site's shape, and its values from the smallest on;
            entries that are given are certain.
        """
        rows = self.sites.vectors(given)
        log_p = np.asarray(_log_conditionals(self.network, rows), float)
        certain = np.eye(log_p.shape[-1])[np.maximum(rows, 0)]
        p = np.where((rows >= 0)[..., None], certain, np.exp(log_p))
        p = p[0] if self.sites.single(given) else p
        found, first = {}, 0
        for site in self.sites.each:
            part = p[..., first : first + site.size, : site.levels]
            found[site.name] = part.reshape(*p.shape[:-2], *site.shape, site.levels)
            first += site.size
        return found

    def draw(self, key: int | Key, draws: int = 1000, *, given: Values = None) -> dict[str, Any]:
        """Draws of all entries given the known ones, each one after the other in random order.

        Args:
            key: random key or seed.
            draws: how many.
            given: values of one point.

        Raises:
            ArrayError: there are several points.
        """
        rows = self._one("draw", given)
        z = completed(self.network, as_key(key), rows, draws)[0]
        return self.sites.split(np.asarray(z) + self.sites.low)

    def as_program(self, like: Program) -> Program:
        """The model as a normalised program in the coordinates of another, for ``pi.refine``.

        Args:
            like: a program with the same discrete sites and no other.

        Raises:
            MethodError: its sites are others.
        """
        self._check(like)
        return as_law(like, self.network, self.sites)

    def exact(
        self, program: Program, values: Values = None, *, key: int | Key, draws: int = 2000
    ) -> ExactMarginal:
        """The probability of the known entries under a program, with the network as proposal.

        The network completes the known entries, and each completion is weighted by the program's
        density over the network's: the mean weight is an unbiased estimate of the sum over all
        completions, and that of no known entry is one of the evidence.

        Args:
            program: the exact measure.
            values: of one point; nothing known asks for the evidence alone.
            key: random key or seed.
            draws: completions.

        Raises:
            MethodError: the program's sites are others, or there are fewer than 100 draws.
            ArrayError: there are several points.
        """
        self._check(program)
        rows = self._one("exact", values)
        if draws < 100:
            raise MethodError(f"exact: at least 100 draws are needed, got {draws}.")
        flat, _ = flatten(program, integers=True)
        return exactly(self.network, flat, self.sites.low, rows, as_key(key), draws)

    def save(self, path: str | pathlib.Path) -> None:
        """Write to a file that ``pi.amortized.load`` reads."""
        weights.save(
            path, self.network, kind="any_marginal", config=self.config, ranges=Ranges({}),
            training=self.training,
        )  # fmt: skip

    @classmethod
    def skeleton(cls, config: dict[str, Any]) -> AnyMarginalNetwork:
        """A network of the right structure."""
        return AnyMarginalNetwork(config, jax.random.key(0))

    @classmethod
    def assemble(cls, network: AnyMarginalNetwork, contents: weights.Contents) -> FittedAnyMarginal:
        """Put a loaded network together."""
        return cls(network, contents.config, contents.training)

    def _one(self, name: str, values: Values) -> np.ndarray:
        rows = self.sites.vectors(values)
        if not self.sites.single(values):
            raise ArrayError(f"{name}: give the values of one point, got {len(rows)}.")
        return rows[0]

    def _check(self, program: Program) -> None:
        if (found := DiscreteSites.of(program)) != self.sites:
            raise MethodError(
                f"the program has the sites {found.each}, the network {self.sites.each}."
            )


@eqx.filter_jit
def _log_marginals(network: AnyMarginalNetwork, rows: Any) -> Array:
    heights = jax.vmap(network.height)(rows)
    return heights - network.height(jnp.full(rows.shape[1], UNKNOWN))


@eqx.filter_jit
def _log_conditionals(network: AnyMarginalNetwork, rows: Any) -> Array:
    return jax.vmap(network.log_conditionals)(rows)
