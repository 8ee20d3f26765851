"""A spectral line by nested sampling: where it is, how wide, and which profile it has.

Transmittance of an interference filter against wavelength (Eckerle, 1979; the data set Eckerle4 of
the statistical reference data sets of the U.S. National Institute of Standards and Technology,
which certifies the least-squares fit of a Gaussian profile). Nested sampling fits a Gaussian and a
Lorentzian line, gives the posterior of each, a corner plot, and the odds between them.

    python examples/spectral_line.py [folder for the picture]
"""

import sys

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy.special import gammaln

import probinf as pi

TABLE = """
.0001575 400 .0001699 405 .0002350 410 .0003102 415 .0004917 420 .0008710 425 .0017418 430
.0046400 435 .0065895 436.5 .0097302 438 .0149002 439.5 .0237310 441 .0401683 442.5 .0712559 444
.1264458 445.5 .2073413 447 .2902366 448.5 .3445623 450 .3698049 451.5 .3668534 453 .3106727 454.5
.2078154 456 .1164354 457.5 .0616764 459 .0337200 460.5 .0194023 462 .0117831 463.5 .0074357 465
.0022732 470 .0008800 475 .0004579 480 .0002345 485 .0001586 490 .0001143 495 .0000710 500
"""
SEEN, WAVELENGTH = np.array(TABLE.split(), float).reshape(-1, 2).T
# certified by NIST: estimate and its standard error; the line is area / width exp(-(x - c)²/2w²)
CERTIFIED = {
    "area": (1.5543827178, 0.015408051163),
    "width": (4.0888321754, 0.046803020753),
    "centre": (451.54121844, 0.046800518816),
}
LEAST_SQUARES = 1.4635887487e-3


def profile(kind, area, width, centre):
    """The line at every wavelength."""
    z = (WAVELENGTH - centre) / width
    return area / width * (jnp.exp(-0.5 * z**2) if kind == "Gaussian" else 1 / (1 + z**2))


def model(kind, seen=None):
    """A line somewhere in the window, and noise of unknown size."""
    area = numpyro.sample("area", dist.Uniform(0.0, 5.0))
    width = numpyro.sample("width", dist.LogUniform(1.0, 20.0))
    centre = numpyro.sample("centre", dist.Uniform(420.0, 480.0))
    noise = numpyro.sample("noise", dist.LogUniform(1e-4, 1.0))
    with numpyro.plate("channel", WAVELENGTH.size):
        line = profile(kind, area, width, centre)
        numpyro.sample("seen", dist.Normal(line, noise), obs=seen)


def expected_evidence():
    """Laplace's approximation of the Gaussian line's evidence, the noise integrated exactly."""
    n, (area, width, centre) = SEEN.size, (value for value, _ in CERTIFIED.values())
    z = (WAVELENGTH - centre) / width
    line = area / width * np.exp(-0.5 * z**2)
    slopes = np.stack([line / area, line / width * (z**2 - 1), line / width * z])
    log_prior = -np.log(5 * 60 * width * np.log(20) * np.log(1e4))
    # over three parameters and the noise: a Student integral with n - 3 degrees
    log_det = np.linalg.slogdet(slopes @ slopes.T)[1]
    student = gammaln((n - 3) / 2) - np.log(2) - (n - 3) / 2 * np.log(np.pi * LEAST_SQUARES)
    return log_prior - 0.5 * log_det + student


def main(folder=None, key=0):
    """Fit both lines, compare, draw."""
    fits = {
        kind: pi.sample(
            pi.from_numpyro(model, kind, seen=SEEN), pi.Nested(live=400), key=key, progress=False
        )
        for kind in ("Gaussian", "Lorentzian")
    }
    print(fits["Gaussian"].summary(), "\n", pi.compare_evidence(fits))
    rows = fits["Gaussian"].summary()
    if folder:
        truths = {name: value for name, (value, _) in CERTIFIED.items()}
        figure = fits["Gaussian"].plot(
            "corner", ["area", "width", "centre", "noise"], truths=truths
        )
        figure.savefig(f"{folder}/spectral_line.png")

    for name, (value, error) in CERTIFIED.items():
        row = rows[name]
        print(f"{name}: {row['mean']:.4f} ± {row['sd']:.4f}, certified {value:.4f} ± {error:.4f}")
        assert abs(row["mean"] - value) < 0.4 * error, name  # 0.4: what the priors and chance move
        assert 0.8 < row["sd"] / error < 1.3, name
    expected = expected_evidence()
    evidence = fits["Gaussian"].log_evidence
    print(f"log evidence {evidence}, by Laplace's method {expected:.2f}")
    assert abs(evidence.value - expected) < 5 * evidence.error + 0.1
    odds = evidence.value - fits["Lorentzian"].log_evidence.value
    assert odds > 20, f"log odds of the Gaussian profile {odds:.1f}"
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
