"""Errors from inside a NumPyro model, told again with the site, what was seen and a remedy."""

from __future__ import annotations

import contextlib
import pathlib
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import numpyro

from probinf.errors import ModelError, ParameterError

_LIBRARIES = tuple(
    str(pathlib.Path(file).parent) for file in (jax.__file__, numpyro.__file__, __file__)
)


_UNMADE = {
    "is not supported by this class": "NumPyro truncates Cauchy, Laplace, Logistic, Normal, "
    "SoftLaplace and StudentT, and Gamma as dist.TruncatedGamma. A truncated HalfNormal or "
    "HalfCauchy is their whole distribution between two bounds, both at least 0. Use one of these, "
    "or numpyro.deterministic on a transform of one of them.",
    "base distribution should be univariate": "Truncate a distribution on the whole line.",
    "Invalid component distribution": "Use dist.MixtureGeneral with a list of the components.",
    "can be folded": "Fold a distribution on the line; of others, take jnp.abs of the site in a "
    "numpyro.deterministic.",
    "must have the same support": "Pass dist.MixtureGeneral(..., support=...), the union of the "
    "components' supports.",
    "cannot handle spherical": "Wrap the model in numpyro.handlers.reparam with "
    "ProjectedNormalReparam for this site.",
}


def abstractly(fn: Callable[..., Any], *args: Any) -> Any:
    """``jax.eval_shape``, with the errors of the model told so that they can be understood."""
    with clearly():
        return jax.eval_shape(fn, *args)


@contextlib.contextmanager
def clearly() -> Iterator[None]:
    """Tells the errors of the model inside so that they can be understood."""
    try:
        yield
    except Exception as error:
        clear = translated(error)
        if clear is error:
            raise
        raise clear from error


def translated(error: Exception) -> Exception:
    """The error to raise instead of ``error``; unknown ones pass unchanged."""
    text = str(error)
    first = text.splitlines()[0] if text else ""
    site, line = _site_of(error), _line_of(error)
    where = f"near site {site!r}" if site else "in the model"
    if isinstance(error, ModelError):
        return error
    for phrase, remedy in _UNMADE.items():
        if phrase in text:
            named = f"site '{site or _site_in_source(error)}'{_base_of(error)}: "
            return ModelError(f"{named}{first.split(';')[0].rstrip('.')}{line}. {remedy}")
    if isinstance(error, AssertionError) and "unique names" in text:
        return ModelError(f"{text}: two sites share a name; rename one of them.")
    if isinstance(error, AssertionError) and "is_prng_key" in _innermost(error):
        return ModelError(
            f"the density needs the value of site {site!r}{line}, but NumPyro does not hand it "
            "over. For scan inside a scope handler: enter the scope inside the scanned function."
        )
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return ModelError(
            f"a traced array is handed to NumPy {where}{line}: {first}\n"
            "Use jax.numpy inside the model, and index data with traced indices only after "
            "jnp.asarray(data)."
        )
    traced = (
        jax.errors.ConcretizationTypeError
        | jax.errors.NonConcreteBooleanIndexError
        | jax.errors.TracerIntegerConversionError
    )
    if isinstance(error, traced) or "Shapes must be 1D sequences of concrete" in text:
        return ModelError(
            f"an array is used as a Python number, size or branch {where}{line}: {first}\n"
            "Arrays are traced. Pass sizes and flags as Python int or bool arguments "
            "(len(data), not an array), and branch with jnp.where."
        )
    if "roadcast" in text or "ncompatible shapes" in text:
        return ModelError(
            f"shapes do not match {where}{line}: {first}\n"
            "Compare the site's parameters with the sizes of the plates around it."
        )
    if isinstance(error, AssertionError) and "size of plate" in text:
        return ModelError(
            f"plate {_plate_of(error)!r} has size 0{line}: there is nothing in it. Pass data, or "
            "leave the plate out where there are none."
        )
    if "Indexer must have integer" in text:
        return ModelError(
            f"an array of floats is used as an index {where}{line}: {first}\n"
            "Pass indices as integers (index.astype(int))."
        )
    if isinstance(error, TypeError | AttributeError | IndexError) and (given := _lists_of(error)):
        return ModelError(
            f"{given}, and the model computes with it as with an array {where}{line}: {first}\n"
            "Pass numbers as an array, np.asarray(x)."
        )
    if isinstance(error, TypeError | ValueError) and "shape" in text:
        return ModelError(
            f"shapes do not match {where}{line}: {first}\n"
            "Compare the sizes of the arrays in that line: arguments, sites and plates."
        )
    if isinstance(error, ValueError) and "distribution got invalid" in text:
        return ParameterError(
            f"{text.rstrip('.')}{_value_of(error)}{line}. Give it a value inside its domain, or "
            "transform it (jnp.exp makes a positive number of a real one)."
        )
    if line:
        error.add_note(f"It was raised {where}{line}.")
    return error


def _site_of(error: Exception) -> str | None:
    """Name of the site (and its plates) that was being processed when ``error`` was raised."""
    name = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        msg = frame.f_locals.get("msg")
        if isinstance(msg, dict) and msg.get("name"):
            plates = [f"{f.name} (size {f.size})" for f in msg.get("cond_indep_stack", [])]
            name = msg["name"] + (f" in plate {', '.join(plates)}" if plates else "")
    return name


def _plate_of(error: Exception) -> str:
    """Name of the plate that was being made when ``error`` was raised."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if isinstance(made := frame.f_locals.get("self"), numpyro.plate):
            return str(frame.f_locals.get("name", getattr(made, "name", "?")))
    return "?"


def _lists_of(error: Exception) -> str:
    """Which arguments of the model are no arrays but lists, tuples or text; empty if none."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        args, kwargs = frame.f_locals.get("args"), frame.f_locals.get("kwargs")
        if frame.f_code.co_qualname == "Model.__call__" and isinstance(args, tuple):
            named = {str(k + 1): v for k, v in enumerate(args)} | {
                repr(k): v for k, v in (kwargs or {}).items()
            }
            odd = {k: v for k, v in named.items() if isinstance(v, list | tuple | str)}
            kinds = [f"argument {k} is a Python {type(v).__name__}" for k, v in odd.items()]
            return f"the model's {' and '.join(kinds)}" if kinds else ""
    return ""


def _site_in_source(error: Exception) -> str:
    """Name of the site whose distribution was being made when ``error`` was raised."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        found = re.search(r"""sample\(\s*f?["']([^"']+)["']""", frame.line or "")
        if found:
            return found[1]
    return "?"


def _base_of(error: Exception) -> str:
    """Class of the distribution that was being put into another one, in brackets."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for name in ("base_dist", "component_distribution", "component_distributions", "site"):
            inner = frame.f_locals.get(name)
            inner = inner.get("fn") if isinstance(inner, dict) else inner
            first = inner[0] if isinstance(inner, list) and inner else inner
            if isinstance(first, numpyro.distributions.Distribution):
                while type(first).__name__ in ("ExpandedDistribution", "Independent"):
                    first = first.base_dist
                return f" ({type(first).__name__})"
    return ""


def _line_of(error: Exception) -> str:
    """The innermost line outside of the libraries, which is the user's."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.line and not frame.filename.startswith(_LIBRARIES):
            return f" (line {frame.lineno} of {frame.filename}: {frame.line})"
    return ""


def _innermost(error: Exception) -> str:
    return traceback.extract_tb(error.__traceback__)[-1].line or ""


def _value_of(error: Exception) -> str:
    """The offending parameter, from the frame of NumPyro's validation."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        seen: dict[str, Any] = frame.f_locals
        if {"param", "value", "is_valid"} <= set(seen):
            return f": {seen['param']} = {np.asarray(seen['value'])}"
    return ""
