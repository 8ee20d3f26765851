"""What a trained NPE, NLE and NRE share: their program, their options, their file."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax

from probinf.amortized.nets.embedding import Embedding
from probinf.amortized.neural.base import Neural, Record
from probinf.amortized.neural.parameters import Parameters
from probinf.amortized.neural.simulations import Sites
from probinf.amortized.training import weights
from probinf.amortized.training.ranges import Ranges
from probinf.core.program import Program
from probinf.errors import SavedFileError, StructureError

_Fitted = TypeVar("_Fitted", bound="FittedNeural")


class FittedNeural(eqx.Module):
    """A network, what it was trained on and how.

    Attributes:
        network: all arrays.
        program: what it was trained on; None after loading.
        sites: shapes of the observed sites.
        parameters: shapes of the latent sites.
        options: of the training.
        training: losses, steps, seconds.
    """

    kind: ClassVar[str]
    network: Any
    program: Program | None
    sites: Sites = eqx.field(static=True)
    parameters: Parameters = eqx.field(static=True)
    options: Any = eqx.field(static=True)
    training: Record = eqx.field(static=True)

    def with_program(self: _Fitted, program: Program) -> _Fitted:
        """The same network on a program, after loading.

        Raises:
            StructureError: its coordinates are others, or its prior where that matters.
        """
        self._check(program)
        return type(self)(
            self.network, program, self.sites, self.parameters, self.options, self.training
        )

    def save(self, path: Any) -> None:
        """Write the network as safetensors; ``pi.amortized.load`` reads it.

        Raises:
            SavedFileError: the embedding is the user's own, which no file can rebuild.
        """
        own = getattr(self.network, "embedding", None) is not None
        if own and getattr(self.options, "embedding", None) is None:
            raise SavedFileError(
                "save: the embedding is your own module, which no file can rebuild. Save it with "
                "equinox.tree_serialise_leaves(path, fitted.network)."
            )
        config: dict[str, Any] = dataclasses.asdict(self.options)
        config["sites"] = dataclasses.asdict(self.sites)
        config["parameters"] = dataclasses.asdict(self.parameters)
        config |= self._structure()
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

    @abc.abstractmethod
    def _structure(self) -> dict[str, Any]:
        """What else the structure of the network depends on."""

    @abc.abstractmethod
    def _check(self, given: Program) -> None:
        """Refuse a program for which the network has no answer."""


def is_traced(program: Program) -> bool:
    """Whether data of the program are unknown, being traced."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(program.data))


def observations_of(program: Program) -> dict[str, Any]:
    """What the program has observed.

    Raises:
        StructureError: it does not say.
    """
    if program.observations is None:
        raise StructureError("posterior: pass the observations; the program does not name any.")
    return program.observations.get(program.data)


def stored(config: dict[str, Any], name: str) -> Any:
    """An entry that files of before may lack.

    Raises:
        SavedFileError: it is not there.
    """
    if name not in config:
        raise SavedFileError(
            f"the file says nothing of {name!r}: it was written by an earlier version of probinf. "
            "Train the network again and save it anew."
        )
    return config[name]


def stored_options(method: type[Neural], config: dict[str, Any]) -> dict[str, Any]:
    """The options of a method as they were written to JSON."""
    options = {f.name: config[f.name] for f in dataclasses.fields(method)}
    if options.get("embedding") is not None:
        options["embedding"] = Embedding.restored(options["embedding"])
    return {**options, "hidden": tuple(options["hidden"])}


def stored_sites(config: dict[str, Any]) -> Sites:
    """Sites as they were written to JSON."""
    stored = config["sites"]
    return Sites(tuple(stored["names"]), _shapes(stored), tuple(stored["integer"]))


def stored_parameters(config: dict[str, Any]) -> Parameters:
    """Parameters as they were written to JSON."""
    return Parameters(tuple(config["parameters"]["names"]), _shapes(config["parameters"]))


def _shapes(stored: dict[str, Any]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(shape) for shape in stored["shapes"])
