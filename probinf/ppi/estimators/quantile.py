"""Quantiles, by inverting the test of the rectified distribution function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import same_index, same_rows
from probinf.core.inputs.limits import check_choice
from probinf.errors import LevelError, MethodError
from probinf.ppi.designs.design import Design, Sampling, declare
from probinf.ppi.designs.resolve import resolve
from probinf.ppi.estimators.rectified import Rectified, Sorted, rectified
from probinf.ppi.inference.checks import check_counts, column, numeric
from probinf.ppi.inference.conclude import Root, conclude, make_options
from probinf.ppi.inference.moments import Tune, covariance, tuned
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.scheme import Scheme
from probinf.ppi.inference.student import critical, tail
from probinf.ppi.inference.suspicions import proxy_notes


@dataclasses.dataclass(frozen=True, repr=False)
class QuantileResult(Result):
    """A `Result` whose intervals and tests invert the distribution function.

    Attributes:
        levels: (d,) which quantiles.
        processes: (d,) rectified distribution functions with their scale of variance.
        extend: intervals end at the next data point beyond the accepted ones.
    """

    levels: tuple[float, ...] = ()
    processes: tuple[Rectified, ...] = ()
    extend: bool = True

    def _invertible(self) -> bool:
        return len(self.processes) == len(self.theta)

    def test(self, null: Any = 0.0, alternative: str | None = None) -> Any:
        """P-values (d,) of ``quantile = null``, from the statistic that `conf_int` inverts."""
        if not self._invertible():
            return super().test(null, alternative)
        _, side = self._settings(None, alternative)
        points = np.broadcast_to(np.asarray(null, float), self.theta.shape)
        pairs = [p.statistics(x) for p, x in zip(self.processes, points, strict=True)]
        below, at = np.array(pairs).T
        if not self.extend:
            below = at
        # A distribution function that is above the level below null says that the quantile is
        # smaller, one that is below the level at null that it is larger.
        if side == "two-sided":
            return self._series(np.minimum(2 * tail(np.maximum(below, -at), self.df), 1.0))
        return self._series(tail(-at if side == "larger" else below, self.df))

    def conf_int(self, alpha: Number | None = None, alternative: str | None = None) -> Any:
        """Confidence limits (d, 2): the hull of the values that the test accepts."""
        if not self._invertible():
            return super().conf_int(alpha, alternative)
        level, side = self._settings(alpha, alternative)
        rows = [
            p.accepted(float(c), side, extend=self.extend)
            for p, c in zip(self.processes, critical(level, self.df, side), strict=True)
        ]
        return self._intervals(np.array(rows))

    def _transformed(self, value: Any, slope: Any, names: Any, what: str) -> Result:
        plain = super()._transformed(value, slope, names, what)
        assert isinstance(plain, QuantileResult)
        return dataclasses.replace(plain, processes=())


def _indicator_rows(
    y: np.ndarray, f: np.ndarray, fu: np.ndarray, t: np.ndarray, q: np.ndarray
) -> Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first, second, third = ((a[:, None] <= t) - q for a in (y, f, fu))
        return first, second, third

    return rows


def _tuning(
    y: np.ndarray, f: np.ndarray, fu: np.ndarray, q: float, scheme: Scheme, tune: Tune, clip: bool
) -> tuple[float, Sorted]:
    """The weight, estimated at the plain PPI quantile, and the sorted unlabelled predictions."""
    other = Sorted(fu, scheme.beta)
    if tune is None or isinstance(tune, float):
        return (0.0 if tune is None else tune), other
    first = rectified(y, f, other, scheme, q, 1.0)
    at = np.array([first.point()])
    g, h, u = _indicator_rows(y, f, fu, at, np.array([q]))()
    one = np.eye(1)
    M = tuned(scheme.parts(g, h, u, one, np.zeros((1, 1))), "trace", clip=clip)
    return float(M[0, 0]), other


def quantile(
    y: Any,
    f: Any,
    f_unlabeled: Any,
    q: Any,
    *,
    method: str = "ppi++",
    tune: Tune = "trace",
    clip: bool = True,
    alpha: Number = 0.1,
    alternative: str = "two-sided",
    small_sample: bool = True,
    design: Design | None = None,
    compat: str | None = None,
    **sampling: Unpack[Sampling],
) -> QuantileResult:
    """Quantiles of an outcome that few rows show and a model predicts for all.

    The interval holds every value t at which the rectified distribution function
    ``D(t) = lam * P(F_unlabelled <= t) + P(Y <= t) - lam * P(F <= t)`` is not significantly below
    q while just below t it is not significantly above q. Nothing is assumed about densities: with
    ratings, counts or classes D jumps over q, and the interval may be a single value. Limits are
    infinite where the labels are too few to bound an extreme quantile. Standard errors (of
    contrasts, say) divide by the density that the interval implies; they are zero where it is a
    single value.

    Args:
        y: (n,) labels.
        f: (n,) predictions on labelled rows.
        f_unlabeled: (N,) predictions on unlabelled rows.
        q: level in (0, 1), or several.
        compat: ``"ppi_py"``: weight 1, normal quantile, divisor n, no extension to the next data
            point; its ``exact_grid=True``.

    All other arguments and errors are those of `mean`. For clusters, strata and known
    propensities the variance at the estimate sets the scale of the variance at all points.

    Raises:
        ConvergenceError: with ``compat="ppi_py"``, no value is accepted.

    Source: PPI (arXiv 2301.09633), algorithm 2, with the weight of PPI++ (arXiv 2311.01453).
    """
    declared = declare(design, sampling)
    same_index(y=y, f=f)
    truth = column("y", y)
    guess, unseen = numeric("f", f), numeric("f_unlabeled", f_unlabeled)
    n, N = same_rows(y=truth.values, f=guess), len(unseen)
    levels = np.atleast_1d(numeric("q", q, ndim=(0, 1)))
    if (levels <= 0).any() or (levels >= 1).any():
        raise LevelError(f"q must lie in (0, 1); got {q!r}. The median is q=0.5.")
    check_counts(n, N, 3, "a quantile")
    if tune in ("element", "diagonal", "matrix") or type(tune) is int:
        tune = "trace"
    options = make_options(method, tune, clip, alpha, alternative, small_sample, 1)
    scheme = resolve(declared, n, N, (y, f_unlabeled))
    if compat is not None:
        check_choice("compat", compat, ("ppi_py",))
        if declared.declared:
            raise MethodError("compat='ppi_py' has no weights or designs here.")
        options = make_options("ppi", 1.0, clip, alpha, alternative, False, 1)
    notes = []
    if options.method != "classical":
        notes = proxy_notes(guess, truth.values, unseen, random=scheme.random)
    lams, points, seen, processes, densities = [], [], [], [], []
    spent, still = 1 + options.tuned, False
    one, two = scheme.factors(spent, int(options.tuned)) if options.small_sample else (1.0, 1.0)
    for level in levels:
        lam, other = _tuning(truth.values, guess, unseen, level, scheme, options.tune, clip)
        process = rectified(truth.values, guess, other, scheme, float(level), lam)
        at = process.point()
        lams.append(lam)
        points.append(at)
        seen.append(at)
        process = _scaled(process, truth.values, guess, unseen, scheme, at, one, two)
        if compat is None:
            around = np.array([np.nextafter(at, -np.inf), at])  # where the level is crossed
            variance = process.evaluate(around)[1]
            least = float(variance.max())
            if least == 0:  # labels that do not vary: the variance of a share of q
                still = True
                least = level * (1 - level) * float((scheme.alpha**2).sum())
            process = dataclasses.replace(process, floor=least)
            seen[-1] = around[1] if variance[1] > 0 else around[0]
        processes.append(process)
        densities.append(process.density(at))
    theta, M = np.array(points), np.diag(lams)
    rows = _indicator_rows(truth.values, guess, unseen, np.array(seen), levels)
    p = scheme.parts(*rows(), np.diag(densities), np.zeros((len(levels),) * 2))
    names = tuple(f"q{level:g}" for level in levels)
    base = conclude(
        Root(theta, p, M, rows),
        scheme,
        options,
        estimand="quantile",
        names=names,
        notes=notes,
        pandas=truth.pandas,
        spent=spent,
        tuning=int(options.tuned),
        lam=lams[0] if len(lams) == 1 else np.array(lams),
        varies=not still,
    )
    fields = {k.name: getattr(base, k.name) for k in dataclasses.fields(Result)}
    return QuantileResult(
        **fields, levels=tuple(levels), processes=tuple(processes), extend=compat is None
    )


def _scaled(
    process: Rectified,
    y: np.ndarray,
    f: np.ndarray,
    fu: np.ndarray,
    scheme: Scheme,
    at: float,
    one: float,
    two: float,
) -> Rectified:
    """The process with its small-sample factors, and its variance in scale with the design."""
    process = dataclasses.replace(process, factors=(one, two))
    if scheme.simple and not scheme.joint:
        return process
    rows = _indicator_rows(y, f, fu, np.array([at]), np.array([process.q]))()
    p = scheme.parts(*rows, np.eye(1), np.zeros((1, 1)))
    M = np.array([[process.lam]])
    wanted = float(sum(part[0, 0] for part in covariance(p, M, one, two)))
    have = float(process.evaluate(np.array([at]))[1][0])
    if have == 0:
        return process
    ratio = wanted / have
    return dataclasses.replace(process, factors=(one * ratio, two * ratio))
