"""MAP and Laplace: the highest point of the posterior, and the normal law of its curvature."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Array, Bool

from probinf.core.coordinates import Layout
from probinf.core.inputs.limits import at_least, check_choice, positive
from probinf.core.laws import FactorNormal
from probinf.core.program import Key, Program
from probinf.core.zero_likelihood import zero_likelihood
from probinf.errors import MethodError
from probinf.results.assembling import assemble
from probinf.results.findings import Finding
from probinf.results.posterior import Posterior
from probinf.runtime.method import Method, Plan, Run
from probinf.runtime.progress import Status
from probinf.samplers.approximate.climbing import Climb, Top, climb_from_afar, climbed, topped
from probinf.samplers.approximate.reporting import (
    approximate,
    as_law,
    end_key,
    names_of,
    require_smooth,
)
from probinf.samplers.approximate.widening import compared
from probinf.samplers.warmup.starting import START_TRIES

Coordinates = Literal["unconstrained", "user"]

_ARRIVED = 1e-3  # nats that the best step may still promise
_SAME = 0.01  # nats by which one and the same top may seem to differ
_MOST_NEWTON = 2000  # coordinates with a Hessian


@dataclasses.dataclass(frozen=True)
class _Climbing(Method[Posterior]):
    """An ascent from each of several starts."""

    starts: int = 8
    max_steps: int = 2000
    tolerance: float = 1e-9

    @property
    def _user(self) -> bool:
        return False

    @property
    def follows_gradients(self) -> bool:
        """It climbs along them."""
        return True

    @property
    def wants_double(self) -> bool:
        """A top is flat, so that single precision finds it to few digits."""
        return True

    def __post_init__(self) -> None:
        at_least(1, starts=self.starts, max_steps=self.max_steps)
        positive(tolerance=self.tolerance)

    def plan(self, program: Program, layout: Layout) -> Plan:
        """A lane for each start."""
        require_smooth(program, layout, type(self).__name__)
        if self._user and program.log_jacobian is None:
            raise MethodError(
                "coordinates='user' needs a program straight from from_numpyro, "
                "from_log_likelihood or from_log_density; this one was transformed. Use "
                "coordinates='unconstrained'."
            )
        return Plan(lanes=self.starts, chunk=min(200, self.max_steps))

    def init(self, key: Key, program: Program) -> Climb:
        """An over-dispersed start."""
        return climb_from_afar(key, program, self._user)

    def step(self, key: Key, program: Program, state: Climb) -> tuple[Climb, Array]:
        """One evaluation."""
        moved = climbed(program, state, self._user, self.tolerance)
        return moved, moved.value

    def done(self, state: Climb) -> Bool[Array, ""]:
        """Nothing left to gain, or too many evaluations."""
        return state.stopped | (state.evaluations >= self.max_steps)

    def status(self, states: Climb) -> Status:
        """The highest value."""
        share = float(states.evaluations.max()) / self.max_steps
        return Status(share, f"climbing, log density {float(states.value.max()):.4g}")

    def best(self, run: Run) -> tuple[Top, dict[str, Any], list[Finding]]:
        """The highest top of all starts, what to tell of the ascents, and what is wrong."""
        states: Climb = run.states
        started = np.asarray(states.started)
        if not started.any():
            raise zero_likelihood(
                run.flat,
                run.layout,
                f"no start with finite log density and gradient in {START_TRIES} tries",
            )
        values = np.where(started, np.asarray(states.value, float), -np.inf)
        k = int(values.argmax())
        small = run.layout.size <= _MOST_NEWTON
        end = np.asarray(states.position)[k]
        if small:
            top = topped(run.flat, end, self._user)
        else:
            promise = float(np.asarray(states.promise)[k])
            top = Top(np.asarray(end, float), float(values[k]), np.zeros((0, 0)), promise)
        told = {
            "log_density": top.value,
            "promise": top.promise,
            "tops": sorted((float(v) for v in values[started]), reverse=True),
            "evaluations": int(np.asarray(states.evaluations).sum()),
            "coordinates": "user" if self._user else "unconstrained",
        }
        return top, told, self._judged(run, top, values[started])

    def _judged(self, run: Run, top: Top, values: np.ndarray) -> list[Finding]:
        name = type(self).__name__
        found = []
        if not top.promise < _ARRIVED:
            far = np.abs(top.position)
            where = f"{names_of(run.layout)[int(far.argmax())]} is {_signed(top.position):.3g}"
            found.append(
                Finding(
                    "not_converged",
                    f"no top was reached: at the highest point found (log density {top.value:.6g}, "
                    f"unconstrained {where}) "
                    + (
                        "the density is not curved downwards in every direction. "
                        if np.isinf(top.promise)
                        else f"a step still promises {top.promise:.2g} nats. "
                    )
                    + "The density may rise without bound, as that of a scale does towards zero, "
                    "or be flat along a direction; use NUTS or SMC, which do not need a top.",
                )
            )
        level = values >= top.value - _SAME
        if len(values) > 1 and level.sum() == 1 and not found:
            others = values[~level].max()
            found.append(
                Finding(
                    "starts",
                    f"one of {len(values)} starts arrived at the top (log density "
                    f"{top.value:.6g}); the others ended at {others:.6g} or below. There may be "
                    f"higher ones: use {name}(starts={4 * self.starts}).",
                )
            )
        return found


def _signed(position: np.ndarray) -> float:
    return float(position[int(np.abs(position).argmax())])


@dataclasses.dataclass(frozen=True)
class MAP(_Climbing):
    """The highest point of the posterior density, by L-BFGS from several starts.

    The posterior has a single draw, the mode; ``diagnose`` says where no top was reached and
    where starts ended at different ones. A mode depends on the coordinates in which the density is
    written: ``provenance["approximation"]["coordinates"]`` says which.

    Args:
        starts: independent over-dispersed starts.
        max_steps: most density evaluations of each.
        tolerance: nats; an ascent has arrived where a full step promises less.
        coordinates: ``"user"``, the density of the parameters as the model states them (what
            Stan's ``optimize`` calls without Jacobian, and the penalised likelihood of
            textbooks), or ``"unconstrained"``, that of the coordinates in which engines move.

    Raises:
        MethodError: a count is not positive, or there is no gradient.

    Source: Liu & Nocedal (1989), by optax; then Newton's method.
    """

    coordinates: Coordinates = "user"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("coordinates", self.coordinates, get_args(Coordinates))

    @property
    def _user(self) -> bool:
        return self.coordinates == "user"

    def finish(self, run: Run) -> Posterior:
        """The mode as one draw."""
        top, told, findings = self.best(run)
        return assemble(
            run,
            "weighted",
            top.position.astype(run.layout.dtype)[None, None],
            stats={"log_density": np.array([[top.value]])},
            findings=tuple(findings),
            clusters=np.zeros((1, 1), int),
            no_evidence="a mode has no evidence. Use Laplace for an approximate one, or SMC.",
            provenance={"approximation": told},
        )


@dataclasses.dataclass(frozen=True)
class Laplace(_Climbing):
    """The normal law with the mode and the curvature of the unconstrained log density.

    ``diagnose`` says by Pareto k whether it is close to the posterior, and
    ``pi.refine(program, posterior)`` makes it exact. ``provenance["approximation"]`` has Laplace's
    estimate of the log evidence.

    Args:
        starts: independent over-dispersed starts of the ascent.
        max_steps: most density evaluations of each.
        tolerance: nats; an ascent has arrived where a full step promises less.
        draws: from the normal law, equally weighted.

    Raises:
        MethodError: a count is not positive, there is no gradient, or the density is not curved
            downwards in every direction at the highest point found, so that there is no such law.

    Source: Tierney & Kadane (1986).
    """

    draws: int = 4000

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(100, draws=self.draws)

    def plan(self, program: Program, layout: Layout) -> Plan:
        """A lane for each start; the curvature is a matrix.

        Raises:
            MethodError: it would be too large, or there is no gradient.
        """
        if layout.size > _MOST_NEWTON:
            raise MethodError(
                f"Laplace needs the curvature in all {layout.size} coordinates, a matrix of "
                f"{layout.size}²; beyond {_MOST_NEWTON} use VI('low_rank')."
            )
        return super().plan(program, layout)

    def finish(self, run: Run) -> Posterior:
        """Draws of the normal law.

        Raises:
            MethodError: the Hessian is not negative definite.
        """
        top, told, findings = self.best(run)
        if np.isinf(top.promise):
            raise _not_a_top(run, top)
        size = run.layout.size
        factor = np.linalg.cholesky(np.linalg.inv(-top.hessian))
        law = as_law(FactorNormal.of(top.position, factor), run.layout)
        log_det = np.log(np.diag(factor)).sum()
        told["log_evidence"] = float(top.value + 0.5 * size * np.log(2 * np.pi) + log_det)
        seen = compared(run, law, end_key(run), self.draws)
        return approximate(run, law, seen, findings=tuple(findings), told=told)


def _not_a_top(run: Run, top: Top) -> MethodError:
    names = names_of(run.layout)
    if not np.isfinite(top.hessian).all():
        return MethodError(
            "Laplace: the Hessian of the log density is NaN at the highest point found, so there "
            "is no curvature to go by. Use VI or Pathfinder, which need first derivatives only."
        )
    values, vectors = np.linalg.eigh(top.hessian)
    direction = vectors[:, -1]
    main = np.argsort(-np.abs(direction))[:3]
    along = ", ".join(f"{names[i]} ({direction[i]:.2g})" for i in main if abs(direction[i]) > 0.05)
    return MethodError(
        f"Laplace: the highest point found (log density {top.value:.6g}) is not a top: along "
        f"{along} the log density has curvature {values[-1]:.3g}, which must be negative. The "
        "density rises without bound, or is flat in that direction, so no normal law fits there. "
        "Use VI, Pathfinder, NUTS or SMC."
    )
