"""Laws as JSON and arrays, to be saved without pickling."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from probinf.core import laws

_PLAIN = ("DiagonalNormal", "FactorNormal", "LowRankNormal", "NormalMixture")
_NOTHING: Any = 0
_FLOWS = ("FittedFlow", "DrawnFlow")


def taken_apart(law: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What a law is, for JSON, and its arrays in order."""
    return _described(law), [np.asarray(leaf) for leaf in jax.tree.leaves(law)]


def put_together(described: dict[str, Any], arrays: list[np.ndarray]) -> Any:
    """The inverse of :func:`taken_apart`."""
    return jax.tree.unflatten(jax.tree.structure(_blank(described)), arrays)


def _described(law: Any) -> dict[str, Any]:
    name = type(law).__name__
    if isinstance(law, laws.Scaled):
        return {"law": name, "inner": _described(law.inner)}
    if name in _FLOWS:
        flow = law.flow
        sizes = {"size": flow.size, "layers": flow.layers, "bins": flow.bins, "tails": flow.tails}
        return {"law": name, **sizes, "hidden": list(flow.hidden)}
    return {"law": name}


def _blank(described: dict[str, Any]) -> Any:
    """A law of the same structure, whose arrays say nothing."""
    name = described["law"]
    if name == "Scaled":
        return laws.Scaled(_blank(described["inner"]), _NOTHING, _NOTHING)
    if name in _PLAIN:
        return getattr(laws, name)(*[_NOTHING] * (2 if name == "DiagonalNormal" else 3))
    from probinf.core.flows import flow
    from probinf.core.flows import laws as of_flows

    shape = {"layers": described["layers"], "bins": described["bins"]}
    shape["tails"] = described.get("tails", "identity")
    hidden = tuple(described["hidden"])
    made = jax.eval_shape(
        lambda key: flow.SplineFlow(key, described["size"], 0, hidden=hidden, **shape),
        jax.random.key(0),
    )
    return getattr(of_flows, name)(made)
