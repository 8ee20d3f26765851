"""Whether one step size fits all particles, and whether moves fail where the weights lead."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.population import normalise
from probinf.results.findings import Finding

_UNEVEN = 0.05  # share of place from which shorter steps can be called for ...
_DEVIATIONS = 3.0  # ... and so many standard deviations of a share by chance
_STUCK = 0.2  # largest correlation with the start ...
_FAILING = -0.1  # ... or correlation with the likelihood that calls for them
_NOTHING = 1e-6  # variance of acceptances that is none
_FOUND_PLACE = 0.2  # share of place from which a finding is made ...
_FOUND_LIKELIHOOD = -0.45  # ... where the correlation with the likelihood is below this


class Acceptances(NamedTuple):
    """How often the moves of every particle by the whole step were accepted.

    Attributes:
        moves: how many these are.
        refused: sum of one minus their acceptances, which keeps digits where nearly all are one.
        squares: sum of the squares of that.
    """

    moves: Int[Array, ""]
    refused: Float[Array, " n"]
    squares: Float[Array, " n"]

    def after(self, acceptance: Float[Array, "g m ..."], short: Bool[Array, ""]) -> Acceptances:
        """With one more move of all particles, which does not count if it was by a short step."""
        own = 1 - acceptance.reshape(len(self.refused), -1).mean(axis=1)
        own = jnp.where(short, 0.0, own)
        return Acceptances(self.moves + ~short, self.refused + own, self.squares + own**2)

    @property
    def mean(self) -> Float[Array, " n"]:
        """Average acceptance of each particle's moves."""
        return 1 - self.refused / self.moves

    @property
    def of_place(self) -> Float[Array, ""]:
        """Share of their variance that belongs to particles (intraclass correlation).

        NaN of a single move, 0 where acceptances hardly vary.

        Source: Shrout & Fleiss (1979), ICC(1, 1).
        """
        own = self.refused / self.moves
        within = jnp.mean(self.squares - self.refused * own) / jnp.maximum(self.moves - 1, 1)
        within = jnp.maximum(within, 0.0)
        between = jnp.maximum(jnp.var(own) - within / self.moves, 0.0)
        both = between + within
        share = jnp.where(both > _NOTHING, between / jnp.maximum(both, _NOTHING), 0.0)
        return jnp.where(self.moves > 1, share, jnp.nan)

    def along(
        self, log_likelihood: Float[Array, " n"], log_w: Float[Array, " n"]
    ) -> Float[Array, ""]:
        """Correlation of acceptance with the log likelihood where the moves have led.

        Args:
            log_likelihood: after the moves; particles at which it is not finite do not count.
            log_w: log weights.
        """
        usable = jnp.isfinite(log_likelihood)
        w = jnp.where(usable, jnp.exp(normalise(log_w)), 0.0)
        w = w / jnp.maximum(w.sum(), 1e-12)
        top = jnp.max(jnp.where(usable, log_likelihood, -jnp.inf))
        value = jnp.where(usable, log_likelihood - top, 0.0)  # a large offset costs no digits
        refused = self.refused / self.moves  # zeros, where all are accepted, are exact
        a, b = w @ refused - refused, value - w @ value
        power = jnp.sqrt((w @ a**2) * (w @ b**2))
        return jnp.where(power > 1e-12, (w @ (a * b)) / jnp.maximum(power, 1e-12), 0.0)

    def call_for_shorter(
        self,
        along: Float[Array, ""],
        correlation: Float[Array, ""],
        chains: int,
        before: Bool[Array, ""],
    ) -> Bool[Array, ""]:
        """Whether every second move of the next stage should be by a shorter step.

        A step is tuned to the mean acceptance, which the mouth of a funnel decides. Where the
        acceptance belongs to the place, no one step fits all particles; and then either those of
        small acceptance have stayed where they were, or weights lead to them.

        Args:
            along: correlation of acceptance with the log likelihood.
            correlation: largest one of a coordinate with its start.
            chains: that were moved, each by itself.
            before: what was called for before, which stays where a single move says nothing.
        """
        k = self.moves.astype(float)
        chance = jnp.sqrt(2 / (chains * k * jnp.maximum(k - 1, 1)))
        uneven = self.of_place > jnp.maximum(_UNEVEN, _DEVIATIONS * chance)
        called = uneven & ((correlation > _STUCK) | (along < _FAILING))
        return jnp.where(self.moves > 1, called, before)


def no_acceptances(particles: int) -> Acceptances:
    """Before the first move."""
    nothing = jnp.zeros((particles,))
    return Acceptances(jnp.zeros((), int), nothing, nothing)


def uneven_moves(of_place: np.ndarray, along: np.ndarray) -> tuple[Finding, ...]:
    """A finding where the moves of the last stage failed at the particles of large likelihood.

    Args:
        of_place: (island,) share of the variance of acceptances that belongs to particles.
        along: (island,) correlation of acceptance with the log likelihood.
    """
    if not of_place.size:
        return ()
    place, correlation = float(np.median(of_place)), float(np.median(along))
    if place < _FOUND_PLACE or correlation > _FOUND_LIKELIHOOD:
        return ()
    return (
        Finding(
            "uneven_moves",
            f"moves fail where the likelihood is large (correlation of acceptance and log "
            f"likelihood {correlation:.2f}): weights lead to where the kernel's steps are too "
            "long (the neck of a funnel, a thin mode), and what lies farther in can be missing "
            "from draws, evidence and error. Use other coordinates (a centred or non-centred "
            "prior) or more particles and moves, and compare with Nested.",
        ),
    )
