"""from_callback: a likelihood in ordinary Python, NumPy or SciPy becomes a Program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro.distributions import Distribution

from probinf.core.host.answering import as_value, shown
from probinf.core.host.asking import Asks, ask
from probinf.core.host.calls import Call
from probinf.core.host.jobs import evaluated
from probinf.core.host.pools import Failure, check_executor, check_picklable
from probinf.core.inputs.shapes import Shape
from probinf.core.precision import precisely
from probinf.core.program import Data, Position, Program, Score
from probinf.core.transformations.labelling import Coords, Dims, labelled
from probinf.core.transformations.nesting import OnInner, nest
from probinf.errors import CallbackError, ModelError
from probinf.fronts.numpyro import from_numpyro
from probinf.fronts.prior import as_prior

_CUBE = "u"
_TRIALS = 3  # points at which the function is tried before anything is run


def from_callback(
    log_likelihood: Callable[[Any], float],
    prior: Any = None,
    *,
    prior_transform: Callable[[np.ndarray], np.ndarray] | None = None,
    names: Sequence[str] | int | None = None,
    executor: Any = None,
    vectorized: bool = False,
    batch_size: int = 100,
    timeout: float | None = None,
    max_failures: float = 0.01,
    dims: Dims | None = None,
    coords: Coords | None = None,
) -> Program:
    """The measure ``prior * exp(log_likelihood)`` for a function that is not written in JAX.

    Engines run their compiled steps up to the point where values are wanted, ask for a whole
    batch of them, and go on. The function has no derivative, so the program is for engines that
    follow none: ``Ensemble``, ``Nested``, ``Importance``, and ``SMC``, ``PersistentSMC``,
    ``ParallelTempering`` and ``MCMC`` with ``kernels.Slice()`` or ``kernels.RandomWalk()``;
    ``method="auto"`` chooses one of them.

    Args:
        log_likelihood: from the parameters to a number: a dict by site name, or one array where
            the prior is one distribution or a ``prior_transform``. Numbers are in double
            precision. It must be deterministic, and may return -inf.
        prior: a NumPyro model without arguments, NumPyro distributions by parameter name or a
            single one, or another Program (whose own likelihood stays).
        prior_transform: in the place of ``prior``, from the unit cube to the parameters, as
            dynesty and UltraNest take it.
        names: with ``prior_transform``, of the parameters, or their number.
        executor: who evaluates: None for this process; a number of processes, which are spawned
            and kept; any executor of the kind of ``concurrent.futures`` (threads, loky, Dask's
            ``client.get_executor()``, ``mpi4py.futures.MPIPoolExecutor``); or a function that
            makes one. Results do not depend on it.
        vectorized: both functions take arrays with a leading axis, and return one value a row.
        batch_size: rows of one call, where ``vectorized``.
        timeout: seconds of one evaluation, which counts as failed where it takes longer twice;
            needs processes.
        max_failures: share of the evaluations that may fail (an exception, NaN, +inf, a time-out,
            a worker that died of it); they count as -inf. More are an error.
        dims: names of dimensions by site; see :func:`probinf.with_dims`.
        coords: labels by dimension.

    Raises:
        ModelError: there is no prior, or two.
        CallbackError: the function returns no number, or cannot be sent to another process.
        MethodError: the executor cannot serve.
    """
    if not callable(log_likelihood):
        raise ModelError(
            f"from_callback: log_likelihood must be a function, got {log_likelihood!r}."
        )
    if not 0 <= max_failures <= 1:
        raise ModelError(f"max_failures must lie in [0, 1], got {max_failures}.")
    if timeout is not None and not timeout > 0:
        raise ModelError(f"timeout must be positive seconds, got {timeout}.")
    if batch_size < 1:
        raise ModelError(f"batch_size must be at least 1, got {batch_size}.")
    check_executor(executor, timeout)
    if (prior is None) == (prior_transform is None):
        raise ModelError(
            "from_callback: give either prior= (a NumPyro model, distributions by name, or a "
            "Program) or prior_transform= (from the unit cube), "
            + ("not both." if prior is not None else "got neither.")
        )
    call = Call(
        log_likelihood,
        before=prior_transform,
        vectorized=vectorized,
        executor=executor,
        timeout=timeout,
        rows=batch_size,
        max_failures=max_failures,
    )
    _check_hashable(call)
    check_picklable(executor, log_likelihood, call.name)
    if prior_transform is not None:
        program = _on_cube(call, prior_transform, names)
    else:
        if names is not None:
            raise ModelError("names= goes with prior_transform=; a prior names its parameters.")
        program = _on_prior(call, prior)
    _try(call, program)
    return labelled(program, dims, coords)


def _on_prior(call: Call, prior: Any) -> Program:
    base = as_prior("from_callback", prior)
    known = isinstance(prior, Distribution | dict)
    read = _Shaped(base.constrain, Shape.of(prior)) if known else base.constrain
    return nest(
        base,
        Asks(call),
        score=_AskedScore(base.score, read, call),
        pointwise=None,
        unconstrain=None if base.unconstrain is None else OnInner(base.unconstrain),
        log_jacobian=None if base.log_jacobian is None else OnInner(base.log_jacobian),
    )


def _on_cube(
    call: Call, transform: Callable[[np.ndarray], np.ndarray], names: Sequence[str] | int | None
) -> Program:
    if names is None or (isinstance(names, int) and names < 1) or isinstance(names, str):
        raise ModelError(
            "from_callback: prior_transform= needs names=, of the parameters or their number, got "
            f"{names!r}."
        )
    named = None if isinstance(names, int) else tuple(names)
    count = names if isinstance(names, int) else len(names)
    base = from_numpyro(_cube, count)
    moved = Call(transform, shape=(count,), vectorized=call.vectorized, counted=False)
    if moved.vectorized:
        moved = dataclasses.replace(moved, rows=call.rows)
    return nest(
        base,
        Asks(call),
        score=_AskedScore(base.score, _Single(base.constrain), call),
        constrain=_Transformed(base.constrain, moved, named),
        pointwise=None,
        predict=None,
        simulate=None,
    )


def _cube(count: int) -> None:
    numpyro.sample(_CUBE, dist.Uniform(0.0, 1.0).expand([count]).to_event(1))


@dataclasses.dataclass(frozen=True)
class _Single:
    """The only site of a program, as it is."""

    constrain: Callable[..., dict[str, Array]]

    def __call__(self, x: Position, data: Data) -> Array:
        (value,) = self.constrain(x, data).values()
        return value


@dataclasses.dataclass(frozen=True)
class _Shaped:
    """The sites of a program in the tree of its priors."""

    constrain: Callable[..., dict[str, Array]]
    shape: Shape

    def __call__(self, x: Position, data: Data) -> Any:
        return self.shape(self.constrain(x, data))


@dataclasses.dataclass(frozen=True)
class _AskedScore:
    """The prior's score, with the value of the function added to the weight."""

    prior: Callable[[Position, Data], Score]
    read: Callable[..., Any]
    call: Call

    def __call__(self, x: Position, data: Data) -> Score:
        log_base, log_weight = self.prior(x, data[0])
        possible = jnp.isfinite(log_base) & ~jnp.isneginf(log_weight)
        found = ask(self.call, x, self.read(x, data[0]), possible)
        return Score(log_base, log_weight + found.astype(log_weight.dtype))


@dataclasses.dataclass(frozen=True)
class _Transformed:
    """The parameters, by name or as one array."""

    cube: Callable[..., dict[str, Array]]
    call: Call
    names: tuple[str, ...] | None

    def __call__(self, x: Position, data: Data) -> dict[str, Array]:
        u = self.cube(x, data[0])[_CUBE]
        theta = ask(self.call, x, u, jnp.asarray(True)).astype(u.dtype)
        if self.names is None:
            return {"theta": theta}
        return {name: theta[k] for k, name in enumerate(self.names)}


def _check_hashable(call: Call) -> None:
    try:
        hash(call)
    except TypeError as error:
        raise ModelError(
            f"from_callback: {call.name} cannot be hashed ({error}). Give a function, a "
            "functools.partial of one, or an object that is compared by identity."
        ) from error


def _try(call: Call, program: Program) -> None:
    """Evaluate the function at a few draws of the prior, in this process.

    Raises:
        CallbackError: it gives no number at any of them.
    """
    if call.executor is not None and not isinstance(call.executor, int):
        return  # it may need what only the user's workers have
    alone = dataclasses.replace(call, executor=None, timeout=None)
    score: Any = program.score
    told = ""
    for k in range(_TRIALS):
        with precisely("double"):
            x = program.start(jax.random.key(k), program.data)
            row = jax.tree.map(np.asarray, score.read(x, program.data[0]))
        (value,) = evaluated(alone, [row])
        if isinstance(value, Failure):
            told = told or f"{value.text}, at {shown(row)}"
            continue
        number = as_value(alone, value, row)
        if not np.isnan(number) and not np.isposinf(number):
            return
        told = told or f"returned {number}, at {shown(row)}"
    raise CallbackError(f"{call.name} fails at {_TRIALS} points of {_TRIALS}. The first: {told}.")
