"""What a formula makes of a DataFrame: columns, groups, outcomes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.core.inputs.frames import is_pandas
from probinf.errors import MissingPackageError, ModelError


@dataclasses.dataclass(frozen=True)
class Grouping:
    """Effects that vary over the levels of one factor.

    Attributes:
        factor: its name in the formula, such as ``county`` or ``school:class``.
        effects: what varies, ``Intercept`` or columns.
        levels: names of the groups, in order.
        centre: means of the effects' columns, 0 for the intercept and where there is none.
        x: values of the effects less these, (rows, effects).
        index: the group of each row, (rows,).
    """

    factor: str
    effects: tuple[str, ...]
    levels: tuple[str, ...]
    centre: np.ndarray
    x: np.ndarray
    index: np.ndarray


@dataclasses.dataclass(frozen=True)
class Design:
    """A formula's matrices.

    Attributes:
        intercept: whether there is one.
        columns: names of the other common columns.
        x: their values, (rows, columns).
        offset: what is added as it is, (rows,).
        groupings: effects that vary by group.
        outcome: name of the outcome.
        y: outcomes, (rows,); None where they are to be predicted.
        trials: of each row, for shares of successes ``prop(successes, trials)``; else None.
        parsed: what the parser remembers, to build the same columns from new rows.
    """

    intercept: bool
    columns: tuple[str, ...]
    x: np.ndarray
    offset: np.ndarray
    groupings: tuple[Grouping, ...]
    outcome: str
    y: np.ndarray | None
    trials: np.ndarray | None
    parsed: Any = dataclasses.field(compare=False, repr=False)


def design_of(formula: str, data: Any, environment: Any = 0) -> Design:
    """Read a formula on a DataFrame.

    Raises:
        MissingPackageError: the parser is not installed.
        ModelError: ``data`` is no DataFrame; the formula cannot be read, names a column that is
            not there, or has no outcome; values are missing.
    """
    formulae = _parser()
    if not (is_pandas(data) and getattr(data, "ndim", 1) == 2):
        raise ModelError(f"formula: data must be a pandas DataFrame, got {type(data).__name__}.")
    try:
        names = formulae.model_description(formula).var_names
    except Exception as error:
        raise ModelError(f"formula: '{formula}' cannot be read: {error}") from None
    refuse_missing(sorted(names), data)
    try:
        parsed = formulae.design_matrices(
            formula, data, na_action="error", env=environment, extra_namespace={"np": np}
        )
    except Exception as error:
        _refuse_absent(formula, names, data)
        raise ModelError(f"formula: '{formula}' cannot be evaluated: {error!r}") from None
    if parsed.response is None:
        raise ModelError(f"formula: '{formula}' has no outcome; write 'y ~ {formula.strip(' ~')}'.")
    y, trials = _outcomes(parsed.response)
    intercept, columns, x, offset = _common(parsed, parsed.common, len(data))
    return Design(
        intercept=intercept,
        columns=columns,
        x=x,
        offset=offset,
        groupings=_groupings(parsed),
        outcome=str(parsed.response.name),
        y=y,
        trials=trials,
        parsed=parsed,
    )


def design_again(design: Design, data: Any) -> Design:
    """The same columns from other rows; groups that are new come after the known ones.

    Raises:
        ModelError: a column is not there, has missing values, or a category without coefficient.
    """
    parsed, rows = design.parsed, len(data)
    try:
        common = None if parsed.common is None else parsed.common.evaluate_new_data(data)
        _, _, x, offset = _common(parsed, common, rows)
        groupings = []
        for grouping, terms in zip(
            design.groupings, _terms_by_factor(parsed).values(), strict=True
        ):
            effects = [_effect(term.expr.eval_new_data(data), rows) for term in terms]
            levels, index = _levels_again(grouping, terms[0].factor, data)
            groupings.append(
                dataclasses.replace(
                    grouping,
                    levels=levels,
                    x=np.concatenate(effects, 1) - grouping.centre,
                    index=index,
                )
            )
    except KeyError as error:
        raise ModelError(f"formula: the new data have no column {error}.") from None
    except ValueError as error:
        raise ModelError(f"formula: the new data do not fit: {error}") from None
    for name, values in (("columns", x), ("offset", offset)):
        if not np.isfinite(values).all():
            raise ModelError(
                f"formula: the {name} of the new data hold values that are not finite."
            )
    y, trials = _outcomes_again(parsed.response, data)
    return dataclasses.replace(
        design, x=x, offset=offset, groupings=tuple(groupings), y=y, trials=trials
    )


def refuse_missing(names: list[str], data: Any) -> None:
    """Raise where a column that the formula uses has missing values."""
    counts = {n: int(data[n].isna().sum()) for n in names if n in data.columns}
    missing = {n: count for n, count in counts.items() if count}
    if missing:
        said = ", ".join(f"'{n}' {count}" for n, count in missing.items())
        raise ModelError(
            f"formula: missing values in {said} of {len(data)} rows. Drop these rows with "
            f"data.dropna(subset={list(missing)}), or impute them first."
        )


def _parser() -> Any:
    try:
        import formulae
    except ImportError:
        raise MissingPackageError(
            "formula needs the package formulae: pip install 'probinf[formula]'."
        ) from None
    return formulae


def _refuse_absent(formula: str, names: set[str], data: Any) -> None:
    absent = sorted(set(filter(None, names)) - set(map(str, data.columns)))
    if absent:
        raise ModelError(
            f"formula: '{formula}' names {', '.join(map(repr, absent))}, and the data have the "
            f"columns {', '.join(map(repr, map(str, data.columns)))}."
        )


def _outcomes(response: Any) -> tuple[np.ndarray, np.ndarray | None]:
    values = np.asarray(response)
    if response.kind == "proportion":
        return values[:, 0], values[:, 1]
    if values.ndim == 2 and values.shape[1] > 1:
        levels = response.levels
        if len(levels) != 2:
            raise ModelError(
                f"formula: the outcome '{response.name}' has {len(levels)} categories; with two "
                f"it can be regressed, and '{response.name}[{levels[0]}] ~ ...' regresses one of "
                "them against the others."
            )
        return values[:, 1], None
    return values.reshape(len(values)), None


def _outcomes_again(response: Any, data: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Outcomes are left open; trials are needed to draw them."""
    if response.kind != "proportion":
        return None, None
    return None, np.asarray(response.evaluate_new_data(data), float).reshape(len(data))


def _common(
    parsed: Any, common: Any, rows: int
) -> tuple[bool, tuple[str, ...], np.ndarray, np.ndarray]:
    offset = np.zeros(rows)
    if common is None:
        return False, (), np.zeros((rows, 0)), offset
    matrix = common.design_matrix.astype(float)
    intercept, names, kept = False, [], []
    for name, term in parsed.common.terms.items():
        columns = range(*parsed.common.slices[name].indices(matrix.shape[1]))
        if term.kind == "intercept":
            intercept = True
        elif term.kind == "offset":
            offset = offset + matrix[:, columns[0]]
        else:
            names += [str(label) for label in term.labels]
            kept += list(columns)
    return intercept, tuple(names), matrix[:, kept], offset


def _terms_by_factor(parsed: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    if parsed.group is not None:
        for term in parsed.group.terms.values():
            found.setdefault(str(term.factor.name), []).append(term)
    return found


def _groupings(parsed: Any) -> tuple[Grouping, ...]:
    found = []
    for factor, terms in _terms_by_factor(parsed).items():
        indicator = np.asarray(terms[0].factor.data)
        effects = tuple(str(label) for term in terms for label in term.expr.labels)
        x = np.concatenate([_effect(t.expr.data, len(indicator)) for t in terms], 1)
        slopes = np.array([name != "Intercept" for name in effects])
        centre = x.mean(0) * slopes if "Intercept" in effects else np.zeros(len(effects))
        found.append(
            Grouping(
                factor=factor,
                effects=effects,
                levels=tuple(map(str, terms[0].groups)),
                centre=centre,
                x=x - centre,
                index=indicator.argmax(1),
            )
        )
    return tuple(found)


def _effect(values: Any, rows: int) -> np.ndarray:
    values = np.asarray(values, float)
    if values.ndim == 0 or values.size == 1:
        return np.full((rows, 1), float(values.reshape(())))
    return values.reshape(rows, -1)


def _levels_again(grouping: Grouping, factor: Any, data: Any) -> tuple[tuple[str, ...], np.ndarray]:
    parts = [np.asarray(data[c.name].astype(str)) for c in factor.components]
    labels = [":".join(row) for row in zip(*parts, strict=True)]
    levels = list(grouping.levels)
    known = {name: k for k, name in enumerate(levels)}
    for label in labels:
        if label not in known:
            known[label] = len(levels)
            levels.append(label)
    return tuple(levels), np.array([known[label] for label in labels], int)
