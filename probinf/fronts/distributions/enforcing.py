"""Supports that hold whatever NumPyro's switches say."""

from __future__ import annotations

import copy
from typing import Any

import numpyro.distributions as dist


def enforced(fn: Any) -> Any:
    """The same distribution, with a log density of -inf outside its support and its parts'.

    NumPyro leaves the density positive there after ``numpyro.enable_validation(False)`` or with
    ``validate_args=False``: ``Uniform(0, theta)`` would then fit data above theta.
    """
    changed = {name: _enforced_part(part) for name, part in vars(fn).items()}
    changed = {name: part for name, part in changed.items() if part is not vars(fn)[name]}
    if fn._validate_args and not changed:
        return fn
    new = copy.copy(fn)
    vars(new).update(changed, _validate_args=True)
    return new


def _enforced_part(part: Any) -> Any:
    if isinstance(part, dist.Distribution):
        return enforced(part)
    if type(part) in (list, tuple) and any(isinstance(p, dist.Distribution) for p in part):
        parts = type(part)(_enforced_part(p) for p in part)
        return part if all(a is b for a, b in zip(parts, part, strict=True)) else parts
    return part
