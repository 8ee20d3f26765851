"""Diabetes: which of twenty measurements matter, when ten of them are nonsense?

Ten measurements of 442 patients (Efron et al., 2004; bundled with scikit-learn), and ten more that
are the same columns with the patients shuffled, so that none of them can matter. A horseshoe prior
shrinks what does not matter to zero and lets alone what does (Carvalho, Polson and Scott, 2010).

Needs scikit-learn, the extra `sklearn`.

    python examples/horseshoe_diabetes.py [folder for the picture]
"""

import sys

import numpy as np
import numpyro
import numpyro.distributions as dist

try:
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression
except ImportError as missing:
    raise SystemExit(f'{missing}; this script needs: pip install "probinf[sklearn]"') from None

import probinf as pi

pi.use_cpu_devices()  # chains run side by side


def model(x, y=None):
    """Linear regression; every coefficient has a scale of its own."""
    overall = numpyro.sample("overall", dist.HalfCauchy(0.1))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("column", x.shape[1]):
        local = numpyro.sample("local", dist.HalfCauchy(1.0))
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        beta = numpyro.deterministic("beta", z * local * overall)
    with numpyro.plate("patient", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ beta, noise), obs=y)


def table(key):
    """Standardised columns, their names, and the outcome."""
    data = load_diabetes()
    shuffled = np.random.default_rng(key).permutation(data.data)
    x = np.concatenate([data.data, shuffled], axis=1)
    names = [*data.feature_names, *(f"{name}, shuffled" for name in data.feature_names)]
    return x / x.std(0), names, (data.target - data.target.mean()) / data.target.std()


def draw(rows, names, least_squares, folder):
    """Coefficients with their 90 % intervals beside least squares."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 4.2), layout="constrained")
    for k, name in enumerate(names):
        row = rows[f"beta[{name}]"]
        axis.plot([row["q5"], row["q95"]], [k, k], color="C0")
        axis.plot(row["mean"], k, "o", color="C0", ms=4)
    axis.plot(least_squares, range(len(names)), "x", color="C1", label="least squares")
    axis.axvline(0, color="0.8", zorder=0)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("standardised coefficient")
    axis.legend(frameon=False)
    figure.savefig(f"{folder}/horseshoe_diabetes.png")


def main(folder=None, key=0):
    """Fit, compare, draw."""
    x, names, y = table(key)
    program = pi.from_numpyro(model, x, y=y, coords={"column": names})
    method = pi.NUTS(
        chains=2, warmup=500, draws=500, kernel=pi.kernels.NUTS(target_acceptance=0.95)
    )
    fit = pi.sample(program, method, key=key, progress=False)
    rows = fit.summary()
    least_squares = LinearRegression(fit_intercept=False).fit(x, y).coef_
    print(fit.summary(["beta", "overall", "noise"]))
    if folder:
        draw(rows, names, least_squares, folder)

    beta = {name: rows[f"beta[{name}]"] for name in names}
    found = {n for n, row in beta.items() if row["q5"] > 0 or row["q95"] < 0}
    print("intervals without zero:", ", ".join(sorted(found)))
    if max(row["r_hat"] for row in beta.values()) > 1.1:  # a chain was caught in the funnel
        assert not fit.diagnose(), "which must be said"
        print(fit.diagnose(), "all checks of such a run passed", sep="\n")
        return
    assert {"bmi", "bp", "s5"} <= found, found
    nonsense = [beta[name] for name in names[10:]]
    assert sum(name in found for name in names[10:]) <= 1, found
    shrunk = np.square([row["mean"] for row in nonsense]).sum() / (least_squares[10:] ** 2).sum()
    print(f"squares of the shuffled coefficients, in those of least squares: {shrunk:.2f}")
    assert shrunk < 0.6
    kept = beta["bmi"]["mean"] / least_squares[names.index("bmi")]
    print(f"body-mass index keeps {kept:.0%} of its coefficient")
    assert kept > 0.8
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
