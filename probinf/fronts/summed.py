"""Summed: what is known of a model whose finite discrete latent sites are summed out."""

from __future__ import annotations

import dataclasses

from probinf.fronts.latent import Latent


@dataclasses.dataclass(frozen=True)
class Summed:
    """The discrete sites that a model sums out; static and compared by value.

    Attributes:
        sites: the discrete latent sites, each with its lowest and highest value.
        touched: observed sites (factors too) whose density depends on a discrete one.
        dependent: continuous latent sites whose prior depends on a discrete one.
        varying: deterministic sites whose value depends on a discrete one.
        axes: batch axes that the model itself uses; those beyond are for the discrete values.
    """

    sites: tuple[Latent, ...] = ()
    touched: tuple[str, ...] = ()
    dependent: tuple[str, ...] = ()
    varying: tuple[str, ...] = ()
    axes: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the discrete sites."""
        return tuple(latent.name for latent in self.sites)

    def levels(self) -> dict[str, tuple[int, int]]:
        """Lowest value and number of values, by site."""
        found = {}
        for latent in self.sites:
            assert latent.levels is not None
            low, high = latent.levels
            found[latent.name] = (low, high - low + 1)
        return found
