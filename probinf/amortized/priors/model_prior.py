"""ModelPrior: any NumPyro model of rows as a task prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Int
from numpyro.handlers import seed, trace

from probinf.amortized.priors.task_prior import Draw, TaskPrior
from probinf.core.program import Key
from probinf.errors import TrainingError


class ModelPrior(TaskPrior):
    """Data sets that a NumPyro model generates.

    Rows must be exchangeable given the model's latent sites, as in any regression.

    Args:
        model: ``model(x, y=None)``, with a site for the outcomes, one per row of ``x``.
        inputs: number of columns of x.
        site: name of the outcome site.
        labels: number of classes where the outcomes are labels 0, 1, ...
        design: law of each entry of x; standard normal unless given.

    Raises:
        TrainingError: the model has no such site, or the site has not one outcome per row.
    """

    model: Callable[..., Any] = eqx.field(static=True)
    columns: int = eqx.field(static=True)
    site: str = eqx.field(static=True)
    labels: int | None = eqx.field(static=True)
    design: Any

    def __init__(
        self,
        model: Callable[..., Any],
        inputs: int,
        *,
        site: str = "y",
        labels: int | None = None,
        design: Any = None,
    ) -> None:
        self.model, self.columns, self.site, self.labels = model, inputs, site, labels
        self.design = dist.Normal(0.0, 1.0) if design is None else design
        rows = 3
        sites = jax.eval_shape(self._sites, jax.random.key(0), jnp.zeros((rows, inputs)))
        if site not in sites or sites[site].shape != (rows,):
            shapes = {name: value.shape for name, value in sites.items()}
            raise TrainingError(
                f"ModelPrior: model(x) with x of {rows} rows must have a site '{site}' of shape "
                f"({rows},); its sites are {shapes}."
            )

    @property
    def inputs(self) -> int:
        """Number of columns of x."""
        return self.columns

    @property
    def classes(self) -> int | None:
        """Number of labels; None for real outcomes."""
        return self.labels

    def _sites(self, key: Key, x: Array) -> dict[str, Array]:
        sites = trace(seed(self.model, key)).get_trace(x)
        return {name: s["value"] for name, s in sites.items() if s["type"] == "sample"}

    def draw(self, key: Key, visible: Int[Array, ""], context: int, queries: int) -> Draw:
        """One data set."""
        first, second = jax.random.split(key)
        x = self.design.sample(first, (context + queries, self.columns))
        y = self._sites(second, x)[self.site]
        return Draw(x, y.astype(int) if self.labels else y.astype(float))
