"""From a fitted law to a Posterior: its draws, how far it is from the program, its evidence."""

from __future__ import annotations

import zlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.coordinates import Layout
from probinf.core.estimate import log_mean_exp
from probinf.core.gradients import require_gradient
from probinf.core.program import Key, Program, improper
from probinf.core.psis import psis
from probinf.errors import MethodError
from probinf.results.assembling import assemble
from probinf.results.findings import Finding
from probinf.results.posterior import Posterior
from probinf.runtime.method import Run
from probinf.samplers.approximate.widening import Compared, widened

TRUSTED = 0.7
"""Pareto k up to which importance weights correct an approximation."""

MOST_SHIFT = 0.25
"""Of the mean of equally weighted draws, in their sds; what is more is said."""


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
    wide = widened(run, law, seen, jax.random.fold_in(end_key(run), 2))
    log_w, wide_k = psis(wide.log_ratio)
    own_k = psis(seen.log_ratio)[1]
    k = wide_k if smoothed else max(own_k, wide_k)
    elbo, elbo_error = _bound(seen)
    told = {**told, "pareto_k": float(k), "elbo": elbo, "elbo_error": elbo_error}
    found = findings
    name = run.provenance.get("engine", "the approximation")
    if not k < TRUSTED:
        message = (
            f"{name} is too far from the posterior for weights to correct it (Pareto k {k:.2f} > "
            f"{TRUSTED}): its means and sds may be off by more than they look. "
            "pi.refine(program, posterior, key=...) makes it exact."
        )
        found = (Finding("pareto_k", message), *found)
    elif not smoothed and (off := _shifted(run.layout, seen, wide, log_w)):
        found = (Finding("shifted", f"{name}: {off}"), *found)
    fields: dict[str, Any] = {}
    if no_prior := improper(run.flat):
        fields["no_evidence"] = no_prior
    elif not wide_k < TRUSTED:
        fields["no_evidence"] = (
            f"the approximation is too far from the posterior (Pareto k {wide_k:.2f} > {TRUSTED}) "
            "for an evidence. Use pi.refine, or SMC."
        )
    else:
        fields["evidence"] = log_mean_exp(wide.log_ratio)
    kept = wide if smoothed else seen
    n = len(kept.rows)
    return assemble(
        run,
        "weighted",
        kept.rows[None],
        log_weights=(log_w - log_w.max())[None] if smoothed else np.zeros((1, n)),
        stats={"log_density": kept.log_p[None], "log_approximation": kept.log_q[None]},
        history=history or {},
        findings=found,
        clusters=np.arange(n)[None],
        provenance={"approximation": told},
        approximation=jax.tree.map(np.asarray, law),  # in all its digits, whatever is on later
        **fields,
    )


def _shifted(layout: Layout, seen: Compared, wide: Compared, log_w: np.ndarray) -> str:
    """Says of which coordinate weights move the mean most; empty where by little or by chance."""
    w = np.exp(log_w - log_w.max())
    w /= w.sum()
    rows = wide.rows.astype(float)
    mean, spread = w @ rows, seen.rows.std(axis=0, ddof=1) + np.finfo(float).tiny
    gap = (mean - seen.rows.mean(axis=0)) / spread
    noise = np.sqrt((w**2) @ ((rows - mean) / spread) ** 2 + 1 / len(seen.rows))
    most = int(np.argmax(np.abs(gap)))
    if not np.abs(gap[most]) > MOST_SHIFT + 4 * noise[most]:
        return ""
    return (
        f"the weights of its draws move the mean of {names_of(layout)[most]} (unconstrained) by "
        f"{gap[most]:+.2f} sd, so that what the draws say is off by as much. "
        "pi.refine(program, posterior, key=...) makes it exact."
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
