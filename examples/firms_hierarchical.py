"""Firms: a hierarchical regression of a DataFrame, with names instead of numbers.

What eleven American firms invested, 1935 to 1954, by their market value and stock of capital
(Grunfeld, 1958; bundled with statsmodels). Every firm has a level and two slopes of its own, drawn
from a common law. Dimensions and rows have the names of the table, results go back to DataFrames,
and the answer is compared with the mixed model of statsmodels.

Needs pandas and statsmodels, the extra `docs`.

    python examples/firms_hierarchical.py [folder for the picture]
"""

import sys

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd

try:
    import statsmodels.formula.api as smf
    from statsmodels.datasets import grunfeld
except ImportError as missing:
    raise SystemExit(f'{missing}; this script needs: pip install "probinf[docs]"') from None

import probinf as pi

TERMS = ["level", "value", "capital"]


def table():
    """One row for each firm and year; logarithms, centred."""
    data = grunfeld.load_pandas().data
    logs = np.log(data[["invest", "value", "capital"]])
    logs = (logs - logs.mean()).assign(firm=pd.Categorical(data["firm"]))
    return logs[logs["firm"] != "American Steel"].reset_index(drop=True)  # the original ten


def model(x, firm, firms, invest=None):
    """Coefficients of every firm around those of all; x has the columns of TERMS."""
    with numpyro.plate("term", 3):
        common = numpyro.sample("common", dist.Normal(0.0, 1.0))
        spread = numpyro.sample("spread", dist.HalfNormal(0.5))
    noise = numpyro.sample("noise", dist.HalfNormal(0.5))
    with numpyro.plate("firm", firms, dim=-2), numpyro.plate("term", 3, dim=-1):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        own = numpyro.deterministic("own", common + spread * z)
    with numpyro.plate("row", len(firm)):
        mean = (x * own[firm]).sum(-1)
        numpyro.sample("invest", dist.Normal(mean, noise), obs=invest)


def draw(rows, names, folder):
    """The slope of capital, firm by firm."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for k, name in enumerate(names):
        row = rows[f"own[{name},capital]"]
        axis.plot([row["q5"], row["q95"]], [k, k], color="C0")
        axis.plot(row["mean"], k, "o", color="C0")
    axis.axvline(rows["common[capital]"]["mean"], color="0.6", lw=0.8)
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("per cent more invested for one per cent more capital")
    figure.savefig(f"{folder}/firms_hierarchical.png")


def main(folder=None, key=0):
    """Fit, name, compare, draw."""
    data = table()
    firm = data["firm"].cat.remove_unused_categories()
    names = list(firm.cat.categories)
    x = np.column_stack([np.ones(len(data)), data["value"], data["capital"]])
    program = pi.from_numpyro(
        model,
        x,
        firm.cat.codes.to_numpy().astype(int),
        len(names),
        invest=jnp.asarray(data["invest"].to_numpy()),
        coords={"firm": names, "term": TERMS},
    )
    method = pi.NUTS(chains=2, warmup=500, draws=700, kernel=pi.kernels.NUTS(target_acceptance=0.9))
    fit = pi.sample(program, method, key=key, progress=False)
    rows = fit.summary()
    print(fit.summary(["common", "spread", "noise"]))
    own = fit.to_datatree()["posterior"]["own"].mean(("chain", "draw")).to_series().unstack("term")
    print(own[TERMS].round(2))
    if folder:
        draw(rows, names, folder)

    mixed = smf.mixedlm(
        "invest ~ value + capital", data, groups=firm, re_formula="~ value + capital"
    ).fit()
    for term, name in {"value": "value", "capital": "capital"}.items():
        ours, theirs, error = rows[f"common[{term}]"], mixed.params[name], mixed.bse[name]
        print(f"{term}: {ours['mean']:.3f} ± {ours['sd']:.3f}, REML {theirs:.3f} ± {error:.3f}")
        assert abs(ours["mean"] - theirs) < 0.6 * error, term
    assert abs(rows["noise"]["mean"] / np.sqrt(mixed.scale) - 1) < 0.1
    assert np.nanmax(rows.columns["r_hat"]) < 1.1
    lines = [np.linalg.lstsq(x[firm == n], data["invest"][firm == n], rcond=None)[0] for n in names]
    apart, pulled = np.std(lines, axis=0), own[TERMS].std().to_numpy()
    print(
        "spread of the firms' slopes: each alone", apart[1:].round(2), "pooled", pulled[1:].round(2)
    )
    assert (pulled < apart).all(), "firms are pulled together"
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
