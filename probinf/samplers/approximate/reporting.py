"""From a fitted law to a Posterior: its draws, how far it is from the program, its evidence."""

from __future__ import annotations

import zlib
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.batches import mapped
from probinf.core.compiling import jitted
from probinf.core.coordinates import Layout
from probinf.core.estimate import log_mean_exp
from probinf.core.gradients import require_gradient
from probinf.core.program import Key, Program, log_density
from probinf.core.psis import psis
from probinf.errors import MethodError
from probinf.results.assembling import assemble
from probinf.results.findings import Finding
from probinf.results.posterior import Posterior
from probinf.runtime.method import Run

TRUSTED = 0.7
"""Pareto k up to which importance weights correct an approximation."""


def require_smooth(program: Program, layout: Layout, who: str) -> None:
    """Refuse programs on which gradients do not say everything.

    Raises:
        MethodError: a coordinate is a random key or discrete, or there is no gradient.
    """
    if layout.has_keys or layout.integers:
        raise MethodError(
            f"{who} follows gradients, but this program has coordinates without (random keys or "
            "integers). Use SMC(kernel=kernels.RandomWalk()) or Importance()."
        )
    require_gradient(program, who)


def end_key(run: Run) -> Key:
    """A key for what is drawn after a run, from the run's own."""
    told = repr((run.provenance.get("key"), "law")).encode()
    return jax.random.key(zlib.crc32(told))


class Compared(NamedTuple):
    """Draws of a law and both log densities there, on the host.

    Attributes:
        rows: (n, d).
        log_q: (n,) of the law.
        log_p: (n,) of the program, unnormalised; -inf where it is NaN.
    """

    rows: np.ndarray
    log_q: np.ndarray
    log_p: np.ndarray

    @property
    def log_ratio(self) -> np.ndarray:
        """(n,) log importance weights; -inf where nothing is known."""
        ratio = self.log_p - self.log_q
        return np.where(np.isfinite(ratio), ratio, -np.inf)


def compared(run: Run, law: Any, key: Key, count: int) -> Compared:
    """Draws of a law, with what the program says of them."""
    rows, log_q, log_p = _drawn(run.flat, law, jax.random.split(key, count))
    return Compared(np.asarray(rows), np.asarray(log_q, float), np.asarray(log_p, float))


@jitted
def _drawn(flat: Program, law: Any, keys: Key) -> Any:
    def one(key: Key) -> Any:
        if hasattr(law, "sample_and_log_density"):  # a flow's draw need not be inverted
            x, log_q = law.sample_and_log_density(key)
        else:
            x = law.sample(key)
            log_q = law.log_density(x)
        return x, log_q, log_density(flat, x)

    return mapped(one, keys, 256)


def approximate(
    run: Run,
    law: Any,
    seen: Compared,
    *,
    smoothed: bool = False,
    findings: tuple[Finding, ...] = (),
    told: dict[str, Any],
    history: dict[str, np.ndarray] | None = None,
) -> Posterior:
    """The Posterior of a law that stands for the program's posterior.

    Args:
        run: finished.
        law: in the flat coordinates.
        seen: its draws.
        smoothed: whether the draws carry Pareto-smoothed weights, in place of equal ones.
        findings: of the engine.
        told: of the approximation, for ``provenance["approximation"]``.
        history: by name, (1, stage).
    """
    ratio = seen.log_ratio
    n = len(ratio)
    log_w, k = psis(ratio)
    elbo, elbo_error = _bound(seen)
    told = {**told, "pareto_k": float(k), "elbo": elbo, "elbo_error": elbo_error}
    heavy = not k < TRUSTED
    found = findings
    if heavy:
        name = run.provenance.get("engine", "the approximation")
        message = (
            f"{name} is too far from the posterior for weights to correct it (Pareto k {k:.2f} > "
            f"{TRUSTED}): its means and sds may be off by more than they look. "
            "pi.refine(program, posterior, key=...) makes it exact."
        )
        found = (Finding("pareto_k", message), *findings)
    fields: dict[str, Any] = {}
    if heavy:
        fields["no_evidence"] = (
            f"the approximation is too far from the posterior (Pareto k {k:.2f} > {TRUSTED}) for "
            "an evidence. Use pi.refine, or SMC."
        )
    else:
        fields["evidence"] = log_mean_exp(ratio)
    return assemble(
        run,
        "weighted",
        seen.rows[None],
        log_weights=(log_w - log_w.max())[None] if smoothed else np.zeros((1, n)),
        stats={"log_density": seen.log_p[None], "log_approximation": seen.log_q[None]},
        history=history or {},
        findings=found,
        clusters=np.arange(n)[None],
        provenance={"approximation": told},
        approximation=jax.tree.map(np.asarray, law),  # in all its digits, whatever is on later
        **fields,
    )


def _bound(seen: Compared) -> tuple[float, float]:
    """The evidence lower bound of a law and its standard error; -inf where draws have none."""
    gap = seen.log_p - seen.log_q
    if not np.isfinite(gap).all():
        return -np.inf, np.nan
    return float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(len(gap)))


def names_of(layout: Layout) -> list[str]:
    """A name for every entry of the flat vector."""
    named = [""] * layout.size
    for site, (first, shape) in layout.places().items():
        size = int(np.prod(shape, dtype=int))
        for i in range(size):
            index = "" if not shape else f"[{','.join(map(str, np.unravel_index(i, shape)))}]"
            named[first + i] = f"{site}{index}"
    return [name or f"x[{i}]" for i, name in enumerate(named)]


def as_law(law: Any, layout: Layout) -> Any:
    """A law with its arrays in the program's precision."""
    return jax.tree.map(partial(_cast, dtype=layout.dtype), law)


def _cast(leaf: Any, dtype: Any) -> Any:
    array = jnp.asarray(leaf)
    return array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array
