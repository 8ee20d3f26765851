"""ExactFilter: exact filtering and smoothing where the model is linear-Gaussian or finite."""

from __future__ import annotations

import dataclasses
import importlib.util
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from probinf.core.coordinates import Layout
from probinf.core.estimate import Estimate
from probinf.core.inputs.limits import at_least
from probinf.core.program import Key, Program
from probinf.errors import MethodError, MissingPackageError, ZeroLikelihoodError
from probinf.fronts.states.program import StateSpaceOf
from probinf.results.assembling import assemble
from probinf.results.posterior import Posterior
from probinf.runtime.method import Method, Plan, Run
from probinf.runtime.progress import Status
from probinf.samplers.filters import finite, gaussian
from probinf.samplers.filters.known import refuse_unknown


@dataclasses.dataclass(frozen=True)
class ExactFilter(Method[Posterior]):
    """Exact filter and smoother of a linear-Gaussian or finite state-space program.

    Its draws are paths of the states given all observations, its evidence has no error. The
    history holds, for every step, ``mean:states`` and ``sd:states`` of the filter, ``smoothed
    mean:`` and ``smoothed sd:``; of finite states ``probability:``, ``smoothed probability:``
    and the path that is ``most probable:`` as a whole.

    Whether the model is linear-Gaussian is looked up: its laws must be Normal, MultivariateNormal
    or Delta, with slopes and spreads that are the same at several trial states. It needs the
    package cuthbert (the extra ``states``).

    Args:
        draws: independent paths.

    Raises:
        MethodError: ``draws`` is not positive.

    Source: Kalman (1960), Rauch, Tung & Striebel (1965) and Baum et al. (1970), computed by
    cuthbert.
    """

    draws: int = 1000

    def __post_init__(self) -> None:
        at_least(1, draws=self.draws)

    def plan(self, program: Program, layout: Layout) -> Plan:
        """One lane of one step.

        Raises:
            MissingPackageError: cuthbert is not installed.
            MethodError: the model is neither linear-Gaussian nor finite; the message says why.
        """
        refuse_unknown(program, "ExactFilter")
        if importlib.util.find_spec("cuthbert") is None:
            raise MissingPackageError(
                "ExactFilter needs the package cuthbert: pip install 'probinf[states]'."
            )
        of = program.state_space
        if not isinstance(of, StateSpaceOf):
            raise gaussian.refuse("the program was not made by pi.from_state_space")
        with jax.enable_x64(True):
            parameters, steps = _parts(of, program)
            states = finite.grid(of.model)
            if states is None:
                reason = gaussian.refuse_not_linear(of.model, parameters, steps)
            else:
                tables = jax.jit(partial(_tables, of))(program, states)
                reason = finite.refuse_not_stochastic(np.asarray(tables))
        if reason:
            raise gaussian.refuse(reason)
        return Plan(lanes=1, chunk=1, draws=self.draws, moves_integers=True)

    def init(self, key: Key, program: Program) -> Array:
        """Nothing done yet."""
        return jnp.zeros((), int)

    def step(self, key: Key, program: Program, state: Array) -> tuple[Array, gaussian.Exact]:
        """All of it."""
        of = program.state_space
        assert isinstance(of, StateSpaceOf)
        parameters, steps = _parts(of, program)
        states = finite.grid(of.model)
        if states is None:
            return state + 1, gaussian.solve(key, of.model, parameters, steps, self.draws)
        return state + 1, finite.solve(key, of.model, parameters, steps, states, self.draws)

    def done(self, state: Array) -> Bool[Array, ""]:
        """After one step."""
        return state > 0

    def status(self, states: Any) -> Status:
        """Done or not."""
        return Status(float(states.min()), "filtering")

    def finish(self, run: Run) -> Posterior:
        """Paths as independent draws.

        Raises:
            ZeroLikelihoodError: the observations are impossible.
        """
        record = run.records[0]
        if record is None:
            raise MethodError("the run was interrupted before it had filtered anything.")
        found: gaussian.Exact = jax.tree.map(lambda leaf: leaf[0], record)
        if not np.isfinite(found.log_z):
            raise ZeroLikelihoodError(
                f"ExactFilter: the log likelihood is {found.log_z}: no path of the states gives "
                "these observations, or a parameter is outside its domain (pi.check(program))."
            )
        of = run.program.state_space
        assert isinstance(of, StateSpaceOf)
        place = jax.jit(jax.vmap(partial(_placed, of, run.layout), (0, None)))
        history = {f"mean:{n}": v for n, v in found.filtered[0].items()}
        history |= {f"sd:{n}": v for n, v in found.filtered[1].items()}
        history |= {f"smoothed mean:{n}": v for n, v in found.smoothed[0].items()}
        history |= {f"smoothed sd:{n}": v for n, v in found.smoothed[1].items()}
        sites = run.kept.sites
        paths = {n: np.asarray(v)[None] for n, v in found.paths.items()}
        return assemble(
            run,
            "weighted",
            np.asarray(place(found.paths, run.flat.data))[None],
            draws={n: v for n, v in paths.items() if sites is None or n in sites},
            history={n: np.asarray(v)[None] for n, v in {**history, **found.more}.items()},
            clusters=np.arange(self.draws)[None],
            evidence=Estimate(float(found.log_z), 0.0),
        )


def _parts(of: StateSpaceOf, program: Program) -> Any:
    """Values of the parameters, and the steps."""
    return of.known(program.data), program.data.steps()


def _tables(of: StateSpaceOf, program: Program, states: Any) -> Any:
    parameters, steps = _parts(of, program)
    return finite.tables(of.model, parameters, steps, states)[0]


def _placed(of: StateSpaceOf, layout: Layout, path: Any, data: Any) -> Any:
    return layout.ravel(of.position(path, data))
