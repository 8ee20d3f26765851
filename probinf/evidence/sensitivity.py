"""sensitivity: what a posterior owes to its prior, and what to its data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from probinf.core.coordinates import flatten
from probinf.core.inputs.limits import positive
from probinf.core.program import Program, improper
from probinf.core.psis import psis
from probinf.errors import ImproperPriorError, StructureError
from probinf.fronts.dependence import dependence
from probinf.results.posterior import Posterior
from probinf.results.precision import in_its_precision
from probinf.results.sites import by_row
from probinf.results.statistics.weighted import counted, weights_of
from probinf.results.summary import scalars

_LEAST = 100  # draws with a weight
_ALPHAS = (0.99, 1.01)
_TRUSTED = 0.7
_WHOLE = "prior"  # of a program that does not name its sites


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """How fast marginals move when the prior, or the likelihood, is raised to a power.

    Attributes:
        names: (scalar,) of every scalar.
        prior: (scalar,) distance that it moves per doubling of the power of the prior.
        likelihood: (scalar,) the same for the likelihood.
        shift: (scalar,) by how many of its sds the mean moves per doubling of the prior's power.
        by_prior: by site whose prior was scaled, (scalar,) distances for that prior alone.
        threshold: beyond which a distance matters.
        pareto_k: the largest of the weights that were used; below 0.7 they are reliable.
    """

    names: tuple[str, ...]
    prior: np.ndarray
    likelihood: np.ndarray
    shift: np.ndarray
    by_prior: dict[str, np.ndarray]
    threshold: float
    pareto_k: float

    @property
    def diagnosis(self) -> dict[str, str]:
        """By scalar, ``"prior-data conflict"``, ``"weak likelihood"``, or nothing."""
        strong, informed = self.prior >= self.threshold, self.likelihood >= self.threshold
        said = np.where(strong, np.where(informed, "prior-data conflict", "weak likelihood"), "")
        return dict(zip(self.names, said.tolist(), strict=True))

    def culprit(self, name: str) -> str:
        """The site whose prior moves a scalar most."""
        k = self.names.index(name)
        return max(self.by_prior, key=lambda site: float(self.by_prior[site][k]))

    def __bool__(self) -> bool:
        return not any(self.diagnosis.values())

    def __str__(self) -> str:
        width = max(6, *(len(name) for name in self.names))
        lines = [f"{'':{width}}  prior  likelihood  shift (sd)"]
        for k, (name, said) in enumerate(self.diagnosis.items()):
            row = f"{name:{width}} {self.prior[k]:6.3f} {self.likelihood[k]:11.3f}"
            row += f" {self.shift[k]:11.2f}"
            if said:
                by = f", by the prior of '{self.culprit(name)}'" if len(self.by_prior) > 1 else ""
                row += f"  {said}{by}"
            lines.append(row)
        if self.pareto_k > _TRUSTED:
            lines.append(
                f"Pareto k {self.pareto_k:.2f} > {_TRUSTED}: the draws are too few for this table."
            )
        return "\n".join(lines)

    __repr__ = __str__


@in_its_precision
def sensitivity(
    posterior: Posterior,
    *,
    priors: str | Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    threshold: float = 0.05,
) -> Sensitivity:
    """Sensitivity to the prior and to the likelihood, by raising each to a power near one.

    Draws are reweighted, nothing is fitted again. A prior that a scalar is sensitive to, while
    the data speak as well, is in conflict with them ("prior-data conflict"); where the data do
    not speak, the prior decides ("weak likelihood"). The densities are those in the user's
    coordinates: a Jacobian is no part of a prior.

    Args:
        posterior: with its program, straight from a front.
        priors: sites whose priors are scaled together. By default those that depend on no other
            site: the prior of a group's effects given their scale is part of the model. Where
            such effects are made of standard normal sites, name the others here.
        names: scalars to report, as in ``summary()``; all by default.
        threshold: distance per doubling beyond which a sensitivity matters.

    Raises:
        StructureError: there is no program, it does not keep prior and likelihood apart, there
            is no likelihood, a name is unknown, or draws are too few.
        ImproperPriorError: there is no prior.

    Source: Kallioinen, Paananen, Bürkner & Vehtari (2024), equations 8 to 12; Nguyen & Vreeken
    (2015) for the distance.
    """
    positive(threshold=threshold)
    program = _usable(posterior)
    flat, _ = flatten(program, integers=True)
    chosen = _priors(program, priors)
    alive = np.flatnonzero(weights_of(posterior.log_weights.ravel()) > 0)
    if len(alive) < _LEAST:
        raise StructureError(
            f"sensitivity: {len(alive)} draws with a weight are too few to see how marginals move; "
            f"at least {_LEAST} are needed, and thousands are better."
        )
    rows = jax.tree.map(lambda leaf: leaf[alive], posterior.rows())
    found = by_row(_Parts(chosen), flat, (rows,), (len(alive), 1))
    parts = {name: v[:, 0].astype(float) for name, v in found.items()}
    likelihood = parts.pop("likelihood")
    if np.ptp(likelihood) == 0:
        raise StructureError(
            "sensitivity: the likelihood is the same at every draw, so that there is nothing but "
            "a prior. Pass the data to sites with numpyro.sample(..., obs=)."
        )
    known, values = scalars(posterior.draws, posterior.axes)
    at = _wanted(known, names)
    x = values.reshape(-1, len(known))[alive][:, at]
    log_w = posterior.log_weights.ravel()[alive]
    prior = sum(parts.values())
    assert isinstance(prior, np.ndarray)
    marginals = _Marginals.of(x, log_w)
    by_prior = {name.removeprefix("prior:"): marginals.gradient(v) for name, v in parts.items()}
    whole, informed = marginals.gradient(prior), marginals.gradient(likelihood)
    every = (whole, informed, *by_prior.values())
    return Sensitivity(
        tuple(known[k] for k in at),
        whole[0],
        informed[0],
        marginals.shift(prior),
        {name: v[0] for name, v in by_prior.items()},
        float(threshold),
        max(k for _, k in every),
    )


@dataclasses.dataclass(frozen=True)
class _Parts:
    """Log likelihood of a position, and log density of each prior in the user's coordinates."""

    priors: tuple[str, ...]

    def __call__(self, flat: Program, row: Any) -> dict[str, jax.Array]:
        x = row[0]
        score = flat.score(x, flat.data)
        parts = {"likelihood": score.log_weight}
        if self.priors == (_WHOLE,) and flat.sites is None:
            assert flat.log_jacobian is not None
            whole = score.log_base - flat.log_jacobian(x, flat.data)
            return {**parts, f"prior:{_WHOLE}": whole}
        assert flat.sites is not None
        seen = flat.sites(x, flat.data)
        return parts | {f"prior:{name}": seen[name]["log_prob"] for name in self.priors}


@dataclasses.dataclass(frozen=True)
class _Marginals:
    """Draws of all scalars, each in its own order.

    Attributes:
        x: (n, k) sorted.
        order: (n, k) of the draws.
        log_w: (n,) of the draws, smoothed and normalised.
        raw: (n,) as they are.
    """

    x: np.ndarray
    order: np.ndarray
    log_w: np.ndarray
    raw: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, log_w: np.ndarray) -> _Marginals:
        x = counted(x, np.ones(len(x)))
        order = np.argsort(x, axis=0, kind="stable")
        return cls(np.take_along_axis(x, order, 0), order, psis(log_w)[0], log_w)

    def gradient(self, log_density: np.ndarray) -> tuple[np.ndarray, float]:
        """Distance per doubling of the power of a density, and the larger Pareto k."""
        rates, worst = [], -np.inf
        for alpha in _ALPHAS:
            scaled, k = psis(self.raw + (alpha - 1) * log_density)
            rates.append(self.distance(scaled) / abs(np.log2(alpha)))
            worst = max(worst, k)
        return np.mean(rates, axis=0), worst

    def distance(self, log_w: np.ndarray) -> np.ndarray:
        """(k,) cumulative Jensen-Shannon distances between the draws and the draws reweighted.

        The larger one of ``x`` and ``-x``, in [0, 1].
        """
        p, q = (np.cumsum(np.exp(w)[self.order], axis=0)[:-1] for w in (self.log_w, log_w))
        widths = np.diff(self.x, axis=0)
        below = _divergence(p, q, widths)
        above = _divergence(np.maximum(1 - p, 0.0), np.maximum(1 - q, 0.0), widths)
        return np.asarray(np.sqrt(np.maximum(np.maximum(below, above), 0.0)))

    def shift(self, log_density: np.ndarray) -> np.ndarray:
        """(k,) derivative of the mean by the binary logarithm of the power, in sds."""
        w = np.exp(self.log_w)
        weights = w[self.order]
        centred = self.x - np.sum(weights * self.x, axis=0)
        lifted = (log_density - w @ log_density)[self.order]
        sd = np.sqrt(np.sum(weights * centred**2, axis=0))
        move = np.log(2) * np.sum(weights * centred * lifted, axis=0)
        return np.asarray(move / np.where(sd > 0, sd, np.inf))


def _divergence(p: np.ndarray, q: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Symmetric cumulative Jensen-Shannon divergence of distribution functions, in [0, 1]."""
    middle = 0.5 * (p + q)

    def part(f: np.ndarray) -> np.ndarray:
        ratio = np.where(f > 0, f, 1.0) / np.where(f > 0, middle, 1.0)
        return f * np.log2(ratio)

    total = np.sum(widths * (p + q), axis=0)
    return np.sum(widths * (part(p) + part(q)), axis=0) / np.where(total > 0, total, 1.0)


def _usable(posterior: Posterior) -> Program:
    program = posterior.program
    if program is None:
        raise StructureError(
            "sensitivity: this posterior was loaded without its program; load it with "
            "pi.load(path, program=program)."
        )
    posterior.require_positions("sensitivity")
    if program.log_jacobian is None:
        raise StructureError(
            "sensitivity: this program does not keep prior and likelihood apart in the user's "
            "coordinates, since it was transformed (temper, rebase, push), or its prior is a map "
            "of the unit cube. Fit the program that from_numpyro, from_log_likelihood or "
            "from_callback made of a prior with a density."
        )
    if program.sites is None and improper(program):
        raise ImproperPriorError(
            "sensitivity: this program is one density without a prior. Write it as prior and "
            "likelihood, pi.from_log_likelihood(log_likelihood, prior)."
        )
    return program


def _priors(program: Program, asked: str | Sequence[str] | None) -> tuple[str, ...]:
    """Sites whose priors are scaled."""
    if program.sites is None:
        if asked is not None:
            raise StructureError(
                "sensitivity: this program does not name its priors, so that only all of them "
                "together can be scaled. Leave priors= out."
            )
        return (_WHOLE,)
    template = program.template()
    latent = list(template) if isinstance(template, dict) else []
    if asked is None:
        depends = dependence(_Priors(program, tuple(latent)), template)
        found = [name for name in latent if depends[name] <= {name}]
        return tuple(found or latent)
    given = (asked,) if isinstance(asked, str) else tuple(asked)
    if unknown := [name for name in given if name not in latent]:
        raise StructureError(
            f"sensitivity: no latent site named {unknown}; there are {sorted(latent)}."
        )
    if not given:
        raise StructureError(f"sensitivity: priors names no site; there are {sorted(latent)}.")
    return given


@dataclasses.dataclass(frozen=True)
class _Priors:
    program: Program
    names: tuple[str, ...]

    def __call__(self, x: dict[str, Any]) -> dict[str, Any]:
        assert self.program.sites is not None
        seen = self.program.sites(x, self.program.data)
        return {name: seen[name]["log_prob"] for name in self.names}


def _wanted(known: list[str], names: Sequence[str] | None) -> list[int]:
    if names is None:
        return list(range(len(known)))
    given = [names] if isinstance(names, str) else list(names)
    found = [k for k, n in enumerate(known) if n in given or n.split("[")[0] in given]
    missing = [g for g in given if g not in known and g not in {n.split("[")[0] for n in known}]
    if missing or not found:
        raise StructureError(f"sensitivity: no scalar named {missing}; there are {known[:20]}.")
    return found
