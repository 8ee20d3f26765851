"""The printed form of a result."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from probinf.ppi.inference.result import Result

_WIDTH = 86


class Table:
    """A summary that prints as text, after the layout of statsmodels."""

    def __init__(self, result: Result) -> None:
        self.result = result

    def __str__(self) -> str:
        r = self.result
        finite = np.isfinite(r.df)
        letter = "t" if finite.any() else "z"
        limits = np.asarray(r.conf_int())
        p = np.asarray(r.pvalues)
        t = np.asarray(r.tvalues)
        se = np.asarray(r.bse)
        wide = max(8, *(len(name) for name in r.names))
        tails = {"two-sided": (r.alpha / 2, 1 - r.alpha / 2), "larger": (r.alpha, 1)}
        low, high = tails.get(r.alternative, (0, 1 - r.alpha))
        head = (
            f"{'':{wide}} {'coef':>11} {'std err':>11} {letter:>9} {'P>|' + letter + '|':>8} "
            f"{f'[{low:.6g}':>11} {f'{high:.6g}]':>11} {'df':>8}"
        )
        if r.alternative != "two-sided":
            sign = ">" if r.alternative == "larger" else "<"
            head = head.replace(f"P>|{letter}|", f"  P{sign}{letter} ")
        rule = "=" * max(_WIDTH, len(head))
        left = [
            ("Estimand:", r.estimand),
            ("Method:", r.method),
            ("Tuning:", _tuning(r.lam)),
            ("Covariance:", r.cov_type),
        ]
        right = [
            ("Labelled rows:", f"{r.n}"),
            ("Unlabelled rows:", f"{r.N}"),
            ("Correlation:", _range(r.rho)),
            ("Worth in labels:", _range(r.n_eff)),
        ]
        lines = [f"{'Prediction-powered inference':^{len(rule)}}", rule]
        for (a, b), (c, e) in zip(left, right, strict=True):
            lines.append(f"{a:<12} {b:<{len(rule) - 50}} {c:<17} {e:>19}")
        lines += [rule, head, "-" * len(rule)]
        for j, name in enumerate(r.names):
            df = f"{r.df[j]:.1f}" if np.isfinite(r.df[j]) else "-"
            lines.append(
                f"{name:{wide}} {r.theta[j]:>11.5g} {se[j]:>11.4g} {t[j]:>9.3f} {p[j]:>8.3f} "
                f"{limits[j, 0]:>11.5g} {limits[j, 1]:>11.5g} {df:>8}"
            )
        lines.append(rule)
        for note in r.notes:
            lines += textwrap.wrap(f"Note: {note}.", len(rule), subsequent_indent="      ")
        return "\n".join(lines)

    __repr__ = __str__


def _range(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return "-"
    low, high = f"{finite.min():.4g}", f"{finite.max():.4g}"
    return low if low == high else f"{low} to {high}"


def _tuning(lam: float | np.ndarray) -> str:
    if np.ndim(lam) == 0:
        return f"lambda = {float(lam):.3g}"
    lam = np.asarray(lam)
    if np.isnan(lam).all():
        return "by sample"
    if lam.ndim == 1:
        return f"lambda = {_range(lam)}, by parameter"
    return f"matrix {lam.shape[0]} x {lam.shape[1]}"
