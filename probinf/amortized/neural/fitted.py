"""What a trained NPE and a trained NLE share: their program, their options, their file."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, TypeVar

import equinox as eqx
from jaxtyping import Array

from probinf.amortized.neural.base import Neural, Record
from probinf.amortized.neural.simulations import Sites
from probinf.amortized.training import weights
from probinf.amortized.training.ranges import Ranges
from probinf.core.coordinates import Layout
from probinf.core.program import Program
from probinf.errors import StructureError

_Fitted = TypeVar("_Fitted", bound="FittedNeural")


class FittedNeural(eqx.Module):
    """A network, what it was trained on and how.

    Attributes:
        network: all arrays.
        program: what it was trained on; None after loading.
        sites: shapes of the observed sites.
        options: of the training.
        training: losses, steps, seconds.
    """

    kind: ClassVar[str]
    network: Any
    program: Program | None
    sites: Sites = eqx.field(static=True)
    options: Any = eqx.field(static=True)
    training: Record = eqx.field(static=True)

    def with_program(self: _Fitted, program: Program) -> _Fitted:
        """The same network on a program, after loading."""
        return type(self)(self.network, program, self.sites, self.options, self.training)

    def save(self, path: Any) -> None:
        """Write the network as safetensors; ``pi.amortized.load`` reads it."""
        config = dataclasses.asdict(self.options)
        config["sites"] = dataclasses.asdict(self.sites)
        config["size"] = self.network.coordinates
        weights.save(
            path,
            self.network,
            kind=self.kind,
            config=config,
            ranges=Ranges({}),
            training=self.training.summary(),
        )

    def _given(self, program: Program | None) -> Program:
        given = self.program if program is None else program
        if given is None:
            raise StructureError(
                "posterior: this network was loaded from a file; pass program=, the model it was "
                "trained on, or use with_program(program)."
            )
        return given

    def _check(self, given: Program) -> None:
        size = Layout.of(given).size
        if size != self.network.coordinates:
            raise StructureError(
                f"posterior: the network knows {self.network.coordinates} coordinates, the program "
                f"has {size}."
            )


def observations_of(program: Program) -> dict[str, Array]:
    """What the program has observed.

    Raises:
        StructureError: it does not say.
    """
    if program.observations is None:
        raise StructureError("posterior: pass the observations; the program does not name any.")
    return program.observations.get(program.data)


def stored_options(method: type[Neural], config: dict[str, Any]) -> dict[str, Any]:
    """The options of a method as they were written to JSON."""
    options = {f.name: config[f.name] for f in dataclasses.fields(method)}
    return {**options, "hidden": tuple(options["hidden"])}


def stored_sites(config: dict[str, Any]) -> Sites:
    """Sites as they were written to JSON."""
    stored = config["sites"]
    return Sites(
        tuple(stored["names"]),
        tuple(tuple(shape) for shape in stored["shapes"]),
        tuple(stored["integer"]),
    )
