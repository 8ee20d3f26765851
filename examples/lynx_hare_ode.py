"""Lynx and hares: a differential equation in SciPy, fitted as it is.

Pelts bought by the Hudson's Bay Company, 1900 to 1920, in thousands (Howard, 2009), and the
equations of Lotka and Volterra. SciPy solves them; the package asks for a batch of likelihoods at a
time (`from_callback`), which here are solved side by side as one long system. No gradient exists,
and none is needed. The answer is compared with the published one of Stan.

    python examples/lynx_hare_ode.py [folder for the picture]
"""

import sys

import numpy as np
import numpyro.distributions as dist
from scipy.integrate import solve_ivp

import probinf as pi

HARE = np.fromstring(
    """
30 47.2 70.2 77.4 36.3 20.6 18.1 21.4 22 25.4 27.1 40.3 57 76.6 52.3 19.5 11.2 7.6 14.6 16.2 24.7
""",
    sep=" ",
)
LYNX = np.fromstring(
    """
4 6.1 9.8 35.2 59.4 41.7 19 13 8.3 9.1 7.4 8 12.3 19.5 45.7 51.1 29.7 15.8 9.7 10.1 8.6
""",
    sep=" ",
)
SEEN = np.log(np.stack([HARE, LYNX]))
# B. Carpenter (2018), "Predator-prey population dynamics", Stan case study: means and sds
PUBLISHED = {
    "birth": (0.55, 0.07),
    "eaten": (0.028, 0.004),
    "death": (0.80, 0.09),
    "fed": (0.024, 0.004),
    "hares": (33.96, 2.90),
    "lynxes": (5.95, 0.53),
    "scatter": (0.25, 0.04),
}
PRIOR = {
    "birth": dist.LogNormal(np.log(0.6), 0.5),
    "eaten": dist.LogNormal(np.log(0.03), 0.5),
    "death": dist.LogNormal(np.log(0.8), 0.5),
    "fed": dist.LogNormal(np.log(0.03), 0.5),
    "hares": dist.LogNormal(np.log(30.0), 0.5),
    "lynxes": dist.LogNormal(np.log(6.0), 0.5),
    "scatter": dist.LogNormal(-1.0, 0.5),
}


def solved(theta, times):
    """Logarithms of both populations, (rows, 2, times), of all rows of theta at once."""
    birth, eaten, death, fed = (np.asarray(theta[k]) for k in ("birth", "eaten", "death", "fed"))

    def slope(_, state):  # of the logarithms, which stay finite
        hare, lynx = np.exp(np.minimum(state.reshape(2, -1), 20.0))
        return np.concatenate([birth - eaten * lynx, fed * hare - death])

    start = np.log(np.concatenate([theta["hares"], theta["lynxes"]]))
    span = times[0], times[-1]
    found = solve_ivp(slope, span, start, t_eval=times, rtol=1e-4, atol=1e-4, max_step=0.5)
    return found.y.reshape(2, -1, times.size).transpose(1, 0, 2)


def log_likelihood(theta):
    """One number for each row: log-normal scatter of the pelts around the curves."""
    miss = solved(theta, np.arange(21.0)) - SEEN
    scatter = np.asarray(theta["scatter"])
    squares = (miss**2).sum((1, 2)) / scatter**2
    return -0.5 * squares - SEEN.size * np.log(scatter * np.sqrt(2 * np.pi)) - SEEN.sum()


def draw(fit, folder):
    """Both curves with their uncertainty."""
    import matplotlib.pyplot as plt

    fine = np.linspace(0, 20, 161)
    curves = np.exp(solved({name: v.ravel()[:200] for name, v in fit.draws.items()}, fine))
    low, middle, high = np.quantile(curves, [0.05, 0.5, 0.95], axis=0)
    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for k, (name, pelts) in enumerate({"hare": HARE, "lynx": LYNX}.items()):
        (line,) = axis.plot(1900 + fine, middle[k], label=name)
        axis.fill_between(1900 + fine, low[k], high[k], color=line.get_color(), alpha=0.25)
        axis.plot(1900 + np.arange(21), pelts, "o", ms=3, color=line.get_color())
    axis.set(ylabel="pelts, thousands", xticks=range(1900, 1921, 5))
    axis.legend(frameon=False)
    figure.savefig(f"{folder}/lynx_hare_ode.png")


def main(folder=None, key=0):
    """Fit, compare, draw."""
    program = pi.from_callback(log_likelihood, PRIOR, vectorized=True, batch_size=1000)
    method = pi.SMC(particles=500, islands=1, kernel=pi.kernels.RandomWalk())
    posterior = pi.sample(program, method, key=key, progress=False)
    fit = posterior.resampled(key)
    rows = posterior.summary()
    print(rows)
    print("log evidence", posterior.log_evidence, posterior.provenance["callback"])
    if folder:
        draw(fit, folder)

    for name, (mean, sd) in PUBLISHED.items():
        row = rows[name]
        print(f"{name:8} {row['mean']:.3f} ± {row['sd']:.3f}, published {mean:.3f} ± {sd:.3f}")
        # the published priors are others, its two scatters ours in one
        assert abs(row["mean"] - mean) < 0.7 * sd, name
        assert 0.5 < row["sd"] / sd < 1.5, name
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
