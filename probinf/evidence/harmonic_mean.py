"""harmonic: the evidence from draws and their log densities alone, by a learned harmonic mean."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from probinf.core.batches import mapped
from probinf.core.compiling import jitted
from probinf.core.coordinates import flatten
from probinf.core.estimate import Estimate
from probinf.core.inputs.limits import inside
from probinf.core.precision import precisely
from probinf.core.program import Program
from probinf.core.psis import pareto_k
from probinf.errors import EvidenceError
from probinf.evidence.flow_fitting import flow_of
from probinf.evidence.states import sums_states
from probinf.results.findings import Diagnosis, Finding
from probinf.results.posterior import Posterior
from probinf.results.precision import precision_of_evidence
from probinf.results.statistics.ess import ess_mean

_BLOCKS = 32
_OTHERS = (0.7, 0.9)  # temperatures that must agree with the chosen one
_JITTER = 1e-6
_LARGEST_K = 0.7
_FEWEST = 100.0  # effective draws of the average
_LARGEST_ERROR = 0.3
_KURTOSIS = 10.0
_FAR = 4.0  # standard errors


@dataclasses.dataclass(frozen=True)
class HarmonicMean:
    """A log evidence by the learned harmonic mean; true when its diagnostics find nothing.

    Attributes:
        estimate: log evidence with its standard error.
        by_temperature: the same draws with other temperatures, and how many standard errors of
            the difference each is away.
        effective: effective number of the draws that are averaged.
        pareto_k: of the averaged ratios; below .5 they have a variance.
        kurtosis: of means over blocks of draws; 3 where the error is that of a normal law.
        error_of_error: relative standard error of the variance that blocks see.
        expected_error_of_error: what it is for a normal law.
        dropped: draws without a finite density.
        temperature: variance of the flow's base.
    """

    estimate: Estimate
    by_temperature: dict[float, tuple[Estimate, float]]
    effective: float
    pareto_k: float
    kurtosis: float
    error_of_error: float
    expected_error_of_error: float
    dropped: int
    temperature: float

    def __bool__(self) -> bool:
        return bool(self.diagnose())

    def diagnose(self) -> Diagnosis:
        """What speaks against the estimate."""
        found = []
        away = {t: z for t, (_, z) in self.by_temperature.items() if not abs(z) < _FAR}
        if away:
            t, z = max(away.items(), key=lambda item: abs(item[1]))
            found.append(
                Finding(
                    "temperatures",
                    f"temperature {t} gives a log evidence {abs(z):.1f} standard errors away from "
                    f"that of {self.temperature}. The draws are not from this density: more of "
                    "them, or chains that have converged.",
                )
            )
        if not self.pareto_k < _LARGEST_K:
            found.append(
                Finding(
                    "pareto_k",
                    f"the ratios of the flow to the density have a Pareto k of "
                    f"{self.pareto_k:.2f}: it is wider than the posterior somewhere. Take a lower "
                    "temperature, or more draws to train on.",
                )
            )
        if not self.effective > _FEWEST or not self.estimate.error < _LARGEST_ERROR:
            found.append(
                Finding(
                    "few_draws",
                    f"{self.effective:.0f} effective draws leave an error of "
                    f"{self.estimate.error:.2g}. Draw more.",
                )
            )
        if not self.kurtosis < _KURTOSIS:
            found.append(
                Finding(
                    "kurtosis",
                    f"means over blocks of draws have a kurtosis of {self.kurtosis:.1f} (3 for a "
                    "normal law): a few of them carry the estimate, and its error is unsure.",
                )
            )
        if self.dropped:
            found.append(
                Finding(
                    "dropped", f"{self.dropped} draws have no finite density and were left out."
                )
            )
        return Diagnosis(tuple(found))

    def __str__(self) -> str:
        rows = [f"log evidence {self.estimate} (temperature {self.temperature})"]
        rows += [
            f"at temperature {t}: {e}, {z:+.1f} standard errors of the difference away"
            for t, (e, z) in self.by_temperature.items()
        ]
        rows.append(
            f"{self.effective:.0f} effective draws, Pareto k {self.pareto_k:.2f}, "
            f"kurtosis of blocks {self.kurtosis:.1f}"
        )
        return "\n".join([*rows, str(self.diagnose())])

    __repr__ = __str__


def harmonic(
    posterior: Any,
    *,
    log_density: Any = None,
    temperature: float = 0.8,
) -> HarmonicMean:
    """Log evidence by a learned harmonic mean: from any draws whose log densities are known.

    A spline flow is fitted to the first half of every chain and made narrower than the posterior
    by the temperature; the average of its density over the unnormalised posterior density, at
    the second halves, is the reciprocal of the evidence. Nothing is drawn or evaluated anew, so
    that chains of any other program will do.

    Args:
        posterior: equally weighted draws of Markov chains; or an array of draws (chain, draw,
            d) in unbounded coordinates, or (draw, d) of one chain, with ``log_density``.
        log_density: (chain, draw) of draws in an array: log of prior times likelihood in the
            same coordinates, their Jacobian included.
        temperature: variance of the flow's base, below one, so that the flow is narrower.

    Raises:
        EvidenceError: draws are weighted, too few, of the wrong shape or never move, most have
            no finite density, or there are latent states to sum out.
        MethodError: the temperature is not in (0, 1).

    Source: McEwen, Wallis, Price & Mancini (2021), "Machine learning assisted Bayesian model
    comparison: learnt harmonic mean estimator"; Polanska, Price, Piras, Spurio Mancini & McEwen
    (2024) for flows. Diagnosed by k (Vehtari et al., 2024) beside their kurtosis.
    """
    inside(0.0, 1.0, temperature=temperature)
    if not isinstance(posterior, Posterior):
        return _of_arrays(*_arrays(posterior, log_density), temperature)
    if log_density is not None:
        raise EvidenceError(
            "harmonic: log_density= goes with an array of draws; a Posterior knows its own."
        )
    if posterior.weighted:
        raise EvidenceError(
            "harmonic: the draws are weighted; their engine estimates the evidence itself, see "
            "posterior.log_evidence."
        )
    posterior.require_positions("harmonic")
    if posterior.program is None:
        raise EvidenceError("harmonic: this posterior has no program. Load it with program=.")
    if sums_states(posterior):
        raise EvidenceError(
            "harmonic: the draws hold latent states, which a flow cannot sum out. Use "
            "pi.bridge(posterior, key=0)."
        )
    if posterior.keys:
        raise EvidenceError("harmonic: a coordinate is a random key, which has no density to fit.")
    with precisely(precision_of_evidence(posterior)):
        program, layout = flatten(posterior.program)
        jax.eval_shape(program.draw, jax.random.key(0), program.data)  # an improper prior refuses
        x = posterior.unconstrained
        rows = jnp.asarray(x.reshape(-1, x.shape[-1]), layout.dtype)
        log_gamma = np.asarray(_log_densities(program, rows), float).reshape(x.shape[:2])
        return _of_arrays(x.astype(float), log_gamma, temperature)


def _arrays(draws: Any, log_density: Any) -> tuple[np.ndarray, np.ndarray]:
    if log_density is None:
        raise EvidenceError("harmonic: pass log_density=, the log density at each of the draws.")
    x, log_gamma = np.asarray(draws, float), np.asarray(log_density, float)
    if x.ndim == 2:
        x, log_gamma = x[None], log_gamma[None] if log_gamma.ndim == 1 else log_gamma
    if x.ndim != 3 or log_gamma.shape != x.shape[:2]:
        raise EvidenceError(
            f"harmonic: draws must be (chain, draw, d) with log_density (chain, draw), got "
            f"{np.shape(draws)} and {np.shape(log_density)}."
        )
    if bad := int((~np.isfinite(x)).sum()):
        raise EvidenceError(f"harmonic: {bad} coordinates of the draws are not finite.")
    return x, log_gamma


@jitted
def _log_densities(program: Program, x: Array) -> Array:
    def one(x: Array) -> Array:
        score = program.score(x, program.data)
        return score.log_base + score.log_weight

    return mapped(one, x, 1024)


@jax.jit
def _noise(flow: Any, z: Array) -> tuple[Array, Array]:
    return mapped(lambda row: flow.to_normal(row, jnp.zeros(0)), z, 1024)


def _of_arrays(x: np.ndarray, log_gamma: np.ndarray, temperature: float) -> HarmonicMean:
    half, d = x.shape[1] // 2, x.shape[2]
    first = x[:, :half].reshape(-1, d)
    least = 4 * d + 40
    if len(first) < least:
        raise EvidenceError(
            f"harmonic: {x.shape[0] * x.shape[1]} draws are too few to train a flow in {d} "
            f"dimensions on half of them; at least {2 * least} are needed."
        )
    mean, covariance = first.mean(axis=0), np.atleast_2d(np.cov(first.T))
    variances = np.diag(covariance)
    if not (variances > 0).all():
        raise EvidenceError("harmonic: a coordinate never moves; its density cannot be learned.")
    factor = np.linalg.cholesky(covariance + _JITTER * np.diag(variances))
    equal = np.full(len(first), 1 / len(first))
    law = flow_of(first, equal, mean, factor, jnp.result_type(float))
    second, log_gamma = x[:, half:], log_gamma[:, half:]
    z = np.linalg.solve(factor, (second.reshape(-1, d) - mean).T).T
    noise, change = (np.asarray(v, float) for v in _noise(law.inner.flow, jnp.asarray(z, float)))
    change = (change - np.log(np.diag(factor)).sum()).reshape(log_gamma.shape)
    square = np.square(noise).sum(axis=1).reshape(log_gamma.shape)
    fine = np.isfinite(log_gamma) & np.isfinite(change) & np.isfinite(square)
    if fine.mean() < 0.5:
        raise EvidenceError(
            f"harmonic: {int((~fine).sum())} of {fine.size} draws have no finite density; they "
            "are not draws of this posterior."
        )

    def log_ratios(t: float) -> np.ndarray:
        """log phi - log gamma; -inf where a draw is left out."""
        log_phi = change - 0.5 * (square / t + d * np.log(2 * np.pi * t))
        return np.where(fine, log_phi - np.where(fine, log_gamma, 0.0), -np.inf)

    return averaged(log_ratios(temperature), {t: log_ratios(t) for t in _OTHERS}, temperature)


def averaged(
    log_ratios: np.ndarray, others: dict[float, np.ndarray], temperature: float
) -> HarmonicMean:
    """The estimate from log ratios of a normalised density to the unnormalised one at its draws.

    Args:
        log_ratios: (chain, draw); -inf where a draw is left out.
        others: the same for other temperatures.
        temperature: of the first.
    """
    r, log_mean = _relative(log_ratios)
    estimate, size = _estimate(r, log_mean)
    compared = {}
    for t, log_other in others.items():
        if t == temperature:
            continue
        other, at = _relative(log_other)
        # both averages are of the same draws: so is the error of their difference
        gap = other - r
        error = np.sqrt(gap.var() / max(_effective(gap), 1.0))
        apart = at - log_mean
        z = -apart / error if error > 0 else 0.0 if apart == 0 else np.inf
        compared[t] = (_estimate(other, at)[0], float(z))
    blocks = _blocks(r)
    n = len(blocks)
    centred = blocks - blocks.mean()
    variance = np.mean(centred**2)
    kurtosis = float(np.mean(centred**4) / variance**2) if variance > 0 else 3.0
    normal = np.sqrt(2 / (n - 1))
    spread = np.sqrt(max(kurtosis - 1 + 2 / (n - 1), 0.0) / n)
    k = float(pareto_k(log_ratios[np.isfinite(log_ratios)]))
    dropped = int((~np.isfinite(log_ratios)).sum())
    return HarmonicMean(
        estimate, compared, size, k, kurtosis, float(spread), float(normal), dropped, temperature
    )


def _relative(log_ratios: np.ndarray) -> tuple[np.ndarray, float]:
    """Ratios over their mean, and the log of that."""
    top = log_ratios.max()
    r = np.exp(log_ratios - top)
    fine = np.isfinite(log_ratios)
    mean = r.sum() / fine.sum()
    # a draw that is left out counts as the mean, so that chains keep their order
    return np.where(fine, r / mean, 1.0), float(top + np.log(mean))


def _effective(r: np.ndarray) -> float:
    size = float(ess_mean(r))
    return size if np.isfinite(size) else float(r.size)


def _estimate(r: np.ndarray, log_mean: float) -> tuple[Estimate, float]:
    size = _effective(r)
    variance = r.var() / size
    # the mean of minus a logarithm is half a relative variance too large
    return Estimate(float(-log_mean - 0.5 * variance), float(np.sqrt(variance))), size


def _blocks(r: np.ndarray) -> np.ndarray:
    """Means over stretches of the chains, about as many as make one set of blocks."""
    each = max(1, -(-_BLOCKS // len(r)))
    length = max(1, r.shape[1] // each)
    kept = r[:, : length * (r.shape[1] // length)]
    return kept.reshape(len(r), -1, length).mean(axis=2).ravel()
