"""From a root, its moments and its tuning to a `Result`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.levels import as_level
from probinf.core.inputs.limits import check_choice
from probinf.errors import ConvergenceError, MethodError
from probinf.ppi.inference.influence import Influence, result_influence
from probinf.ppi.inference.leverage import MANY, Gain, LabeledRows, added_variance, even
from probinf.ppi.inference.moments import Parts, Tune, correlation, covariance, jacobian, welch
from probinf.ppi.inference.result import ALTERNATIVES, Result
from probinf.ppi.inference.scheme import Scheme
from probinf.ppi.inference.suspicions import warn

METHODS = ("classical", "ppi", "ppi++")


@dataclasses.dataclass(frozen=True)
class Options:
    """What all estimators share; see `probinf.ppi.estimate`."""

    method: str = "ppi++"
    tune: Tune = "trace"
    clip: bool = True
    alpha: Number = 0.1
    alternative: str = "two-sided"
    small_sample: bool = True
    pooled: bool = False

    def cost(self, controls: int) -> int:
        """Parameters that the tuning of so many controls spends."""
        return controls if self.tune == "matrix" else int(self.tuned)

    @property
    def tuned(self) -> bool:
        """Whether the tuning is estimated."""
        return isinstance(self.tune, str) or (
            isinstance(self.tune, int) and not isinstance(self.tune, bool)
        )


def make_options(
    method: str,
    tune: Any,
    clip: bool,
    alpha: Number,
    alternative: str,
    small_sample: bool,
    d: int,
    *,
    predictors: int = 1,
) -> Options:
    """Checked options; ``method`` settles the tuning of classical and plain PPI.

    Several predictors are combined by the best matrix, unless they are not used at all.
    """
    check_choice("method", method, METHODS)
    if isinstance(tune, np.number):
        tune = tune.item()
    check_choice("alternative", alternative, ALTERNATIVES)
    if isinstance(tune, str):
        check_choice("tune", tune, ("trace", "element", "diagonal", "matrix"))
    elif isinstance(tune, bool) or (tune is not None and not isinstance(tune, int | float)):
        raise MethodError(f"tune is {tune!r}; give a number, a coordinate, a rule or None.")
    elif isinstance(tune, int) and not 0 <= tune < d:
        raise MethodError(
            f"tune={tune} names a coordinate (an int) out of {d}; for the fixed weight {tune} "
            f"write tune={float(tune)}."
        )
    elif isinstance(tune, float) and not np.isfinite(tune):
        raise MethodError(f"tune is {tune}; a fixed weight must be finite.")
    if method == "classical":
        tune = None
    elif method == "ppi":
        tune = 1.0
    elif tune is None:
        method = "classical"
    if predictors > 1 and tune is not None:
        method, tune = "ppi++", "matrix"
    return Options(method, tune, clip, as_level(alpha), alternative, small_sample)


class Root(NamedTuple):
    """A solved estimating equation with all that its inference needs."""

    theta: np.ndarray
    parts: Parts
    M: np.ndarray
    rows: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]
    labeled: LabeledRows | None = None  # of a regression, whose rows have leverage


def check_identified(J: np.ndarray, what: str) -> None:
    """Raise when the derivative of an estimating equation cannot be inverted."""
    if not np.any(J):
        raise ConvergenceError(
            f"{what}: the loss has no second derivative. For quantiles and absolute errors "
            "(pinball loss) use ppi.quantile; for other kinked losses ppi.ppboot."
        )
    scale = np.sqrt(np.abs(np.diag(J)))  # units of the parameters do not matter
    scaled = J / np.outer(scale, scale) if np.all(scale > 0) else J
    if not np.all(np.isfinite(J)) or np.linalg.cond(scaled) > 1e12:
        raise ConvergenceError(
            f"{what}: the derivative of the estimating equation is singular; the data do not "
            "identify all parameters (collinear or constant regressors?)."
        )


def scalar_tuning(M: np.ndarray, J: np.ndarray, tune: Tune) -> float | np.ndarray:
    """The tuning matrix in the shape in which it was asked for."""
    if tune == "matrix":
        return M[0, 0] if M.shape == (1, 1) else M
    if tune in ("element", "diagonal"):
        found = np.linalg.solve(J, M @ J) if tune == "element" else M
        return np.diag(found).copy()
    return float(M[0, 0])


def conclude(
    root: Root,
    scheme: Scheme,
    options: Options,
    *,
    estimand: str,
    names: tuple[str, ...],
    notes: list[str],
    pandas: bool = False,
    spent: int,
    tuning: int,
    lam: float | np.ndarray | None = None,
    method: str | None = None,
    varies: bool | None = None,
) -> Result:
    """The `Result` of a root.

    ``spent`` counts the parameters that the labelled rows paid for, ``tuning`` of them weights;
    ``varies`` says whether the labelled rows do, where the standard errors do not tell.
    """
    p, M = root.parts, root.M
    d = len(root.theta)
    J = jacobian(p, M)
    check_identified(J, estimand)
    if not options.small_sample:
        spent, tuning = d, 0
    df_mine, df_theirs = scheme.degrees(spent, tuning)
    one, two = scheme.factors(spent, tuning) if options.small_sample else (1.0, 1.0)
    gain = Gain(np.zeros((d, d)), np.zeros((d, d)), decisive=False)
    if options.small_sample and root.labeled is not None and scheme.n * d * d <= MANY:
        rows = root.labeled()
        if not even(rows, scheme):
            gain, one = added_variance(rows, scheme, p, M, J, options.tune), 1.0
    mine, theirs = covariance(p, M, one, two)
    mine = mine + gain.whole
    alone = np.linalg.inv(p.jac_g) @ p.gg @ np.linalg.inv(p.jac_g).T * one + gain.alone
    df = np.full(d, np.inf)
    notes = [*notes, *scheme.notes]
    if gain.decisive:
        unit = "row" if scheme.clusters is None else "cluster"
        notes.append(
            f"a single labelled {unit} determines a parameter (a level that occurs once?), so that "
            "its own error cannot be seen: that interval is not credible; label more rows, or "
            "merge levels"
        )
        warn(notes[-1])
    lam = scalar_tuning(M, J, options.tune) if lam is None else lam
    if options.clip and options.tuned and options.tune != "matrix" and np.any(np.equal(lam, 1.0)):
        notes.append("lambda is at its upper bound 1; tune='matrix' or clip=False may gain more")
    if options.method != "classical" and options.tuned and np.all(np.equal(lam, 0.0)):
        notes.append(
            "lambda is 0: the predictions carry no usable information beyond the regressors, and "
            "the result is that of the labelled rows alone"
        )
    if not options.small_sample and scheme.n < 30:
        notes.append(f"n = {scheme.n} labels without small-sample correction: intervals undercover")
    if np.any(np.diag(mine + theirs) > 1.02 * np.diag(alone)) and not options.tuned:
        notes.append("the interval is wider than that of the labelled rows alone; tune the weight")

    if varies is None:
        varies = bool(np.all(np.diag(mine + theirs) > 1e-24 * np.maximum(1.0, root.theta**2)))
    if not varies:
        notes.append(
            "a standard error is zero, since the labelled rows show no variation (all labels "
            "equal, or predicted without error): its interval is not credible; label more rows, "
            "or use ppi.bayes"
        )
        warn(notes[-1])

    def influence() -> Influence:
        g, h, u = root.rows()
        return result_influence(scheme, g, h, u, J, M)

    def imputed() -> tuple[np.ndarray, np.ndarray]:
        g, h, u = root.rows()
        back = -np.linalg.inv(J).T
        mean = scheme.beta @ u / scheme.beta.sum()
        return -mean @ back, scheme.contributions(g, h, u)[1][:, d:] @ back

    if options.small_sample:
        free: Any = df_mine
        if scheme.strata is not None and scheme.clusters is None:
            free = scheme.satterthwaite(influence().labeled, spent)
        df = np.asarray(welch(np.diag(mine), np.diag(theirs), free, df_theirs))
    return Result(
        estimand=estimand,
        method=options.method if method is None else method,
        names=names,
        theta=root.theta,
        cov=mine + theirs,
        df=df,
        lam=lam,
        n=scheme.n,
        N=scheme.N,
        cov_labeled=alone,
        rho=np.asarray(correlation(p, M)),
        cov_type=scheme.cov_type if options.small_sample or not scheme.simple else "HC0",
        alpha=options.alpha,
        alternative=options.alternative,
        notes=tuple(notes),
        pandas=pandas,
        contributions=influence,
        clusters=scheme.clusters,
        imputed=imputed if M.shape == (d, d) else None,
    )


def as_numpy(p: Any) -> Any:
    """A tuple of JAX arrays as NumPy arrays."""
    return type(p)(*(np.asarray(a) for a in p))
