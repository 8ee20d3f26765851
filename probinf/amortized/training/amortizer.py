"""Amortizer: the options of a network that learns to infer; ``fit`` trains it once for all data."""

from __future__ import annotations

import abc
import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax
import optax

from probinf.amortized.training.loop import Loss, Trained, train
from probinf.core.keys import as_key
from probinf.core.program import Key


class Task(NamedTuple):
    """What ``fit`` hands to ``train``: an untrained network, its loss and its data."""

    model: Any
    loss: Loss
    data: Any = None
    validation: Loss | None = None


@dataclasses.dataclass(frozen=True)
class Amortizer(abc.ABC):
    """Options of a network that learns to infer; a frozen record, ``fit`` makes the network.

    A subclass says what to train (``prepare``) and what the user gets (``finish``).
    """

    @abc.abstractmethod
    def prepare(self, key: Key, source: Any) -> Task:
        """The untrained network for ``source`` (a program or a task prior), and its loss."""

    @abc.abstractmethod
    def finish(self, source: Any, trained: Trained) -> Any:
        """The fitted amortizer."""

    def fit(
        self,
        source: Any,
        *,
        key: int | Key,
        steps: int,
        learning_rate: float = 1e-3,
        warmup: float = 0.05,
        clip: float | None = 1.0,
        optimizer: optax.GradientTransformation | None = None,
        patience: int | None = None,
        checkpoint: str | pathlib.Path | None = None,
        progress: bool = True,
    ) -> Any:
        """Train on draws from ``source``; the result depends on the key alone.

        Args:
            source: the program or task prior to learn from.
            key: a JAX random key, or an integer seed.
            steps: number of gradient steps.
            learning_rate: the largest one, reached at the end of the warm-up.
            warmup: share of the steps over which the rate grows; a cosine to zero follows.
            clip: largest global norm of the gradient; None leaves it alone.
            optimizer: an optax transformation in place of Adam and the schedule.
            patience: stop after so many validations without improvement, where this kind of
                network validates.
            checkpoint: a folder; the same call with it continues an interrupted training.
            progress: show a progress bar with the loss in a terminal.

        Raises:
            TrainingError: options contradict each other, or losses are not finite.
            SavedFileError: the checkpoint belongs to another training.
        """
        first, second = jax.random.split(as_key(key))
        task = self.prepare(first, source)
        trained = train(
            task.model,
            task.loss,
            key=second,
            steps=steps,
            data=task.data,
            learning_rate=learning_rate,
            warmup=warmup,
            clip=clip,
            optimizer=optimizer,
            validation=task.validation,
            patience=patience,
            checkpoint=checkpoint,
            progress=progress,
        )
        return self.finish(source, trained)
