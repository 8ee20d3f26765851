"""Lynx: the period of a cycle by a Gaussian process.

Lynx trapped along the Mackenzie River each year from 1821 to 1934 (Elton and Nicholson, 1942). The
logarithm of the count is a Gaussian process whose covariance is a wave that slowly loses its phase.
NUTS finds the wave's period and lifetime; the density is compared with scikit-learn's Gaussian
process, and predictions of years that were kept aside with a straight line between their
neighbours.

Needs scikit-learn, the extra `sklearn`.

    python examples/lynx_period.py [folder for the picture]
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

try:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, ExpSineSquared, WhiteKernel
except ImportError as missing:
    raise SystemExit(f'{missing}; this script needs: pip install "probinf[sklearn]"') from None

import probinf as pi

TRAPPED = np.fromstring(
    """
269 321 585 871 1475 2821 3928 5943 4950 2577 523 98 184 279 409 2285 2685 3409 1824 409 151 45 68
213 546 1033 2129 2536 957 361 377 225 360 731 1638 2725 2871 2119 684 299 236 245 552 1623 3311
6721 4254 687 255 473 358 784 1594 1676 2251 1426 756 299 201 229 469 736 2042 2811 4431 2511 389
73 39 49 59 188 377 1292 4031 3495 587 105 153 387 758 1307 3465 6991 6313 3794 1836 345 382 808
1388 2713 3800 3091 2985 3790 374 81 80 108 229 399 1132 2432 3574 2935 1537 529 485 662 1000 1590
2657 3396
""",
    sep=" ",
)
YEARS = 1821.0 + np.arange(TRAPPED.size)
HIDDEN = np.arange(TRAPPED.size) % 5 == 2  # every fifth year is kept aside


def covariance(t, u, height, period, lifetime, sharpness=1.0):
    """Between the times t and u: a wave of this period that decays with this lifetime."""
    gap = t[:, None] - u[None, :]
    wave = -2 * jnp.sin(jnp.pi * gap / period) ** 2 / sharpness**2
    return height**2 * jnp.exp(wave - 0.5 * (gap / lifetime) ** 2)


def model(t, y=None):
    """A period of about ten years; a much wider prior would let in the double of the period."""
    height = numpyro.sample("height", dist.LogNormal(0.0, 0.5))
    period = numpyro.sample("period", dist.LogNormal(np.log(10.0), 0.12))
    lifetime = numpyro.sample("lifetime", dist.LogNormal(np.log(20.0), 0.5))
    noise = numpyro.sample("noise", dist.LogNormal(-1.5, 0.5))
    inner = covariance(t, t, height, period, lifetime) + noise**2 * jnp.eye(len(t))
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(len(t)), inner), obs=y)


def between(t, y, new, height, period, lifetime, noise):
    """Mean and standard deviation of new observations, given one draw of the parameters."""
    inner = covariance(t, t, height, period, lifetime) + noise**2 * jnp.eye(len(t))
    cross = covariance(new, t, height, period, lifetime)
    weights = jnp.linalg.solve(inner, cross.T)
    variance = height**2 + noise**2 - (cross.T * weights).sum(0)
    return weights.T @ y, jnp.sqrt(variance)


def draw(y, new, law, period, folder):
    """The series with predictions of the hidden years, and the period."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3), width_ratios=(3, 1), layout="constrained"
    )
    left.plot(YEARS, y, ".-", color="0.5", lw=0.6)
    left.vlines(new, *np.quantile(law, [0.05, 0.95], axis=0), color="C0")
    left.plot(new, y[HIDDEN], "o", color="C3", ms=4)
    left.set(ylabel="log lynx, centred")
    right.hist(period, 40, density=True)
    right.set(xlabel="period, years", yticks=[])
    figure.savefig(f"{folder}/lynx_period.png")


def main(folder=None, key=0):
    """Fit, predict, compare, draw."""
    y = np.log(TRAPPED)
    y = y - y[~HIDDEN].mean()
    t, seen, new = YEARS[~HIDDEN], y[~HIDDEN], YEARS[HIDDEN]
    program = pi.from_numpyro(model, t, y=seen)
    fit = pi.sample(program, pi.NUTS(chains=2, warmup=200, draws=300), key=key, progress=False)
    rows = fit.summary()
    print(rows)
    some = {name: v.ravel()[::3] for name, v in fit.draws.items()}
    each = jax.jit(jax.vmap(lambda p: between(t, seen, new, **p)))
    mean, spread = (np.asarray(v) for v in each(some))
    law = mean + spread * np.random.default_rng(key).normal(size=mean.shape)
    low, high = np.quantile(law, [0.05, 0.95], axis=0)
    inside = np.mean((y[HIDDEN] > low) & (y[HIDDEN] < high))
    error = np.sqrt(np.mean((law.mean(0) - y[HIDDEN]) ** 2))
    line = np.sqrt(np.mean((np.interp(new, t, seen) - y[HIDDEN]) ** 2))
    print(f"{inside:.0%} of {new.size} hidden years inside their 90 % interval")
    print(f"error {error:.2f}, of a straight line between neighbours {line:.2f}")
    if folder:
        draw(y, new, law, some["period"], folder)

    # the same density by another package, at one point
    at = {"height": 1.2, "period": 9.7, "lifetime": 25.0, "noise": 0.2}
    wave = ExpSineSquared(length_scale=1.0, periodicity=at["period"])
    whole = ConstantKernel(at["height"] ** 2) * wave * RBF(at["lifetime"])
    whole = whole + WhiteKernel(at["noise"] ** 2)
    other = GaussianProcessRegressor(whole, optimizer=None).fit(t[:, None], seen)
    x = program.unconstrain(
        {n: jnp.asarray(v) for n, v in at.items()}, program.template(), program.data
    ).position
    ours = float(program.score(x, program.data).log_weight)
    print(f"log density {ours:.3f}, by scikit-learn {other.log_marginal_likelihood_value_:.3f}")
    assert abs(ours - other.log_marginal_likelihood_value_) < 0.02
    if np.nanmax(rows.columns["r_hat"]) > 1.1:  # a chain was caught in another explanation
        assert not fit.diagnose(), "which must be said"
        print(fit.diagnose(), "all checks of such a run passed", sep="\n")
        return
    assert 9 < rows["period"]["mean"] < 11, "Elton and Nicholson (1942): the ten-year cycle"
    assert inside > 0.7 and error < line
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
