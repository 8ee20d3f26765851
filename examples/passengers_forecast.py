"""Air passengers: a forecast two years ahead, with honest bands.

Passengers of international airlines by month, 1949 to 1960, in thousands (Box and Jenkins, 1976,
series G). Growth over the same month a year earlier, in logarithms, follows an autoregression; a
`scan` is conditioned on the months that are known, and `predict` draws the two years after them.
Forecasts are compared with the truth and with the naive one, the posterior with an exact integral.

    python examples/passengers_forecast.py [folder for the picture]
"""

import sys

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.control_flow import scan
from scipy.special import logsumexp

import probinf as pi

PASSENGERS = np.fromstring(
    """
112 118 132 129 121 135 148 148 136 119 104 118 115 126 141 135 125 149 170 170 158 133 114 140 145
150 178 163 172 178 199 199 184 162 146 166 171 180 193 181 183 218 230 242 209 191 172 194 196 196
236 235 229 243 264 272 237 211 180 201 204 188 235 227 234 264 302 293 259 229 203 229 242 233 267
269 270 315 364 347 312 274 237 278 284 277 317 313 318 374 413 405 355 306 271 306 315 301 356 348
355 422 465 467 404 347 305 336 340 318 362 348 363 435 491 505 404 359 310 337 360 342 406 396 420
472 548 559 463 407 362 405 417 391 419 461 472 535 622 606 508 461 390 432
""",
    sep=" ",
)
AHEAD, MONTHS = 24, np.arange(144) / 12 + 1949


def model(months, growth=None):
    """Growth over a year returns to its mean, month by month."""
    mean = numpyro.sample("mean", dist.Normal(0.1, 0.1))
    memory = numpyro.sample("memory", dist.Uniform(0.0, 1.0))
    noise = numpyro.sample("noise", dist.HalfNormal(0.1))

    def month(before, now):
        law = dist.Normal(mean + memory * (before - mean), noise)
        now = numpyro.sample("growth", law, obs=now)
        return now, None

    scan(month, 0.1, growth, length=months)


def exact(growth):
    """Posterior means by a sum over a grid."""
    mean, memory, noise = np.meshgrid(
        np.linspace(-0.1, 0.3, 121), np.linspace(0.0025, 0.9975, 200), np.linspace(0.02, 0.07, 81)
    )
    before = np.concatenate([[0.1], growth[:-1]])
    log_mass = -0.5 * ((mean - 0.1) / 0.1) ** 2 - 0.5 * (noise / 0.1) ** 2
    log_mass = log_mass - growth.size * np.log(noise)
    for now, last in zip(growth, before, strict=True):
        log_mass -= 0.5 * ((now - mean - memory * (last - mean)) / noise) ** 2
    mass = np.exp(log_mass - logsumexp(log_mass))
    return {n: (mass * v).sum() for n, v in (("mean", mean), ("memory", memory), ("noise", noise))}


def levels(known, growth):
    """Logarithms of passengers after the known ones, from draws of growth over a year."""
    out = []
    for k in range(growth.shape[-1]):
        last_year = known[k - 12] if k < 12 else out[k - 12]
        out.append(last_year + growth[..., k])
    return np.stack(out, -1)


def draw(low, middle, high, folder):
    """The series and the forecast."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    axis.plot(MONTHS[-84:], PASSENGERS[-84:], color="0.4", lw=0.9)
    axis.fill_between(MONTHS[-AHEAD:], low, high, alpha=0.3)
    axis.plot(MONTHS[-AHEAD:], middle)
    axis.set(ylabel="passengers, thousands", title="forecast with 90 % bands")
    figure.savefig(f"{folder}/passengers_forecast.png")


def main(folder=None, key=0):
    """Fit, forecast, compare, draw."""
    log = np.log(PASSENGERS)
    known = log[:-AHEAD]
    growth = known[12:] - known[:-12]
    program = pi.from_numpyro(model, growth.size, growth)
    fit = pi.sample(program, pi.NUTS(chains=2, warmup=300, draws=1000), key=key, progress=False)
    rows, means = fit.summary(), exact(growth)
    print(rows)
    longer = numpyro.handlers.condition(model, {"growth": jnp.asarray(growth)})
    ahead = fit.predict(key=key, program=pi.from_numpyro(longer, growth.size + AHEAD))["growth"]
    paths = np.exp(levels(known, ahead[..., growth.size :].reshape(-1, AHEAD)))
    low, middle, high = np.quantile(paths, [0.05, 0.5, 0.95], axis=0)
    truth = PASSENGERS[-AHEAD:]
    inside = np.mean((truth > low) & (truth < high))
    error = np.abs(middle / truth - 1).mean()
    naive = np.abs(np.tile(PASSENGERS[-AHEAD - 12 : -AHEAD], 2) / truth - 1).mean()
    print(f"{inside:.0%} of two years inside the bands; error {error:.1%}, last year's {naive:.1%}")
    if folder:
        draw(low, middle, high, folder)

    for name, value in means.items():
        z = (rows[name]["mean"] - value) / rows[name]["mcse"]
        print(f"{name}: {rows[name]['mean']:.4f}, exact {value:.4f}")
        assert abs(z) < 5, f"{name} is {z:.1f} Monte Carlo errors from the exact mean"
    assert inside > 0.8 and error < 0.6 * naive
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
