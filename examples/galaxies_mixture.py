"""Galaxies: how many clusters do 82 velocities show?

Velocities of galaxies in the region of Corona Borealis, in 1,000 km/s (Roeder, 1990). Mixtures of
one to four normal laws are compared by their evidence, measured by nested sampling; which law a
galaxy belongs to is summed out and comes back as a probability. One part has an evidence by
quadrature.

Needs the extra `discrete`.

    python examples/galaxies_mixture.py [folder for the picture]
"""

import sys

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy.special import logsumexp
from scipy.stats import norm

import probinf as pi

SPEED = np.fromstring(
    """
9.172 9.350 9.483 9.558 9.775 10.227 10.406 16.084 16.170 18.419 18.552 18.600 18.927 19.052 19.070
19.330 19.343 19.349 19.440 19.473 19.529 19.541 19.547 19.663 19.846 19.856 19.863 19.914 19.918
19.973 19.989 20.166 20.175 20.179 20.196 20.215 20.221 20.415 20.629 20.795 20.821 20.846 20.875
20.986 21.137 21.492 21.701 21.814 21.921 21.960 22.185 22.209 22.242 22.249 22.314 22.374 22.495
22.746 22.747 22.888 22.914 23.206 23.241 23.263 23.484 23.538 23.542 23.666 23.706 23.711 24.129
24.285 24.289 24.366 24.717 24.990 25.633 26.960 26.995 32.065 32.789 34.279
""",
    sep=" ",
)


def model(parts, speed):
    """Every galaxy belongs to one of the parts; the order of the parts means nothing."""
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(parts)))
    centre = numpyro.sample("centre", dist.Normal(21.0, 8.0).expand([parts]).to_event(1))
    width = numpyro.sample("width", dist.LogNormal(0.5, 0.5).expand([parts]).to_event(1))
    with numpyro.plate("galaxy", len(speed)):
        part = numpyro.sample("part", dist.Categorical(weights))
        numpyro.sample("speed", dist.Normal(centre[part], width[part]), obs=speed)


def exact_one():
    """The log evidence of a single part, on a grid."""
    centre, log_width = np.linspace(17, 25, 300)[:, None], np.linspace(0.5, 2.5, 300)
    log_mass = norm.logpdf(centre, 21, 8) + norm.logpdf(log_width, 0.5, 0.5)
    log_mass = log_mass + norm.logpdf(SPEED[:, None, None], centre, np.exp(log_width)).sum(0)
    cell = (centre[1, 0] - centre[0, 0]) * (log_width[1] - log_width[0])
    return logsumexp(log_mass) + np.log(cell)


def density(fit, grid):
    """The density of velocities, draw by draw."""
    draws = fit.resampled(0).draws
    w, c, s = (draws[k].reshape(-1, 1, draws[k].shape[-1]) for k in ("weights", "centre", "width"))
    return (w * norm.pdf(grid[:, None], c, s)).sum(-1)


def draw(fits, folder):
    """The velocities with the densities of the mixtures."""
    import matplotlib.pyplot as plt

    grid = np.linspace(5, 38, 250)
    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    axis.hist(SPEED, 40, density=True, color="0.85")
    for parts, fit in fits.items():
        axis.plot(grid, density(fit, grid).mean(0), lw=1, label=f"{parts}")
    axis.set(xlabel="velocity, 1000 km/s", yticks=[])
    axis.legend(title="parts", frameon=False)
    figure.savefig(f"{folder}/galaxies_mixture.png")


def main(folder=None, key=0):
    """Fit four mixtures, compare, draw."""
    fits = {
        parts: pi.sample(
            pi.from_numpyro(model, parts, SPEED), pi.Nested(live=300), key=key, progress=False
        )
        for parts in (1, 2, 3, 4)
    }
    print(pi.compare_evidence({f"{parts} parts": fit for parts, fit in fits.items()}))
    if folder:
        draw(fits, folder)

    z = fits[1].log_evidence.z(exact_one())
    print(f"one part: {fits[1].log_evidence}, exact {exact_one():.3f}")
    assert abs(z) < 5, f"the exact evidence of one part is {z:.1f} errors away"
    value = {parts: fit.log_evidence.value for parts, fit in fits.items()}
    assert value[3] > value[2] + 1 > value[1] + 3, value
    # the parts have no order, so that all have the same law, but the density has no such doubt
    between = density(fits[3], np.array([9.5, 13.0, 20.0, 29.0, 33.0])).mean(0)
    print("density at 9.5, 13, 20, 29, 33:", between.round(4))
    assert between[0] > 2 * between[1] and between[2] > 5 * between[3], between
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
