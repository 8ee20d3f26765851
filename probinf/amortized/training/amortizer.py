"""Amortizer: the options of a network that learns to infer; ``fit`` trains it once for all data."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple, Unpack

import jax

from probinf.amortized.training.loop import Trained, train
from probinf.amortized.training.options import Options, Training, settled
from probinf.amortized.training.step import Loss
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

    A subclass says what to train (``prepare``) and what the user gets (``finish``), and in
    ``defaults``, a dict of fields of :class:`Training`, which options suit it best.
    """

    defaults: ClassVar[Options] = {}

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
        training: Training | None = None,
        **options: Unpack[Options],
    ) -> Any:
        """Train on draws from ``source``; the result depends on the key alone.

        Args:
            source: the program or task prior to learn from.
            key: a JAX random key, or an integer seed.
            training: the options of the training; ``steps`` must be among them.
            **options: fields of :class:`Training`, each here or there.

        Raises:
            TrainingError: options are missing, given twice, or contradict each other, or losses
                are not finite.
            SavedFileError: the checkpoint belongs to another training.
        """
        chosen = settled(type(self).__name__, self.defaults, training, options)
        first, second = jax.random.split(as_key(key))
        task = self.prepare(first, source)
        trained = train(
            task.model,
            task.loss,
            key=second,
            data=task.data,
            validation=task.validation,
            **chosen,
        )
        return self.finish(source, trained)
