"""compare_evidence: several models, or one program by several engines that should agree."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import overload

import jax
import numpy as np
import scipy.special

from probinf.api import sample
from probinf.core.estimate import Estimate
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.core.transformations.rebasing import rebase
from probinf.errors import EvidenceError, KeyTypeError, MethodError
from probinf.evidence.bridge import bridge
from probinf.evidence.fitting import fit
from probinf.evidence.harmonic_mean import harmonic as learned_harmonic
from probinf.evidence.models import ModelProbabilities, model_probabilities
from probinf.results.posterior import Posterior
from probinf.runtime.method import Method
from probinf.samplers import NUTS, SMC, Importance, Nested, ParallelTempering

_LEVEL = 1e-3
_ROUNDING = 1e-5  # relative to 1 + size: what single precision leaves of an evidence without error

_DEFAULT: Mapping[str, Method] = {
    "Nested": Nested(),
    "SMC": SMC(),
    "Tempering": ParallelTempering(),
    "Bridge": NUTS(),
}


@dataclasses.dataclass(frozen=True)
class EvidenceComparison:
    """Log evidences of one program by several engines; true when they agree.

    Attributes:
        estimates: by engine.
        seconds: by engine, compilation included.
        refused: by engine, why it gave no evidence, or none that counts.
        posteriors: by engine; that of the chains under "Bridge".
        p_value: of the hypothesis that all estimates have the same expectation, given their
            errors (chi-square); 1 with fewer than two.
    """

    estimates: dict[str, Estimate]
    seconds: dict[str, float]
    refused: dict[str, str]
    posteriors: dict[str, Posterior]
    p_value: float

    def __bool__(self) -> bool:
        return self.p_value > _LEVEL and len(self.estimates) > 1

    @property
    def verdict(self) -> str:
        """One sentence."""
        if len(self.estimates) < 2:
            return "Fewer than two engines gave an evidence; there is nothing to compare."
        if self:
            return f"The evidences agree (chi-square p = {self.p_value:.2g})."
        centre = _centre(self.estimates)
        values, errors = _with_rounding(self.estimates)
        worst = list(self.estimates)[int(np.argmax(np.abs(values - centre) / errors))]
        return (
            f"The evidences disagree (chi-square p = {self.p_value:.2g}); {worst} is the farthest "
            "off. Look at posterior.diagnose() of each; a mode may be missing."
        )

    def __str__(self) -> str:
        lines = [f"{'engine':14} {'log evidence':>14} {'error':>8} {'seconds':>8}"]
        lines += [
            f"{name:14} {e.value:14.3f} {e.error:8.3f} {self.seconds[name]:8.1f}"
            for name, e in self.estimates.items()
        ]
        lines += [f"{name:14} refused: {reason}" for name, reason in self.refused.items()]
        return "\n".join([*lines, self.verdict])

    __repr__ = __str__


@overload
def compare_evidence(
    program: Program,
    *,
    key: int | Key,
    methods: Mapping[str, Method] | None = None,
    harmonic: bool | None = None,
    progress: bool = True,
) -> EvidenceComparison: ...
@overload
def compare_evidence(
    program: Mapping[str, Posterior | Estimate] | Sequence[Posterior | Estimate],
    *,
    key: int | Key | None = None,
    prior: Mapping[str, float] | None = None,
) -> ModelProbabilities: ...
def compare_evidence(
    program: Program | Mapping[str, Posterior | Estimate] | Sequence[Posterior | Estimate],
    *,
    key: int | Key | None = None,
    methods: Mapping[str, Method] | None = None,
    harmonic: bool | None = None,
    progress: bool = True,
    prior: Mapping[str, float] | None = None,
) -> EvidenceComparison | ModelProbabilities:
    """Models by their evidences, ``{"a": p1, "b": p2}``, or one program by several engines.

    Posteriors of several models of the same data give a table of the models' probabilities. One
    program is run by every engine that can estimate its evidence, to see whether they agree.

    Nested sampling, SMC and parallel tempering start from the prior and share no formula;
    bridge sampling and importance sampling start from a fit to the draws of NUTS, and the learned
    harmonic mean from a flow that is fitted to them. What all of them miss can only be a mode that
    none has seen.

    Args:
        program: with a prior that can be drawn from; or posteriors of models, or the estimates of
            their log evidences, by name or in a list (named ``"0"``, ``"1"``, ...).
        key: random key or seed. Of models, only chains need it, which are bridged.
        methods: by name, in place of these. An engine without an evidence of its own
            (``NUTS``, ``MCMC``) is bridged.
        harmonic: whether chains that are bridged also give a learned harmonic mean, for which a
            flow is trained; by default where ``methods`` are left out.
        progress: show progress bars in a terminal.
        prior: of models, their probabilities before the data, or weights; equal by default.

    Raises:
        StructureError: models do not observe the same data, or there are fewer than two.
        EvidenceError: a model has no evidence.
        MethodError: prior weights are not positive, or options of the other use are given.
        ImproperPriorError: the prior cannot be drawn from, so there is no evidence.
    """
    if not isinstance(program, Program):
        if methods is not None or harmonic is not None:
            raise MethodError(
                "compare_evidence: methods= and harmonic= run one program, not several posteriors."
            )
        named = (
            program
            if isinstance(program, Mapping)
            else {str(k): given for k, given in enumerate(program)}
        )
        return model_probabilities(named, key, prior)
    if prior is not None:
        raise MethodError(
            "compare_evidence: prior= weighs several models, {'a': p1, 'b': p2}, not one program."
        )
    if key is None:
        raise KeyTypeError("compare_evidence: pass key=, a random key or seed.")
    jax.eval_shape(program.draw, jax.random.key(0), program.data)
    chosen = _DEFAULT if methods is None else methods
    estimates: dict[str, Estimate] = {}
    seconds: dict[str, float] = {}
    refused: dict[str, str] = {}
    posteriors: dict[str, Posterior] = {}
    keys = jax.random.split(as_key(key), (len(chosen) + 1, 2))

    def record(name: str, began: float, posterior: Posterior, estimate: Estimate) -> None:
        estimates[name], posteriors[name] = estimate, posterior
        seconds[name] = time.perf_counter() - began

    fitted = None
    for (name, method), (run_key, bridge_key) in zip(chosen.items(), keys, strict=False):
        began = time.perf_counter()
        try:
            posterior = sample(program, method, key=run_key, progress=progress)
            if posterior.evidence is not None or posterior.weighted:
                record(name, began, posterior, posterior.log_evidence)
            else:
                fitted = posterior
                record(name, began, posterior, bridge(posterior, key=bridge_key))
                if harmonic or (harmonic is None and methods is None):
                    name = "Harmonic" if name == "Bridge" else f"{name}, harmonic"
                    began = time.perf_counter()
                    learned = learned_harmonic(posterior)
                    if learned:
                        record(name, began, posterior, learned.estimate)
                    else:  # its error cannot be trusted, so it has no say
                        why = " ".join(f.message for f in learned.diagnose().findings)
                        refused[name] = f"found {learned.estimate}, not counted: {why}"
        except (MethodError, EvidenceError) as error:
            refused[name] = str(error)
    if methods is None and fitted is not None:
        began = time.perf_counter()
        corrected = rebase(program, fit(fitted))
        posterior = sample(corrected, Importance(), key=keys[-1, 0], progress=progress)
        record("Importance", began, posterior, posterior.log_evidence)
    return EvidenceComparison(estimates, seconds, refused, posteriors, _p_value(estimates))


def _centre(estimates: dict[str, Estimate]) -> float:
    values, errors = _with_rounding(estimates)
    return float(np.average(values, weights=errors**-2))


def _with_rounding(estimates: dict[str, Estimate]) -> tuple[np.ndarray, np.ndarray]:
    """Values and errors; an evidence may be exact, as that of a prior is."""
    values = np.array([e.value for e in estimates.values()])
    errors = np.array([e.error for e in estimates.values()])
    return values, np.hypot(errors, _ROUNDING * (1 + np.abs(values)))


def _p_value(estimates: dict[str, Estimate]) -> float:
    if len(estimates) < 2:
        return 1.0
    values, errors = _with_rounding(estimates)
    square = float(np.sum(((values - _centre(estimates)) / errors) ** 2))
    return float(scipy.special.chdtrc(len(estimates) - 1, square))
