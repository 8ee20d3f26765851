"""Label sets with certified coverage under attack: smoothed sensors, knowledge, calibration."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.conformal.calibration.ranks import order_stat, upper_rank
from probinf.conformal.calibration.robust import clopper_pearson, smoothed_bounds
from probinf.conformal.labels.knowledge import KnowledgeCircuit
from probinf.conformal.sets.labels import LabelSet, make_labels
from probinf.conformal.sets.reporting import too_few, warn_infinite
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.classes import as_labels
from probinf.core.inputs.levels import fraction
from probinf.core.inputs.limits import at_least, inside, positive
from probinf.errors import ArrayError, LevelError


@dataclasses.dataclass(frozen=True)
class Certified:
    """Sets of labels that hold although the input was moved, and what is certain of them.

    Attributes:
        sets: cover the true label of an input moved by up to ``distance``, with probability
            ``1 - alpha``.
        ordinary: the sets of unmoved inputs at the same alpha, which know of no attack.
        coverage: lower limit of the coverage of ``ordinary`` under the worst attacks within
            ``distance``, with probability ``1 - delta`` over the calibration points.
        low, high: (m, K) limits of the corrected probabilities of the labels over all inputs
            within ``distance`` of the one received.
        dropped: (m, K) labels that no input within ``distance`` would bring into ``ordinary``.
        kept: (m, K) labels that no input within ``distance`` would drive out of it.
        distance: Euclidean radius of the attack.
    """

    sets: LabelSet
    ordinary: LabelSet
    coverage: float
    low: np.ndarray
    high: np.ndarray
    dropped: np.ndarray
    kept: np.ndarray
    distance: float

    def summary(self) -> str:
        """Sizes and certificates, for reading."""
        return (
            f"{len(self.low)} inputs, attacks up to {self.distance:g}: certified sets of "
            f"{self.sets.size().mean():.2f} labels ({self.sets.guarantee}); ordinary sets of "
            f"{self.ordinary.size().mean():.2f} labels, covered under attack >= "
            f"{self.coverage:.3f}; {self.dropped.mean():.1%} of labels dropped for certain"
        )

    __str__ = summary


def certified(
    counts_cal: ArrayLike,
    y_cal: ArrayLike,
    counts_test: ArrayLike,
    *,
    samples: int,
    distance: Number,
    noise: Number,
    classes: int | None = None,
    rules: ArrayLike | None = None,
    alpha: Number = 0.1,
    error: Number = 0.002,
    delta: Number = 0.05,
) -> Certified:
    """Label sets that cover under attack, from sensors of labels and attributes and their logic.

    Each sensor decides yes or no on ``samples`` copies of an input with Gaussian noise; how often
    it says yes bounds the probability that it would (Clopper-Pearson), at every input within
    ``distance`` (randomised smoothing). The bounds of all sensors pass exactly through the circuit
    of rules to bounds of each label's probability, and calibration turns these into sets.

    Args:
        counts_cal: (n, K + L) how often each sensor of labels, then of attributes, said yes at
            clean calibration inputs.
        y_cal: (n,) their labels 0..K-1.
        counts_test: (m, K + L) the same at the inputs received.
        samples: noisy copies of each input.
        distance: Euclidean radius of the attack.
        noise: standard deviation of the noise.
        classes: K, when there are no rules and hence no attributes: sensors of labels alone.
        rules: (K, L) weights of the knowledge, see :class:`KnowledgeCircuit`.
        alpha: miscoverage of the certified sets, of which ``2 error`` pays for Monte Carlo error.
        error: probability per input that any limit of its sensors fails.
        delta: probability that ``coverage`` is too high.

    Raises:
        ArrayError: counts outside 0..samples, a wrong number of columns, labels outside 0..K-1.
        LevelError: error that leaves nothing of alpha.
        MethodError: noise that is not positive, a negative distance.

    Source: Kang, Gürel, Li & Li (2024), COLEP, theorems 1 to 3, with one score in place of a
    binary set per label, and with Monte Carlo error on every path; Cohen et al. (2019).
    """
    at_least(1, samples=samples)
    positive(noise=noise)
    inside(0, np.inf, closed=True, distance=distance)
    level, slip, chance = (
        fraction(name, v) for name, v in (("alpha", alpha), ("error", error), ("delta", delta))
    )
    if level <= 2 * slip:
        raise LevelError(
            f"error={slip:g} leaves nothing of alpha={level:g}; it must be below half."
        )
    circuit = _circuit(rules, classes)
    cal = _counts("counts_cal", counts_cal, samples, circuit)
    test = _counts("counts_test", counts_test, samples, circuit)
    y = np.asarray(as_labels("y_cal", y_cal, circuit.classes, size=len(cal)))
    own = np.arange(len(y)), y
    size = float(distance) / float(noise)

    # certified sets: the clean score is at most that of its limits, and at least what is seen
    clean = circuit.bounds(*_limits(cal, samples, slip, 0.0))[0][own]
    q = order_stat(1 - clean, upper_rank(len(y), [level - 2 * slip]))
    warn_infinite(q, too_few(len(y), level - 2 * slip))
    low, high = circuit.bounds(*_limits(test, samples, slip, size))
    promise = f">= 1-alpha for every perturbation of Euclidean norm <= {float(distance):g}"
    sets = make_labels((1 - high)[:, :, None] <= q, level, promise)

    # ordinary sets: exchangeable Monte Carlo scores, and the worst that an attack makes of them
    scores = 1 - circuit.corrected(cal / samples)[own]
    plain = order_stat(scores, upper_rank(len(y), [level]))
    found = 1 - circuit.corrected(test / samples)
    ordinary = make_labels(found[:, :, None] <= plain, level, ">= 1-alpha without attack")
    worst = 1 - circuit.bounds(*_limits(cal, samples, slip, size, again=True))[0][own]
    shortfall = np.sqrt(np.log(1 / chance) / (2 * len(y))) + 2 * slip
    coverage = max(float(np.mean(worst <= plain)) - float(shortfall), 0.0)
    seen = circuit.bounds(*_limits(test, samples, slip, size, again=True))
    return Certified(
        sets,
        ordinary,
        coverage,
        low,
        high,
        1 - seen[1] > plain,
        1 - seen[0] <= plain,
        float(distance),
    )


def _circuit(rules: ArrayLike | None, classes: int | None) -> KnowledgeCircuit:
    if (rules is None) == (classes is None):
        raise ArrayError("give rules (K, L), or classes=K for sensors of labels alone.")
    if rules is None:
        assert classes is not None
        at_least(2, classes=classes)
        return KnowledgeCircuit(np.zeros((classes, 1)))
    return KnowledgeCircuit(np.asarray(rules))


def _counts(name: str, values: ArrayLike, samples: int, circuit: KnowledgeCircuit) -> np.ndarray:
    found = np.asarray(as_float(name, values, ndim=2), float)
    K, wanted = circuit.classes, sum(circuit.rules.shape)
    if not circuit.rules.any() and found.shape[1] == K:  # labels alone: an attribute of no weight
        found = np.column_stack([found, np.zeros(len(found))])
    if found.shape[1] != wanted:
        raise ArrayError(
            f"{name} must have {wanted} columns, one per label and one per attribute; got "
            f"{found.shape}."
        )
    if (found < 0).any() or (found > samples).any() or (found != np.round(found)).any():
        raise ArrayError(f"{name} must be whole numbers from 0 to samples={samples}.")
    return found


def _limits(
    counts: np.ndarray, samples: int, error: float, shift: float, *, again: bool = False
) -> tuple[Any, Any]:
    """Limits of all sensors at once over inputs within ``shift`` noise scales.

    With ``again`` limits of what another ``samples`` noisy copies there would show.
    """
    low, high = clopper_pearson(counts, samples, error=error / counts.shape[1])
    low, high = smoothed_bounds(low, high, distance=shift, noise=1.0)
    if again:  # Hoeffding, for each sensor on either side
        slack = np.sqrt(np.log(2 * counts.shape[1] / error) / (2 * samples))
        low, high = np.maximum(low - slack, 0.0), np.minimum(high + slack, 1.0)
    return low, high
