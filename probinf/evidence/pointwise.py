"""The log likelihood of every datum at every draw."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from probinf.core.coordinates import flatten
from probinf.core.program import Program
from probinf.errors import StructureError
from probinf.results.posterior import Posterior
from probinf.results.sites import by_row
from probinf.results.statistics.weighted import weights_of


class Pointwise(NamedTuple):
    """What the data of one site say at the draws.

    Attributes:
        site: whose data.
        labels: (n,) of every datum, ``y[3]``.
        log_l: (draw, n) log likelihoods.
        log_w: (draw,) log weights.
        shape: of the site's terms; their product is n.
    """

    site: str
    labels: list[str]
    log_l: np.ndarray
    log_w: np.ndarray
    shape: tuple[int, ...]

    @property
    def real(self) -> np.ndarray:
        """(n,) whether an entry is a datum; one that is masked has likelihood one at every draw."""
        return np.asarray((self.log_l != 0).any(axis=0))


def _of_row(flat: Program, rows: tuple[jax.Array, ...]) -> dict[str, jax.Array]:
    assert flat.pointwise is not None
    return flat.pointwise(rows[0], flat.data)


def log_likelihood(posterior: Posterior, site: str | None, max_draws: int, who: str) -> Pointwise:
    """Log likelihoods of the data of one site.

    Args:
        posterior: with its program.
        site: whose data; None where there is only one with data.
        max_draws: thin to at most so many draws.
        who: asks, for messages.

    Raises:
        StructureError: there is no likelihood per datum, or which site is not clear.
    """
    program = posterior.program
    if program is None or program.pointwise is None:
        raise StructureError(
            f"{who}: the log likelihood of a single datum is not known; the posterior needs its "
            "program (pi.load(path, program=...)), built by from_numpyro with observed sites."
        )
    if max_draws < 10:
        raise StructureError(f"{who}: max_draws must be at least 10, got {max_draws}.")
    flat, _ = flatten(program, integers=True)
    # a draw of weight zero has likelihood zero too, which would have to be left out of itself
    alive = np.flatnonzero(weights_of(posterior.log_weights.ravel()) > 0)
    keep = alive[np.unique(np.linspace(0, alive.size - 1, min(alive.size, max_draws)).astype(int))]
    rows = jax.tree.map(lambda leaf: leaf[keep], posterior.rows())
    terms = by_row(_of_row, flat, (rows,), (len(keep), 1))
    known = {name: v.reshape(len(keep), -1) for name, v in terms.items()}
    if site is None:
        with_data = [name for name, v in known.items() if v.shape[1] > 1] or list(known)
        if len(with_data) != 1:
            raise StructureError(
                f"{who}: several sites hold data, {with_data}; say whose are left out with site=."
            )
        site = with_data[0]
    if site not in known:
        raise StructureError(f"{who}: no observed site named '{site}'; there are {sorted(known)}.")
    shape = terms[site].shape[2:]
    labels = program.axes.scalars({site: shape})
    if len(labels) < 2:
        raise StructureError(
            f"{who}: the likelihood is known as one number, '{labels[0]}', not per datum. Build "
            "the program with from_numpyro, one observed value for each datum."
        )
    log_w = posterior.log_weights.ravel()[keep]
    return Pointwise(site, labels, known[site].astype(float), log_w, shape)


def trusted_k(draws: int) -> float:
    """Pareto k up to which importance weights of so many draws are reliable.

    Source: Vehtari, Simpson, Gelman, Yao & Gabry (2024), section 3.
    """
    return float(min(1 - 1 / np.log10(max(draws, 11)), 0.7))
