"""Training: the options of a training as one record, and what a fit makes of them."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Literal, TypedDict, cast

import numpy as np
import optax

from probinf.errors import TrainingError

Default = Literal["default"]


class Options(TypedDict, total=False):
    """The options of :class:`Training` as keywords; what is missing is left to the method."""

    steps: int
    learning_rate: float
    warmup: float
    clip: float | None
    optimizer: optax.GradientTransformation | None
    patience: int | None
    chunk: int | None
    checkpoint: str | pathlib.Path | None
    progress: bool


_LIBRARY: Options = {
    "learning_rate": 1e-3,
    "warmup": 0.05,
    "clip": 1.0,
    "optimizer": None,
    "patience": None,
    "chunk": None,
    "checkpoint": None,
    "progress": True,
}


@dataclasses.dataclass(frozen=True)
class Training:
    """How a network is trained; with a key it decides every bit of the result.

    ``NPE``, ``NLE``, ``NRE``, ``PFN``, ``DistributionTransformer`` and ``train`` take it as
    ``training=``, or its fields as keywords. A field that is "default" is left to the method.

    Args:
        steps: number of gradient steps; by default 5000 for NPE, NLE and NRE, no other knows one.
        learning_rate: the largest one, reached at the end of the warm-up; by default 3e-3
            for NPE, NLE and NRE, else 1e-3.
        warmup: share of the steps over which the rate grows, a cosine to zero follows; by default
            .05.
        clip: largest global norm of the gradient, None leaves it alone; by default 5 for NPE,
            NLE and NRE, else 1.
        optimizer: an optax transformation in place of Adam and the schedule (the clip stays).
        patience: stop after so many validations without a smaller loss, None never; by default 15
            for those three, which validate, else None.
        chunk: steps between validations and between checkpoints; a 50th of ``steps`` unless given.
        checkpoint: a folder to which every chunk is written; the same call with the same folder
            continues an interrupted training bit for bit.
        progress: show a progress bar with the loss in a terminal; by default true.

    Raises:
        TrainingError: an option is out of range.
    """

    steps: int | Default = "default"
    learning_rate: float | Default = "default"
    warmup: float | Default = "default"
    clip: float | Default | None = "default"
    optimizer: optax.GradientTransformation | None = None
    patience: int | Default | None = "default"
    chunk: int | None = None
    checkpoint: str | pathlib.Path | None = None
    progress: bool | Default = "default"

    def __post_init__(self) -> None:
        _check("Training", self.given())

    def given(self) -> Options:
        """The options that are not left to the method."""
        found = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if not _same(getattr(self, field.name), field.default)
        }
        return cast(Options, found)


def settled(name: str, defaults: Options, training: Training | None, options: Options) -> Options:
    """Every option of a training: as given, else the method's own, else the library's.

    Args:
        name: of the method, for errors.
        defaults: the method's own.
        training: given as a record.
        options: given as keywords.

    Raises:
        TrainingError: an option is unknown, missing, given twice or out of range.
    """
    known = [field.name for field in dataclasses.fields(Training)]
    if unknown := sorted(options.keys() - set(known)):
        raise TrainingError(f"{name}: no option named {', '.join(unknown)}; there are {known}.")
    if training is not None and not isinstance(training, Training):
        raise TrainingError(f"{name}: training must be a Training, got {type(training).__name__}.")
    record: Options = {} if training is None else training.given()
    if twice := sorted(record.keys() & options.keys()):
        raise TrainingError(
            f"{name}: {', '.join(twice)} given as keyword and in training=. Leave one of them out."
        )
    found: Options = {**_LIBRARY, **defaults, **record, **options}
    if "steps" not in found:
        raise TrainingError(f"{name}: steps= is missing, the number of gradient steps.")
    _check(name, found)
    return found


def _same(value: object, default: object) -> bool:
    return value is None if default is None else isinstance(value, str) and value == default


def _check(name: str, options: Options) -> None:
    rate, warmup = options.get("learning_rate", 1.0), options.get("warmup", 0.0)
    if not (np.isfinite(rate) and rate > 0):
        raise TrainingError(f"{name}: learning_rate must be positive, got {rate}.")
    if not 0 <= warmup < 1:
        raise TrainingError(f"{name}: warmup is a share in [0, 1) of the steps, got {warmup}.")
    clip = options.get("clip")
    if clip is not None and not clip > 0:
        raise TrainingError(f"{name}: clip must be positive or None, got {clip}.")
    counts = options.get("steps"), options.get("patience"), options.get("chunk")
    for count, value in zip(("steps", "patience", "chunk"), counts, strict=True):
        if value is not None and value < 1:
            raise TrainingError(f"{name}: {count} must be at least 1, got {value}.")
