"""What noise promises: from differential privacy to the error of answers about new data."""

from __future__ import annotations

import numpy as np

from probinf.core.inputs.levels import fraction


def private_epsilon(rho: float, delta: np.ndarray) -> np.ndarray:
    """The epsilon of (epsilon, delta)-differential privacy that rho-zCDP implies.

    Source: Bun & Steinke (2016), proposition 1.3.
    """
    return np.asarray(rho + 2 * np.sqrt(rho * np.log(1 / delta)))


def transferred(
    sample_error: np.ndarray, failures: np.ndarray, rho: float, failure: float
) -> float:
    """Error, with probability ``1 - failure``, of all answers about the law of the data.

    Answers of a private mechanism that are close to the sample's means are close to the means of
    the law, whatever the analyst asks after having seen earlier answers.

    Args:
        sample_error: (G,) errors about the sample's means, not exceeded but with probability ...
        failures: (G,) these.
        rho: of the concentrated differential privacy of all answers together.
        failure: probability that any answer is further off.

    Source: Jung, Ligett, Neel, Roth, Sharifi-Malvajerdi & Shenfeld (2020), theorem 3.5.
    """
    c = failures / (failure / 2)  # half of the failure pays for the sample, half for privacy
    d = np.geomspace(1e-6, 0.3, 200)
    rest = np.expm1(private_epsilon(rho, failure / 2 * d)) + 2 * d
    return float((sample_error + c).min() + rest.min())


def failure_grid(failure: float) -> np.ndarray:
    """Probabilities among which the best split is looked for."""
    return np.geomspace(1e-6, 0.3, 200) * fraction("failure", failure) / 2
