"""AnyMarginal: a network of all marginals and conditionals of a discrete model."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from probinf.amortized.discrete.exact import log_weights
from probinf.amortized.discrete.fitted import FittedAnyMarginal
from probinf.amortized.discrete.losses import DrawsLoss, EnergyLoss
from probinf.amortized.discrete.network import UNKNOWN, AnyMarginalNetwork
from probinf.amortized.discrete.sites import DiscreteSites
from probinf.amortized.training.amortizer import Amortizer, Task
from probinf.amortized.training.loop import Trained
from probinf.amortized.training.options import Options
from probinf.core.coordinates import flatten
from probinf.core.estimate import log_mean_exp
from probinf.core.program import Key, Program
from probinf.core.psis import pareto_k
from probinf.errors import ArrayError, TrainingError

_HELD = 0.1
_FEWEST = 100
_JUDGED = 4000


@dataclasses.dataclass(frozen=True)
class AnyMarginal(Amortizer):
    """Learns the probability of any part of a discrete model, from draws or from its density.

    One network gives the law of every coordinate given any others, from which all are drawn one
    after the other in any order; another the log probability of any part, the rest summed out.
    ``fit`` of draws maximises their likelihood. ``fit`` of a program needs no draws: the
    network makes its own and learns to have the program's density, up to its evidence. A
    program's modes far from what it draws by then can be missed; ``exact`` and ``pi.refine``
    correct the rest, and say how far off it was.

    Args:
        width: of the hidden layers.
        layers: residual layers of each network.
        batch: draws per step, each seen with 0, 1, 2, ... of its coordinates known.

    Raises:
        TrainingError: a size is not positive.

    Source: Liu, Ramadge & Adams (2024), "Generative marginalization models"
    (arXiv 2310.12920), whose consistency holds here between whole prefixes, not steps.
    """

    width: int = 128
    layers: int = 2
    batch: int = 64

    defaults: ClassVar[Options] = {"steps": 3000, "learning_rate": 2e-3}

    def __post_init__(self) -> None:
        for name in ("width", "layers", "batch"):
            if getattr(self, name) < (2 if name == "batch" else 1):
                raise TrainingError(f"AnyMarginal: {name} is too small, got {getattr(self, name)}.")

    def prepare(self, key: Key, source: Any) -> Task:
        """The untrained network and its loss."""
        sites = _sites(source)
        network = AnyMarginalNetwork(self._config(sites), key)
        if isinstance(source, Program):
            flat, _ = flatten(source, integers=True)
            low = jnp.asarray(sites.low)
            return Task(network, EnergyLoss(self.batch), (flat, low))
        rows = sites.vectors(source)
        if len(rows) < _FEWEST:
            raise ArrayError(f"AnyMarginal: at least {_FEWEST} draws are needed, got {len(rows)}.")
        rows = np.random.default_rng(0).permutation(rows)
        held = max(int(_HELD * len(rows)), 1)
        data = jnp.asarray(rows[held:]), jnp.asarray(rows[:held])
        judged = DrawsLoss(4 * self.batch, held=True)
        return Task(network, DrawsLoss(self.batch), data, judged)

    def finish(self, source: Any, trained: Trained) -> FittedAnyMarginal:
        """The network, and how far its draws are from a program's density."""
        sites = _sites(source)
        told: dict[str, Any] = {"steps": trained.steps, "seconds": round(trained.seconds, 1)}
        if isinstance(source, Program):
            flat, _ = flatten(source, integers=True)
            nothing = np.full(sites.size, UNKNOWN, np.int32)
            log_w = log_weights(trained.model, flat, sites.low, nothing, jax.random.key(1), _JUDGED)
            value, error = log_mean_exp(log_w)
            told |= {"log_z": [value, error], "pareto_k": pareto_k(log_w)}
        return FittedAnyMarginal(trained.model, self._config(sites), told)

    def _config(self, sites: DiscreteSites) -> dict[str, Any]:
        each = [{**dataclasses.asdict(site), "shape": list(site.shape)} for site in sites.each]
        return {"sites": each, "width": self.width, "layers": self.layers}


def _sites(source: Any) -> DiscreteSites:
    return DiscreteSites.of(source) if isinstance(source, Program) else DiscreteSites.seen(source)
