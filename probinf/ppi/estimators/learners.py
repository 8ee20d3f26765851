"""What learners are: told apart before they are trained, so that their mistakes have names."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.errors import ArrayError, MethodError


def check_learner(name: str, learner: Any) -> None:
    """Refuse what is no learner.

    Raises:
        MethodError: neither a function nor an object with ``fit`` and ``predict``.
    """
    if isinstance(learner, type):
        raise MethodError(
            f"{name} is the class {learner.__name__}; give an instance: {learner.__name__}()."
        )
    fits = hasattr(learner, "fit") and (
        hasattr(learner, "predict") or hasattr(learner, "predict_proba")
    )
    if not (learner is None or fits or callable(learner)):
        raise MethodError(
            f"{name} is {learner!r}; give an object with fit and predict (scikit-learn's models), "
            "a function (x, y, x_new) -> predictions, or None for ppi.Ridge()."
        )


def is_classifier(learner: Any) -> bool:
    """Whether a learner predicts classes."""
    if hasattr(learner, "predict_proba"):
        return True
    if hasattr(learner, "get_params"):
        from sklearn.base import is_classifier as told

        return bool(told(learner))
    return False


def check_expectations(name: str, learner: Any, target: np.ndarray, what: str) -> None:
    """Refuse classifiers that cannot say what to expect of a target (rows,).

    Raises:
        MethodError: a classifier without probabilities, or of a target that is no class.
    """
    if not is_classifier(learner):
        return
    if not hasattr(learner, "predict_proba"):
        raise MethodError(
            f"{name}={learner!r} predicts classes and has no predict_proba, but what is to be "
            f"expected of {what} is needed. Remedy: CalibratedClassifierCV({learner!r}), or a "
            "regressor."
        )
    odd = target[target != np.round(target)]
    if odd.size:
        raise MethodError(
            f"{name}={learner!r} is a classifier, but {what} is no class: it takes values such as "
            f"{odd[0]:.6g}. Remedy: a regressor as {name}, and classifiers only for what true and "
            "predicted rows give as classes (unit effects swept out leave none)."
        )


def expectations(model: Any, x: Any, labels: np.ndarray) -> np.ndarray:
    """Predictions of a fitted model; of a classifier, the expected class value.

    Args:
        labels: that the model was trained on; they name the columns of its probabilities where
            the model itself does not.

    Raises:
        ArrayError: probabilities of another number of classes.
    """
    if not hasattr(model, "predict_proba"):
        return np.asarray(model.predict(x), float)
    p = np.asarray(model.predict_proba(x), float)
    classes: Any = getattr(model, "classes_", None)
    if classes is None:
        classes = np.unique(labels)
    if p.ndim != 2 or p.shape[1] != len(classes):
        raise ArrayError(
            f"predict_proba of {type(model).__name__} returned shape {p.shape}; needed is one "
            f"column for each of the {len(classes)} classes."
        )
    if len(classes) == 2:
        return np.asarray(classes[0] * (1 - p[:, 1]) + classes[1] * p[:, 1], float)
    return np.asarray(p @ np.asarray(classes, float))
