"""PFN: a prior-data fitted network, one pass from a small data set to its posterior predictive."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from probinf.amortized.heads.bars import Bars
from probinf.amortized.heads.categorical import Categorical
from probinf.amortized.pfn.fitted import FittedPFN
from probinf.amortized.pfn.losses import LabelLoss, PredictionLoss, Visible
from probinf.amortized.pfn.network import Head, Network, head_of
from probinf.amortized.pfn.table_network import TableNetwork
from probinf.amortized.priors.task_prior import TaskPrior, described
from probinf.amortized.training.amortizer import Amortizer, Task
from probinf.amortized.training.loop import Trained
from probinf.amortized.training.ranges import Ranges
from probinf.core.program import Key
from probinf.errors import TrainingError

_PROBE = 2048


@dataclasses.dataclass(frozen=True)
class PFN(Amortizer):
    """Learns the posterior predictive of a task prior: data in, density of new outcomes out.

    Minimises ``E[-log q(y | x, D)]``, whose excess over the exact predictive is the mean
    Kullback-Leibler divergence (arXiv 2112.10510, equation 2).

    Args:
        head: ``Bars``, ``Mixture`` or ``Categorical``; by default 200 bars over the prior's
            outcomes, or the prior's classes.
        context: largest number of context rows.
        smallest: smallest number of context rows.
        queries: query rows per data set in training.
        batch: data sets per step.
        width: of a token.
        layers: of the transformer; there is none with ``fits``.
        heads: of its attention; divides ``width``; none with ``fits``.
        fourier: sines and cosines per input, for inputs in [0, 1]; 0 for inputs as they are.
        standardise: scale inputs by the visible context inside the network.
        fits: show the network each row through penalised logistic regressions on the others, for
            labels only: their columns may be any, in any order and with gaps (NaN), and classes
            bear any names (:class:`~probinf.amortized.pfn.table_network.TableNetwork`).

    Raises:
        TrainingError: a size is not positive, or the sizes do not fit together.
    """

    head: Head | None = None
    context: int = 32
    smallest: int = 0
    queries: int = 16
    batch: int = 32
    width: int = 64
    layers: int = 4
    heads: int = 4
    fourier: int = 0
    standardise: bool = False
    fits: bool = False

    def __post_init__(self) -> None:
        for name in ("context", "queries", "batch", "width", "layers", "heads"):
            if getattr(self, name) < 1:
                raise TrainingError(f"PFN: {name} must be positive, got {getattr(self, name)}.")
        if not 0 <= self.smallest <= self.context or self.width % self.heads or self.fourier < 0:
            raise TrainingError(
                f"PFN: smallest={self.smallest} must lie in 0..context={self.context}, "
                f"heads={self.heads} divide width={self.width}, and fourier={self.fourier} not be "
                "negative."
            )

    def prepare(self, key: Key, source: TaskPrior) -> Task:
        """The untrained network and its loss."""
        if not isinstance(source, TaskPrior):
            raise TrainingError(
                f"PFN.fit: the source must be a task prior, got {type(source).__name__}. Wrap a "
                "NumPyro model in pi.amortized.ModelPrior."
            )
        config = self._config(source)
        visible = Visible(self.smallest, self.context, self.queries, self.batch)
        if self.fits:
            return Task(TableNetwork(config, key), LabelLoss(visible), source)
        return Task(Network(config, key), PredictionLoss(visible, head_of(config)), source)

    def finish(self, source: TaskPrior, trained: Trained) -> FittedPFN:
        """The network with its training ranges."""
        fewest = 1 if self.fits else source.inputs
        exact = {
            "context rows": (float(self.smallest), float(self.context)),
            "columns": (float(fewest), float(source.inputs)),
        }
        seen = {}
        scaled = self.standardise or self.fits
        if source.bounds is not None and not scaled:
            exact["x"] = source.bounds
        elif not scaled:
            seen["x"] = _probe(source, self.context).x
        if source.classes is None:
            seen["y"] = _probe(source, self.context).y
        ranges = Ranges.seen(exact, **seen)
        training = {"prior": described(source), "steps": trained.steps,
                    "seconds": round(trained.seconds, 1)}  # fmt: skip
        return FittedPFN(trained.model, self._config(source), ranges, training)

    def _config(self, source: TaskPrior) -> dict[str, Any]:
        head = self.head or self._default_head(source)
        if isinstance(head, Categorical) != (source.classes is not None):
            raise TrainingError(
                f"PFN: {head.kind!r} is no head for a prior with classes={source.classes}."
            )
        if self.fits and (source.classes is None or self.fourier or self.standardise):
            raise TrainingError(
                "PFN: fits=True is for labels and scales columns itself; it goes with a prior of "
                f"classes, fourier=0 and standardise=False, got classes={source.classes}, "
                f"fourier={self.fourier}, standardise={self.standardise}."
            )
        if self.fits and (self.layers, self.heads) != (PFN.layers, PFN.heads):
            raise TrainingError(
                f"PFN: layers={self.layers} and heads={self.heads} are of a transformer, which a "
                "network with fits=True has not; leave them out and choose width."
            )
        options = dataclasses.asdict(head)
        return {
            "inputs": source.inputs,
            "classes": source.classes,
            "head": {"kind": head.kind, **options},
            "outputs": head.size,
            "width": self.width,
            "layers": self.layers,
            "heads": self.heads,
            "fourier": self.fourier,
            "standardise": self.standardise,
            "balanced": source.balanced,
            "fits": self.fits,
        }

    def _default_head(self, source: TaskPrior) -> Head:
        if source.classes is not None:
            return Categorical(source.classes)
        low, high = np.quantile(_probe(source, self.context).y, [0.001, 0.999])
        return Bars.uniform(float(low), float(high), 200)


def _probe(source: TaskPrior, context: int) -> Any:
    """Data sets from the prior, to see its ranges."""
    keys = jax.random.split(jax.random.key(0), _PROBE)
    return jax.tree.map(np.asarray, _draws(source, keys, context))


@eqx.filter_jit
def _draws(source: TaskPrior, keys: Key, context: int) -> Any:
    visible = jnp.asarray(context)
    return jax.vmap(lambda key: source.draw(key, visible, context, 1))(keys)
