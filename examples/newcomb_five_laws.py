"""Newcomb's light: which of five laws of error do 66 measurements prefer?

In 1882 Simon Newcomb timed light over 7,442 metres, 66 times; the numbers are deviations from
24,800 nanoseconds (Stigler, 1977). Two of them are far off. Five laws with a location and a scale
are compared by their evidence, each measured by sequential Monte Carlo and known by quadrature.

    python examples/newcomb_five_laws.py [folder for the picture]
"""

import sys

import numpy as np
import numpyro
import numpyro.distributions as dist
import scipy.stats
from scipy.special import logsumexp

import probinf as pi

TIMES = np.fromstring(
    """
28 26 33 24 34 -44 27 16 40 -2 29 22 24 21 25 30 23 29 31 19 24 20 36 32 36 28 25 21 28 29 37 25 28
26 30 32 36 26 30 22 36 23 27 27 28 27 31 27 26 33 26 32 32 24 39 28 24 25 32 25 29 27 28 29 16 23
""",
    sep=" ",
)
LAWS = {  # each with its twin of SciPy
    "normal": (dist.Normal, scipy.stats.norm),
    "logistic": (dist.Logistic, scipy.stats.logistic),
    "Laplace": (dist.Laplace, scipy.stats.laplace),
    "Student, 4 degrees": (lambda loc, scale: dist.StudentT(4, loc, scale), scipy.stats.t(4)),
    "Cauchy": (dist.Cauchy, scipy.stats.cauchy),
}


def model(law, times=None):
    """Measurements scatter around a location by a scale."""
    location = numpyro.sample("location", dist.Normal(20.0, 20.0))
    scale = numpyro.sample("scale", dist.LogNormal(1.5, 1.0))
    with numpyro.plate("measurement", TIMES.size):
        numpyro.sample("times", LAWS[law][0](location, scale), obs=times)


def exact(law):
    """The log evidence by a sum over a grid, log scale times location."""
    location = np.linspace(5.0, 40.0, 700)[:, None]
    log_scale = np.linspace(0.3, 3.5, 400)
    scale = np.exp(log_scale)
    log_mass = scipy.stats.norm.logpdf(location, 20, 20) + scipy.stats.norm.logpdf(log_scale, 1.5)
    for time in TIMES:
        log_mass = log_mass + LAWS[law][1].logpdf((time - location) / scale) - log_scale
    cell = (location[1, 0] - location[0, 0]) * (log_scale[1] - log_scale[0])
    return logsumexp(log_mass) + np.log(cell)


def draw(fits, folder):
    """The data, and the location under each law."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    left.hist(TIMES, 40, color="0.7")
    left.set(xlabel="measurement", ylabel="number")
    for fit in fits.values():
        right.hist(fit.resampled(0).draws["location"].ravel(), 60, histtype="step", density=True)
    right.legend(fits, fontsize=7, frameon=False)
    right.set(xlabel="location", yticks=[])
    figure.savefig(f"{folder}/newcomb_five_laws.png")


def main(folder=None, key=0):
    """Measure five evidences, compare, draw."""
    fits = {
        law: pi.sample(
            pi.from_numpyro(model, law, times=TIMES),
            pi.SMC(particles=1000, islands=4),
            key=key,
            progress=False,
        )
        for law in LAWS
    }
    print(pi.compare_evidence(fits))
    truth = {law: exact(law) for law in LAWS}
    for law, fit in fits.items():
        row = fit.summary()["location"]
        print(f"{law:20} log evidence {fit.log_evidence}, exact {truth[law]:.3f};", end=" ")
        print(f"location {row['mean']:.1f} ± {row['sd']:.1f}")
    if folder:
        draw(fits, folder)

    assert TIMES.size == 66 and abs(TIMES.mean() - 26.21) < 0.01  # as Stigler printed it
    for law, fit in fits.items():
        z = fit.log_evidence.z(truth[law])
        assert abs(z) < 5, f"{law}: the exact log evidence is {z:.1f} errors away"
        assert fit.log_evidence.error < 0.2, law
    order = sorted(LAWS, key=lambda law: -fits[law].log_evidence.value)
    assert order[0] == max(truth, key=truth.get) and order[-1] == "normal", order
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
