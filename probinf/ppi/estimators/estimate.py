"""Any M-estimator: a loss or a score of one row, labels on some rows, predictions on all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import is_pandas
from probinf.core.inputs.limits import check_choice
from probinf.errors import ArrayError, ConvergenceError, MethodError
from probinf.ppi.designs.design import Design, Sampling, declare
from probinf.ppi.designs.resolve import resolve
from probinf.ppi.inference import core
from probinf.ppi.inference.checks import check_counts
from probinf.ppi.inference.conclude import (
    Options,
    Root,
    as_numpy,
    check_identified,
    conclude,
    make_options,
)
from probinf.ppi.inference.core import Data
from probinf.ppi.inference.losses import Autodiff, Model
from probinf.ppi.inference.moments import Parts, Tune, jacobian, tuned
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.rows import (
    check_rows,
    flatten_parameters,
    make_data,
    parameter_names,
    three_samples,
)
from probinf.ppi.inference.scheme import Scheme
from probinf.ppi.inference.suspicions import proxy_notes


def checked_solve(
    model: Model, data: Data, M: np.ndarray, init: np.ndarray, what: str, **kwargs: Any
) -> np.ndarray:
    """The root (d,), or an error that names the remedies."""
    with jax.enable_x64(True):
        found = core.solve(model, data, jnp.asarray(M), jnp.asarray(init), **kwargs)
        theta = np.asarray(found.theta)
    if bool(found.runaway):
        largest = int(np.argmax(np.abs(theta)))
        raise ConvergenceError(
            f"{what}: no finite estimate. The fit improves without end as parameters grow "
            f"(parameter {largest} reached {theta[largest]:.3g}): the classes are perfectly "
            "separated by the regressors, or a group has no events at all. Remedies: more labels, "
            "fewer regressors or groups, or a penalty in a loss of your own (ppi.estimate)."
        )
    if not bool(found.converged):
        raise ConvergenceError(
            f"{what}: Newton's method found no root after {int(found.steps)} steps (it stopped at "
            f"{np.array2string(theta, precision=3, threshold=6)}). Likely causes: a loss whose "
            "second derivative vanishes (pinball or absolute errors: use ppi.quantile), perfectly "
            "separated classes, collinear regressors or columns of very different size. Remedies: "
            "better init=, a smaller fixed tune=, form='onestep', rescaled columns."
        )
    return theta


def design_parts(model: Model, data: Data, theta: np.ndarray, scheme: Scheme) -> Parts:
    """`Parts` at ``theta``: compiled for independent rows, on the host for other designs."""
    with jax.enable_x64(True):
        at = jnp.asarray(theta)
        if scheme.simple:
            return as_numpy(core.moments(model, data, at, joint=scheme.joint))
        whole = core.moments(model, data, at)
        g, h, u = score_arrays(model, data, theta, scheme)
    return scheme.parts(g, h, u, np.asarray(whole.jac_g), np.asarray(whole.jac_c))


def score_arrays(
    model: Model, data: Data, theta: np.ndarray, scheme: Scheme
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of the real rows: (n, d), (n, q), (N, q)."""
    with jax.enable_x64(True):
        g, h, u = core.score_rows(model, data, jnp.asarray(theta))
    return np.asarray(g)[: scheme.n], np.asarray(h)[: scheme.n], np.asarray(u)[: scheme.N]


def find_root(
    model: Model,
    data: Data,
    init: np.ndarray,
    scheme: Scheme,
    options: Options,
    *,
    form: str = "loss",
    what: str = "estimate",
) -> Root:
    """Labelled fit, tuning there, root of the tuned equation, moments there."""
    d, q = len(init), len(init) * len(data.proxied)
    none = np.zeros((d, q))
    alone = data._replace(proxied=(), unlabeled=(), beta=np.zeros(0))
    theta = checked_solve(
        model, alone, np.zeros((d, 0)), init, f"{what} (labelled rows)", controls=False
    )
    with jax.enable_x64(True):
        data = jax.device_put(data)  # once, not with every call
    p = design_parts(model, data, theta, scheme)
    check_identified(p.jac_g, f"{what} (labelled rows)")
    M = none
    if options.tune is not None:
        M = np.asarray(tuned(p, options.tune if d == q else "matrix", clip=options.clip))
        step = theta - np.linalg.solve(jacobian(p, M), p.score + M @ p.control)
        theta = step if form == "onestep" else checked_solve(model, data, M, step, what)
        p = design_parts(model, data, theta, scheme)
    return Root(theta, p, M, lambda: score_arrays(model, data, theta, scheme))


def single_fit(
    model: Model, rows: dict[str, np.ndarray], weights: np.ndarray, init: np.ndarray, what: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit to one sample: root (d,), scores (rows, d) and derivative (d, d) there."""
    scheme = Scheme(weights, weights, np.zeros(0))
    data = make_data(rows, (), (), scheme)
    theta = checked_solve(model, data, np.zeros((len(init), 0)), init, what, controls=False)
    with jax.enable_x64(True):
        scores, J = core.labeled_scores(model, data, jnp.asarray(theta))
    return theta, np.asarray(scores)[: len(weights)], np.asarray(J)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def start_of(init: Any, labeled: dict[str, np.ndarray]) -> Any:
    """The start that was given, or zeros, one per regressor."""
    if init is not None:
        return init
    x = labeled.get("x")
    if x is None or x.ndim != 2:
        raise MethodError(
            "init is needed: a pytree of arrays shaped like the parameters, from where the "
            "solver starts."
        )
    return np.zeros(x.shape[1])


def estimate(
    loss: Callable[[Any, Any], Any],
    labeled: dict[str, Any],
    proxies: Any,
    unlabeled: Any,
    *,
    init: Any = None,
    is_score: bool = False,
    method: str = "ppi++",
    tune: Tune = "trace",
    clip: bool = True,
    form: str = "loss",
    alpha: Number = 0.1,
    alternative: str = "two-sided",
    small_sample: bool = True,
    design: Design | None = None,
    names: tuple[str, ...] | list[str] | None = None,
    estimand: str = "M-estimate",
    **sampling: Unpack[Sampling],
) -> Result:
    """The minimiser of the expected loss, from few true rows and many predicted ones.

    Solves ``mean g + M (mean u - mean h) = 0``, where g are scores of labelled rows and h, u
    scores with predictions put in, of labelled and unlabelled rows. Derivatives come from
    automatic differentiation, so that any smooth loss works.

    Args:
        loss: ``loss(theta, row) -> scalar`` of one row in `jax.numpy`; a row is a dictionary
            without the leading axis. Define it once, at module level: what is compiled is kept
            per function.
        labeled: dictionary of arrays (n, ...) with the true values.
        proxies: dictionary of the predicted columns on labelled rows, outcomes or regressors; or
            a list of such dictionaries, one per predictor.
        unlabeled: dictionary of arrays (N, ...) with predictions in place of what is not known;
            or a list like ``proxies``.
        init: pytree of the parameters' shapes, the start; zeros, one per column of ``x``, if
            left out.
        is_score: ``loss`` is a score (theta, row) -> (d,), whose mean is to be zero.
        method: ``"ppi++"``, ``"ppi"`` (M = 1) or ``"classical"`` (M = 0).
        tune: ``"trace"``: M is the multiple of the identity that minimises the summed variance;
            an integer j: that of parameter j; ``"element"``: each parameter gets its own best
            multiple; ``"diagonal"``: a diagonal M (PSPA); ``"matrix"``: the best linear M, never
            worse asymptotically than any other; a float: fixed; None: zero.
        clip: keep multiples within [0, 1].
        form: ``"loss"`` solves the equation; ``"onestep"`` takes one Newton step from the
            labelled fit, which needs no second solution.
        alpha: error rate of intervals.
        alternative: ``"two-sided"``, ``"larger"``, ``"smaller"``.
        small_sample: t distribution with Welch's degrees of freedom and variances divided by
            rows minus parameters; False is HC0 with the normal.
        design: how rows were sampled, a `Design`; a simple random sample of labels by default.
        names: names of the parameters.
        estimand: how summaries call it.
        sampling: the fields of `Design` one by one: ``weights=``, ``propensity=``, ``groups=``
            (its clusters), ``strata=``, ``finite_population=``.

    Raises:
        ArrayError: NaN, shapes or columns that do not fit.
        TooFewLabelsError: too few labelled rows for the parameters.
        ConvergenceError: no root, or parameters that the data do not identify.

    Source: PPI++ (arXiv 2311.01453), equations 4 to 6; "element" and "matrix" are the
    one-parameter and the full least-squares control variate.
    """
    declared = declare(design, sampling)
    check_choice("form", form, ("loss", "onestep"))
    guesses, others = _as_tuple(proxies), _as_tuple(unlabeled)
    if len(guesses) != len(others):
        raise ArrayError(f"{len(guesses)} set(s) of proxies but {len(others)} of unlabelled rows.")
    samples = [three_samples(labeled, *both) for both in zip(guesses, others, strict=True)]
    (mine, *_), proxied, rest = (tuple(rows) for rows in zip(*samples, strict=True))
    start, unravel, labels = flatten_parameters(start_of(init, mine))
    n, N, d = len(next(iter(mine.values()))), len(next(iter(rest[0].values()))), len(start)
    check_counts(n, N, d + 1, f"{d} parameter(s)")
    several = len(guesses)
    options = make_options(
        method, tune, clip, alpha, alternative, small_sample, d, predictors=several
    )
    scheme = resolve(declared, n, N, (next(iter(labeled.values())), next(iter(others[0].values()))))
    notes: list[str] = []
    if options.method != "classical":
        for name in check_rows("proxies", guesses[0]):
            a, b, truth = proxied[0][name], rest[0][name], mine[name]
            if a.ndim == 1 and b.ndim == 1:
                same = truth.astype(float) if truth.ndim == 1 else None
                notes += proxy_notes(a.astype(float), same, b.astype(float), random=scheme.random)
    model = Autodiff(loss, unravel, is_score)
    for rows in (mine, *proxied, *rest):
        model.check(d, rows)
    data = make_data(mine, proxied, rest, scheme)
    root = find_root(model, data, start, scheme, options, form=form, what=estimand)
    return conclude(
        root,
        scheme,
        options,
        estimand=estimand,
        names=parameter_names(labels, labeled.get("x"), names),
        notes=notes,
        pandas=any(map(is_pandas, labeled.values())),
        spent=d + options.cost(d * several),
        tuning=options.cost(d * several),
        method=f"{options.method}, {several} predictors" if several > 1 else None,
    )
