"""Diabetes progression: regression with shrinkage, by NUTS and by sequential Monte Carlo.

Ten measurements of 442 patients predict how far their diabetes went within a year (Efron, Hastie,
Johnstone and Tibshirani, 2004; bundled with scikit-learn). Coefficients share one prior scale tau,
which the data choose: ridge regression with its penalty inferred. Both engines must agree with
each other, with ridge regression at the inferred penalty, and with an exact integral, which
exists because the coefficients can be integrated out by hand.

Needs scikit-learn, the extra `sklearn`.

    python examples/diabetes_regression.py [folder for the picture]
"""

import sys

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

try:
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression, Ridge
except ImportError as missing:
    raise SystemExit(f'{missing}; this script needs: pip install "probinf[sklearn]"') from None

import probinf as pi

pi.use_cpu_devices()  # chains and islands run side by side


def model(x, y=None):
    """Linear regression whose coefficients share the prior scale tau."""
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    with numpyro.plate("predictor", x.shape[1]):
        beta = numpyro.sample("beta", dist.Normal(0, tau))
    with numpyro.plate("patient", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ beta, sigma), obs=y)


def standardised_data():
    """Predictors and response with mean 0 and standard deviation 1, and the predictors' names."""
    data = load_diabetes(scaled=False)
    x = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    y = (data.target - data.target.mean()) / data.target.std()
    return x, y, list(data.feature_names)


def exact(x, y):
    """Log evidence and posterior means by quadrature over (tau, sigma), beta integrated out.

    In the coordinates of the singular value decomposition y is independent normal, with
    variances sigma**2 + (tau * singular value)**2.
    """
    u, singular, vt = np.linalg.svd(x, full_matrices=False)
    along = u.T @ y
    rest, rest_size = y @ y - along @ along, len(y) - len(along)
    node, weight = np.polynomial.legendre.leggauss(300)
    tau, tau_weight = (2.5 * (node + 1))[:, None, None], 2.5 * weight[:, None]  # 0 to 5
    sigma, sigma_weight = (0.7 + 0.3 * node)[:, None], 0.3 * weight  # 0.4 to 1
    variance = sigma**2 + (tau * singular) ** 2
    log_likelihood = -0.5 * (np.log(2 * np.pi * variance) + along**2 / variance).sum(axis=2)
    log_likelihood -= 0.5 * (rest_size * np.log(2 * np.pi * sigma**2) + rest / sigma**2)[:, 0]
    log_prior = np.log(2 / np.pi) - 0.5 * (tau**2 + sigma**2)[:, :, 0]
    log_mass = log_likelihood + log_prior
    top = log_mass.max()
    mass = np.exp(log_mass - top) * tau_weight * sigma_weight
    w = mass / mass.sum()
    shrinkage = (w[:, :, None] * tau**2 * singular / variance).sum(axis=(0, 1))
    beta = vt.T @ (shrinkage * along)
    means = {f"beta[{j}]": value for j, value in enumerate(beta)}
    means |= {"sigma": (w * sigma[:, 0]).sum(), "tau": (w * tau[:, :, 0]).sum()}
    return float(top + np.log(mass.sum())), means


def require(condition, message):
    """End with an error unless the condition holds."""
    if not condition:
        raise SystemExit(f"check failed: {message}")


def draw(fit, names, least_squares, folder):
    """Coefficients with their 90 % intervals beside least squares."""
    import matplotlib.pyplot as plt

    rows = [fit.summary()[f"beta[{j}]"] for j in range(len(names))]
    mean = np.array([row["mean"] for row in rows])
    low, high = (np.array([row[q] for row in rows]) for q in ("q5", "q95"))
    place = np.arange(len(names))
    figure, axis = plt.subplots(figsize=(6, 4))
    axis.axvline(0, color="0.8", zorder=0)
    axis.errorbar(
        mean, place, xerr=[mean - low, high - mean], fmt="o", label="posterior mean, 90 % interval"
    )
    axis.plot(least_squares, place, "x", color="C1", label="least squares")
    axis.set_yticks(place, names)
    axis.invert_yaxis()
    axis.set_xlabel("standardised coefficient")
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(f"{folder}/diabetes_regression.png")


def main(folder=None):
    """Fit, compare, draw and check."""
    x, y, names = standardised_data()
    program = pi.from_numpyro(model, jnp.asarray(x), y=jnp.asarray(y))
    fits = {
        "NUTS": pi.sample(program, pi.NUTS(chains=4, warmup=1000, draws=1000), key=0),
        "SMC": pi.sample(program, pi.SMC(particles=2000, islands=2, max_moves=10), key=0),
    }
    for fit in fits.values():
        print(f"\n{fit}\n{fit.summary()}\n{fit.diagnose()}")
    summaries = {name: fit.summary() for name, fit in fits.items()}

    log_evidence, means = exact(x, y)
    nuts = summaries["NUTS"]
    least_squares = LinearRegression(fit_intercept=False).fit(x, y).coef_
    penalty = (nuts["sigma"]["mean"] / nuts["tau"]["mean"]) ** 2
    ridge = Ridge(penalty, fit_intercept=False).fit(x, y).coef_

    print("\nstandardised coefficient (Monte Carlo error)")
    print("predictor           NUTS             SMC    exact    ridge   least squares")
    for j, name in enumerate(names):
        cells = (summaries[fit][f"beta[{j}]"] for fit in fits)
        shown = "".join(f"{c['mean']:7.3f} ({c['mcse']:.4f})" + " " for c in cells)
        exact_mean = means[f"beta[{j}]"]
        print(f"{name:9}{shown}{exact_mean:8.3f} {ridge[j]:8.3f}{least_squares[j]:16.3f}")

    differences = {}
    for scalar in nuts:
        first, second = nuts[scalar], summaries["SMC"][scalar]
        joint_error = np.hypot(first["mcse"], second["mcse"])
        differences[scalar] = (first["mean"] - second["mean"]) / joint_error
    worst = max(differences, key=lambda scalar: abs(differences[scalar]))
    print("\nlargest difference of means between the engines, in Monte Carlo errors:", end=" ")
    print(f"{differences[worst]:.2f} ({worst})")
    evidence = fits["SMC"].log_evidence
    print(f"log evidence: exact {log_evidence:.3f}, SMC {evidence}")

    low, high = np.quantile(fits["NUTS"].predict(key=1)["y"], [0.05, 0.95], axis=(0, 1))
    coverage = np.mean((low < y) & (y < high))
    print(f"90 % predictive intervals hold {coverage:.0%} of the patients")
    if folder:
        draw(fits["NUTS"], names, least_squares, folder)

    for name, fit in fits.items():
        # one transition in thousands may diverge, and says so; the means show that it cost nothing
        require(set(fit.diagnose().codes) <= {"divergences"}, f"{name}:\n{fit.diagnose()}")
        for scalar, mean in means.items():
            z = (summaries[name][scalar]["mean"] - mean) / summaries[name][scalar]["mcse"]
            require(abs(z) < 5, f"{name}, {scalar}: the exact mean is {z:.1f} errors away")
    require(abs(differences[worst]) < 6, f"the engines differ on {worst}")
    z = evidence.z(log_evidence)
    require(abs(z) < 4.5, f"the exact log evidence is {z:.1f} errors away")
    require(evidence.error < 0.2, "the evidence is not precise")
    for j, name in enumerate(names):
        row = nuts[f"beta[{j}]"]
        require(abs(row["mean"] - ridge[j]) < row["sd"] / 2, f"ridge differs on {name}")
        if row["q5"] > 0 or row["q95"] < 0:
            require(row["mean"] * least_squares[j] > 0, f"least squares has another sign on {name}")
    strong = {n for j, n in enumerate(names) if nuts[f"beta[{j}]"]["q5"] > 0}
    require(strong == {"bmi", "bp", "s5"}, f"predictors that raise it: {strong}")
    shrunk = np.array([nuts[f"beta[{j}]"]["mean"] for j in range(len(names))])
    require(np.linalg.norm(shrunk) < np.linalg.norm(least_squares), "coefficients did not shrink")
    require(0.85 < coverage < 0.95, f"predictive coverage is {coverage:.0%}")
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
