"""Fits of the same model with some of its data left out, which compile once for all of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from probinf.api import sample
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.core.transformations.weighing import weigh
from probinf.evidence.pointwise import Pointwise, log_likelihood
from probinf.results.posterior import Posterior
from probinf.runtime.method import Method


@dataclasses.dataclass
class Refits:
    """Fits of one program without some data of one site.

    Attributes:
        program: with all its data.
        site: whose data are left out.
        shape: of the site's likelihood terms.
        method: the engine; None for NUTS.
        key: the n-th fit uses the n-th of its children.
        max_draws: of which the predictions are made.
        precision: of the fit of all data.
        progress: show a bar for each fit.
        findings: by what was left out, codes of what ``diagnose`` found wrong with that fit.
    """

    program: Program
    site: str
    shape: tuple[int, ...]
    method: Method[Any] | None
    key: Key
    max_draws: int
    precision: Any
    progress: bool
    findings: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def without(self, left_out: np.ndarray, number: int, what: str) -> Pointwise:
        """What every datum says at the draws of a fit without some of them.

        Args:
            left_out: (n,) which are.
            number: of the fit, for its key.
            what: is left out, for ``findings``.
        """
        weights = (~np.asarray(left_out, bool)).astype(float).reshape(self.shape)
        found = sample(
            weigh(self.program, {self.site: weights}),
            self.method,
            key=jax.random.fold_in(self.key, number),
            progress=self.progress,
            check=False,
            precision=self.precision,
        )
        if codes := tuple(found.diagnose().codes):
            self.findings[what] = codes
        own = dataclasses.replace(found, program=self.program)  # its likelihood of all data
        return log_likelihood(own, self.site, self.max_draws, "refit")


def refits_of(
    posterior: Posterior,
    seen: Pointwise,
    method: Method[Any] | None,
    key: int | Key,
    max_draws: int,
    progress: bool,
) -> Refits:
    """Fits like that of a posterior: by its own method, where its chains are at hand."""
    assert posterior.program is not None
    if method is None and posterior.ended is not None:
        method = posterior.ended.method
    precision = posterior.provenance.get("precision", "auto")
    return Refits(
        posterior.program,
        seen.site,
        seen.shape,
        method,
        as_key(key),
        max_draws,
        precision,
        progress,
    )


def told(findings: dict[str, tuple[str, ...]]) -> list[str]:
    """A line on fits that are not to be trusted, where there are some."""
    if not findings:
        return []
    shown = "; ".join(f"without {what}: {', '.join(c)}" for what, c in list(findings.items())[:3])
    more = ", ..." if len(findings) > 3 else ""
    return [f"diagnose found something wrong with {len(findings)} of the fits ({shown}{more})"]
