"""The one file that touches BlackJAX: its parts, imported on first use.

Importing BlackJAX starts JAX's backend, which would fix the number of devices at the import of
probinf.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def hmc() -> Any:
    """Hamiltonian Monte Carlo."""
    from blackjax.mcmc import hmc

    return hmc


def nuts() -> Any:
    """The no-U-turn sampler."""
    from blackjax.mcmc import nuts

    return nuts


def metrics() -> Any:
    """Metrics of Hamiltonian kernels."""
    from blackjax.mcmc import metrics

    return metrics


def microcanonical() -> tuple[Any, Any]:
    """The adjusted microcanonical sampler, and the state it moves."""
    from blackjax.mcmc import adjusted_mclmc_dynamic
    from blackjax.mcmc.dynamic_hmc import DynamicHMCState

    return adjusted_mclmc_dynamic, DynamicHMCState


def dual_averaging(target_acceptance: float | np.ndarray) -> Any:
    """Dual averaging of the step size: ``init``, ``update``, ``final``."""
    from blackjax.adaptation.step_size import dual_averaging_adaptation

    return dual_averaging_adaptation(target_acceptance)


def mass_matrix(*, diagonal: bool) -> Any:
    """Welford estimates of a covariance: ``init``, ``update``, ``final``."""
    from blackjax.adaptation.mass_matrix import mass_matrix_adaptation

    return mass_matrix_adaptation(diagonal)


def window_schedule(steps: int) -> np.ndarray:
    """Stan's windows, (steps, 2): whether a step is slow, and whether it ends a window."""
    from blackjax.adaptation.staged_adaptation import build_schedule

    return np.asarray(build_schedule(steps), bool)


def pathfinder() -> Any:
    """Pathfinder."""
    from blackjax.vi import pathfinder

    return pathfinder
