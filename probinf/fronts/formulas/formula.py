"""formula: a regression written as ``y ~ x + (1 | group)`` becomes a Program."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from probinf.core.inputs.design import Design, design_again, design_of
from probinf.core.program import Program
from probinf.core.transformations.labelling import labelled
from probinf.errors import ModelError
from probinf.fronts.formulas.families import LINKS, Family, Priors, family_of
from probinf.fronts.formulas.priors import (
    chosen_priors,
    default_priors,
    described,
    effect_name,
    intercept_site,
)
from probinf.fronts.formulas.regression import Regression
from probinf.fronts.numpyro import from_numpyro

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a formula's program remembers of its formula; equal where the models are.

    Attributes:
        formula: as written.
        model: the NumPyro model.
        priors: of every parameter, by site.
        centre: means of the columns in the rows of the fit, (columns,).
        design: matrices of the fit.
    """

    formula: str
    model: Regression
    priors: Priors = dataclasses.field(compare=False)
    centre: np.ndarray = dataclasses.field(compare=False)
    design: Design = dataclasses.field(compare=False)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FormulaProgram(Program):
    """A program that knows its formula: it prints its priors, and takes new rows.

    Attributes:
        terms: the formula, what became of it, and its priors.
    """

    terms: Terms | None = dataclasses.field(default=None, metadata={"static": True})

    @property
    def priors(self) -> Priors:
        """The prior of every parameter, by site."""
        return dict(self._terms.priors)

    def with_data(self, data: Any) -> FormulaProgram:
        """The same regression on other rows, outcomes left open: for ``predict(program=)``.

        Categories, splines and centring are those of the fit; groups that the fit has not seen
        come after the known ones, and are drawn from their prior.

        Raises:
            ModelError: a column is not there, has missing values, or a category that has no
                coefficient.
        """
        terms = self._terms
        return _program(terms, design_again(terms.design, data), observed=False)

    def expected(self, draws: Mapping[str, Any], data: Any = None) -> np.ndarray:
        """Expected outcomes at each draw, (..., rows), without the noise of outcomes.

        Differences of two calls are marginal effects. Groups that the fit has not seen count as
        average ones, with effect 0.

        Args:
            draws: by site, as ``posterior.draws``.
            data: rows; those of the fit by default.
        """
        terms = self._terms
        design = terms.design if data is None else design_again(terms.design, data)
        values = {name: np.asarray(value, float) for name, value in draws.items()}
        start = next(iter(values.values())).shape[:2]
        eta = np.broadcast_to(design.offset, (*start, len(design.offset)))
        if design.intercept:
            eta = eta + values["Intercept"][..., None]
        for name, column in zip(design.columns, design.x.T, strict=True):
            eta = eta + values[name][..., None] * column
        for grouping in design.groupings:
            for k, effect in enumerate(grouping.effects):
                by_group = values[f"{effect_name(effect)}|{grouping.factor}"]
                known = grouping.index < by_group.shape[-1]
                each = by_group[..., np.where(known, grouping.index, 0)] * known
                eta = eta + each * grouping.x[:, k]
        return np.asarray(LINKS[terms.model.link][1](eta))

    @property
    def _terms(self) -> Terms:
        assert self.terms is not None
        return self.terms

    def __repr__(self) -> str:
        terms = self._terms
        lines = [
            terms.formula,
            f"family {terms.model.family.name}, link {terms.model.link}, "
            f"{len(terms.design.offset)} rows",
            "priors",
        ]
        width = max(map(len, terms.priors))
        lines += [f"  {n:{width}}  {described(prior)}" for n, prior in terms.priors.items()]
        for grouping in terms.design.groupings:
            lines.append(f"{grouping.factor}: {len(grouping.levels)} groups")
        return "\n".join(lines)


def formula(
    formula: str,
    data: Any,
    family: str = "gaussian",
    *,
    link: str | None = None,
    priors: Priors | None = None,
) -> FormulaProgram:
    """A generalised linear regression, with effects that vary by group, from one line.

    ``y ~ x + species + x:species + (1 + x | group)`` as in lme4, brms and bambi: categories are
    compared with their first level, ``offset(...)``, ``C(...)``, ``center``, ``scale``, ``bs``
    and ``np`` functions may be used. Effects of one group are correlated, and those of the
    intercept are effects at the means of the columns beside it. ``print(program)`` shows the
    priors. A site is named after its column (``x``, ``species[b]``), effects after their term
    (``1|group``), their standard deviations ``sd(1|group)``.

    Args:
        formula: outcome and terms; ``prop(successes, trials) ~ ...`` for binomial outcomes.
        data: a pandas DataFrame.
        family: ``gaussian``, ``student_t``, ``bernoulli``, ``binomial``, ``poisson``,
            ``negative_binomial`` (``overdispersion`` is one over the root of the concentration),
            ``gamma`` (``variation`` is the coefficient of variation) or ``beta`` (``precision``).
        link: where it is not the family's first.
        priors: NumPyro distributions in place of the default ones, by site. The prior of the
            intercept is that of centred columns, ``Intercept_centred``.

    Raises:
        MissingPackageError: the parser is not installed.
        ModelError: the formula cannot be read or names a column that is not there; values are
            missing, a column does not vary, outcomes are none of the family; a prior belongs to
            no parameter.

    Source: Wilkinson & Rogers (1973); Bates et al. (2015) for terms by group; default priors as
    in :func:`probinf.fronts.formulas.priors.default_priors`.
    """
    chosen, by = family_of(family, link)
    design = design_of(formula, data, 2)
    _check_outcomes(design, chosen)
    model = Regression(
        family=chosen,
        link=by,
        outcome=design.outcome,
        intercept=intercept_site(design) if design.intercept else "",
        columns=design.columns,
        groupings=tuple((g.factor, g.effects) for g in design.groupings),
    )
    _check_names(model)
    centre = design.x.mean(0) if design.intercept else np.zeros(design.x.shape[1])
    own = chosen_priors(default_priors(design, chosen, by), priors)
    return _program(Terms(formula, model, own, centre, design), design, observed=True)


def _program(terms: Terms, design: Design, *, observed: bool) -> FormulaProgram:
    y = None if not observed or design.y is None else _typed(terms.model.family, design.y)
    program = from_numpyro(
        terms.model,
        jax.tree.map(np.asarray, terms.priors),  # arrays, so that other numbers compile nothing
        design.x,
        terms.centre,
        design.offset,
        tuple(g.x for g in design.groupings),
        tuple(g.index for g in design.groupings),
        tuple(len(g.levels) for g in design.groupings),
        design.trials,
        y=y,
    )
    program = _labelled(program, terms, design)
    own = {f.name: getattr(program, f.name) for f in dataclasses.fields(Program)}
    return FormulaProgram(**own, terms=terms)


def _labelled(program: Program, terms: Terms, design: Design) -> Program:
    """Groups by their levels."""
    dims: dict[str, tuple[str]] = {}
    coords: dict[str, list[str]] = {}
    for (factor, effects), grouping in zip(terms.model.groupings, design.groupings, strict=True):
        group = program.axes.dims[f"z({factor})"][0]  # as its plate was named
        assert group is not None
        dims |= {f"{effect_name(effect)}|{factor}": (group,) for effect in effects}
        coords[group] = [str(level) for level in grouping.levels]
    return labelled(program, dims, coords)


def _typed(family: Family, y: np.ndarray) -> np.ndarray:
    whole = family.name in ("bernoulli", "binomial", "poisson", "negative_binomial")
    return np.asarray(y, np.int64 if whole else float)


def _check_outcomes(design: Design, family: Family) -> None:
    assert design.y is not None
    if (family.name == "binomial") != (design.trials is not None):
        raise ModelError(
            "formula: binomial outcomes are written prop(successes, trials) ~ ..., and only they."
        )
    try:
        y = np.asarray(design.y, float)
    except (TypeError, ValueError):
        raise ModelError(f"formula: the outcome '{design.outcome}' is not a number.") from None
    if not np.isfinite(y).all() or not family.takes(y):
        bad = [v for v in y if not (np.isfinite(v) and family.takes(np.array([v])))]
        raise ModelError(
            f"formula: outcomes of family '{family.name}' are {family.what}; '{design.outcome}' "
            f"has {len(bad)} other value(s) of {len(y)}, such as {bad[0]:g}."
        )
    if design.trials is not None and (y > design.trials).any():
        raise ModelError("formula: there are more successes than trials.")


def _check_names(model: Regression) -> None:
    """A column that is named like another site would be that site."""
    own = {"Intercept", "Intercept_centred", model.outcome, *model.family.nuisances(1.0)}
    clash = sorted(own & set(model.columns))
    if clash:
        raise ModelError(
            f"formula: a column is named {', '.join(map(repr, clash))} like a parameter of the "
            "model; rename it in the data."
        )
