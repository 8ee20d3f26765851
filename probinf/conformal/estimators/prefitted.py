"""Prefitted: a model that was fitted before it was handed to an estimator of ours."""

from __future__ import annotations

from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted


class Prefitted:
    """Names the remedy where an estimator around a fitted model was not fitted itself."""

    estimator: Any = None

    def __sklearn_is_fitted__(self) -> bool:
        """Whether ``fit`` was called, as scikit-learn asks for it.

        Raises:
            NotFittedError: it was not, but the model inside is fitted already.
        """
        fitted = any(name.endswith("_") and name[:2] != "__" for name in vars(self))
        if fitted or self.estimator is None:
            return fitted
        try:
            check_is_fitted(self.estimator)
        except (NotFittedError, TypeError):
            return False
        raise NotFittedError(
            f"this {type(self).__name__} is not fitted, but the {type(self.estimator).__name__} "
            "inside is, and fit would train a copy of it anew. To keep the model as it is wrap it "
            "in sklearn.frozen.FrozenEstimator and call fit, then conformalize."
        )
