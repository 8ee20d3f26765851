"""Earthquakes: a hidden Markov model of how many large ones there are in a year.

Earthquakes of magnitude 7 and more in the world, 1900 to 2006 (Zucchini, MacDonald and Langrock,
2016, from the U.S. Geological Survey). Quiet and busy years come in runs: a hidden Markov chain
with two Poisson laws. The chain is summed out by the package; the sum is compared with a forward
recursion written out here, and the rates with the published maximum likelihood estimate.

Needs the extra `discrete`.

    python examples/earthquakes_markov.py [folder for the picture]
"""

import sys

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.control_flow import scan
from scipy.stats import poisson

import probinf as pi

COUNTS = np.fromstring(
    """
13 14 8 10 16 26 32 27 18 32 36 24 22 23 22 18 25 21 21 14 8 11 14 23 18 17 19 20 22 19 13 26 13 14
22 24 21 22 26 21 23 24 27 41 31 27 35 26 28 36 39 21 17 22 17 19 15 34 10 15 22 18 15 20 15 22 19
16 30 27 29 23 20 16 21 21 25 16 18 15 18 14 10 15 8 15 6 11 8 7 18 16 13 12 13 20 15 16 12 18 15
16 13 15 16 11 11
""",
    int,
    sep=" ",
)
# Zucchini, MacDonald and Langrock, chapter 3: two states, stationary start
PUBLISHED = {"rate": [15.472, 26.125], "stay": [0.934, 0.872]}
PUBLISHED_LOG_LIKELIHOOD = -342.3183


def model(years, counts=None):
    """Each year is quiet or busy, and tends to stay what the year before was."""
    quiet = numpyro.sample("quiet", dist.Gamma(4.0, 0.25))
    busier = numpyro.sample("busier", dist.Gamma(2.0, 0.2))
    stay = numpyro.sample("stay", dist.Beta(4.0, 1.0).expand([2]).to_event(1))
    rate = numpyro.deterministic("rate", jnp.stack([quiet, quiet + busier]))

    def year(before, count):
        busy = numpyro.sample("busy", dist.Bernoulli(jnp.where(before, stay[1], 1 - stay[0])))
        numpyro.sample("count", dist.Poisson(rate[busy]), obs=count)
        return busy, None

    scan(year, 0, counts, length=years)


def forward(rate, stay, first):
    """The log likelihood, by the recursion of the textbook."""
    moves = np.array([[stay[0], 1 - stay[0]], [1 - stay[1], stay[1]]])
    law, total = np.asarray(first, float), 0.0
    for k, count in enumerate(COUNTS):
        law = (law if k == 0 else law @ moves) * poisson.pmf(count, rate)
        total, law = total + np.log(law.sum()), law / law.sum()
    return total


def draw(probability, rate, folder):
    """Counts, and the probability that a year was busy."""
    import matplotlib.pyplot as plt

    years = 1900 + np.arange(COUNTS.size)
    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    axis.bar(years, COUNTS, color="0.75", width=0.9)
    axis.plot(years, rate[0] + probability * (rate[1] - rate[0]), color="C3")
    axis.set(ylabel="earthquakes of magnitude 7", title="counts, and the rate behind them")
    figure.savefig(f"{folder}/earthquakes_markov.png")


def main(folder=None, key=0):
    """Fit, decode, compare."""
    program = pi.from_numpyro(model, COUNTS.size, COUNTS)
    fit = pi.sample(program, pi.NUTS(chains=2, warmup=300, draws=500), key=key, progress=False)
    rows = fit.summary()
    print(rows)
    probability = fit.responsibilities()["busy"][:, 1]
    rate = fit.draws["rate"].mean((0, 1))
    print("busy years:", *(1900 + np.flatnonzero(probability > 0.9)))
    if folder:
        draw(probability, rate, folder)

    # the table was typed in: it has the published likelihood
    leave = 1 - np.array(PUBLISHED["stay"])
    found = forward(PUBLISHED["rate"], PUBLISHED["stay"], leave[::-1] / leave.sum())
    assert abs(found - PUBLISHED_LOG_LIKELIHOOD) < 0.01, found
    # the package's sum over 2 ** 107 paths is the recursion's; year 0 follows a quiet one
    at = {"quiet": 15.0, "busier": 11.0, "stay": np.array([0.93, 0.88])}
    at = {name: jnp.asarray(value) for name, value in at.items()}
    x = program.unconstrain(at, program.template(), program.data).position
    ours = float(program.score(x, program.data).log_weight)
    theirs = forward([15.0, 26.0], [0.93, 0.88], [0.93, 0.07])
    print(f"log likelihood: {ours:.3f} summed by the package, {theirs:.3f} by the recursion")
    assert abs(ours - theirs) < 0.01
    assert np.nanmax(rows.columns["r_hat"]) < 1.1
    for name, values in PUBLISHED.items():
        for k, value in enumerate(values):
            row = rows[f"{name}[{k}]"]
            assert abs(row["mean"] - value) < row["sd"], f"{name}[{k}]: {row} against {value}"
    assert probability[43:51].min() > 0.8 > 0.2 > probability[-15:].max()  # 1943-50, 1992-2006
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
