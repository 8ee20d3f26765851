"""Method: what an engine is, so that a session can drive it."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from probinf.core.coordinates import Layout
from probinf.core.inputs.options import Options
from probinf.core.population import Population, normalise
from probinf.core.program import Key, Position, Program
from probinf.core.resampling import multinomial
from probinf.errors import MethodError
from probinf.runtime.progress import Status
from probinf.runtime.records import Collector, Kept, Pieces

if TYPE_CHECKING:
    from probinf.runtime.lanes import Lane

Result = TypeVar("Result")


class Plan(NamedTuple):
    """What a run of an engine on a program takes, known on the host before it starts.

    Attributes:
        lanes: independent replicas: chains of MCMC, islands of SMC.
        chunk: most steps between two looks from the host: the length of the record buffer.
        row_bytes: of the records of one step of all lanes, where they hold positions; else 0.
        draws: draws that the run keeps, where their number is known; else 0.
        moves_integers: whether the engine can deal with discrete coordinates.
    """

    lanes: int
    chunk: int
    row_bytes: int = 0
    draws: int = 0
    moves_integers: bool = False


class Run(NamedTuple):
    """A run: what it is about and, once it is finished or interrupted, what it leaves on the host.

    Attributes:
        program: the user's program.
        flat: the same measure on flat positions.
        layout: leads from flat positions back to the program's.
        kept: what the user wants to keep.
        states: final state of the method, leading axis lane.
        records: what the method's collector made of the records; by default one per lane,
            leading axis step.
        provenance: settings, key, versions, seconds.
        key: of the run.
    """

    program: Program
    flat: Program
    layout: Layout
    kept: Kept = Kept()
    states: Any = None
    records: Any = None
    provenance: dict[str, Any] = {}  # noqa: RUF012
    key: Any = None


@dataclasses.dataclass(frozen=True)
class Method(Options, abc.ABC, Generic[Result]):
    """An inference engine as a step machine; options are the fields of a frozen dataclass.

    A lane is one independent replica: a chain of MCMC, an island of SMC. Engines of chains and
    of populations have a base class each that fills in most of this (``samplers.chains``,
    ``samplers.populations``).
    """

    grows: ClassVar[bool] = False
    """Whether arrays of its state may have grown by the time that a run is resumed."""

    @property
    def follows_gradients(self) -> bool:
        """Whether it can move only where the density has a gradient."""
        return False

    def settled(self, program: Program, key: Key) -> tuple[Method[Result], dict[str, Any]]:
        """The engine with what its options leave open decided, and what to note of that.

        Args:
            program: the user's.
            key: of the run.
        """
        return self, {}

    @property
    def wants_double(self) -> bool:
        """Whether ``precision="auto"`` means double on a CPU, without looking at the density."""
        return False

    @abc.abstractmethod
    def plan(self, program: Program, layout: Layout) -> Plan:
        """What a run takes.

        Args:
            program: the user's program.
            layout: of its flat positions.

        Raises:
            MethodError: this engine cannot serve the program.
        """

    @abc.abstractmethod
    def init(self, key: Key, program: Program) -> Any:
        """State of one lane before its first step."""

    @abc.abstractmethod
    def step(self, key: Key, program: Program, state: Any) -> tuple[Any, Any]:
        """One step of one lane, and what to record of it."""

    @abc.abstractmethod
    def done(self, state: Any) -> Bool[Array, ""]:
        """Whether a lane has nothing left to do."""

    @abc.abstractmethod
    def status(self, states: Any) -> Status:
        """Progress of all lanes (host arrays, leading axis lane)."""

    @abc.abstractmethod
    def finish(self, run: Run) -> Result:
        """The Posterior."""

    def again(
        self, program: Program, lanes: Lane, collector: Collector
    ) -> tuple[Lane, list[Any]] | None:
        """When all lanes are done: lanes that have more to do, or None when that was all.

        It must follow from its arguments alone, so that a resumed run goes the same way.

        Args:
            program: on flat positions.
            lanes: all of them done.
            collector: holds the records so far.

        Returns:
            The lanes to go on with, and one more record for each of them.
        """
        return None

    def collector(self, run: Run, plan: Plan) -> Collector:
        """What takes the records of a run that begins; by default all of them are kept.

        Raises:
            MethodError: the run shall keep only summaries, of draws that have no order.
        """
        if run.kept.summaries_only:
            raise MethodError(
                "summaries_only= is for Markov chains, whose draws come one after the other "
                f"(NUTS, MCMC, ChEES, ParallelTempering); {type(self).__name__} weighs all draws "
                "at its end. Name some sites with keep= instead."
            )
        return Pieces(plan.lanes)

    def populate(self, key: Key, program: Program) -> Population:
        """One lane from start to end as a pure function, for ``jit(vmap(...))``.

        Raises:
            MethodError: this engine has no weighted population.
        """
        raise MethodError(f"{type(self).__name__} does not produce a weighted population.")

    def positions(self, key: Key, program: Program, count: int) -> Position:
        """Equally weighted draws by one lane as a pure function, for ``jit(vmap(...))``.

        Args:
            key: random key.
            program: on flat positions.
            count: of the draws.

        Raises:
            MethodError: one lane makes fewer draws, or cannot run as a pure function.
        """
        population = self.populate(key, program)
        available = population.log_w.shape[0]
        if available < count:
            raise MethodError(
                f"{type(self).__name__} makes {available} draws, fewer than draws={count}."
            )
        ancestors = multinomial(jax.random.fold_in(key, 1), jnp.exp(normalise(population.log_w)))
        order = jax.random.permutation(jax.random.fold_in(key, 2), ancestors)[:count]
        return jax.tree.map(lambda leaf: leaf[order], population.x)
