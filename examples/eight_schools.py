"""Eight schools: one hierarchical model, three engines, one answer.

Eight schools measured the effect of coaching on a test score (Rubin, 1981). The model lets the
schools differ by an unknown amount and shares strength between them. NUTS, sequential Monte Carlo
and importance sampling get the same program; their posteriors must agree with each other, with
reference draws and with an exact integral, and so must the log evidence where there is one.

    python examples/eight_schools.py [folder for the picture]
"""

import itertools
import sys

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi

pi.use_cpu_devices()  # chains and islands run side by side

SCHOOLS = "ABCDEFGH"
EFFECT = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])  # estimated effect of coaching, in points
ERROR = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])  # its standard error

# posteriordb, eight_schools-eight_schools_noncentered: (posterior mean, its Monte Carlo error)
REFERENCE = {
    "mu": (4.4105, 0.0330),
    "tau": (3.6021, 0.0320),
    "theta[0]": (6.1505, 0.0559),
    "theta[1]": (4.9396, 0.0463),
    "theta[2]": (3.9059, 0.0541),
    "theta[3]": (4.7960, 0.0476),
    "theta[4]": (3.6144, 0.0463),
    "theta[5]": (4.0511, 0.0485),
    "theta[6]": (6.3172, 0.0499),
    "theta[7]": (4.8840, 0.0543),
}


def model(error, effect=None):
    """True effects theta vary around mu by tau; each is observed with a known error."""
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("school", len(error)):
        z = numpyro.sample("z", dist.Normal(0, 1))
        theta = numpyro.deterministic("theta", mu + tau * z)
        numpyro.sample("effect", dist.Normal(theta, error), obs=effect)


def exact():
    """Log evidence and posterior means by quadrature over (mu, tau), theta integrated out."""
    node, weight = np.polynomial.legendre.leggauss(400)
    mu, mu_weight = 40 * node, 40 * weight  # eight prior standard deviations to either side
    u, u_weight = (node + 1) / 2, weight / 2
    tau = 5 * np.tan(np.pi / 2 * u)[:, None]  # u is the prior's distribution function at tau
    variance = ERROR**2 + tau[:, :, None] ** 2
    log_likelihood = -0.5 * (
        np.log(2 * np.pi * variance) + (EFFECT - mu[None, :, None]) ** 2 / variance
    ).sum(axis=2)
    log_prior = -0.5 * (np.log(2 * np.pi * 25) + mu**2 / 25)
    mass = np.exp(log_likelihood + log_prior) * mu_weight * u_weight[:, None]
    evidence = mass.sum()
    means = {
        "mu": (mass * mu).sum() / evidence,
        "tau": (mass * tau).sum() / evidence,
    }
    for j, (y, s) in enumerate(zip(EFFECT, ERROR, strict=True)):
        theta = (tau**2 * y + s**2 * mu) / (tau**2 + s**2)  # mean given mu and tau
        means[f"theta[{j}]"] = (mass * theta).sum() / evidence
    return float(np.log(evidence)), means


def largest_difference(first, second):
    """The scalar whose two means differ most, in units of their joint Monte Carlo error."""
    a, b = first.summary(), second.summary()
    z = {
        name: (a[name]["mean"] - b[name]["mean"]) / np.hypot(a[name]["mcse"], b[name]["mcse"])
        for name in a
    }
    worst = max(z, key=lambda name: abs(z[name]))
    return worst, z[worst]


def require(condition, message):
    """End with an error unless the condition holds."""
    if not condition:
        raise SystemExit(f"check failed: {message}")


def main(folder=None):
    """Fit, compare, draw and check."""
    program = pi.from_numpyro(model, jnp.asarray(ERROR), effect=jnp.asarray(EFFECT))
    methods = {
        # short steps: the density bends sharply where tau is small
        "NUTS": pi.NUTS(draws=2000, kernel=pi.kernels.NUTS(target_acceptance=0.95)),
        "SMC": pi.SMC(particles=1000, islands=4),
        "Importance": pi.Importance(draws=50_000),
    }
    log_evidence, means = exact()

    fits = {}
    for name, method in methods.items():
        fits[name] = fit = pi.sample(program, method, key=0)
        print(f"\n{fit}\n{fit.summary()}\n{fit.diagnose()}")

    print("\nposterior mean of the true effect (Monte Carlo error), in points")
    print("school   observed   " + "".join(f"{name:>16}" for name in fits) + f"{'exact':>9}")
    for j, school in enumerate(SCHOOLS):
        rows = [fit.summary()[f"theta[{j}]"] for fit in fits.values()]
        cells = "".join(f"{row['mean']:9.2f} ({row['mcse']:.2f})" for row in rows)
        print(f"{school:6}   {EFFECT[j]:8.0f}   {cells}{means[f'theta[{j}]']:9.2f}")

    print("\nlargest difference of means between two engines, in Monte Carlo errors")
    differences = {}
    for first, second in itertools.combinations(fits, 2):
        worst, z = largest_difference(fits[first], fits[second])
        differences[first, second] = z
        print(f"{first + ' and ' + second:22} {z:6.2f}  ({worst})")

    print(f"\nlog evidence: exact {log_evidence:.3f}")
    weighted = {name: fit for name, fit in fits.items() if fit.evidence is not None}
    for name, fit in weighted.items():
        print(f"{name:22} {fit.log_evidence}")

    if folder:
        figure = pi.compare_plot(fits, ["mu", "tau", "theta[0]", "theta[6]"], columns=2)
        figure.savefig(f"{folder}/eight_schools.png")

    for name, fit in fits.items():
        summary = fit.summary()
        divergent = fit.stats.get("divergent", np.zeros(1)).mean()
        healthy = set(fit.diagnose().codes) <= {"divergences"} and divergent < 5e-3
        require(healthy, f"{name} is not healthy\n{fit.diagnose()}")
        for scalar, (mean, error) in REFERENCE.items():
            z = (summary[scalar]["mean"] - mean) / np.hypot(summary[scalar]["mcse"], error)
            require(abs(z) < 5, f"{name}, {scalar}: posteriordb's mean is {z:.1f} errors away")
            z = (summary[scalar]["mean"] - means[scalar]) / summary[scalar]["mcse"]
            require(abs(z) < 5, f"{name}, {scalar}: the exact mean is {z:.1f} errors away")
    for (first, second), z in differences.items():
        require(abs(z) < 6, f"{first} and {second} are {z:.1f} errors apart")
    for name, fit in weighted.items():
        z = fit.log_evidence.z(log_evidence)
        require(abs(z) < 5, f"{name}: the exact log evidence is {z:.1f} errors away")
        require(fit.log_evidence.error < 0.05, f"{name}: the evidence is not precise")
    require(list(weighted) == ["SMC", "Importance"], "two engines should estimate the evidence")
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
