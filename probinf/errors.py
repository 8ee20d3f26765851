"""One class per kind of failure; every message says what was seen, where, and what to do."""

from __future__ import annotations


class ProbinfError(Exception):
    """Base class of every error that probinf raises on purpose.

    A traceback ends with the page of the documentation that shows the error and its remedies.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.add_note(f"See {self.page}")

    @property
    def page(self) -> str:
        """Where the documentation speaks of this kind of failure."""
        return "docs/bad-input.md"


class ModelError(ProbinfError, ValueError):
    """The model cannot be turned into a Program: its structure is wrong or not supported."""

    @property
    def page(self) -> str:
        """The section about this class."""
        return f"docs/bad-input.md#{type(self).__name__.lower()}"


class ObservationError(ModelError):
    """An observed value is NaN, outside its distribution's support, or of the wrong shape."""


class ParameterError(ModelError):
    """A distribution receives parameters outside their domain (a negative scale, say)."""


class DiscreteLatentError(ModelError):
    """The model has an unobserved discrete site, which no engine here can move."""


class ImproperPriorError(ModelError):
    """Draws or an evidence were asked of a program whose base cannot be normalised."""


class ZeroLikelihoodError(ModelError):
    """The likelihood is zero (or NaN) at every point that was tried."""


class StructureError(ProbinfError, ValueError):
    """Two programs do not share the same coordinates, or a callable has the wrong signature."""


class MethodError(ProbinfError, ValueError):
    """The engine cannot serve this program, or its options contradict each other."""


class EvidenceError(ProbinfError, RuntimeError):
    """The posterior has no evidence: its engine does not estimate one."""


class SavedFileError(ProbinfError, ValueError):
    """A saved posterior is missing, truncated, edited or from an unknown version."""


class ArrayError(ProbinfError, ValueError):
    """An array argument has NaN, the wrong shape, or values outside their range."""


class LevelError(ProbinfError, ValueError):
    """A level, probability or rate lies outside its range."""


class CalibrationError(ProbinfError, ValueError):
    """The calibration data or options cannot support what was asked of them."""


class InfiniteSetWarning(UserWarning):
    """Some prediction sets hold everything: the calibration data cannot exclude anything."""


class UnreliableWeightsWarning(UserWarning):
    """Importance weights are too uneven to be trusted; the message says what was done instead."""


class PrecisionWarning(UserWarning):
    """Single precision changes the answer, and double precision was not used."""


class NewSitesWarning(UserWarning):
    """A prediction draws sites, or entries of sites, from their prior: the fit does not have them,
    or it takes only some of the fit's entries."""


class TooFewLabelsError(ProbinfError, ValueError):
    """Too few labelled rows for the requested estimate or its variance."""


class CallbackError(ProbinfError, RuntimeError):
    """A Python function that computes the likelihood fails too often, or returns no number."""


class RewardError(ProbinfError, ValueError):
    """A reward of a text is NaN or outside [0, 1], or another potential is no number."""


class ConvergenceError(ProbinfError, RuntimeError):
    """An estimating equation has no root that the solver could reach."""


class PredictionWarning(UserWarning):
    """Something about the predictions threatens the guarantee of prediction-powered inference."""


class TrainingError(ProbinfError, ValueError):
    """A network cannot be trained: options contradict each other, or losses are not finite."""


class TrainingWarning(UserWarning):
    """A training left out steps or was interrupted; the message says how many."""


class RangeError(ProbinfError, ValueError):
    """A quantity leaves the range that an amortized network was trained on."""


class RangeWarning(UserWarning):
    """A quantity leaves the range that an amortized network was trained on."""


class MissingPackageError(ProbinfError, ImportError):
    """An optional package is not installed; the message says how to install it."""


class KeyTypeError(ProbinfError, TypeError):
    """What was handed in as a random key is neither a key nor an integer seed."""


class DeviceError(ProbinfError, RuntimeError):
    """JAX has already started, so that its devices can no longer be chosen."""
