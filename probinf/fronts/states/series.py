"""Series: the observations over time, which of them are missing, covariates and times."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from probinf.core.inputs.arrays import is_traced
from probinf.core.inputs.given import as_given
from probinf.errors import ModelError, ObservationError

WHO = "from_state_space"


class Step(NamedTuple):
    """What there is at one time, or with a leading axis at all of them.

    Attributes:
        observed: by series; any value inside the support where one is missing.
        missing: by series, of those of which some are.
        covariates: a pytree.
        time: when.
        dt: since the step before.
        number: of the step, from 0.
    """

    observed: dict[str, Array]
    missing: dict[str, Array]
    covariates: Any
    time: Array
    dt: Array
    number: Array


class Series(NamedTuple):
    """Data of a state-space program.

    Attributes:
        prior: of the program of the parameters.
        fixed: parameters that are known.
        observed: by series, leading axis time.
        missing: by series of which some are, True where there is no observation.
        covariates: a pytree, leading axis time.
        time: (steps,).
        dt: (steps,) since the step before; 0 at the first.
        number: (steps,) of each step.
    """

    prior: Any
    fixed: dict[str, Any]
    observed: dict[str, Any]
    missing: dict[str, Any]
    covariates: Any
    time: Any
    dt: Any
    number: Any

    @property
    def length(self) -> int:
        """How many steps there are."""
        return int(jnp.shape(self.time)[0])

    def steps(self) -> Step:
        """All steps, leading axis time."""
        given = (self.observed, self.missing, self.covariates, self.time, self.dt, self.number)
        return Step(*jax.tree.map(jnp.asarray, given))


def at(steps: Any, where: Any) -> Any:
    """One step, or some, of a pytree with a leading axis of time."""
    return jax.tree.map(lambda leaf: leaf[where], steps)


def as_observed(values: Any, single: str) -> dict[str, Any]:
    """Observations by series, kept as they were given.

    Raises:
        ModelError: there is none, or they differ in length.
    """
    named = dict(values) if isinstance(values, dict) else {single: values}
    if not named:
        raise ModelError(f"{WHO}: observations is an empty dict; give at least one series.")
    found = {name: as_given(f"observations '{name}'", value) for name, value in named.items()}
    for name, value in found.items():
        if not jnp.ndim(value) or value.dtype.kind not in "biuf":
            raise ObservationError(
                f"{WHO}: observations '{name}' must be an array of numbers with time along its "
                f"first axis, got {value!r}."
            )
    lengths = {name: int(value.shape[0]) for name, value in found.items()}
    if len(set(lengths.values())) > 1:
        raise ObservationError(
            f"{WHO}: the observed series have lengths {lengths}; fill the shorter ones up with NaN "
            "and pass missing='nan', or give the times that they share."
        )
    if min(lengths.values()) < 2:
        raise ObservationError(
            f"{WHO}: the observations have {min(lengths.values())} time; there must be at least 2. "
            "Time is the first axis of each series."
        )
    return found


def as_missing(
    observed: dict[str, Any], missing: Any, single: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Which observations are missing: the observed values without NaN, and masks.

    Raises:
        ObservationError: a NaN that is not said to be missing, or a mask of another shape.
    """
    if missing is None:
        masks: dict[str, Any] = {}
    elif isinstance(missing, str):
        if missing != "nan":
            raise ObservationError(
                f"{WHO}: missing must be 'nan' or a mask (True where missing), got {missing!r}."
            )
        masks = {n: np.isnan(v) for n, v in observed.items() if v.dtype.kind == "f"}
    else:
        named = missing if isinstance(missing, dict) else dict.fromkeys(observed, missing)
        unknown = sorted(set(named) - set(observed))
        if unknown:
            raise ObservationError(
                f"{WHO}: missing names the series {unknown}; there are {sorted(observed)}."
            )
        masks = {name: _mask(name, mask, observed[name]) for name, mask in named.items()}
    masks = {name: mask for name, mask in masks.items() if np.any(mask)}
    whole = dict(observed)
    for name, value in observed.items():
        mask = masks.get(name)
        if value.dtype.kind == "f" and not is_traced(value):
            _refuse_nan(name, np.asarray(value), mask, single)
        if mask is not None:
            some = np.asarray(value)[~mask]
            filled = np.where(mask, some[0] if some.size else 0, value).astype(value.dtype)
            filled.flags.writeable = False
            whole[name] = filled
    return whole, masks


def _refuse_nan(name: str, value: np.ndarray, mask: np.ndarray | None, single: bool) -> None:
    bad = np.isnan(value) if mask is None else np.isnan(value) & ~mask
    if bad.any():
        first = [int(i) for i in np.argwhere(bad)[0]]
        series = "" if single else f" of series '{name}'"
        raise ObservationError(
            f"{WHO}: {int(bad.sum())} of {value.size} observations{series} are NaN, the first "
            f"at step {first[0]}{f' (entry {first[1:]})' if first[1:] else ''}. If they are "
            "missing say so with missing='nan' (or a mask, True where missing)."
        )


def _mask(name: str, mask: Any, value: Any) -> np.ndarray:
    found = np.asarray(mask)
    if found.dtype != bool:
        raise ObservationError(
            f"{WHO}: missing must be Boolean, True where an observation is missing, got dtype "
            f"{found.dtype} for '{name}'."
        )
    if found.shape != value.shape and found.shape == value.shape[:1]:
        found = found.reshape(found.shape + (1,) * (value.ndim - 1))
        found = np.broadcast_to(found, value.shape)
    if found.shape != value.shape:
        raise ObservationError(
            f"{WHO}: missing has shape {np.shape(mask)}, the series '{name}' {tuple(value.shape)}; "
            "give one entry per step, or one per observation."
        )
    return np.array(found)


def as_times(times: Any, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Times and the gaps between them; without times the steps are of length 1.

    Raises:
        ModelError: there are too many or too few, or they do not increase.
    """
    if times is None:
        return np.arange(length, dtype=float), np.concatenate([[0.0], np.ones(length - 1)])
    found = np.asarray(times, float)
    if found.shape != (length,):
        raise ModelError(
            f"{WHO}: times has shape {found.shape}; there are {length} steps of observations."
        )
    gaps = np.diff(found)
    if not np.isfinite(found).all() or (gaps <= 0).any():
        bad = int(np.argmax(~(gaps > 0))) + 1
        raise ModelError(
            f"{WHO}: times must be finite and increase; step {bad} is at {found[bad]:g} after "
            f"{found[bad - 1]:g}. Sort the data by time, and join those at the same one."
        )
    return found, np.concatenate([[0.0], gaps])


def as_covariates(covariates: Any, length: int) -> Any:
    """Covariates, a pytree of arrays with one entry per step.

    Raises:
        ModelError: one has another length, or is not finite.
    """
    found = jax.tree.map(lambda value: as_given("covariates", value), covariates)
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        name = f"covariates{jax.tree_util.keystr(path)}"
        if not jnp.ndim(leaf) or leaf.shape[0] != length:
            raise ModelError(
                f"{WHO}: {name} has shape {jnp.shape(leaf)}; covariates need one entry per step "
                f"along their first axis, {length} here."
            )
        if leaf.dtype.kind == "f" and not is_traced(leaf) and not np.isfinite(leaf).all():
            step = int(np.argwhere(~np.isfinite(np.asarray(leaf)))[0][0])
            raise ModelError(
                f"{WHO}: {name} is NaN or infinite at step {step}; covariates must be known at "
                "every step. Impute them, or make them a state."
            )
    return found
