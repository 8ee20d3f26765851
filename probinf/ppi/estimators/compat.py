"""The numbers of ppi_py 0.2.3: its order of tuning, its Hessian and its least squares."""

from __future__ import annotations

import dataclasses

import numpy as np

from probinf.ppi.estimators.estimate import checked_solve, design_parts, score_arrays
from probinf.ppi.inference.conclude import Options, Root, conclude
from probinf.ppi.inference.core import Data
from probinf.ppi.inference.losses import Gaussian, Linear
from probinf.ppi.inference.moments import Parts, tuned
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.scheme import Scheme


def _point(model: Linear, data: Data, start: np.ndarray, scheme: Scheme, lam: float) -> np.ndarray:
    """The estimate at weight ``lam``: two least-squares fits added, or the root of the loss."""
    M = lam * np.eye(len(start))
    if not isinstance(model.family, Gaussian):
        return checked_solve(model, data, M, start, "compat='ppi_py'")
    mine, other, n, N = data.labeled, data.unlabeled[0], scheme.n, scheme.N
    residual = mine["y"][:n] - lam * data.proxied[0]["y"][:n]
    first = np.linalg.lstsq(other["x"][:N], lam * other["y"][:N], rcond=None)[0]
    return first + np.linalg.lstsq(mine["x"][:n], residual, rcond=None)[0]


def _stats(model: Linear, data: Data, theta: np.ndarray, scheme: Scheme, lam: float) -> Parts:
    """`Parts` whose derivative is the Hessian over all rows, or over labelled ones at 0."""
    p = design_parts(model, data, theta, scheme)
    n, N = scheme.n, scheme.N
    pooled = p.jac_g if lam == 0 else p.jac_g + N / (n + N) * p.jac_c
    return p._replace(jac_g=pooled, jac_c=np.zeros_like(p.jac_c))


def compat_glm(
    model: Linear,
    data: Data,
    start: np.ndarray,
    scheme: Scheme,
    options: Options,
    what: str,
    names: tuple[str, ...],
    notes: list[str],
    pandas: bool,
) -> Result:
    """As `probinf.ppi.glm`, with ppi_py's conventions."""

    def weight(theta: np.ndarray) -> float:
        p = _stats(model, data, theta, scheme, 1.0)
        return float(tuned(p, options.tune, clip=options.clip, pooled=True, hessian=p.jac_g)[0, 0])

    theta, lam = start, 0.0
    if options.tune is not None:
        lam = 1.0 if options.tuned else float(options.tune)
    theta = _point(model, data, start, scheme, lam)
    if options.tuned:
        for _ in range(2):
            lam = weight(theta)
            theta = _point(model, data, theta, scheme, lam)
    p = _stats(model, data, theta, scheme, lam)
    one, two = scheme.n / (scheme.n - 1), scheme.N / (scheme.N - 1)
    p = p._replace(gg=p.gg * one, gc=p.gc * one, cc=p.cc * one, cu=p.cu * two)
    M = lam * np.eye(len(theta))
    return conclude(
        Root(theta, p, M, lambda: score_arrays(model, data, theta, scheme)),
        scheme,
        dataclasses.replace(options, small_sample=False),
        estimand=what,
        names=names,
        notes=notes,
        pandas=pandas,
        spent=len(theta),
        tuning=0,
        lam=lam,
        method=f"{options.method} as in ppi_py",
    )
