"""TrainedPrior: quantiles of the prior that a network was trained on."""

from __future__ import annotations

import warnings

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.nets.fixed import Fixed
from probinf.amortized.neural.parameters import Parameters
from probinf.core.program import Program
from probinf.errors import RangeWarning, StructureError

_LEVELS = 201
_OUTSIDE = 0.01
_GAP = 0.075  # two samples of 4096 from one law are further apart once in a billion times


class TrainedPrior(Fixed):
    """The margins of a prior, to notice that a program asks with another one.

    Attributes:
        quantiles: (levels, p) of each parameter on the user's scale, the extremes included.
    """

    quantiles: Float[Array, "levels p"]

    @classmethod
    def of(cls, program: Program, parameters: Parameters) -> TrainedPrior:
        """Of the base of a program without random keys."""
        draws = parameters.draws(program)
        assert draws is not None  # an improper prior cannot simulate
        return cls.seen(draws)

    @classmethod
    def seen(cls, values: np.ndarray) -> TrainedPrior:
        """Of parameters (n, p) on the user's scale."""
        levels = np.linspace(0, 1, _LEVELS)
        return cls(jnp.asarray(np.quantile(values, levels, axis=0), float))

    @classmethod
    def blank(cls, size: int) -> TrainedPrior:
        """Of the right structure; to be filled from a file."""
        return cls(jnp.zeros((_LEVELS, size)))

    def warn_outside(
        self, program: Program, parameters: Parameters, learned: str = "likelihood"
    ) -> None:
        """Warn where a new prior reaches to values that were never learned from."""
        draws = parameters.draws(program)
        low, high = np.asarray(self.quantiles[0]), np.asarray(self.quantiles[-1])
        if draws is None:
            text = "the prior is improper, so that it reaches beyond all values of the training"
        else:
            share = np.mean((draws < low) | (draws > high), axis=0)
            k = int(np.argmax(share))
            if not share[k] > _OUTSIDE:
                return
            text = (
                f"{share[k]:.1%} of the prior of '{parameters.labels[k]}' lie outside "
                f"{low[k]:.4g} to {high[k]:.4g}, where the {learned} was learned"
            )
        warnings.warn(
            f"posterior: {text}. What the network says beyond is a guess: train on a wider prior, "
            "or see that the posterior stays inside.",
            RangeWarning,
            stacklevel=3,
        )

    def gaps(self, draws: np.ndarray) -> np.ndarray:
        """Largest difference of the distribution functions of each parameter, (p,)."""
        levels, ours = np.linspace(0, 1, _LEVELS), np.asarray(self.quantiles, float)
        found = np.ones(ours.shape[1])
        for k in range(len(found)):
            order = np.sort(draws[:, k])
            after = np.searchsorted(order, ours[:, k], "right") / len(order)
            before = np.searchsorted(order, ours[:, k], "left") / len(order)
            found[k] = np.max(np.maximum(before - levels, levels - after), initial=0.0)
        return found

    def refuse_other(self, program: Program, parameters: Parameters) -> None:
        """Refuse a program with another prior, to which a learned posterior does not apply.

        Raises:
            StructureError: the margins of a site differ.
        """
        draws = parameters.draws(program)
        gaps = np.ones(parameters.size) if draws is None else self.gaps(draws)
        k = int(np.argmax(gaps))
        if gaps[k] <= _GAP:
            return
        theirs = "improper" if draws is None else _spread(draws[:, k])
        ours = np.asarray(self.quantiles, float)
        raise StructureError(
            f"posterior: the prior of '{parameters.labels[k]}' is not the one of the training "
            f"({theirs}; in training {_spread(ours[:, k])}), and a learned posterior belongs to "
            "its prior. Use NLE, whose prior may change, train anew, or correct the answer for "
            "the prior of the training: pi.refine(program, fitted.posterior(y))."
        )


def _spread(values: np.ndarray) -> str:
    low, middle, high = np.quantile(values, [0.025, 0.5, 0.975])
    return f"median {middle:.3g}, 95 % in {low:.3g} to {high:.3g}"
