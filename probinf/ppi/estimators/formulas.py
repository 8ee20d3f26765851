"""Regressions of prediction-powered inference from a formula and two DataFrames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from probinf.core.inputs.design import Design, design_of
from probinf.core.inputs.frames import is_pandas
from probinf.errors import ArrayError, MethodError


class Read(NamedTuple):
    """What a formula makes of labelled and unlabelled rows: the arguments of a regression."""

    x: Any
    y: np.ndarray
    f: np.ndarray
    x_unlabeled: Any
    f_unlabeled: np.ndarray
    offset: tuple[np.ndarray, np.ndarray] | None
    sampling: dict[str, Any]


def read_formula(
    formula: str, labeled: Any, unlabeled: Any, prediction: Any, sampling: Mapping[str, Any]
) -> Read:
    """Arguments of a regression from a formula.

    Args:
        formula: ``"income ~ age + C(region)"``.
        labeled, unlabeled: DataFrames with the regressors and the predictions; the outcome is
            looked for in the labelled rows alone.
        prediction: column with the predictions of the outcome, or several. A prediction stands in
            for the outcome's column: with ``np.log(income) ~ ...`` its logarithm is taken, too; for
            an outcome of two categories it is the probability of the second.
        sampling: fields of `Design`, in which a text names a column of both DataFrames.

    Raises:
        ModelError: the formula cannot be read; values are missing.
        ArrayError: no DataFrames; a column that is not there; a category without labelled rows.
        MethodError: effects that vary by group; proportions as outcomes; no prediction.
    """
    for name, frame in (("labelled", labeled), ("unlabelled", unlabeled)):
        if not (is_pandas(frame) and frame.ndim == 2):
            raise ArrayError(
                f"a formula needs two DataFrames, (formula, labelled, unlabelled); the {name} rows "
                f"are a {type(frame).__name__}."
            )
    outcome, tilde, rest = formula.partition("~")
    if not tilde or not outcome.strip():
        raise MethodError(
            f"the formula {formula!r} has no outcome; write 'y ~ {formula.strip(' ~')}'."
        )
    columns = [prediction] if isinstance(prediction, str) else prediction
    if not columns or not isinstance(columns, Sequence):
        raise MethodError(
            "a formula needs prediction=, the name of the column (or a list of names) that holds "
            "predictions of the outcome in both DataFrames."
        )
    _present(columns, labeled, "the labelled rows", "prediction")
    _present(columns, unlabeled, "the unlabelled rows", "prediction")
    x, xu, offset = _regressors(rest, labeled, unlabeled)
    y, f, fu = _outcomes(outcome.strip(), columns, labeled, unlabeled)
    return Read(x, y, f, xu, fu, offset, _columns(sampling, labeled, unlabeled))


def _present(names: Any, frame: Any, what: str, role: str) -> None:
    absent = [str(name) for name in names if name not in frame.columns]
    if absent:
        raise ArrayError(
            f"{role}: {what} have no column {', '.join(map(repr, absent))}; their columns are "
            f"{', '.join(map(repr, map(str, frame.columns)))}."
        )


def _regressors(rest: str, labeled: Any, unlabeled: Any) -> Any:
    """Design matrices of both samples with the same columns, and offsets where there are any."""
    import pandas as pd

    stem = "outcome_"
    while stem in labeled.columns:
        stem += "_"
    formula = f"{stem} ~ {rest}"
    names = _variables(formula) - {stem}
    for frame, what in ((labeled, "the labelled rows"), (unlabeled, "the unlabelled rows")):
        _present(sorted(names), frame, what, "formula")
    both = pd.concat([labeled[sorted(names)], unlabeled[sorted(names)]], ignore_index=True)
    if not names:
        both = pd.DataFrame(index=range(len(labeled) + len(unlabeled)))
    both[stem] = 0.0
    design = design_of(formula, both)
    if design.groupings:
        raise MethodError(
            f"formula: effects that vary by {design.groupings[0].factor} are not estimated here; "
            "declare dependent rows with groups=, or use probinf.formula for a hierarchical model."
        )
    table = _table(design)
    n = len(labeled)
    empty = [c for c in table if not table[c][:n].any() and table[c][n:].any()]
    if empty:
        raise ArrayError(
            f"formula: no labelled row has {', '.join(empty)}, so that its coefficient has no "
            "labels to go by; label some, merge the category, or leave its rows out."
        )
    x, xu = table[:n].reset_index(drop=True), table[n:].reset_index(drop=True)
    offset = (design.offset[:n], design.offset[n:]) if design.offset.any() else None
    return x, xu, offset


def _variables(formula: str) -> set[str]:
    """Columns that a formula names; those that cannot be read are left to `design_of`."""
    import pandas as pd

    try:
        import formulae

        return set(formulae.model_description(formula).var_names)
    except ImportError:
        design_of(formula, pd.DataFrame())  # says which package is missing
    except Exception:
        design_of(formula, pd.DataFrame())  # says what cannot be read
    raise AssertionError(formula)


def _table(design: Design) -> Any:
    import pandas as pd

    table = pd.DataFrame(design.x, columns=list(design.columns))
    if design.intercept:
        table.insert(0, "Intercept", 1.0)
    if not table.shape[1]:
        raise MethodError("the formula has no regressor, not even an intercept.")
    return table


def _outcomes(outcome: str, columns: Any, labeled: Any, unlabeled: Any) -> Any:
    """Labels (n,) and predictions (n,) or (n, K) and (N,) or (N, K)."""
    import pandas as pd

    formula = f"{outcome} ~ 1"
    names = sorted(_variables(formula))
    _present(names, labeled, "the labelled rows", "formula")
    if len(names) != 1:
        raise MethodError(
            f"the outcome {outcome!r} is made of {', '.join(names)}; its predictions stand in for "
            "one column, so compute the outcome as a column first."
        )
    name = names[0]
    number = pd.api.types.is_numeric_dtype(labeled[name])
    own = design_of(formula, labeled[[name]])
    if own.trials is not None or own.y is None:
        raise MethodError("outcomes that are shares of trials are not served here.")
    plain = outcome == name or not number
    found = []
    for column in columns:
        guess = [frame[column].astype(float).to_numpy() for frame in (labeled, unlabeled)]
        if not plain:
            with np.errstate(invalid="ignore", divide="ignore"):
                stacked = design_of(
                    formula, pd.DataFrame({name: np.concatenate([labeled[name], *guess])})
                ).y
            assert stacked is not None
            n = len(labeled)
            guess = [stacked[n : 2 * n], stacked[2 * n :]]
        found.append(guess)
    f, fu = (np.stack(side, axis=1) for side in zip(*found, strict=True))
    if len(columns) == 1:
        f, fu = f[:, 0], fu[:, 0]
    return np.asarray(own.y, float), f, fu


def _columns(sampling: Mapping[str, Any], labeled: Any, unlabeled: Any) -> dict[str, Any]:
    """Fields of a sampling design with the columns that their texts name."""
    found = dict(sampling)
    for field, value in sampling.items():
        if not isinstance(value, str):
            continue
        _present([value], labeled, "the labelled rows", field)
        if field == "propensity":
            found[field] = labeled[value].to_numpy()
            continue
        _present([value], unlabeled, "the unlabelled rows", field)
        found[field] = (labeled[value].to_numpy(), unlabeled[value].to_numpy())
    return found
