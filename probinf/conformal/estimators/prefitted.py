"""Prefitted: a model that was fitted before it was handed to an estimator of ours."""

from __future__ import annotations

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted


class Prefitted:
    """Takes a fitted model as it is where ``conformalize`` comes without ``fit``."""

    _inside: tuple[str, ...] = ("estimator",)
    _calibration: tuple[str, ...] = ()  # attributes that calibration sets

    def _given(self) -> bool:
        """Whether all models inside came fitted; those without ``fit`` did."""
        models = [getattr(self, name) for name in self._inside]
        try:
            for model in models:
                if hasattr(model, "fit") or not hasattr(model, "predict"):
                    check_is_fitted(model)
        except (NotFittedError, TypeError):
            return False
        return bool(models)

    def _forget(self) -> None:
        """Drop an earlier calibration, which says nothing of a model that is fitted anew."""
        for name in self._calibration:
            vars(self).pop(name, None)

    def _own(self) -> bool:
        return any(name.endswith("_") and name[:2] != "__" for name in vars(self))

    def _adopts(self) -> bool:
        """Whether to take the models as they are; raises where there is none to take."""
        if self._own() or not self._given():
            check_is_fitted(self)
            return False
        return True

    def __sklearn_is_fitted__(self) -> bool:
        """Whether ``fit`` or ``conformalize`` was called, as scikit-learn asks for it.

        Raises:
            NotFittedError: neither was, but the model inside is fitted already.
        """
        if self._own() or not self._given():
            return self._own()
        raise NotFittedError(
            f"this {type(self).__name__} is not calibrated, but the model inside is fitted: call "
            "conformalize(X, y) with data that it has not seen, which keeps the model as it is. "
            "(fit would train a copy of it anew.)"
        )
