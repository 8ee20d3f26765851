"""Pictures of posteriors: handed over to ArviZ and matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from probinf.errors import MethodError, MissingPackageError
from probinf.results.datasets import safe_names

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior

_KINDS = {
    "trace": "plot_trace",
    "rank": "plot_rank",
    "forest": "plot_forest",
    "pair": "plot_pair",
    "dist": "plot_dist",
    "energy": "plot_energy",
    "ppc": "plot_ppc_dist",
}


def plot(posterior: Posterior, kind: str, names: list[str] | None = None, **options: Any) -> Any:
    """See :meth:`probinf.Posterior.plot`."""
    if kind == "corner":
        from probinf.results.corner import corner

        return corner(posterior, names, **options)
    if kind not in _KINDS:
        raise MethodError(f"plot: kind must be one of {sorted([*_KINDS, 'corner'])}, got {kind!r}.")
    try:
        import arviz_plots
    except ImportError:
        raise MissingPackageError("plot needs ArviZ: pip install 'probinf[plot]'.") from None
    options.setdefault("backend", "matplotlib")
    if kind == "ppc":
        return _predictive(posterior, arviz_plots, names, options)
    if kind == "energy":
        if "energy" not in posterior.stats:
            raise MethodError(
                f"plot: 'energy' is of Hamiltonian chains, and {posterior.engine} has none. Use "
                "NUTS, or look at plot('trace')."
            )
        return arviz_plots.plot_energy(posterior.to_datatree(), **options)
    if names is not None:
        safe = safe_names(posterior.draws)
        if unknown := [name for name in names if name not in safe]:
            raise MethodError(f"plot: no site named {unknown}; there are {list(safe)}.")
        names = [safe[name] for name in names]
    return getattr(arviz_plots, _KINDS[kind])(posterior.to_datatree(), var_names=names, **options)


def _predictive(
    posterior: Posterior, arviz_plots: Any, names: list[str] | None, options: dict[str, Any]
) -> Any:
    """Observed data among those that the model predicts."""
    tree = posterior.to_datatree(predictive=options.pop("key", 0))
    if "observed_data" not in tree:
        raise MethodError("plot: 'ppc' compares with observed data, and the program has none.")
    known = set(tree["posterior_predictive"].data_vars) & set(tree["observed_data"].data_vars)
    if unknown := [name for name in names or [] if name not in known]:
        raise MethodError(f"plot: no observed site named {unknown}; there are {sorted(known)}.")
    return arviz_plots.plot_ppc_dist(tree, var_names=names or sorted(known), **options)


def compare_plot(posteriors: dict[str, Posterior], names: list[str], *, columns: int = 4) -> Any:
    """Marginals of several posteriors of one program on top of each other.

    Args:
        posteriors: by label.
        names: scalar names as in ``summary()``, ``"theta[0]"`` for entries of arrays.
        columns: panels per row.

    Returns:
        A matplotlib figure.

    Raises:
        MethodError: a posterior has no scalar of that name.
        MissingPackageError: the extra ``plot`` is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise MissingPackageError(
            "compare_plot needs matplotlib: pip install 'probinf[plot]'."
        ) from None

    from probinf.results.statistics.weighted import weighted_quantile, weights_of
    from probinf.results.summary import scalars

    rows = -(-len(names) // columns)
    columns = min(columns, len(names))
    figure, axes = plt.subplots(rows, columns, figsize=(3 * columns, 2.2 * rows), squeeze=False)
    for axis in axes.ravel()[len(names) :]:
        axis.set_visible(False)
    for label, posterior in posteriors.items():
        found, values = scalars(posterior.draws, posterior.axes)
        weights = weights_of(posterior.log_weights.ravel())
        for axis, name in zip(axes.ravel(), names, strict=False):
            if name not in found:
                raise MethodError(f"compare_plot: no scalar named {name!r} in {label}: {found}.")
            column = values[:, :, found.index(name)].ravel()
            low, high = (weighted_quantile(column, weights, q) for q in (0.002, 0.998))
            bins = np.linspace(low, high, 40)
            alive = weights > 0
            axis.hist(
                column[alive],
                bins,
                weights=weights[alive],
                density=True,
                histtype="step",
                label=label,
            )
            axis.set_title(name)
            axis.set_yticks([])
    axes[0, 0].legend(frameon=False)
    figure.tight_layout()
    return figure
