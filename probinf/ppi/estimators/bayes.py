"""Bayesian PPI: a posterior of the mean by exact draws, for a handful of labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import same_index, same_rows
from probinf.core.inputs.levels import as_level
from probinf.core.inputs.limits import check_choice
from probinf.core.keys import as_generator
from probinf.errors import ArrayError
from probinf.ppi.inference.checks import check_counts, numeric
from probinf.ppi.inference.labelled import frame


@dataclasses.dataclass(frozen=True)
class BayesResult:
    """Independent posterior draws of a mean.

    Attributes:
        draws: (draws,).
        kind: which model.
        n, N: labelled and unlabelled rows.
    """

    draws: np.ndarray
    kind: str
    n: int
    N: int

    @property
    def params(self) -> np.ndarray:
        """Posterior mean (1,)."""
        return np.array([self.draws.mean()])

    @property
    def bse(self) -> np.ndarray:
        """Posterior standard deviation (1,)."""
        return np.array([self.draws.std(ddof=1)])

    def conf_int(self, alpha: Number = 0.1) -> np.ndarray:
        """Equal-tailed credible limits (1, 2)."""
        alpha = as_level(alpha)
        return np.quantile(self.draws, [alpha / 2, 1 - alpha / 2])[None]

    def to_dataframe(self, alpha: Number = 0.1) -> Any:
        """A DataFrame of one row: mean, standard deviation and limits."""
        values = np.concatenate([self.params, self.bse, self.conf_int(alpha)[0]])
        return frame(values[None], ("mean",), ("coef", "std err", "lower", "upper"))

    def summary(self) -> str:
        """The posterior in a line, for reading."""
        low, high = self.conf_int()[0]
        return (
            f"Bayesian PPI ({self.kind}), n={self.n}, N={self.N}: mean {self.params[0]:.5g}, sd "
            f"{self.bse[0]:.4g}, 90 % between {low:.5g} and {high:.5g}"
        )

    __repr__ = summary


def bayes(
    y: Any, f: Any, f_unlabeled: Any, *, kind: str = "difference", draws: int = 20_000, key: Any = 0
) -> BayesResult:
    """Posterior of a mean from labels and predictions, with Jeffreys priors.

    Args:
        y: (n,) labels.
        f: (n,) predictions on labelled rows.
        f_unlabeled: (N,) predictions on unlabelled rows.
        kind: ``"difference"``: mean prediction plus mean error, Student-t posteriors, or
            Dirichlet ones where labels and predictions are 0 or 1; ``"chain"``: for binary
            labels and predictions, P(Y | F = 1) P(F = 1) + P(Y | F = 0) P(F = 0) with three Beta
            posteriors: the choice for very few labels.
        draws: independent posterior draws.
        key: seed or key.

    Raises:
        ArrayError: ``"chain"`` with values other than 0 and 1.

    Source: Hofer et al. (arXiv 2405.06034).
    """
    check_choice("kind", kind, ("difference", "chain"))
    same_index(y=y, f=f)
    Y, F, Fu = numeric("y", y), numeric("f", f), numeric("f_unlabeled", f_unlabeled)
    n, N = same_rows(y=Y, f=F), len(Fu)
    check_counts(n, N, 2, "a posterior")
    rng = as_generator(key)
    binary = all(np.isin(a, (0.0, 1.0)).all() for a in (Y, F, Fu))
    if kind == "chain":
        if not binary:
            raise ArrayError("kind='chain' needs labels and predictions that are 0 or 1.")
        ones, total = F.sum() + Fu.sum(), n + N
        share = rng.beta(0.5 + ones, 0.5 + total - ones, draws)
        rates = []
        for value in (1.0, 0.0):
            seen = Y[value == F]
            rates.append(rng.beta(0.5 + seen.sum(), 0.5 + len(seen) - seen.sum(), draws))
        return BayesResult(rates[0] * share + rates[1] * (1 - share), kind, n, N)
    if binary:
        share = rng.beta(0.5 + Fu.sum(), 0.5 + N - Fu.sum(), draws)
        counts = np.array([np.sum(v == Y - F) for v in (-1.0, 0.0, 1.0)])
        error = rng.dirichlet(0.5 + counts, draws)
        return BayesResult(share + error[:, 2] - error[:, 0], kind, n, N)
    noise = rng.standard_t(N - 1, draws), rng.standard_t(n - 1, draws)
    first = Fu.mean() + Fu.std(ddof=1) / np.sqrt(N) * noise[0]
    second = (Y - F).mean() + (Y - F).std(ddof=1) / np.sqrt(n) * noise[1]
    return BayesResult(first + second, kind, n, N)
