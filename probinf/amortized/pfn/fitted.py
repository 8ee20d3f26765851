"""FittedPFN: predictions of a trained prior-data fitted network, and a check of its prior."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from probinf.amortized.heads.categorical import CategoricalDistribution
from probinf.amortized.heads.predictive import Predictive
from probinf.amortized.pfn.network import Head, Network, head_of
from probinf.amortized.pfn.table_network import TableNetwork, answered
from probinf.amortized.training import weights
from probinf.amortized.training.ranges import Ranges
from probinf.core.check_result import CheckResult, z_to_p
from probinf.core.inputs.arrays import ArrayLike
from probinf.errors import ArrayError, MethodError

AnyNetwork = Network | TableNetwork
OutOfRange = Literal["raise", "warn", "ignore"]
_EDGE = 1e-6
_BLOCK = 64  # queries with contexts of their own at a time


@dataclasses.dataclass(frozen=True)
class FittedPFN:
    """A trained prior-data fitted network.

    Attributes:
        network: the Equinox module; ``network(x, y, mask, x_new)`` is pure.
        config: what the network is built from.
        ranges: context rows, columns, x and y of the training.
        training: prior, steps, seconds and measured figures.
    """

    network: AnyNetwork
    config: dict[str, Any]
    ranges: Ranges
    training: dict[str, Any]

    @property
    def balanced(self) -> bool:
        """Whether every class was as frequent as any other in the tables of the training."""
        return bool(self.config.get("balanced", False))

    @property
    def any_columns(self) -> bool:
        """Whether the columns may be any number, in any order and with gaps (NaN)."""
        return bool(self.config.get("fits", False))

    @property
    def head(self) -> Head:
        """How outputs become a distribution."""
        return head_of(self.config)

    def predict(
        self,
        x: ArrayLike,
        y: ArrayLike,
        x_new: ArrayLike,
        *,
        nearest: int | None = None,
        out_of_range: OutOfRange = "raise",
    ) -> Predictive | CategoricalDistribution:
        """Posterior predictive of new outcomes given a data set, one pass of the network.

        Args:
            x: inputs of the data set, n rows; a vector where there is one column. NaN is an
                entry that is missing, for a network of ``any_columns``.
            y: its outcomes (labels 0, 1, ... for a categorical head), n values; n may be 0.
            x_new: inputs to predict at, m rows.
            nearest: let each prediction see only so many rows, those closest to it; for more rows
                than the network was trained on (arXiv 2305.11097). Of labels, the closest rows
                may all be of one class, which a network of balanced tables has not seen.
            out_of_range: what to do about inputs outside the training range.

        Returns:
            A batch of m distributions: ``mean``, ``sd``, ``quantile``, ``interval``, ``cdf``,
            ``log_density``, ``sample``; ``probabilities`` for labels.

        Raises:
            ArrayError: shapes do not match, or there are NaN or infinite values.
            RangeError: rows, columns or values lie outside the training range.
        """
        outputs = self.outputs(x, y, x_new, nearest=nearest, out_of_range=out_of_range)
        return self.head.distribution(outputs)

    def outputs(
        self,
        x: ArrayLike,
        y: ArrayLike,
        x_new: ArrayLike,
        *,
        nearest: int | None = None,
        out_of_range: OutOfRange = "raise",
    ) -> Array:
        """What ``predict`` hands to the head, (m, outputs); its arguments are the same."""
        x, y = self._data(x, y)
        x_new = self._inputs("x_new", x_new)
        if x_new.shape[1] != x.shape[1]:
            raise ArrayError(f"x_new has {x_new.shape[1]} columns, x has {x.shape[1]}.")
        if nearest is not None and nearest < 1:
            raise ArrayError(f"predict: nearest must be at least 1, got {nearest}.")
        local = nearest is not None and nearest < len(x)
        if local and np.isnan(x).any() | np.isnan(x_new).any():
            raise ArrayError("predict: nearest rows need columns without NaN; impute them first.")
        rows = nearest if local else len(x)
        seen = {"context rows": rows, "columns": x.shape[1], "x": x, "y": y}
        self.ranges.check(out_of_range, **seen)
        self.ranges.check(out_of_range, x=x_new)
        m, size = len(x_new), _padded(len(x_new))
        padded = np.concatenate([x_new, np.repeat(x_new[:1], size - m, axis=0)])
        if isinstance(self.network, TableNetwork) and not local:
            outputs = answered(self.network, *_pad(x, y, axis=0), padded)
        elif local:
            assert nearest is not None
            blocks = [
                self._near(x, y, padded[first : first + _BLOCK], nearest)
                for first in range(0, size, _BLOCK)
            ]
            outputs = jnp.concatenate(blocks)
        else:
            context, labels, mask = _pad(x, y, axis=0)
            outputs = _outputs(self.network, context, labels, mask, padded)
        return outputs[:m]

    def check(
        self, x: ArrayLike, y: ArrayLike, *, key: int = 0, level: float = 0.01
    ) -> CheckResult:
        """Whether a data set looks like a draw from the prior that the network was trained on.

        Each row is predicted from the rows before it, in random order. Under the prior, and with
        an exact network, the normal scores of these predictions are independent standard normals
        (Dawid, 1984, "the prequential approach"); their spread, mean and law are tested.

        Args:
            x: inputs, n rows.
            y: real outcomes.
            key: seed of the order.
            level: probability of a false alarm.

        Raises:
            MethodError: the outcomes are labels.
            ArrayError: shapes do not match, values are not finite, or there are fewer than 4 rows.
            RangeError: there are more rows than the network was trained on.
        """
        from scipy.stats import chi2, kstest, norm

        if self.config["classes"] is not None:
            raise MethodError("check: normal scores need real outcomes; this network has labels.")
        x, y = self._data(x, y)
        if len(x) < 4:
            raise ArrayError(f"check: at least 4 rows are needed, got {len(x)}.")
        self.ranges.check("raise", **{"context rows": len(x) - 1})
        order = np.random.default_rng(key).permutation(len(x))
        x, y = x[order], y[order]
        context, outcomes, _ = _pad(x, y, axis=0)
        law = self.head.distribution(_prequential(self.network, context, outcomes))
        assert isinstance(law, Predictive)
        u = np.asarray(law.cdf(jnp.asarray(outcomes)), float)[: len(x)]
        z = norm.ppf(np.clip(u, _EDGE, 1 - _EDGE))
        spread = chi2.cdf(np.sum(z**2), len(z))
        p_values = {
            "spread": float(2 * min(spread, 1 - spread)),
            "mean": z_to_p(float(np.sqrt(len(z)) * z.mean())),
            "law": float(kstest(u, "uniform").pvalue),
        }
        return CheckResult("prior predictive", p_values, level)

    def leave_one_out(
        self, x: ArrayLike, y: ArrayLike, scales: ArrayLike, *, rows: int = 64
    ) -> np.ndarray:
        """Log score of the data at several scales of the outcomes, each row left out in turn.

        Args:
            x: inputs, n rows.
            y: real outcomes.
            scales: by which the outcomes are divided before the network sees them.
            rows: how many of the rows to leave out, spread evenly; those nearest to each are
                its context where there are more than the network was trained on.

        Returns:
            One sum over the rows for each scale, comparable between scales.

        Raises:
            MethodError: the outcomes are labels.
            ArrayError: shapes do not match, values are not finite, or there are fewer than 2 rows.
        """
        if self.config["classes"] is not None:
            raise MethodError("leave_one_out: scales need real outcomes; this network has labels.")
        x, y = self._data(x, y)
        if len(x) < 2:
            raise ArrayError(f"leave_one_out: at least 2 rows are needed, got {len(x)}.")
        left = np.unique(np.linspace(0, len(x) - 1, min(len(x), rows)).round().astype(int))
        most = min(len(x) - 1, int(self.ranges.limits["context rows"][1]))
        chosen = np.stack([_closest(np.delete(x, i, 0), x[i : i + 1], most)[0] for i in left])
        chosen = chosen + (chosen >= left[:, None])  # places among all rows
        context, outcomes, mask = _pad(x[chosen], y[chosen], axis=1)
        found = _scores(
            self.network, self.head, context, outcomes, mask, x[left], y[left],
            jnp.asarray(scales, float),
        )  # fmt: skip
        return np.asarray(found, float)

    def _near(self, x: np.ndarray, y: np.ndarray, queries: np.ndarray, nearest: int) -> Array:
        chosen = _closest(x, queries, nearest)
        context, labels, mask = _pad(x[chosen], y[chosen], axis=1)
        return _local(self.network, context, labels, mask, queries)

    def save(self, path: str | pathlib.Path, *, half: bool = False) -> None:
        """Write to a file that ``pi.amortized.load`` reads; ``half`` stores bfloat16."""
        weights.save(
            path,
            self.network,
            kind="pfn",
            config=self.config,
            ranges=self.ranges,
            training=self.training,
            half=half,
        )

    @classmethod
    def skeleton(cls, config: dict[str, Any]) -> AnyNetwork:
        """A network of the right structure."""
        make = TableNetwork if config.get("fits", False) else Network
        return make(config, jax.random.key(0))

    @classmethod
    def assemble(cls, network: AnyNetwork, contents: weights.Contents) -> FittedPFN:
        """Put a loaded network together."""
        return cls(network, contents.config, contents.ranges, contents.training)

    def _inputs(self, name: str, x: ArrayLike) -> np.ndarray:
        columns = self.config["inputs"]
        array = np.asarray(x, np.float32)
        if array.ndim == 1 and columns == 1:
            array = array[:, None]
        if self.any_columns and array.ndim == 2 and array.shape[1] > 0:
            if np.isinf(array).any():
                raise ArrayError(f"{name} holds infinite values; make them NaN or drop these rows.")
            return array
        if array.ndim != 2 or array.shape[1] != columns:
            raise ArrayError(
                f"{name} must have shape (rows, {columns}) for this network, got {array.shape}."
            )
        if not np.isfinite(array).all():
            raise ArrayError(f"{name} holds NaN or infinite values; impute or drop these rows.")
        return array

    def _data(self, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        x, classes = self._inputs("x", x), self.config["classes"]
        values = np.asarray(y, float)
        if values.shape != (len(x),):
            raise ArrayError(f"y must have shape ({len(x)},) to go with x, got {values.shape}.")
        if not np.isfinite(values).all():
            raise ArrayError("y holds NaN or infinite values; drop these rows.")
        if classes is None:
            return x, values.astype(np.float32)
        if not np.isin(values, np.arange(classes)).all():
            raise ArrayError(f"y must hold labels 0 to {classes - 1}, got {np.unique(values)[:8]}.")
        return x, values.astype(np.int32)


def _closest(x: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    """(queries, count) places of the rows of x closest to each query."""
    from scipy.spatial.distance import cdist

    distance = cdist(queries, x, "sqeuclidean")
    return np.argsort(distance, axis=1, kind="stable")[:, :count]


def _padded(rows: int) -> int:
    """Next power of two: few sizes, few compilations."""
    return 1 << max(rows - 1, 0).bit_length()


def _pad(x: np.ndarray, y: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of zeros up to the next power of two, and which rows are real."""
    n = x.shape[axis]
    extra = _padded(n) - n
    wide = [(0, extra if k == axis else 0) for k in range(x.ndim)]
    mask = np.arange(n + extra) < n
    return np.pad(x, wide), np.pad(y, wide[: y.ndim]), mask


@eqx.filter_jit
def _outputs(network: AnyNetwork, x: Any, y: Any, mask: Any, x_new: Any) -> Array:
    return network(x, y, mask, x_new)


@eqx.filter_jit
def _local(network: AnyNetwork, x: Any, y: Any, mask: Any, x_new: Any) -> Array:
    def one(x: Array, y: Array, query: Array) -> Array:
        return network(x, y, mask, query[None])[0]

    return jax.vmap(one)(jnp.asarray(x), jnp.asarray(y), jnp.asarray(x_new))


@eqx.filter_jit
def _scores(
    network: AnyNetwork, head: Head, x: Any, y: Any, mask: Any, left: Any, truth: Any, scales: Array
) -> Array:
    def at(scale: Array) -> Array:
        law = head.distribution(_local(network, x, y / scale, mask, left))
        return jnp.sum(law.log_density(truth / scale) - jnp.log(scale))

    return jax.lax.map(at, scales)


@eqx.filter_jit
def _prequential(network: AnyNetwork, x: Any, y: Any) -> Array:
    rows = jnp.arange(x.shape[0])

    def one(i: Array) -> Array:
        return network(x, y, rows < i, jnp.asarray(x)[i][None])[0]

    return jax.vmap(one)(rows)
