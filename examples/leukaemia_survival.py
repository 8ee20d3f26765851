"""Leukaemia: how long remission lasts when some patients are still in it.

Weeks of remission of 42 children, half of them on 6-mercaptopurine (Freireich et al., 1963; printed
in Cox and Oakes, 1984). Twelve were still in remission when the trial ended: their times are lower
bounds. A Weibull regression says by how much the drug stretches time. Its answer is compared with a
numerical integral and with the published maximum likelihood estimate.

    python examples/leukaemia_survival.py [folder for the picture]
"""

import sys

import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy.special import logsumexp

import probinf as pi

DRUG = "6 6 6 7 10 13 16 22 23 6+ 9+ 10+ 11+ 17+ 19+ 20+ 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"
PUBLISHED = {"stretch": 1.267, "shape": 1 / 0.732}  # survreg in Venables and Ripley (2002), 13.2


def table():
    """Weeks, whether remission went on (censored), and whether the child got the drug."""
    words = DRUG.split() + PLACEBO.split()
    weeks = np.array([float(word.rstrip("+")) for word in words])
    going_on = np.array([word.endswith("+") for word in words])
    return weeks, going_on, np.arange(len(words)) < len(DRUG.split())


def model(going_on, drug, weeks=None):
    """Weibull times; the drug multiplies them by exp(stretch)."""
    level = numpyro.sample("level", dist.Normal(2.0, 2.0))
    stretch = numpyro.sample("stretch", dist.Normal(0.0, 2.0))
    shape = numpyro.sample("shape", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("child", len(drug)):
        times = dist.Weibull(np.e ** (level + stretch * drug), shape)
        numpyro.sample("weeks", dist.RightCensoredDistribution(times, going_on), obs=weeks)


def exact(weeks, going_on, drug):
    """Posterior means by a sum over a fine grid of the three parameters."""
    level, stretch, log_shape = np.meshgrid(
        np.linspace(1.2, 3.4, 70), np.linspace(-0.6, 3.4, 70), np.linspace(-0.6, 1.1, 70)
    )
    shape = np.exp(log_shape)
    log_mass = -0.5 * (((level - 2) / 2) ** 2 + (stretch / 2) ** 2 + log_shape**2)
    for t, more, d in zip(weeks, going_on, drug, strict=True):
        z = shape * (np.log(t) - level - stretch * d)
        log_mass += np.where(more, 0.0, z + log_shape) - np.exp(z)
    mass = np.exp(log_mass - logsumexp(log_mass))
    return {"stretch": (mass * stretch).sum(), "shape": (mass * shape).sum()}


def draw(fit, weeks, going_on, drug, folder):
    """The share still in remission: Kaplan and Meier's estimate and the posterior's."""
    import matplotlib.pyplot as plt

    grid = np.linspace(0.1, 36, 100)
    level, stretch, shape = (fit.draws[s].reshape(-1, 1) for s in ("level", "stretch", "shape"))
    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, group in {"6-mercaptopurine": drug, "placebo": ~drug}.items():
        t, ended = weeks[group], ~going_on[group]
        ends = np.unique(t[ended])
        steps = np.cumprod([1 - np.sum(ended & (t == e)) / np.sum(t >= e) for e in ends])
        (line,) = axis.step([0, *ends, 36], [1, *steps, steps[-1]], where="post", label=name)
        left = np.exp(-((grid / np.exp(level + stretch * (name != "placebo"))) ** shape))
        low, high = np.quantile(left, [0.05, 0.95], axis=0)
        axis.fill_between(grid, low, high, color=line.get_color(), alpha=0.25)
    axis.set(xlabel="weeks", ylabel="still in remission", ylim=(0, 1))
    axis.legend(frameon=False)
    figure.savefig(f"{folder}/leukaemia_survival.png")


def main(folder=None, key=0):
    """Fit, compare, draw."""
    weeks, going_on, drug = table()
    program = pi.from_numpyro(model, going_on, drug.astype(float), weeks=weeks)
    fit = pi.sample(program, pi.NUTS(chains=2, warmup=500, draws=2000), key=key, progress=False)
    rows, means = fit.summary(), exact(weeks, going_on, drug)
    print(rows)
    longer = np.exp(fit.draws["stretch"])
    print("the drug stretches remission by a factor of", np.quantile(longer, [0.05, 0.5, 0.95]))
    if folder:
        draw(fit, weeks, going_on, drug, folder)

    assert np.nanmax(rows.columns["r_hat"]) < 1.05
    for name, value in means.items():
        error = (rows[name]["mean"] - value) / rows[name]["mcse"]
        print(
            f"{name}: {rows[name]['mean']:.3f}, exact {value:.3f}, published {PUBLISHED[name]:.3f}"
        )
        assert abs(error) < 5, f"{name} is {error:.1f} Monte Carlo errors from the exact mean"
        assert abs(rows[name]["mean"] - PUBLISHED[name]) < 0.5 * rows[name]["sd"], name
    assert (longer > 1).mean() > 0.99
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
